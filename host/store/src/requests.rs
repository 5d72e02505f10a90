//! Requests that wait. A slot is a name and a key: one stranger's candidate never displaces another's.

use std::fmt;

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::{Error, Store};

pub(crate) const DROP_OF_NAME: &str = "DELETE FROM requests WHERE certname = $1";

/// Which request: several keys may wait for one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey {
    /// The name asked for.
    pub certname: String,
    /// SHA-256 of the public key (SPKI), lower hex.
    pub key_digest: String,
}

/// A request that waits, with what was last decided about it.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestRow {
    /// Name and key.
    pub key: RequestKey,
    /// The CSR. It may hold a challenge password: never log it.
    pub pem: String,
    /// SHA-256 of the CSR's DER, as operators compare it.
    pub fingerprint: String,
    /// Unix seconds, of the first submission.
    pub submitted_at: i64,
    /// The address it came from.
    pub peer: Option<String>,
    /// `None` until somebody looked at it.
    pub decision: Option<DecisionRow>,
}

/// Why a request waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    /// `pending`, `deny` or `no-decision`.
    pub verdict: String,
    /// One line.
    pub reason: String,
    /// The plugin that decided.
    pub plugin: Option<String>,
    /// SHA-256 of its component, lower hex.
    pub plugin_digest: Option<String>,
    /// The set of plugins that was asked.
    pub plugin_set: String,
    /// What the registry held for the name, to see later whether that has changed.
    pub registry_version: Option<String>,
    /// Unix seconds.
    pub decided_at: i64,
}

/// The outcome of [`Store::add_request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// It waits now.
    Added,
    /// The same key waits for this name already; the stored row stays as it is.
    Known(Box<RequestRow>),
    /// There is no room, in all or for this name.
    Full,
}

impl fmt::Debug for RequestRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestRow")
            .field("key", &self.key)
            .field("fingerprint", &self.fingerprint)
            .field("submitted_at", &self.submitted_at)
            .field("peer", &self.peer)
            .field("decision", &self.decision)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Lets a request wait, unless `max_pending_total` wait in all or `max_per_name` for its name. Nothing
    /// is decided about it yet: see [`Store::record_decision`].
    pub async fn add_request(
        &self,
        row: &RequestRow,
        max_pending_total: u32,
        max_per_name: u32,
    ) -> Result<Submission, Error> {
        let row = row.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let key = row.key.clone();
                if insert(connection, row, max_pending_total, max_per_name).await? {
                    return Ok(Submission::Added);
                }
                let known = find(connection, &key).await?;
                Ok(known.map_or(Submission::Full, |known| Submission::Known(Box::new(known))))
            })
        })
        .await
    }

    /// One page of all that wait, ordered by name and key.
    pub async fn requests(&self, after: Option<RequestKey>, limit: u32) -> Result<Vec<RequestRow>, Error> {
        let (certname, key_digest) = after.map(|key| (key.certname, key.key_digest)).unwrap_or_default();
        let rows = sqlx::query(
            "SELECT * FROM requests WHERE (certname, key_digest) > ($1, $2)
             ORDER BY certname, key_digest LIMIT $3",
        )
        .bind(certname)
        .bind(key_digest)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.reader().await?)
        .await?;
        rows.iter().map(request).collect()
    }

    /// All candidates of a name, the first come first.
    pub async fn requests_of(&self, certname: &str) -> Result<Vec<RequestRow>, Error> {
        let rows =
            sqlx::query("SELECT * FROM requests WHERE certname = $1 ORDER BY submitted_at, key_digest")
                .bind(certname)
                .fetch_all(&mut *self.reader().await?)
                .await?;
        rows.iter().map(request).collect()
    }

    /// One request.
    pub async fn request(&self, key: &RequestKey) -> Result<Option<RequestRow>, Error> {
        let mut connection = self.reader().await?;
        find(&mut connection, key).await
    }

    /// Notes why the request waits. `false`: it no longer does.
    pub async fn record_decision(&self, key: &RequestKey, decision: &DecisionRow) -> Result<bool, Error> {
        let (key, decision) = (key.clone(), decision.clone());
        self.write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE requests SET verdict = $1, reason = $2, plugin = $3, plugin_digest = $4,
                            plugin_set = $5, registry_version = $6, decided_at = $7
                     WHERE certname = $8 AND key_digest = $9",
                )
                .bind(decision.verdict)
                .bind(decision.reason)
                .bind(decision.plugin)
                .bind(decision.plugin_digest)
                .bind(decision.plugin_set)
                .bind(decision.registry_version)
                .bind(decision.decided_at)
                .bind(key.certname)
                .bind(key.key_digest)
                .execute(connection)
                .await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
    }

    /// Forgets one request. `false`: it was not there.
    pub async fn drop_request(&self, key: &RequestKey) -> Result<bool, Error> {
        let key = key.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query("DELETE FROM requests WHERE certname = $1 AND key_digest = $2")
                    .bind(key.certname)
                    .bind(key.key_digest)
                    .execute(connection)
                    .await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
    }

    /// Forgets every request first submitted before `before` (unix seconds); answers how many.
    pub async fn expire_requests(&self, before: i64) -> Result<u64, Error> {
        self.write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query("DELETE FROM requests WHERE submitted_at < $1")
                    .bind(before)
                    .execute(connection)
                    .await?;
                Ok(done.rows_affected())
            })
        })
        .await
    }
}

