//! The inventory: every certificate there is or was, read in ways that cost no more than the answer.
//!
//! Rows are written by [`crate::Store::issue_certificate`] (`issue`), changed by `revocation`, and
//! taken over from another CA by `import`.

use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row};

use crate::{Error, Store};

/// One day, in seconds.
const DAY: i64 = 86_400;

/// The newest certificate of the name `$1` that is neither revoked nor superseded nor cleaned.
macro_rules! live {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM certificates
             WHERE certname = $1 AND revoked_at IS NULL AND superseded_by IS NULL AND cleaned_at IS NULL
                   AND length(der) > 0
             ORDER BY id DESC LIMIT 1"
        )
    };
}
/// The newest certificate of the name `$1` that is neither superseded nor cleaned.
macro_rules! current {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM certificates
             WHERE certname = $1 AND superseded_by IS NULL AND cleaned_at IS NULL AND length(der) > 0
             ORDER BY id DESC LIMIT 1"
        )
    };
}
pub(crate) use {current, live};
pub(crate) const LIVE: &str = live!("*");
pub(crate) const CURRENT: &str = current!("*");

/// A page of names whose current certificate is in one state. An older certificate of a name, which
/// is neither cleaned nor superseded, counts for nothing once there is a newer one.
macro_rules! page_of {
    ($revoked:literal) => {
        concat!(
            "SELECT * FROM certificates AS c
             WHERE certname > $1 AND revoked_at ",
            $revoked,
            " AND superseded_by IS NULL AND cleaned_at IS NULL AND length(der) > 0
               AND NOT EXISTS (SELECT 1 FROM certificates AS newer
                               WHERE newer.certname = c.certname AND newer.id > c.id
                                     AND newer.superseded_by IS NULL AND newer.cleaned_at IS NULL
                                     AND length(newer.der) > 0)
             ORDER BY certname LIMIT $2"
        )
    };
}
pub(crate) const SIGNED_PAGE: &str = page_of!("IS NULL");
pub(crate) const REVOKED_PAGE: &str = page_of!("IS NOT NULL");

pub(crate) const EXPIRING: &str = "SELECT * FROM certificates
     WHERE not_after >= $1 AND not_after < $2 AND cleaned_at IS NULL AND revoked_at IS NULL
           AND superseded_by IS NULL AND length(der) > 0
     ORDER BY not_after LIMIT $3";

pub(crate) const AFTER: &str = "SELECT * FROM certificates WHERE id > $1 ORDER BY id LIMIT $2";

pub(crate) const COUNTS: &str = "SELECT
         coalesce(sum(superseded_by IS NULL), 0) AS signed,
         coalesce(sum(superseded_by IS NOT NULL), 0) AS superseded,
         coalesce(sum(superseded_by IS NULL AND not_after < $2), 0) AS expiring_7d,
         coalesce(sum(superseded_by IS NULL AND not_after < $3), 0) AS expiring_30d
     FROM certificates
     WHERE cleaned_at IS NULL AND not_after >= $1 AND revoked_at IS NULL AND length(der) > 0";
pub(crate) const COUNT_REVOKED: &str =
    "SELECT (SELECT count(*) FROM certificates WHERE revoked_at IS NOT NULL AND not_after >= $1)
          + (SELECT count(*) FROM revoked_serials) AS revoked";

/// One certificate of the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRow {
    /// Upper hex, without `0x`; unique for ever.
    pub serial: String,
    /// The Subject CN.
    pub certname: String,
    /// The certificate itself. Empty: it is known from an imported inventory only, and takes part in
    /// nothing but revocation and the uniqueness of serials.
    pub der: Vec<u8>,
    /// SHA-256 of the public key (SPKI), lower hex; empty where `der` is.
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
    /// Unix seconds; since when the certificate is forgotten, so that its name is as good as new.
    pub cleaned_at: Option<i64>,
}

/// What a name's current certificate may be. It may have expired either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateState {
    /// Not revoked.
    Signed,
    /// Revoked, and not cleaned.
    Revoked,
}

/// Which page of names [`Store::statuses`] lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusQuery {
    /// Only names whose current certificate is in this state.
    pub state: Option<CertificateState>,
    /// Only names after this one: the last of the page before.
    pub after: Option<String>,
    /// Rows at most.
    pub limit: u32,
}

/// How many there are. Certificates are counted only until they expire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// In force: neither revoked nor superseded nor cleaned.
    pub signed: u64,
    /// What a revocation list of this moment lists.
    pub revoked: u64,
    /// Requests that wait.
    pub requests: u64,
    /// Of `signed`, those that expire within 7 days.
    pub expiring_7d: u64,
    /// Of `signed`, those that expire within 30 days.
    pub expiring_30d: u64,
    /// Renewed, and still good themselves.
    pub superseded: u64,
}

