//! What administrators see of certificates and of the requests that wait, a page at a time: a list may
//! have a hundred thousand.

use pki::{AltName, Certificate, CertificateRequest, Certname, RequestRules, Serial, oid_of};
use store::{CertificateRow, CertificateState, DecisionRow, RequestKey, RequestRow, StatusQuery};
use time::OffsetDateTime;

use crate::{Failed, Master};

/// Entries of a page.
const PAGE: u32 = 500;
/// Puppet's extensions that give rights.
const AUTHORIZATION: &str = "1.3.6.1.4.1.34380.1.3.";
/// For reading what was let in before: whether it may be certified is not asked here.
pub(crate) const READ_ALL: RequestRules =
    RequestRules { allow_subject_alt_names: true, allow_authorization_extensions: true };

/// What to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Requests that wait.
    Requested,
    /// Certificates in force.
    Signed,
    /// Revoked certificates that were not cleaned.
    Revoked,
}

/// A certificate, or a request for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateStatus {
    /// Its certname.
    pub name: String,
    /// The certificate or request itself.
    pub der: Vec<u8>,
    /// Its subject alternative names.
    pub alt_names: Vec<AltName>,
    /// Extensions that give rights: short name or identifier, and the text.
    pub authorization: Vec<(String, String)>,
    /// Which of the two.
    pub standing: Standing,
}

/// What stands behind a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A request that waits.
    Requested {
        /// When it came first.
        submitted_at: OffsetDateTime,
        /// The address that it came from.
        peer: Option<String>,
        /// What was last decided on it.
        decision: Option<DecisionRow>,
    },
    /// A certificate.
    Issued {
        /// Its serial.
        serial: Serial,
        /// Valid from then on.
        not_before: OffsetDateTime,
        /// Valid up to then.
        not_after: OffsetDateTime,
        /// When it was revoked and why, if it was.
        revoked: Option<(OffsetDateTime, String)>,
    },
}

/// Where a page ends and the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusCursor {
    /// Among the requests, after this one.
    Requests(Option<RequestKey>),
    /// Among the certificates, after this name's.
    Certificates(Option<String>),
}

/// A part of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusPage {
    /// Requests first, each kind by name.
    pub entries: Vec<CertificateStatus>,
    /// Where to go on; the list ends without.
    pub next: Option<StatusCursor>,
}

impl Master {
    /// A page of all that wait and all that were signed. Start without a cursor.
    ///
    /// # Errors
    /// On a catalog master, and when the store fails.
    pub async fn statuses(
        &self,
        state: Option<State>,
        after: Option<StatusCursor>,
    ) -> Result<StatusPage, Failed> {
        self.ca()?;
        let only = |state| match state {
            State::Requested => StatusCursor::Requests(None),
            State::Signed | State::Revoked => StatusCursor::Certificates(None),
        };
        match after.unwrap_or_else(|| state.map_or(StatusCursor::Requests(None), only)) {
            StatusCursor::Requests(after) => {
                let rows = self.parts.store.requests(after, PAGE).await?;
                let next = match (full(rows.len()), state) {
                    (true, _) => rows.last().map(|row| StatusCursor::Requests(Some(row.key.clone()))),
                    (false, None) => Some(StatusCursor::Certificates(None)),
                    (false, Some(_)) => None,
                };
                Ok(StatusPage { entries: away(rows, of_request).await?, next })
            }
            StatusCursor::Certificates(after) => {
                let state = match state {
                    Some(State::Signed) => Some(CertificateState::Signed),
                    Some(State::Revoked) => Some(CertificateState::Revoked),
                    _ => None,
                };
                let query = StatusQuery { state, after, limit: PAGE };
                let rows = self.parts.store.statuses(query).await?;
                let last = rows.last().filter(|_| full(rows.len()));
                let next = last.map(|row| StatusCursor::Certificates(Some(row.certname.clone())));
                Ok(StatusPage { entries: away(rows, of_certificate).await?, next })
            }
        }
    }

    /// The name's certificate, if it has one; else all candidates that wait for it.
    ///
    /// # Errors
    /// On a catalog master, and when the store fails.
    pub async fn statuses_of(&self, name: &str) -> Result<Vec<CertificateStatus>, Failed> {
        self.ca()?;
        let Ok(certname) = Certname::parse(name) else { return Ok(Vec::new()) };
        if let Some(row) = self.parts.store.current_certificate(certname.as_str()).await? {
            return away(vec![row], of_certificate).await;
        }
        away(self.parts.store.requests_of(certname.as_str()).await?, of_request).await
    }
}

fn full(rows: usize) -> bool {
    u32::try_from(rows).is_ok_and(|rows| rows >= PAGE)
}

/// Reads rows away from the threads that serve: a page takes a while.
async fn away<R: Send + 'static>(
    rows: Vec<R>,
    read: fn(R) -> Option<CertificateStatus>,
) -> Result<Vec<CertificateStatus>, Failed> {
    let reading = tokio::task::spawn_blocking(move || rows.into_iter().filter_map(read).collect());
    reading.await.map_err(|_| Failed::internal("the list could not be made"))
}

fn of_request(row: RequestRow) -> Option<CertificateStatus> {
    let standing = Standing::Requested {
        submitted_at: moment(row.submitted_at),
        peer: row.peer,
        decision: row.decision,
    };
    // One that cannot be read is listed all the same, or nobody could get rid of it.
    let request = CertificateRequest::parse(row.pem.as_bytes(), &READ_ALL).ok();
    let (der, alt_names, extensions) =
        request.map(|request| (request.der, request.alt_names, request.extensions)).unwrap_or_default();
    let rights = extensions.iter().filter(|extension| extension.oid.starts_with(AUTHORIZATION));
    let authorization = rights.map(|right| (right.label().to_owned(), right.value.clone())).collect();
    Some(CertificateStatus { name: row.key.certname, der, alt_names, authorization, standing })
}

fn of_certificate(row: CertificateRow) -> Option<CertificateStatus> {
    let Ok(serial) = Serial::from_hex(&row.serial) else {
        tracing::error!(
            certname = row.certname,
            serial = row.serial,
            "the inventory holds a serial that is none"
        );
        return None;
    };
    let revoked = row.revoked_at.map(|at| {
        let reason = row.revocation_reason.unwrap_or_else(|| "unspecified".to_owned());
        (moment(at), reason)
    });
    let (not_before, not_after) = (moment(row.not_before), moment(row.not_after));
    let certificate = Certificate::parse_der(&row.der).ok();
    let (alt_names, extensions) =
        certificate.map(|certificate| (certificate.alt_names, certificate.extensions)).unwrap_or_default();
    Some(CertificateStatus {
        name: row.certname,
        der: row.der,
        alt_names,
        authorization: extensions.into_iter().filter(|(label, _)| gives_rights(label)).collect(),
        standing: Standing::Issued { serial, not_before, not_after, revoked },
    })
}

fn gives_rights(label: &str) -> bool {
    label.starts_with(AUTHORIZATION) || oid_of(label).is_some_and(|oid| oid.starts_with(AUTHORIZATION))
}

fn moment(unix: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
