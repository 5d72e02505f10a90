//! JSON as the CA's tools know it from the peer: certificates and requests, times, numbers of any size;
//! and the JSON that they send.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use master::{CertificateStatus, Standing};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use crate::answer::Refusal;
use crate::body::check_depth;

const INSTANT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]UTC");

/// A moment as the peer writes it: `2026-11-21T16:38:05UTC`.
pub fn instant(at: OffsetDateTime) -> String {
    at.to_offset(UtcOffset::UTC).format(&INSTANT).unwrap_or_default()
}

/// A certificate or request, in the fields of the peer (recordings 02 and 18) and a few of ours: a
/// request's `submitted_at`, `peer` and `decision`; `revoked_at` and `revocation_reason`.
#[derive(Debug, Serialize)]
pub struct Status {
    name: String,
    state: &'static str,
    dns_alt_names: Vec<String>,
    subject_alt_names: Vec<String>,
    authorization_extensions: BTreeMap<String, String>,
    fingerprint: String,
    fingerprints: Fingerprints,
    #[serde(flatten)]
    standing: Fields,
    /// Fingerprints of all that wait for the name, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Fingerprints {
    #[serde(rename = "SHA1")]
    sha1: String,
    #[serde(rename = "SHA256")]
    sha256: String,
    #[serde(rename = "SHA512")]
    sha512: String,
    default: String,
}

#[derive(Debug, Default, Serialize)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial_number: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    submitted_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Value>,
}

impl Status {
    /// How `found` is shown.
    pub fn of(found: CertificateStatus) -> Status {
        let (state, standing) = fields(found.standing);
        let names: Vec<String> = found.alt_names.iter().map(ToString::to_string).collect();
        let sha256 = colons(&Sha256::digest(&found.der));
        Status {
            name: found.name,
            state,
            dns_alt_names: names.iter().filter(|name| name.starts_with("DNS:")).cloned().collect(),
            subject_alt_names: names,
            authorization_extensions: found.authorization.into_iter().collect(),
            fingerprint: sha256.clone(),
            fingerprints: Fingerprints {
                sha1: colons(&Sha1::digest(&found.der)),
                sha256: sha256.clone(),
                sha512: colons(&Sha512::digest(&found.der)),
                default: sha256,
            },
            standing,
            candidates: Vec::new(),
        }
    }

    /// A name's one certificate, or its first request with all candidates named.
    pub fn of_name(found: Vec<CertificateStatus>) -> Option<Status> {
        let mut all = found.into_iter().map(Status::of);
        let mut first = all.next()?;
        let others: Vec<String> = all.map(|other| other.fingerprint).collect();
        if !others.is_empty() {
            first.candidates = std::iter::once(first.fingerprint.clone()).chain(others).collect();
        }
        Some(first)
    }
}

fn fields(standing: Standing) -> (&'static str, Fields) {
    match standing {
        Standing::Issued { serial, not_before, not_after, revoked } => {
            let state = if revoked.is_some() { "revoked" } else { "signed" };
            let (revoked_at, revocation_reason) = revoked.map(|(at, why)| (instant(at), why)).unzip();
            let fields = Fields {
                not_before: Some(instant(not_before)),
                not_after: Some(instant(not_after)),
                serial_number: RawValue::from_string(decimal(serial.as_be_bytes())).ok(),
                revoked_at,
                revocation_reason,
                ..Fields::default()
            };
            (state, fields)
        }
        Standing::Requested { submitted_at, peer, decision } => {
            let decision = decision.map(|decided| {
                json!({"verdict": decided.verdict, "reason": decided.reason, "plugin": decided.plugin})
            });
            let submitted_at = Some(instant(submitted_at));
            ("requested", Fields { submitted_at, peer, decision, ..Fields::default() })
        }
    }
}

