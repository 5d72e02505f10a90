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
    /// Keeps what a compilation used and made, in one transaction.
    ///
    /// Where nothing differs, nothing is written, but for the times every five minutes.
    /// Sensitive values must not be among the exports' parameters: `catalog` strips them.
    pub async fn save_compilation(
        &self,
        certname: &str,
        made: Compilation<'_>,
        at: i64,
    ) -> Result<(), Error> {
        let new = New {
            environment: Some(made.environment.to_owned()),
            facts: made.facts.map(Text::of).transpose()?,
            classification: made.classification.map(Text::of).transpose()?,
            exports_digest: Some(digest(&json(made.exports)?)),
        };
        let exports = made.exports.to_vec();
        self.save(certname, new, exports, at).await
    }

    /// Keeps facts that came by themselves. Skips the write as [`Store::save_compilation`] does.
    pub async fn save_facts(&self, certname: &str, facts: &Value, at: i64) -> Result<(), Error> {
        let new = New { facts: Some(Text::of(facts)?), ..New::default() };
        self.save(certname, new, Vec::new(), at).await
    }

    async fn save(&self, certname: &str, new: New, exports: Vec<ExportRow>, at: i64) -> Result<(), Error> {
        let mut reader = self.reader().await?;
        let known = Known::read(&mut reader, certname).await?;
        drop(reader);
        if known.is_current(&new, at) {
            return Ok(());
        }
        let certname = certname.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                // Read again: another compilation of the node may have come in between.
                let known = Known::read(connection, &certname).await?;
                save_node(connection, &known, &certname, &new, at).await?;
                if new.exports_digest.is_some() && known.exports_digest != new.exports_digest {
                    exports::replace(connection, &certname, &exports).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// What the node was at its last catalog, and when, in unix seconds and up to five minutes behind.
    pub async fn classification(&self, certname: &str) -> Result<Option<(Value, i64)>, Error> {
        let row = sqlx::query(
            "SELECT classification, classified_at FROM nodes
             WHERE certname = $1 AND classification IS NOT NULL",
        )
        .bind(certname)
        .fetch_optional(&mut *self.reader().await?)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let text: String = row.try_get("classification")?;
        Ok(Some((parse(&text, "classification", certname)?, row.try_get("classified_at")?)))
    }

    /// The node's last facts.
    pub async fn facts(&self, certname: &str) -> Result<Option<Value>, Error> {
        let row = sqlx::query("SELECT facts FROM nodes WHERE certname = $1")
            .bind(certname)
            .fetch_optional(&mut *self.reader().await?)
            .await?;
        let text: Option<String> = match row {
            Some(row) => row.try_get("facts")?,
            None => None,
        };
        text.map(|text| parse(&text, "facts", certname)).transpose()
    }

    /// When the node last sent facts or got a catalog, in unix seconds and up to five minutes behind.
    pub async fn last_seen(&self, certname: &str) -> Result<Option<i64>, Error> {
        let row = sqlx::query("SELECT seen_at FROM nodes WHERE certname = $1")
            .bind(certname)
            .fetch_optional(&mut *self.reader().await?)
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
            .fetch_all(&mut *self.reader().await?)
            .await?;
            if rows.is_empty() {
                return Ok(found);
            }
            for row in rows {
                if found.len() >= limit {
                    return Ok(found);
                }
                last = row.try_get("certname")?;
                let facts = parse(row.try_get("facts")?, "facts", &last)?;
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

/// What a compilation used and made.
pub struct Compilation<'a> {
    /// The environment of the catalog.
    pub environment: &'a str,
    /// The facts it was made from; `None` leaves the stored ones.
    pub facts: Option<&'a Value>,
    /// What the node is; `None` leaves the stored one and its age, which is right where that one served.
    pub classification: Option<&'a Value>,
    /// All that the node exports, in place of what it exported before.
    pub exports: &'a [ExportRow],
}

/// What is to be stored of a node; `None` stands for "not said", which changes nothing.
#[derive(Default)]
struct New {
    environment: Option<String>,
    facts: Option<Text>,
    classification: Option<Text>,
    exports_digest: Option<String>,
}

/// What is stored of a node, as far as it takes to see whether anything changed.
#[derive(Default)]
struct Known {
    environment: Option<String>,
    facts_digest: Option<String>,
    classification_digest: Option<String>,
    classified_at: Option<i64>,
    exports_digest: Option<String>,
    seen_at: Option<i64>,
}

impl Known {
    async fn read(connection: &mut SqliteConnection, certname: &str) -> Result<Known, Error> {
        let row = sqlx::query(
            "SELECT environment, facts_digest, classification_digest, classified_at, exports_digest, seen_at
             FROM nodes WHERE certname = $1",
        )
        .bind(certname)
        .fetch_optional(connection)
        .await?;
        let Some(row) = row else { return Ok(Known::default()) };
        Ok(Known {
            environment: row.try_get("environment")?,
            facts_digest: row.try_get("facts_digest")?,
            classification_digest: row.try_get("classification_digest")?,
            classified_at: row.try_get("classified_at")?,
            exports_digest: row.try_get("exports_digest")?,
            seen_at: row.try_get("seen_at")?,
        })
    }

    fn is_current(&self, new: &New, at: i64) -> bool {
        let same = |known: &Option<String>, new: Option<&String>| new.is_none() || known.as_ref() == new;
        let recent = |then: Option<i64>| then.is_some_and(|then| at.saturating_sub(then) < SEEN);
        recent(self.seen_at)
            && (new.classification.is_none() || recent(self.classified_at))
            && same(&self.environment, new.environment.as_ref())
            && same(&self.facts_digest, new.facts.as_ref().map(|text| &text.digest))
            && same(&self.classification_digest, new.classification.as_ref().map(|text| &text.digest))
            && same(&self.exports_digest, new.exports_digest.as_ref())
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

/// Everything but the exports' own rows.
async fn save_node(
    connection: &mut SqliteConnection,
    known: &Known,
    certname: &str,
    new: &New,
    at: i64,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO nodes (certname, environment, exports_digest, seen_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (certname) DO UPDATE SET
             environment = coalesce(excluded.environment, nodes.environment),
             exports_digest = coalesce(excluded.exports_digest, nodes.exports_digest),
             seen_at = excluded.seen_at",
    )
    .bind(certname)
    .bind(&new.environment)
    .bind(&new.exports_digest)
    .bind(at)
    .execute(&mut *connection)
    .await?;
    if let Some(facts) = new.facts.as_ref().filter(|facts| known.facts_digest.as_ref() != Some(&facts.digest))
    {
        sqlx::query("UPDATE nodes SET facts = $1, facts_digest = $2, facts_at = $3 WHERE certname = $4")
            .bind(&facts.json)
            .bind(&facts.digest)
            .bind(at)
            .bind(certname)
            .execute(&mut *connection)
            .await?;
    }
    if let Some(classification) = &new.classification {
        sqlx::query(
            "UPDATE nodes SET classification = $1, classification_digest = $2, classified_at = $3
             WHERE certname = $4",
        )
        .bind(&classification.json)
        .bind(&classification.digest)
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
pub fn fact<'v>(facts: &'v Value, path: &str) -> Option<&'v Value> {
    if let Some(found) = facts.get(path) {
        return Some(found);
    }
    path.split('.').try_fold(facts, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

fn parse(text: &str, what: &str, certname: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|_| Error::Unreadable { what: format!("{what} of {certname}") })
}

pub(crate) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| Error::Unreadable { what: "JSON value".to_owned() })
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}
