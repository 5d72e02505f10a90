//! The inventory and the CRLs made from it.

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::{Error, RequestKey, Store};

/// CRLs that are kept, the newest included; the others are of no use to anybody.
const CRLS: i64 = 10;

/// One issued certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRow {
    /// Upper hex, without `0x`; unique for ever.
    pub serial: String,
    /// The Subject CN.
    pub certname: String,
    /// The certificate itself.
    pub der: Vec<u8>,
    /// SHA-256 of the public key (SPKI), lower hex.
    pub key_digest: String,
    /// Unix seconds.
    pub not_before: i64,
    /// Unix seconds.
    pub not_after: i64,
    /// Unix seconds.
    pub issued_at: i64,
    /// Unix seconds; `None` while it is good.
    pub revoked_at: Option<i64>,
    /// A CRLReason name of RFC 5280 §5.3.1, such as `superseded`.
    pub revocation_reason: Option<String>,
    /// The serial that took its place.
    pub superseded_by: Option<String>,
}

/// A signed CRL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlRow {
    /// cRLNumber, RFC 5280 §5.2.3.
    pub number: i64,
    /// The CRL.
    pub pem: String,
    /// Unix seconds.
    pub this_update: i64,
    /// Unix seconds.
    pub next_update: i64,
}

impl Store {
    /// Writes a certificate into the inventory, before anybody may see it. In one transaction:
    ///
    /// - the row goes in ([`Error::SerialTaken`]: draw another serial);
    /// - with `from_request`, that request and all other candidates of its name go; without
    ///   `replaces`, the name must have no certificate that is live at `at` ([`Error::NameTaken`]), so
    ///   that two candidates approved at once end as one certificate;
    /// - `replaces` is (serial, CRLReason, revoke): the old one gets its successor, and is revoked if
    ///   so wanted. Its state is read here, within the transaction: a renewal (not `revoke`) of one
    ///   that is revoked or has a successor is refused ([`Error::Revoked`], [`Error::Superseded`]).
    pub async fn issue_certificate(
        &self,
        row: &CertificateRow,
        from_request: Option<&RequestKey>,
        replaces: Option<(&str, &str, bool)>,
        at: i64,
    ) -> Result<(), Error> {
        let row = row.clone();
        let from_request = from_request.cloned();
        let replaces =
            replaces.map(|(serial, reason, revoke)| (serial.to_owned(), reason.to_owned(), revoke));
        self.write(move |connection| {
            Box::pin(async move {
                match &replaces {
                    Some((old, reason, revoke)) => {
                        supersede(connection, old, &row.serial, revoke.then_some(reason.as_str()), at)
                            .await?;
                    }
                    None if from_request.is_some() => refuse_second(connection, &row.certname, at).await?,
                    None => {}
                }
                insert(connection, &row).await?;
                if let Some(request) = from_request {
                    sqlx::query("DELETE FROM requests WHERE certname = $1")
                        .bind(request.certname)
                        .execute(connection)
                        .await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// The newest certificate of the name that is neither revoked nor superseded. It may have expired.
    pub async fn live_certificate(&self, certname: &str) -> Result<Option<CertificateRow>, Error> {
        let row = sqlx::query(
            "SELECT * FROM certificates
             WHERE certname = $1 AND revoked_at IS NULL AND superseded_by IS NULL
             ORDER BY id DESC LIMIT 1",
        )
        .bind(certname)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(certificate).transpose()
    }

    /// The certificate with this serial (upper hex).
    pub async fn certificate_by_serial(&self, serial: &str) -> Result<Option<CertificateRow>, Error> {
        let row = sqlx::query("SELECT * FROM certificates WHERE serial = $1")
            .bind(serial)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(certificate).transpose()
    }

    /// Every certificate the name ever had, the newest first.
    pub async fn certificates(&self, certname: &str) -> Result<Vec<CertificateRow>, Error> {
        let rows = sqlx::query("SELECT * FROM certificates WHERE certname = $1 ORDER BY id DESC")
            .bind(certname)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(certificate).collect()
    }

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
            Box::pin(async move {
                let rows = sqlx::query(
                    "UPDATE certificates SET revoked_at = $1, revocation_reason = $2
                     WHERE certname = $3 AND revoked_at IS NULL RETURNING serial",
                )
                .bind(at)
                .bind(reason)
                .bind(certname)
                .fetch_all(connection)
                .await?;
                Ok(rows.iter().map(|row| row.try_get("serial")).collect::<Result<_, _>>()?)
            })
        })
        .await
    }

    /// What a CRL of this moment lists: (serial, revoked at, reason) of all that were revoked and have
    /// not expired, in order of issue.
    pub async fn revoked(&self, now: i64) -> Result<Vec<(String, i64, String)>, Error> {
        let rows = sqlx::query(
            "SELECT serial, revoked_at, coalesce(revocation_reason, 'unspecified') AS reason
             FROM certificates WHERE revoked_at IS NOT NULL AND not_after >= $1 ORDER BY id",
        )
        .bind(now)
        .fetch_all(&self.readers)
        .await?;
        let read = |row: &SqliteRow| {
            Ok((row.try_get("serial")?, row.try_get("revoked_at")?, row.try_get("reason")?))
        };
        rows.iter().map(read).collect()
    }

    /// Stores a CRL. Its number must come after every earlier one's ([`Error::CrlNumber`]).
    pub async fn save_crl(
        &self,
        number: i64,
        pem: &str,
        this_update: i64,
        next_update: i64,
    ) -> Result<(), Error> {
        let pem = pem.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let latest: Option<i64> = sqlx::query("SELECT max(number) AS latest FROM crls")
                    .fetch_one(&mut *connection)
                    .await?
                    .try_get("latest")?;
                if let Some(latest) = latest.filter(|latest| number <= *latest) {
                    return Err(Error::CrlNumber { number, latest });
                }
                sqlx::query(
                    "INSERT INTO crls (number, pem, this_update, next_update) VALUES ($1, $2, $3, $4)",
                )
                .bind(number)
                .bind(pem)
                .bind(this_update)
                .bind(next_update)
                .execute(&mut *connection)
                .await?;
                sqlx::query(
                    "DELETE FROM crls WHERE number NOT IN
                     (SELECT number FROM crls ORDER BY number DESC LIMIT $1)",
                )
                .bind(CRLS)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// The CRL with the highest number.
    pub async fn latest_crl(&self) -> Result<Option<CrlRow>, Error> {
        let row = sqlx::query("SELECT * FROM crls ORDER BY number DESC LIMIT 1")
            .fetch_optional(&self.readers)
            .await?;
        let read = |row: SqliteRow| {
            Ok(CrlRow {
                number: row.try_get("number")?,
                pem: row.try_get("pem")?,
                this_update: row.try_get("this_update")?,
                next_update: row.try_get("next_update")?,
            })
        };
        row.map(read).transpose()
    }
}

async fn insert(connection: &mut SqliteConnection, row: &CertificateRow) -> Result<(), Error> {
    let inserted = sqlx::query(
        "INSERT INTO certificates (serial, certname, der, key_digest, not_before, not_after, issued_at,
                                   revoked_at, revocation_reason, superseded_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
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
    let live = sqlx::query(
        "SELECT serial FROM certificates
         WHERE certname = $1 AND revoked_at IS NULL AND superseded_by IS NULL AND not_after >= $2
         ORDER BY id DESC LIMIT 1",
    )
    .bind(certname)
    .bind(at)
    .fetch_optional(connection)
    .await?;
    match live {
        Some(row) => Err(Error::NameTaken { certname: certname.to_owned(), serial: row.try_get("serial")? }),
        None => Ok(()),
    }
}

async fn mark_revoked(
    connection: &mut SqliteConnection,
    serial: &str,
    reason: &str,
    at: i64,
) -> Result<u64, Error> {
    let done = sqlx::query(
        "UPDATE certificates SET revoked_at = $1, revocation_reason = $2
         WHERE serial = $3 AND revoked_at IS NULL",
    )
    .bind(at)
    .bind(reason)
    .bind(serial)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

fn certificate(row: &SqliteRow) -> Result<CertificateRow, Error> {
    Ok(CertificateRow {
        serial: row.try_get("serial")?,
        certname: row.try_get("certname")?,
        der: row.try_get("der")?,
        key_digest: row.try_get("key_digest")?,
        not_before: row.try_get("not_before")?,
        not_after: row.try_get("not_after")?,
        issued_at: row.try_get("issued_at")?,
        revoked_at: row.try_get("revoked_at")?,
        revocation_reason: row.try_get("revocation_reason")?,
        superseded_by: row.try_get("superseded_by")?,
    })
}