/// Digests as Puppet's tools show them: upper case, with colons.
fn colons(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// The number in decimal digits. A serial has up to 160 bits, and JSON has integers of any size.
pub fn decimal(be_bytes: &[u8]) -> String {
    let mut digits: Vec<u32> = vec![0];
    for byte in be_bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            let value = *digit * 256 + carry;
            (*digit, carry) = (value % 10, value / 10);
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    digits.iter().rev().filter_map(|digit| char::from_digit(*digit, 10)).collect()
}

/// A body that is to be JSON.
///
/// # Errors
/// 400 in the peer's words.
pub fn value(body: &[u8]) -> Result<Value, Refusal> {
    let sound = check_depth(body).is_ok();
    let value = if sound { serde_json::from_slice(body).ok() } else { None };
    value.ok_or_else(|| Refusal::exact(StatusCode::BAD_REQUEST, "Request body is not JSON."))
}

/// A body that is to be JSON of one shape; an empty one is an empty object.
///
/// # Errors
/// 400, or 422 with what does not fit.
pub fn shaped<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_value(value(body)?).map_err(|error| {
        Refusal::exact(StatusCode::UNPROCESSABLE_ENTITY, format!("schema-violation: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pki::{AltName, Serial};
    use time::macros::datetime;

    #[test]
    fn numbers_of_any_size_are_written_exactly() {
        let check = |hex: &str, expected: &str| {
            assert_eq!(decimal(Serial::from_hex(hex).unwrap().as_be_bytes()), expected);
        };
        check("01", "1");
        check("0A", "10");
        check("FF", "255");
        check("0100", "256");
        check("FFFFFFFFFFFFFFFF", "18446744073709551615");
        check(&"F".repeat(32), &u128::MAX.to_string());
        check(&"F".repeat(40), "1461501637330902918203684832716283019655932542975");
        assert_eq!(decimal(&[]), "0");
    }

    // recordings 02 and 18
    #[test]
    fn a_certificate_has_the_fields_of_the_peer() {
        let found = CertificateStatus {
            name: "a.test".to_owned(),
            der: Vec::new(),
            alt_names: vec![AltName::Ip([127, 0, 0, 9].into()), AltName::Dns("a.test".to_owned())],
            authorization: vec![("pp_cli_auth".to_owned(), "true".to_owned())],
            standing: Standing::Issued {
                serial: Serial::from_hex(&"F".repeat(32)).unwrap(),
                not_before: datetime!(2026-11-21 16:38:05 UTC),
                not_after: datetime!(2031-11-21 18:38:05 +2),
                revoked: None,
            },
        };
        let text = serde_json::to_string(&Status::of(found.clone())).unwrap();
        assert!(text.contains("\"serial_number\":340282366920938463463374607431768211455"), "{text}");
        let shown: Value = serde_json::from_str(&text).unwrap();
        let keys: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = [
            "authorization_extensions",
            "dns_alt_names",
            "fingerprint",
            "fingerprints",
            "name",
            "not_after",
            "not_before",
            "serial_number",
            "state",
            "subject_alt_names",
        ];
        assert_eq!(keys, expected);
        assert_eq!(shown["state"], "signed");
        assert_eq!(shown["dns_alt_names"], json!(["DNS:a.test"]));
        assert_eq!(shown["subject_alt_names"], json!(["IP:127.0.0.9", "DNS:a.test"]));
        assert_eq!(shown["authorization_extensions"], json!({"pp_cli_auth": "true"}));
        assert_eq!(shown["not_before"], "2026-11-21T16:38:05UTC");
        assert_eq!(shown["not_after"], "2031-11-21T16:38:05UTC");
        assert_eq!(
            shown["fingerprints"]["SHA1"],
            "DA:39:A3:EE:5E:6B:4B:0D:32:55:BF:EF:95:60:18:90:AF:D8:07:09"
        );
        assert_eq!(shown["fingerprints"]["SHA256"], shown["fingerprint"]);
        assert_eq!(shown["fingerprints"]["default"], shown["fingerprint"]);
        assert_eq!(shown["fingerprints"]["SHA512"].as_str().unwrap().len(), 64 * 3 - 1);
        let revoked = (datetime!(2027-01-01 00:00 UTC), "keyCompromise".to_owned());
        let Standing::Issued { serial, not_before, not_after, .. } = found.standing.clone() else { panic!() };
        let standing = Standing::Issued { serial, not_before, not_after, revoked: Some(revoked) };
        let shown = serde_json::to_value(Status::of(CertificateStatus { standing, ..found })).unwrap();
        assert_eq!(
            (&shown["state"], &shown["revocation_reason"]),
            (&json!("revoked"), &json!("keyCompromise"))
        );
    }

    #[test]
    fn what_is_no_json_and_what_has_another_shape_are_told_apart() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Body {
            #[expect(dead_code, reason = "only its presence is looked at")]
            serial: String,
        }
        let check = |body: &str, status: u16, text: &str| {
            let refusal = shaped::<Body>(body.as_bytes()).unwrap_err();
            assert_eq!(refusal.status.as_u16(), status);
            assert!(refusal.message.contains(text), "{}", refusal.message);
        };
        check("zz", 400, "Request body is not JSON.");
        check(&"[".repeat(100_000), 400, "Request body is not JSON.");
        check("", 422, "missing field `serial`");
        check("{\"serial\":1}", 422, "invalid type");
        check("{\"serial\":\"1\",\"x\":1}", 422, "unknown field `x`");
        assert!(shaped::<Body>(b"{\"serial\":\"1\"}").is_ok());
    }
}
