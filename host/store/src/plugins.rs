//! Sets of plugins: what was staged, what happened to it, and which one is live.

use std::fmt;

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::{Error, Store};

/// Sets kept; the oldest makes room, unless it is still needed.
pub const PLUGIN_SETS: u32 = 100;
/// Events kept; the oldest makes room.
pub const PLUGIN_EVENTS: u32 = 1000;
/// The row of `meta` that says which set is live.
const STANDING: &str = "plugins.standing";

/// A set as it was staged.
#[derive(Clone, PartialEq, Eq)]
pub struct PluginSetRow {
    /// Its name: a digest over `spec`.
    pub id: String,
    /// What it was made from, as JSON. It holds settings, and these may be secret.
    pub spec: String,
    /// Where each component came from, as JSON.
    pub written: String,
    /// Unix seconds.
    pub made_at: i64,
    /// Who had it staged.
    pub made_by: String,
    /// From where.
    pub source: String,
}

/// Something that happened to sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginEventRow {
    /// Unix seconds.
    pub at: i64,
    /// One word, such as `swapped`.
    pub event: String,
    /// The set, where it was about one.
    pub set: Option<String>,
    /// Who did it.
    pub made_by: String,
    /// From where.
    pub source: String,
    /// Why; empty where nothing is to be said.
    pub reason: String,
}

/// What is written at once: all of it or nothing.
#[derive(Clone, Debug)]
pub struct PluginRecord {
    /// A set that is new, or staged once more.
    pub set: Option<PluginSetRow>,
    /// What happened.
    pub event: PluginEventRow,
    /// What [`Store::plugin_standing`] answers from now on, where it changes.
    pub standing: Option<String>,
    /// Sets that stay, however old they are.
    pub needed: Vec<String>,
}

impl fmt::Debug for PluginSetRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginSetRow")
            .field("id", &self.id)
            .field("made_at", &self.made_at)
            .field("made_by", &self.made_by)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Writes down what happened, and forgets what is too old.
    pub async fn record_plugins(&self, record: PluginRecord) -> Result<(), Error> {
        self.write(move |connection| {
            Box::pin(async move {
                if let Some(set) = record.set {
                    insert_set(connection, set).await?;
                }
                insert_event(connection, record.event).await?;
                if let Some(standing) = record.standing {
                    sqlx::query(
                        "INSERT INTO meta (key, value) VALUES ($1, $2)
                         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    )
                    .bind(STANDING)
                    .bind(standing)
                    .execute(&mut *connection)
                    .await?;
                }
                prune(connection, &record.needed).await
            })
        })
        .await
    }

    /// Which set is live, and what its keeper knows besides: as it was last recorded.
    pub async fn plugin_standing(&self) -> Result<Option<String>, Error> {
        self.meta(STANDING).await
    }

    /// The set of that name.
    pub async fn plugin_set(&self, id: &str) -> Result<Option<PluginSetRow>, Error> {
        let row = sqlx::query("SELECT * FROM plugin_sets WHERE id = $1")
            .bind(id)
            .fetch_optional(&mut *self.reader().await?)
            .await?;
        row.as_ref().map(set).transpose()
    }

    /// The newest sets, the newest first.
    pub async fn plugin_sets(&self, limit: u32) -> Result<Vec<PluginSetRow>, Error> {
        let rows = sqlx::query("SELECT * FROM plugin_sets ORDER BY made_at DESC, rowid DESC LIMIT $1")
            .bind(i64::from(limit))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(set).collect()
    }

    /// What happened last, the newest first.
    pub async fn plugin_events(&self, limit: u32) -> Result<Vec<PluginEventRow>, Error> {
        let rows = sqlx::query("SELECT * FROM plugin_events ORDER BY id DESC LIMIT $1")
            .bind(i64::from(limit))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(event).collect()
    }
}

async fn insert_set(connection: &mut SqliteConnection, set: PluginSetRow) -> Result<(), Error> {
    // What is staged once more is new again.
    sqlx::query("DELETE FROM plugin_sets WHERE id = $1").bind(&set.id).execute(&mut *connection).await?;
    sqlx::query(
        "INSERT INTO plugin_sets (id, spec, written, made_at, made_by, source)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(set.id)
    .bind(set.spec)
    .bind(set.written)
    .bind(set.made_at)
    .bind(set.made_by)
    .bind(set.source)
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_event(connection: &mut SqliteConnection, event: PluginEventRow) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO plugin_events (at, event, set_id, made_by, source, reason)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(event.at)
    .bind(event.event)
    .bind(event.set)
    .bind(event.made_by)
    .bind(event.source)
    .bind(event.reason)
    .execute(connection)
    .await?;
    Ok(())
}

async fn prune(connection: &mut SqliteConnection, needed: &[String]) -> Result<(), Error> {
    sqlx::query("DELETE FROM plugin_events WHERE id <= (SELECT max(id) FROM plugin_events) - $1")
        .bind(i64::from(PLUGIN_EVENTS))
        .execute(&mut *connection)
        .await?;
    let old = sqlx::query(
        "SELECT id FROM plugin_sets WHERE id NOT IN
         (SELECT id FROM plugin_sets ORDER BY made_at DESC, rowid DESC LIMIT $1)",
    )
    .bind(i64::from(PLUGIN_SETS))
    .fetch_all(&mut *connection)
    .await?;
    for row in old {
        let id: String = row.try_get("id")?;
        if !needed.contains(&id) {
            sqlx::query("DELETE FROM plugin_sets WHERE id = $1").bind(id).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

fn set(row: &SqliteRow) -> Result<PluginSetRow, Error> {
    Ok(PluginSetRow {
        id: row.try_get("id")?,
        spec: row.try_get("spec")?,
        written: row.try_get("written")?,
        made_at: row.try_get("made_at")?,
        made_by: row.try_get("made_by")?,
        source: row.try_get("source")?,
    })
}

fn event(row: &SqliteRow) -> Result<PluginEventRow, Error> {
    Ok(PluginEventRow {
        at: row.try_get("at")?,
        event: row.try_get("event")?,
        set: row.try_get("set_id")?,
        made_by: row.try_get("made_by")?,
        source: row.try_get("source")?,
        reason: row.try_get("reason")?,
    })
}
