//! What is known of a node from its last run: environment, facts, and (in [`crate::exports`]) what it
//! exports. One row per node, found by its key alone.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use crate::exports::{self, ExportRow};
use crate::{Error, Store};

/// A node that changes nothing has its last-seen time written at most this often, in seconds.
const SEEN: i64 = 300;
/// Nodes read at once while looking through facts.
const BATCH: i64 = 64;

impl Store {
    /// Keeps what a compilation used and made, in one transaction: the node's facts (`None` leaves the
    /// stored ones) and all it exports, in place of what it exported before.
    ///
    /// Where nothing differs, nothing is written, but for the last-seen time every five minutes.
    /// Sensitive values must not be among the parameters: `catalog` strips them.
    pub async fn save_compilation(
        &self,
        certname: &str,
        environment: &str,
        facts: Option<&Value>,
        exports: &[ExportRow],
        at: i64,
    ) -> Result<(), Error> {
        let facts = facts.map(Text::of).transpose()?;
        let exports_digest = digest(&json(exports)?);
        let mut reader = self.readers.acquire().await?;
        let known = Known::read(&mut reader, certname).await?;
        drop(reader);
        if known.is_current(Some(environment), facts.as_ref(), Some(&exports_digest), at) {
            return Ok(());
        }
        let (certname, environment, exports) =
            (certname.to_owned(), environment.to_owned(), exports.to_vec());
        self.write(move |connection| {
            Box::pin(async move {
                // Read again: another compilation of the node may have come in between.
                let known = Known::read(connection, &certname).await?;
                save_node(connection, &known, &certname, Some(&environment), facts.as_ref(), at).await?;
                if known.exports_digest.as_ref() != Some(&exports_digest) {
                    exports::replace(connection, &certname, &exports).await?;
                    sqlx::query("UPDATE nodes SET exports_digest = $1 WHERE certname = $2")
                        .bind(exports_digest)
                        .bind(certname)
                        .execute(connection)
                        .await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Keeps facts that came by themselves. Skips the write as [`Store::save_compilation`] does.
    pub async fn save_facts(&self, certname: &str, facts: &Value, at: i64) -> Result<(), Error> {
        let facts = Text::of(facts)?;
        let mut reader = self.readers.acquire().await?;
        let known = Known::read(&mut reader, certname).await?;
        drop(reader);
        if known.is_current(None, Some(&facts), None, at) {
            return Ok(());
        }
        let certname = certname.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let known = Known::read(connection, &certname).await?;
                save_node(connection, &known, &certname, None, Some(&facts), at).await
            })
        })
        .await
    }

    /// The node's last facts.
    pub async fn facts(&self, certname: &str) -> Result<Option<Value>, Error> {
        let row = sqlx::query("SELECT facts FROM nodes WHERE certname = $1")
            .bind(certname)
            .fetch_optional(&self.readers)
            .await?;
        let text: Option<String> = match row {
            Some(row) => row.try_get("facts")?,
            None => None,
        };
        text.map(|text| parse(&text, certname)).transpose()
    }

    /// When the node last sent facts or got a catalog, in unix seconds and up to five minutes behind.
    pub async fn last_seen(&self, certname: &str) -> Result<Option<i64>, Error> {
        let row = sqlx::query("SELECT seen_at FROM nodes WHERE certname = $1")
            .bind(certname)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|row| row.try_get("seen_at")).transpose()?)
    }

    /// Nodes whose last facts equal every (path, value), ordered by name: up to `limit` of them, after
    /// the name `after`. With each come the facts at the paths in `select`, as one object by path;
    /// what a node lacks is left out.
    ///
    /// A path is dotted, such as `os.family` or `processors.models.0`. This reads every node's facts
    /// until the page is full, so its cost grows with the number of nodes.
    pub async fn nodes_with(
        &self,
        equals: &[(String, Value)],
        select: &[String],
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Value)>, Error> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        let mut last = after.unwrap_or_default().to_owned();
        loop {
            let rows = sqlx::query(
                "SELECT certname, facts FROM nodes WHERE certname > $1 AND facts IS NOT NULL
                 ORDER BY certname LIMIT $2",
            )
            .bind(&last)
            .bind(BATCH)
            .fetch_all(&self.readers)
            .await?;
            if rows.is_empty() {
                return Ok(found);
            }
            for row in rows {
                if found.len() >= limit {
                    return Ok(found);
                }
                last = row.try_get("certname")?;
                let facts = parse(row.try_get("facts")?, &last)?;
                if equals.iter().all(|(path, value)| fact(&facts, path) == Some(value)) {
                    found.push((last.clone(), selected(&facts, select)));
                }
            }
        }
    }

    /// Forgets the node's facts, exports and reports, in one transaction. `false`: there was nothing.
    /// Its certificates stay in the inventory.
    pub async fn retire(&self, certname: &str) -> Result<bool, Error> {
        let certname = certname.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let mut gone = 0;
                for table in [
                    "DELETE FROM exports WHERE certname = $1",
                    "DELETE FROM reports WHERE certname = $1",
                    "DELETE FROM nodes WHERE certname = $1",
                ] {
                    gone +=
                        sqlx::query(table).bind(&certname).execute(&mut *connection).await?.rows_affected();
                }
                Ok(gone > 0)
            })
        })
        .await
    }
}

