//! Writing a new certificate into the inventory: the one transaction that decides who of two comes
//! first.

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use crate::inventory::{CURRENT, KEY_REVOKED, LIVE, certificate};
use crate::revocation::mark_revoked;
use crate::{CertificateRow, Error, RequestKey, Store, requests};

/// The request that a certificate is for. With it go all candidates of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromRequest<'a> {
    /// One that waits: where it no longer does, somebody has taken it away and nothing is issued.
    Waiting(&'a RequestKey),
    /// One for this name that never waited, for whoever may have it signed brought it along.
    Brought(&'a str),
}

impl Store {
    /// Writes a certificate into the inventory, before anybody may see it. In one transaction:
    ///
    /// - the row goes in ([`Error::SerialTaken`]: draw another serial);
    /// - with `from_request`, all candidates of its name go, and one that is to wait must still be there
    ///   ([`Error::RequestGone`]); without `replaces`, the name must have no certificate that is live at `at` ([`Error::NameTaken`]), so
    ///   that two candidates approved at once end as one certificate, and its current certificate must
    ///   not be a revoked one ([`Error::NameRevoked`]: clean the name first);
    /// - `replaces` is (serial, CRLReason, revoke): the old one gets its successor, and is revoked if
    ///   so wanted. Its state is read here, within the transaction: a renewal (not `revoke`) of one
    ///   that is revoked or has a successor is refused ([`Error::Revoked`], [`Error::Superseded`]);
    /// - no certificate for the same key, whatever its name, may have been revoked for the key's sake
    ///   ([`Error::KeyRevoked`], see [`Store::key_revoked`]).
    pub async fn issue_certificate(
        &self,
        row: &CertificateRow,
        from_request: Option<FromRequest<'_>>,
        replaces: Option<(&str, &str, bool)>,
        at: i64,
    ) -> Result<(), Error> {
        let row = row.clone();
        let (certname, waiting) = match from_request {
            Some(FromRequest::Waiting(key)) => (Some(key.certname.clone()), Some(key.clone())),
            Some(FromRequest::Brought(certname)) => (Some(certname.to_owned()), None),
            None => (None, None),
        };
        let replaces =
            replaces.map(|(serial, reason, revoke)| (serial.to_owned(), reason.to_owned(), revoke));
        self.write(move |connection| {
            Box::pin(async move {
                match &replaces {
                    Some((old, reason, revoke)) => {
                        supersede(connection, old, &row.serial, revoke.then_some(reason.as_str()), at)
                            .await?;
                    }
                    None if certname.is_some() => {
                        refuse_second(connection, &row.certname, at).await?;
                        refuse_revoked_name(connection, &row.certname).await?;
                    }
                    None => {}
                }
                if let Some(waiting) = &waiting {
                    requests::find(connection, waiting)
                        .await?
                        .ok_or_else(|| Error::RequestGone { certname: waiting.certname.clone() })?;
                }
                refuse_revoked_key(connection, &row.key_digest).await?;
                refuse_revoked_serial(connection, &row.serial).await?;
                insert(connection, &row).await?;
                if let Some(certname) = certname {
                    requests::drop_all_of(connection, &certname).await?;
                }
                Ok(())
            })
        })
        .await
    }
}

pub(crate) async fn insert(connection: &mut SqliteConnection, row: &CertificateRow) -> Result<(), Error> {
    let inserted = sqlx::query(
        "INSERT INTO certificates (serial, certname, der, key_digest, not_before, not_after, issued_at,
                                   revoked_at, revocation_reason, superseded_by, cleaned_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(&row.serial)
    .bind(&row.certname)
    .bind(&row.der)
    .bind(&row.key_digest)
    .bind(row.not_before)
    .bind(row.not_after)
    .bind(row.issued_at)
    .bind(row.revoked_at)
    .bind(&row.revocation_reason)
    .bind(&row.superseded_by)
    .bind(row.cleaned_at)
    .execute(connection)
    .await;
    match inserted {
        Err(error) if error.as_database_error().is_some_and(|e| e.is_unique_violation()) => {
            Err(Error::SerialTaken { serial: row.serial.clone() })
        }
        other => Ok(other.map(|_| ())?),
    }
}

/// `revoke` is the reason, where the old one is to be revoked.
async fn supersede(
    connection: &mut SqliteConnection,
    old: &str,
    new: &str,
    revoke: Option<&str>,
    at: i64,
) -> Result<(), Error> {
    let row = sqlx::query("SELECT revoked_at, superseded_by FROM certificates WHERE serial = $1")
        .bind(old)
        .fetch_optional(&mut *connection)
        .await?
        .ok_or_else(|| Error::UnknownSerial { serial: old.to_owned() })?;
    let revoked: Option<i64> = row.try_get("revoked_at")?;
    let successor: Option<String> = row.try_get("superseded_by")?;
    match (revoke, revoked, successor) {
        (None, Some(_), _) => return Err(Error::Revoked { serial: old.to_owned() }),
        (None, None, Some(by)) => return Err(Error::Superseded { serial: old.to_owned(), by }),
        _ => {}
    }
    sqlx::query("UPDATE certificates SET superseded_by = $1 WHERE serial = $2")
        .bind(new)
        .bind(old)
        .execute(&mut *connection)
        .await?;
    if let Some(reason) = revoke {
        mark_revoked(connection, old, reason, at).await?;
    }
    Ok(())
}

async fn refuse_second(connection: &mut SqliteConnection, certname: &str, at: i64) -> Result<(), Error> {
    let live = sqlx::query(LIVE).bind(certname).fetch_optional(connection).await?;
    match live.as_ref().map(certificate).transpose()? {
        Some(row) if row.not_after >= at => {
            Err(Error::NameTaken { certname: certname.to_owned(), serial: row.serial })
        }
        _ => Ok(()),
    }
}

async fn refuse_revoked_name(connection: &mut SqliteConnection, certname: &str) -> Result<(), Error> {
    let current = sqlx::query(CURRENT).bind(certname).fetch_optional(connection).await?;
    match current.as_ref().map(certificate).transpose()? {
        Some(row) if row.revoked_at.is_some() => {
            Err(Error::NameRevoked { certname: certname.to_owned(), serial: row.serial })
        }
        _ => Ok(()),
    }
}

async fn refuse_revoked_key(connection: &mut SqliteConnection, key_digest: &str) -> Result<(), Error> {
    if key_digest.is_empty() {
        return Ok(());
    }
    match sqlx::query(KEY_REVOKED).bind(key_digest).fetch_optional(connection).await? {
        Some(row) => Err(Error::KeyRevoked { serial: row.try_get("serial")? }),
        None => Ok(()),
    }
}

/// A serial that is revoked without being in the inventory is no serial for a new certificate.
async fn refuse_revoked_serial(connection: &mut SqliteConnection, serial: &str) -> Result<(), Error> {
    let found = sqlx::query("SELECT 1 FROM revoked_serials WHERE serial = $1")
        .bind(serial)
        .fetch_optional(connection)
        .await?;
    found.map_or(Ok(()), |_| Err(Error::SerialTaken { serial: serial.to_owned() }))
}
