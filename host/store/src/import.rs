//! Taking over another CA's inventory. Every call may be repeated: what is there already stays.

use sqlx::sqlite::SqliteConnection;

use crate::inventory::certificate;
use crate::issue::insert;
use crate::revocation::mark_revoked;
use crate::{CertificateRow, Error, Store};

/// One certificate of the other inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRow {
    /// As it shall stand in ours. Without its `der`, it is known by serial, name and dates only.
    pub certificate: CertificateRow,
}

/// What [`Store::import`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows that are new, or that had no certificate before and have it now.
    pub added: u64,
    /// Rows that were there already.
    pub known: u64,
    /// Serial (upper hex) and reason of those that contradict a row of ours, which stays as it is.
    pub conflicts: Vec<(String, String)>,
}

/// What became of one row.
enum Outcome {
    Added,
    Known,
    Conflict(String),
}

impl Store {
    /// Takes certificates into the inventory in one transaction, in this order. A revocation that either
    /// side knows of stays; names may come several times, as they do in inventories that grew for years.
    pub async fn import(&self, rows: Vec<ImportRow>) -> Result<Imported, Error> {
        self.write(move |connection| {
            Box::pin(async move {
                let mut imported = Imported::default();
                for ImportRow { certificate } in rows {
                    match take(connection, &certificate).await? {
                        Outcome::Added => imported.added += 1,
                        Outcome::Known => imported.known += 1,
                        Outcome::Conflict(why) => imported.conflicts.push((certificate.serial, why)),
                    }
                }
                Ok(imported)
            })
        })
        .await
    }

    /// Takes over the entries of a revocation list, (serial, revoked at, reason), in one transaction:
    /// certificates of the inventory become revoked, and of other serials the entry itself is kept.
    /// Answers how many were not revoked before.
    pub async fn import_revoked(&self, entries: Vec<(String, i64, String)>) -> Result<u64, Error> {
        self.write(move |connection| {
            Box::pin(async move {
                let mut fresh = 0;
                for (serial, at, reason) in entries {
                    fresh += list(connection, &serial, at, &reason).await?;
                }
                Ok(fresh)
            })
        })
        .await
    }
}

async fn take(connection: &mut SqliteConnection, row: &CertificateRow) -> Result<Outcome, Error> {
    let known = sqlx::query("SELECT * FROM certificates WHERE serial = $1")
        .bind(&row.serial)
        .fetch_optional(&mut *connection)
        .await?;
    let outcome = match known.as_ref().map(certificate).transpose()? {
        None => {
            insert(connection, row, None).await?;
            Outcome::Added
        }
        Some(known) if known.certname != row.certname => {
            return Ok(Outcome::Conflict(format!("the serial belongs to {} already", known.certname)));
        }
        Some(known) if known.der == row.der || row.der.is_empty() => Outcome::Known,
        Some(known) if known.der.is_empty() => {
            complete(connection, row).await?;
            Outcome::Added
        }
        Some(_) => {
            return Ok(Outcome::Conflict("the serial belongs to another certificate already".to_owned()));
        }
    };
    if let Some(at) = row.revoked_at {
        let reason = row.revocation_reason.as_deref().unwrap_or("unspecified");
        mark_revoked(connection, &row.serial, reason, at).await?;
    }
    adopt(connection, &row.serial).await?;
    Ok(outcome)
}

/// A row that was known by its dates only gets its certificate.
async fn complete(connection: &mut SqliteConnection, row: &CertificateRow) -> Result<(), Error> {
    sqlx::query(
        "UPDATE certificates SET der = $1, key_digest = $2, not_before = $3, not_after = $4
         WHERE serial = $5",
    )
    .bind(&row.der)
    .bind(&row.key_digest)
    .bind(row.not_before)
    .bind(row.not_after)
    .bind(&row.serial)
    .execute(connection)
    .await?;
    Ok(())
}

/// A revoked serial that nobody knew has a certificate now: its entry goes over to it.
async fn adopt(connection: &mut SqliteConnection, serial: &str) -> Result<(), Error> {
    sqlx::query(
        "UPDATE certificates
         SET revoked_at = stranger.revoked_at, revocation_reason = stranger.reason
         FROM revoked_serials AS stranger
         WHERE certificates.serial = $1 AND stranger.serial = $1 AND certificates.revoked_at IS NULL",
    )
    .bind(serial)
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM revoked_serials WHERE serial = $1").bind(serial).execute(connection).await?;
    Ok(())
}

/// Revokes a serial, be it known or not. 0: it was revoked before.
async fn list(connection: &mut SqliteConnection, serial: &str, at: i64, reason: &str) -> Result<u64, Error> {
    let marked = mark_revoked(connection, serial, reason, at).await?;
    if marked > 0 {
        return Ok(marked);
    }
    let added = sqlx::query(
        "INSERT INTO revoked_serials (serial, revoked_at, reason)
         SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT 1 FROM certificates WHERE serial = $1)
         ON CONFLICT (serial) DO NOTHING",
    )
    .bind(serial)
    .bind(at)
    .bind(reason)
    .execute(connection)
    .await?;
    Ok(added.rows_affected())
}
