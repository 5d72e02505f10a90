//! What SQLite does for the queries whose cost must not grow with the inventory.

use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use crate::{inventory, issue, requests, revocation, schema};

/// The steps of the plan, as `EXPLAIN QUERY PLAN` words them.
async fn plan(sql: &str) -> Vec<String> {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    schema::create_file(&path).unwrap();
    let mut connection = crate::options(&path).connect().await.unwrap();
    schema::migrate(&path, &mut connection).await.unwrap();
    let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
        .fetch_all(&mut connection)
        .await
        .unwrap();
    rows.iter().map(|row| row.get("detail")).collect()
}

const BY_NAME: &str = "certificates USING INDEX certificates_of_name (certname=?)";
const NEWER: &str = "newer USING INDEX certificates_of_name (certname=? AND id>?)";

#[tokio::test]
async fn no_query_reads_more_than_its_answer() {
    for (sql, searches) in [
        (inventory::LIVE, &["certificates USING INDEX certificates_current_signed (certname=?)"][..]),
        (inventory::CURRENT, &[BY_NAME]),
        (inventory::SIGNED_PAGE, &["c USING INDEX certificates_current_signed (certname>?)", NEWER]),
        (inventory::REVOKED_PAGE, &["c USING INDEX certificates_current_revoked (certname>?)", NEWER]),
        (
            issue::AGAINST,
            &[
                "certificates USING INDEX certificates_current_signed (certname=?)",
                BY_NAME,
                "certificates USING INDEX certificates_revoked_key (key_digest=?)",
                "revoked_serials USING COVERING INDEX sqlite_autoindex_revoked_serials_1 (serial=?)",
                "requests USING COVERING INDEX sqlite_autoindex_requests_1 (certname=? AND key_digest=?)",
            ],
        ),
        (
            inventory::EXPIRING,
            &["certificates USING INDEX certificates_ending (not_after>? AND not_after<?)"],
        ),
        (inventory::AFTER, &["certificates USING INTEGER PRIMARY KEY (rowid>?)"]),
        (inventory::COUNTS, &["certificates USING COVERING INDEX certificates_ending (not_after>?)"]),
        (inventory::COUNT_REVOKED, &["certificates USING COVERING INDEX certificates_revoked (not_after>?)"]),
        (revocation::REVOKED, &["certificates USING COVERING INDEX certificates_revoked (not_after>?)"]),
        (revocation::REVOKE, &["certificates USING INDEX sqlite_autoindex_certificates_1 (serial=?)"]),
        (revocation::REVOKE_NAME, &[BY_NAME]),
        (revocation::CLEAN, &[BY_NAME]),
        (revocation::CLEAN_EXPIRED, &["certificates USING INDEX certificates_ending (not_after<?)"]),
        (requests::DROP_OF_NAME, &["requests USING INDEX sqlite_autoindex_requests_1 (certname=?)"]),
    ] {
        let plan = plan(sql).await;
        let found: Vec<_> = plan.iter().filter_map(|step| step.strip_prefix("SEARCH ")).collect();
        assert_eq!(found, searches, "{sql}");
        // No step may go over a table, nor sort: but for the count of strange serials, over their index.
        let dear = |step: &&String| {
            step.contains("TEMP B-TREE") || (step.starts_with("SCAN ") && step.contains("certificates"))
        };
        assert_eq!(plan.iter().find(dear), None, "{sql}");
    }
}
