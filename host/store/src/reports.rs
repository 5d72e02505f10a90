//! Run reports, kept as they came. A row in a table: no name or path from an agent becomes a file
//! (CVE-2012-1987, CVE-2012-1988).

use std::fmt;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::{Error, Store};

/// Reports kept for each node; the oldest makes room for the newest.
pub const REPORTS_PER_NODE: u32 = 20;

/// A report as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct ReportRow {
    /// Whose run it was, by its TLS certificate.
    pub certname: String,
    /// Unix seconds.
    pub received_at: i64,
    /// `changed`, `unchanged`, `failed` or what the agent called it.
    pub status: String,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl fmt::Debug for ReportRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportRow")
            .field("certname", &self.certname)
            .field("received_at", &self.received_at)
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Keeps a report, and of the node's earlier ones the newest [`REPORTS_PER_NODE`] less one.
    pub async fn save_report(&self, certname: &str, at: i64, status: &str, body: &[u8]) -> Result<(), Error> {
        let (certname, status, body) = (certname.to_owned(), status.to_owned(), body.to_vec());
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO reports (certname, received_at, status, body) VALUES ($1, $2, $3, $4)",
                )
                .bind(&certname)
                .bind(at)
                .bind(status)
                .bind(body)
                .execute(&mut *connection)
                .await?;
                sqlx::query(
                    "DELETE FROM reports WHERE certname = $1 AND id NOT IN
                     (SELECT id FROM reports WHERE certname = $1 ORDER BY id DESC LIMIT $2)",
                )
                .bind(&certname)
                .bind(i64::from(REPORTS_PER_NODE))
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// The node's newest reports, the newest first.
    pub async fn reports(&self, certname: &str, limit: u32) -> Result<Vec<ReportRow>, Error> {
        let rows = sqlx::query("SELECT * FROM reports WHERE certname = $1 ORDER BY id DESC LIMIT $2")
            .bind(certname)
            .bind(i64::from(limit))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(report).collect()
    }

    /// Forgets every report received before `before` (unix seconds); answers how many.
    pub async fn prune_reports(&self, before: i64) -> Result<u64, Error> {
        self.write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query("DELETE FROM reports WHERE received_at < $1")
                    .bind(before)
                    .execute(connection)
                    .await?;
                Ok(done.rows_affected())
            })
        })
        .await
    }
}

fn report(row: &SqliteRow) -> Result<ReportRow, Error> {
    Ok(ReportRow {
        certname: row.try_get("certname")?,
        received_at: row.try_get("received_at")?,
        status: row.try_get("status")?,
        body: row.try_get("body")?,
    })
}
