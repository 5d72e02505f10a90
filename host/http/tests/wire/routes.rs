//! The table of `route.rs`: every row, and what is next to it, as strangers and as two nodes see it.

use crate::client::Wire;
use crate::world::World;

const FORBIDDEN: [u16; 3] = [403, 403, 403];
const MISSING: [u16; 3] = [404, 404, 404];

/// What a stranger, `a.test` and `b.test` are answered. 403 comes from the table alone: all else was
/// let through to a route, or is outside of the mounts (404).
const TABLE: &[(&str, [u16; 3])] = &[
    ("GET /puppet-ca/v1/certificate/ca", [200, 200, 200]),
    ("GET /%70uppet-ca/v1/certificate/%63a", [200, 200, 200]),
    ("HEAD /puppet-ca/v1/certificate/ca", FORBIDDEN),
    ("POST /puppet-ca/v1/certificate/ca", FORBIDDEN),
    ("BREW /puppet-ca/v1/certificate/ca", FORBIDDEN),
    ("GET /puppet-ca/v1/certificate/a.b", MISSING),
    ("GET /puppet-ca/v1/certificate/", FORBIDDEN),
    ("GET /puppet-ca/v1/certificate/ca/", FORBIDDEN),
    ("GET /puppet-ca/v1//certificate/ca", FORBIDDEN),
    ("PUT /puppet-ca/v1/certificate_request/%61", [200, 200, 200]),
    ("GET /puppet-ca/v1/certificate_request/a", MISSING),
    ("DELETE /puppet-ca/v1/certificate_request/a", FORBIDDEN),
    ("GET /puppet-ca/v1/certificate_revocation_list/any", [200, 200, 200]),
    ("POST /puppet-ca/v1/certificate_renewal", [403, 200, 200]),
    ("GET /puppet-ca/v1/certificate_statuses/all", FORBIDDEN),
    ("GET /puppet-ca/v1", FORBIDDEN),
    ("GET /puppet-ca/v1/", FORBIDDEN),
    ("GET /puppet/v3/node/a.test", [403, 400, 403]),
    ("GET /puppet/v3/node/%61.test", [403, 400, 403]),
    ("HEAD /puppet/v3/node/a.test", FORBIDDEN),
    ("GET /puppet/v3/node/a.test/", FORBIDDEN),
    ("GET /puppet/v3/node//a.test", FORBIDDEN),
    ("GET /puppet/v3/node/", FORBIDDEN),
    ("GET /puppet/v3/environments", [403, 200, 200]),
    ("POST /puppet/v3/catalog/a.test", [403, 400, 403]),
    ("GET /puppet/v3/catalog/a.test", [403, 400, 403]),
    ("PUT /puppet/v3/catalog/a.test", FORBIDDEN),
    ("PUT /puppet/v3/facts/a.test", [403, 400, 403]),
    ("PUT /puppet/v3/report/a.test", [403, 400, 403]),
    ("GET /puppet/v3/file_metadata/modules/demo//sourced.txt?environment=production", [403, 200, 200]),
    ("GET /puppet/v3/file_metadatas/plugins/?environment=production", [403, 200, 200]),
    ("GET /puppet/v3/file_metadatas/", FORBIDDEN),
    ("GET /puppet/v3/file_metadatas//plugins?environment=production", FORBIDDEN),
    ("GET /puppet/v3/file_content/modules/demo/a%20b+c.txt?environment=production", [403, 200, 200]),
    ("HEAD /puppet/v3/file_content/plugins/facter/demo.rb?environment=production", FORBIDDEN),
    ("HEAD /puppet/v3/file_bucket_file/sha256/ab//etc/x", [403, 404, 404]),
    ("GET /puppet/v3/file_bucket_file/sha256/ab/", [403, 404, 404]),
    ("PUT /puppet/v3/file_bucket_file/sha256/ab", [403, 400, 400]),
    ("POST /puppet/v3/file_bucket_file/sha256/ab", [403, 400, 400]),
    ("GET /puppet/v3/file_bucket_file/sha256", FORBIDDEN),
    ("DELETE /puppet/v3/file_bucket_file/sha256/ab", FORBIDDEN),
    ("POST /puppet/v4/catalog", FORBIDDEN),
    ("DELETE /puppet-admin-api/v1/environment-cache", FORBIDDEN),
    ("GET /status/v1/simple", [200, 200, 200]),
    ("GET /status/v1/simple/ca", [200, 200, 200]),
    ("HEAD /status/v1/simple", FORBIDDEN),
    ("POST /status/v1/simple/ca", FORBIDDEN),
    ("GET /status/v1/services", [200, 200, 200]),
    ("GET /status/v1/nosuch", MISSING),
    ("POST /puppet/v2/node/a.test", MISSING),
    ("GET //puppet/v3/environments", MISSING),
    ("GET /metrics", FORBIDDEN),
    ("GET /bunraku/v1/ca/status", FORBIDDEN),
    ("GET /bunraku/v2/ca/status", MISSING),
    ("GET /nosuch", MISSING),
    ("GET /", MISSING),
];

#[tokio::test]
async fn every_row_is_for_whom_the_table_says() {
    let world = World::new().await;
    let (a, b) = (world.authority.holder("a.test"), world.authority.holder("b.test"));
    for (who, holder) in [None, Some(&a), Some(&b)].into_iter().enumerate() {
        let mut wire = Wire::connect(&world, holder).await;
        for (line, expected) in TABLE {
            let (method, target) = line.split_once(' ').unwrap();
            let reply = wire.ask(method, target, &[], b"").await;
            assert_eq!(reply.status, expected[who], "{line} {who}");
            assert_eq!(reply.header("allow"), None, "{line}");
            let asked = world.backend.asked();
            assert!(reply.status != 403 || asked.is_empty(), "{line}: {asked:?}");
        }
    }
}