/// What is stored of a node, as far as it takes to see whether anything changed.
#[derive(Default)]
struct Known {
    environment: Option<String>,
    facts_digest: Option<String>,
    exports_digest: Option<String>,
    seen_at: Option<i64>,
}

impl Known {
    async fn read(connection: &mut SqliteConnection, certname: &str) -> Result<Known, Error> {
        let row = sqlx::query(
            "SELECT environment, facts_digest, exports_digest, seen_at FROM nodes WHERE certname = $1",
        )
        .bind(certname)
        .fetch_optional(connection)
        .await?;
        let Some(row) = row else { return Ok(Known::default()) };
        Ok(Known {
            environment: row.try_get("environment")?,
            facts_digest: row.try_get("facts_digest")?,
            exports_digest: row.try_get("exports_digest")?,
            seen_at: row.try_get("seen_at")?,
        })
    }

    /// `None` stands for "not said", which changes nothing.
    fn is_current(
        &self,
        environment: Option<&str>,
        facts: Option<&Text>,
        exports_digest: Option<&str>,
        at: i64,
    ) -> bool {
        let same = |known: &Option<String>, new: Option<&str>| new.is_none() || known.as_deref() == new;
        let recent = self.seen_at.is_some_and(|seen| at.saturating_sub(seen) < SEEN);
        recent
            && same(&self.environment, environment)
            && same(&self.facts_digest, facts.map(|facts| facts.digest.as_str()))
            && same(&self.exports_digest, exports_digest)
    }
}

/// A JSON text and its digest.
struct Text {
    json: String,
    digest: String,
}

impl Text {
    fn of(value: &Value) -> Result<Text, Error> {
        let json = json(value)?;
        Ok(Text { digest: digest(&json), json })
    }
}

/// Everything but the exports.
async fn save_node(
    connection: &mut SqliteConnection,
    known: &Known,
    certname: &str,
    environment: Option<&str>,
    facts: Option<&Text>,
    at: i64,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO nodes (certname, environment, seen_at) VALUES ($1, $2, $3)
         ON CONFLICT (certname) DO UPDATE SET
             environment = coalesce(excluded.environment, nodes.environment), seen_at = excluded.seen_at",
    )
    .bind(certname)
    .bind(environment)
    .bind(at)
    .execute(&mut *connection)
    .await?;
    if let Some(facts) = facts.filter(|facts| known.facts_digest.as_ref() != Some(&facts.digest)) {
        sqlx::query("UPDATE nodes SET facts = $1, facts_digest = $2, facts_at = $3 WHERE certname = $4")
            .bind(&facts.json)
            .bind(&facts.digest)
            .bind(at)
            .bind(certname)
            .execute(connection)
            .await?;
    }
    Ok(())
}

fn selected(facts: &Value, paths: &[String]) -> Value {
    let chosen = paths.iter().filter_map(|path| Some((path.clone(), fact(facts, path)?.clone())));
    Value::Object(chosen.collect::<Map<_, _>>())
}

/// The fact at a dotted path. Old flat facts have dots in their names (`ipaddress_eth0.100`), so a
/// name that is there as it stands goes first.
fn fact<'v>(facts: &'v Value, path: &str) -> Option<&'v Value> {
    if let Some(found) = facts.get(path) {
        return Some(found);
    }
    path.split('.').try_fold(facts, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

fn parse(text: &str, certname: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|_| Error::Unreadable { what: format!("facts of {certname}") })
}

pub(crate) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| Error::Unreadable { what: "JSON value".to_owned() })
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}