pub(crate) async fn drop_all_of(connection: &mut SqliteConnection, certname: &str) -> Result<u64, Error> {
    let done = sqlx::query(DROP_OF_NAME).bind(certname).execute(connection).await?;
    Ok(done.rows_affected())
}

pub(crate) async fn find(
    connection: &mut SqliteConnection,
    key: &RequestKey,
) -> Result<Option<RequestRow>, Error> {
    let row = sqlx::query("SELECT * FROM requests WHERE certname = $1 AND key_digest = $2")
        .bind(&key.certname)
        .bind(&key.key_digest)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(request).transpose()
}

/// Says whether it went in: it may be there already, or there may be no room.
async fn insert(
    connection: &mut SqliteConnection,
    row: RequestRow,
    max_pending_total: u32,
    max_per_name: u32,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "INSERT INTO requests (certname, key_digest, pem, fingerprint, submitted_at, peer)
         SELECT $1, $2, $3, $4, $5, $6
         WHERE (SELECT count(*) FROM requests) < $7
               AND (SELECT count(*) FROM requests WHERE certname = $1) < $8
         ON CONFLICT (certname, key_digest) DO NOTHING",
    )
    .bind(row.key.certname)
    .bind(row.key.key_digest)
    .bind(row.pem)
    .bind(row.fingerprint)
    .bind(row.submitted_at)
    .bind(row.peer)
    .bind(i64::from(max_pending_total))
    .bind(i64::from(max_per_name))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

fn request(row: &SqliteRow) -> Result<RequestRow, Error> {
    let verdict: Option<String> = row.try_get("verdict")?;
    let decision = match verdict {
        Some(verdict) => Some(DecisionRow {
            verdict,
            reason: row.try_get("reason")?,
            plugin: row.try_get("plugin")?,
            plugin_digest: row.try_get("plugin_digest")?,
            plugin_set: row.try_get("plugin_set")?,
            registry_version: row.try_get("registry_version")?,
            decided_at: row.try_get("decided_at")?,
        }),
        None => None,
    };
    Ok(RequestRow {
        key: RequestKey { certname: row.try_get("certname")?, key_digest: row.try_get("key_digest")? },
        pem: row.try_get("pem")?,
        fingerprint: row.try_get("fingerprint")?,
        submitted_at: row.try_get("submitted_at")?,
        peer: row.try_get("peer")?,
        decision,
    })
}