impl Store {
    /// The newest certificate of the name that is neither revoked nor superseded nor cleaned. It may
    /// have expired.
    pub async fn live_certificate(&self, certname: &str) -> Result<Option<CertificateRow>, Error> {
        self.one(LIVE, certname).await
    }

    /// The newest certificate of the name that is neither superseded nor cleaned. It may be revoked
    /// or expired.
    pub async fn current_certificate(&self, certname: &str) -> Result<Option<CertificateRow>, Error> {
        self.one(CURRENT, certname).await
    }

    /// The certificate with this serial (upper hex).
    pub async fn certificate_by_serial(&self, serial: &str) -> Result<Option<CertificateRow>, Error> {
        self.one("SELECT * FROM certificates WHERE serial = $1", serial).await
    }

    /// Every certificate the name ever had, the newest first.
    pub async fn certificates(&self, certname: &str) -> Result<Vec<CertificateRow>, Error> {
        let rows = sqlx::query("SELECT * FROM certificates WHERE certname = $1 ORDER BY id DESC")
            .bind(certname)
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(certificate).collect()
    }

    /// One page of names with their current certificates (as [`Store::current_certificate`]), by name.
    pub async fn statuses(&self, query: StatusQuery) -> Result<Vec<CertificateRow>, Error> {
        let pages: &[&'static str] = match query.state {
            Some(CertificateState::Signed) => &[SIGNED_PAGE],
            Some(CertificateState::Revoked) => &[REVOKED_PAGE],
            None => &[SIGNED_PAGE, REVOKED_PAGE],
        };
        let after = query.after.unwrap_or_default();
        // Both pages are of one moment: between two, a name revoked meanwhile would be in neither.
        let mut reader = self.reader().await?;
        let mut moment = reader.begin().await?;
        let mut found = Vec::new();
        for page in pages {
            let rows =
                sqlx::query(*page).bind(&after).bind(i64::from(query.limit)).fetch_all(&mut *moment).await?;
            for row in &rows {
                found.push(certificate(row)?);
            }
        }
        moment.rollback().await?;
        found.sort_by(|a, b| a.certname.cmp(&b.certname));
        found.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    /// Certificates in force that expire between `now` and `before` (unix seconds), the first to
    /// expire first.
    pub async fn expiring(&self, now: i64, before: i64, limit: u32) -> Result<Vec<CertificateRow>, Error> {
        let rows = sqlx::query(EXPIRING)
            .bind(now)
            .bind(before)
            .bind(i64::from(limit))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(certificate).collect()
    }

    /// One page of the whole inventory in order of issue, each with its place in it. Start after 0,
    /// go on after the last place of the page before.
    pub async fn certificates_after(
        &self,
        place: i64,
        limit: u32,
    ) -> Result<Vec<(i64, CertificateRow)>, Error> {
        let rows = sqlx::query(AFTER)
            .bind(place)
            .bind(i64::from(limit))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(|row| Ok((row.try_get("id")?, certificate(row)?))).collect()
    }

    /// Counts, from indexes alone.
    pub async fn counts(&self, now: i64) -> Result<Counts, Error> {
        let mut reader = self.reader().await?;
        let mut moment = reader.begin().await?;
        let row = sqlx::query(COUNTS)
            .bind(now)
            .bind(now.saturating_add(7 * DAY))
            .bind(now.saturating_add(30 * DAY))
            .fetch_one(&mut *moment)
            .await?;
        let revoked = sqlx::query(COUNT_REVOKED).bind(now).fetch_one(&mut *moment).await?;
        let requests =
            sqlx::query("SELECT count(*) AS requests FROM requests").fetch_one(&mut *moment).await?;
        moment.rollback().await?;
        Ok(Counts {
            signed: count(&row, "signed")?,
            revoked: count(&revoked, "revoked")?,
            requests: count(&requests, "requests")?,
            expiring_7d: count(&row, "expiring_7d")?,
            expiring_30d: count(&row, "expiring_30d")?,
            superseded: count(&row, "superseded")?,
        })
    }

    async fn one(&self, sql: &'static str, key: &str) -> Result<Option<CertificateRow>, Error> {
        let row = sqlx::query(sql).bind(key).fetch_optional(&mut *self.reader().await?).await?;
        row.as_ref().map(certificate).transpose()
    }
}

pub(crate) fn certificate(row: &SqliteRow) -> Result<CertificateRow, Error> {
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
        cleaned_at: row.try_get("cleaned_at")?,
    })
}

fn count(row: &SqliteRow, column: &str) -> Result<u64, Error> {
    // No count is negative.
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or_default())
}
