//! Revoking certificates, forgetting them, and what a revocation list has to say.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row};

use crate::{Error, Store, requests};

/// One row for the whole list, from an index that holds all of it: handing over each entry by itself
/// costs more than finding it, and the shorter the reading, the less it holds up the write-ahead log.
/// Sorting is left to the caller, for SQLite would rather walk all rows in order of issue.
/// (PostgreSQL says json_agg and json_build_array.)
pub(crate) const REVOKED: &str =
    "SELECT json_group_array(json_array(id, serial, revoked_at, coalesce(revocation_reason, 'unspecified')))
            AS entries
     FROM certificates WHERE revoked_at IS NOT NULL AND not_after >= $1";
pub(crate) const REVOKE: &str = "UPDATE certificates SET revoked_at = $1, revocation_reason = $2
     WHERE serial = $3 AND revoked_at IS NULL";
pub(crate) const REVOKE_NAME: &str = "UPDATE certificates SET revoked_at = $1, revocation_reason = $2
     WHERE certname = $3 AND revoked_at IS NULL RETURNING serial";
pub(crate) const CLEAN: &str =
    "UPDATE certificates SET cleaned_at = $1 WHERE certname = $2 AND cleaned_at IS NULL";
pub(crate) const CLEAN_EXPIRED: &str =
    "UPDATE certificates SET cleaned_at = $1 WHERE not_after < $2 AND cleaned_at IS NULL";

/// What [`Store::clean`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Serials (upper hex) that this call revoked.
    pub revoked: Vec<String>,
    /// Certificates that this call made forgotten, those that had been revoked before included.
    pub certificates: u64,
    /// Requests that waited and are gone.
    pub requests: u64,
}

impl Store {
    /// Revokes one certificate. `false`: unknown, or revoked before (the first time and reason stay).
    pub async fn revoke(&self, serial: &str, reason: &str, at: i64) -> Result<bool, Error> {
        let (serial, reason) = (serial.to_owned(), reason.to_owned());
        self.write(move |connection| {
            Box::pin(async move { Ok(mark_revoked(connection, &serial, &reason, at).await? > 0) })
        })
        .await
    }

    /// Revokes every certificate of the name that is not revoked yet, superseded ones too (they still
    /// verify); answers with their serials.
    pub async fn revoke_name(&self, certname: &str, reason: &str, at: i64) -> Result<Vec<String>, Error> {
        let (certname, reason) = (certname.to_owned(), reason.to_owned());
        self.write(move |connection| {
            Box::pin(async move { mark_name_revoked(connection, &certname, &reason, at).await })
        })
        .await
    }

    /// Revokes a serial whether the inventory has it or not. `false`: it was revoked before.
    pub async fn revoke_unknown(&self, serial: &str, reason: &str, at: i64) -> Result<bool, Error> {
        let revoked = vec![(serial.to_owned(), at, reason.to_owned())];
        Ok(self.import_revoked(revoked).await? > 0)
    }

    /// Forgets a name: revokes all its certificates that are not revoked yet, marks all as cleaned, and
    /// drops its requests; all of it or, where this fails, nothing. Then the name is as good as new.
    pub async fn clean(&self, certname: &str, reason: &str, at: i64) -> Result<Cleaned, Error> {
        let (certname, reason) = (certname.to_owned(), reason.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                let revoked = mark_name_revoked(connection, &certname, &reason, at).await?;
                let cleaned = sqlx::query(CLEAN).bind(at).bind(&certname).execute(&mut *connection).await?;
                let requests = requests::drop_all_of(connection, &certname).await?;
                Ok(Cleaned { revoked, certificates: cleaned.rows_affected(), requests })
            })
        })
        .await
    }

    /// Marks every certificate that expired before `before` as cleaned; answers how many. The rows
    /// stay: serials are unique for ever.
    pub async fn clean_expired(&self, before: i64, at: i64) -> Result<u64, Error> {
        self.write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(CLEAN_EXPIRED).bind(at).bind(before).execute(connection).await?;
                Ok(done.rows_affected())
            })
        })
        .await
    }

    /// What a CRL of this moment lists: (serial, revoked at, reason) of all that were revoked and have
    /// not expired, in order of issue; then the serials that the inventory does not have, which no date
    /// ends.
    pub async fn revoked(&self, now: i64) -> Result<Vec<(String, i64, String)>, Error> {
        // Of one moment: a serial goes over from the one table to the other when it is imported.
        let mut reader = self.reader().await?;
        let mut moment = reader.begin().await?;
        let listed = sqlx::query(REVOKED).bind(now).fetch_one(&mut *moment).await?;
        let strangers =
            sqlx::query("SELECT serial, revoked_at, reason FROM revoked_serials ORDER BY revoked_at, serial")
                .fetch_all(&mut *moment)
                .await?;
        moment.rollback().await?;
        let mut listed: Vec<(i64, String, i64, String)> = serde_json::from_str(listed.try_get("entries")?)
            .map_err(|_| Error::Unreadable { what: "revoked certificate".to_owned() })?;
        listed.sort_unstable_by_key(|(id, ..)| *id);
        let listed = listed.into_iter().map(|(_, serial, at, reason)| Ok((serial, at, reason)));
        listed.chain(strangers.iter().map(entry)).collect()
    }
}

pub(crate) async fn mark_revoked(
    connection: &mut SqliteConnection,
    serial: &str,
    reason: &str,
    at: i64,
) -> Result<u64, Error> {
    let done = sqlx::query(REVOKE).bind(at).bind(reason).bind(serial).execute(connection).await?;
    Ok(done.rows_affected())
}

async fn mark_name_revoked(
    connection: &mut SqliteConnection,
    certname: &str,
    reason: &str,
    at: i64,
) -> Result<Vec<String>, Error> {
    let rows = sqlx::query(REVOKE_NAME).bind(at).bind(reason).bind(certname).fetch_all(connection).await?;
    Ok(rows.iter().map(|row| row.try_get("serial")).collect::<Result<_, _>>()?)
}

fn entry(row: &SqliteRow) -> Result<(String, i64, String), Error> {
    Ok((row.try_get("serial")?, row.try_get("revoked_at")?, row.try_get("reason")?))
}
