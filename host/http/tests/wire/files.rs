//! Plugins and module files: recordings 03, 04, 17.

use serde_json::{Value, json};

use crate::client::Wire;
use crate::world::{LARGE, World};

const PROBE: &str =
    "recurse=false&links=manage&checksum_type=sha256&source_permissions=ignore&environment=production";
const WALK: &str = "recurse=true&max_files=-1&ignore=.svn&ignore=CVS&ignore=.git&ignore=.hg&links=follow&\
checksum_type=sha256&source_permissions=use&environment=production";

#[tokio::test]
async fn plugins_are_listed_and_fetched_as_a_first_run_does() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    let paths = |list: &Value| -> Vec<String> {
        list.as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["relative_path"].as_str().unwrap().to_owned())
            .collect()
    };
    let probe = wire.get(&format!("/puppet/v3/file_metadatas/plugins?{PROBE}")).await;
    assert_eq!((probe.status, paths(&probe.json())), (200, vec![".".to_owned()]));
    let facts = wire.get(&format!("/puppet/v3/file_metadatas/pluginfacts?{WALK}")).await;
    assert_eq!(paths(&facts.json()), [".", "ext.sh"]);
    let plugins = wire.get(&format!("/puppet/v3/file_metadatas/plugins?{WALK}")).await;
    assert_eq!(paths(&plugins.json()), [".", "facter", "facter/demo.rb"]);
    let body = wire.get("/puppet/v3/file_content/plugins/facter/demo.rb?environment=production").await;
    assert_eq!((body.status, body.body.as_slice()), (200, b"Facter.add(:demo)\n".as_slice()));
    assert_eq!(body.header("content-type"), Some("application/octet-stream"));
    let missing = wire
        .get(&format!("/puppet/v3/file_metadatas/plugins?{}", PROBE.replace("production", "nosuch")))
        .await;
    let message = "Not Found: Could not find environment 'nosuch'";
    assert_eq!((missing.status, missing.json()["message"].as_str()), (404, Some(message)));
}

#[tokio::test]
async fn module_files_are_described_and_fetched() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    let reply = wire.get(&format!("/puppet/v3/file_metadata/modules/demo/sourced.txt?{PROBE}")).await;
    let metadata = reply.json();
    assert_eq!((metadata["type"].as_str(), metadata["mode"].as_u64()), (Some("file"), Some(420)));
    let sum = "{sha256}3f2fd31449907cbd58bf332590d446132aa8228711ee0ebcb489bf5b05bac2c2";
    assert_eq!(metadata["checksum"], json!({"type": "sha256", "value": sum}));
    let missing = wire.get(&format!("/puppet/v3/file_metadata/modules/demo/missing.txt?{PROBE}")).await;
    let message = "Not Found: Could not find file_metadata modules/demo/missing.txt";
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json(), json!({"message": message, "issue_kind": "RESOURCE_NOT_FOUND"}));
    let odd = wire.get("/puppet/v3/file_content/modules/demo/a%20b+c.txt?environment=production").await;
    assert_eq!((odd.status, odd.body.as_slice()), (200, b"odd name\n".as_slice()));
    let bad =
        wire.get("/puppet/v3/file_metadata/modules/demo/sourced.txt?environment=production&links=x").await;
    assert_eq!(bad.status, 400);
}

#[tokio::test]
async fn a_large_file_is_streamed_whole() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    let target = "/puppet/v3/file_content/modules/demo/large?environment=production";
    for _ in 0..2 {
        let reply = wire.ask("GET", target, &[("Accept-Encoding", "gzip")], b"").await;
        assert_eq!((reply.status, reply.body.len()), (200, LARGE));
        assert!(reply.body.iter().all(|byte| *byte == b'x'));
    }
}

#[tokio::test]
async fn nothing_outside_of_a_modules_files_is_served() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    for (path, status) in [
        ("modules/demo/../secret.txt", 400),
        ("modules/demo/%2e%2e/secret.txt", 400),
        ("modules/demo/..%2fsecret.txt", 404),
        ("modules/demo/secret.txt", 404),
        ("modules", 404),
        ("modules/nosuch/x", 404),
        ("nosuch/x", 404),
        ("plugins", 404),
    ] {
        let target = format!("/puppet/v3/file_content/{path}?environment=production");
        assert_eq!(wire.get(&target).await.status, status, "{path}");
    }
}
