//! Writing a new certificate into the inventory: the one transaction that decides who of two comes
//! first.

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::inventory::{current, live};
use crate::revocation::mark_revoked;
use crate::{CertificateRow, Error, RequestKey, Store};

/// What may stand against a certificate for the name `$1` and the key `$2`, with the serial `$3`, at `$4`,
/// for a request that waits under `$5` and `$6`; all of it at once, for each question to the database
/// costs more than its answer. A serial that is revoked without being in the inventory is none for
/// a new certificate.
pub(crate) const AGAINST: &str = concat!(
    "SELECT (",
    live!("CASE WHEN not_after >= $4 THEN serial END"),
    ") AS taken, (",
    current!("CASE WHEN revoked_at IS NOT NULL THEN serial END"),
    ") AS name_revoked,
     (SELECT serial FROM certificates
      WHERE key_digest = $2 AND revoked_at IS NOT NULL
            AND coalesce(revocation_reason, 'unspecified')
                NOT IN ('superseded', 'cessationOfOperation', 'affiliationChanged')
      ORDER BY id LIMIT 1) AS key_revoked,
     EXISTS (SELECT 1 FROM revoked_serials WHERE serial = $3) AS serial_revoked,
     EXISTS (SELECT 1 FROM requests WHERE certname = $5 AND key_digest = $6) AS waits"
);
/// Two in one message. (PostgreSQL takes one statement at a time.)
const INSERT: &str =
    "INSERT INTO certificates (serial, certname, der, key_digest, not_before, not_after, issued_at,
                               revoked_at, revocation_reason, superseded_by, cleaned_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);
     DELETE FROM requests WHERE certname = $12";

/// What stands against a certificate for a name and a key. Each is the serial of the one that does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Against {
    /// The name has this one in force.
    pub taken: Option<String>,
    /// The name's current one is revoked: clean the name first.
    pub name_revoked: Option<String>,
    /// The first one for this key, whatever its name, that was revoked for a reason that says something
    /// against the key: any but `superseded`, `cessationOfOperation` and `affiliationChanged`.
    pub key_revoked: Option<String>,
    serial_revoked: bool,
    waits: bool,
}

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
    ///   ([`Error::KeyRevoked`], see [`Against::key_revoked`]).
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
                if let Some((old, reason, revoke)) = &replaces {
                    supersede(connection, old, &row.serial, revoke.then_some(reason.as_str()), at).await?;
                }
                let against = against(connection, &row, waiting.as_ref(), at).await?;
                let first = replaces.is_none() && certname.is_some();
                if let Some(serial) = against.taken.filter(|_| first) {
                    return Err(Error::NameTaken { certname: row.certname, serial });
                }
                if let Some(serial) = against.name_revoked.filter(|_| first) {
                    return Err(Error::NameRevoked { certname: row.certname, serial });
                }
                if let Some(gone) = waiting.filter(|_| !against.waits) {
                    return Err(Error::RequestGone { certname: gone.certname });
                }
                if let Some(serial) = against.key_revoked {
                    return Err(Error::KeyRevoked { serial });
                }
                if against.serial_revoked {
                    return Err(Error::SerialTaken { serial: row.serial });
                }
                insert(connection, &row, certname.as_deref()).await
            })
        })
        .await
    }

    /// What stands against a certificate for this name and key at `at` (unix seconds). The transaction
    /// that issues looks again.
    pub async fn against(&self, certname: &str, key_digest: &str, at: i64) -> Result<Against, Error> {
        let row = sqlx::query(AGAINST)
            .bind(certname)
            .bind(key(key_digest))
            .bind("")
            .bind(at)
            .fetch_one(&mut *self.reader().await?)
            .await?;
        read(&row)
    }
}

async fn against(
    connection: &mut SqliteConnection,
    row: &CertificateRow,
    waiting: Option<&RequestKey>,
    at: i64,
) -> Result<Against, Error> {
    let row = sqlx::query(AGAINST)
        .bind(&row.certname)
        .bind(key(&row.key_digest))
        .bind(&row.serial)
        .bind(at)
        .bind(waiting.map(|key| &key.certname))
        .bind(waiting.map(|key| &key.key_digest))
        .fetch_one(connection)
        .await?;
    read(&row)
}

/// Rows without a certificate have no key, so they share none.
fn key(digest: &str) -> Option<&str> {
    Some(digest).filter(|digest| !digest.is_empty())
}

fn read(row: &SqliteRow) -> Result<Against, Error> {
    Ok(Against {
        taken: row.try_get("taken")?,
        name_revoked: row.try_get("name_revoked")?,
        key_revoked: row.try_get("key_revoked")?,
        serial_revoked: row.try_get("serial_revoked")?,
        waits: row.try_get("waits")?,
    })
}

/// Inserts it, and drops the requests of the name that it is for.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    row: &CertificateRow,
    asked_for: Option<&str>,
) -> Result<(), Error> {
    let inserted = sqlx::query(INSERT)
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
        .bind(asked_for)
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
