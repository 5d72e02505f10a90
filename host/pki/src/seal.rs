//! What a CA's key may sign: what a sealed signer checks before it uses the key.
//!
//! Whoever has taken over the daemon can still ask for certificates of agents and for lists, which show
//! in the CA's own inventory and end. What they cannot have is a CA below ours, a list of another scope,
//! or a signature on bytes of their own.

use time::OffsetDateTime;
use x509_parser::prelude::{ASN1Time, FromDer as _};

use crate::certificate::Certificate;
use crate::der::{self, NotDer, Value};
use crate::encode::algorithm_der;
use crate::extension;
use crate::key::PublicKey;
use crate::sign::SignError;

const SUBJECT_KEY_ID: &str = "2.5.29.14";
const KEY_USAGE: &str = "2.5.29.15";
const ALT_NAMES: &str = "2.5.29.17";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const CRL_NUMBER: &str = "2.5.29.20";
const AUTHORITY_KEY_ID: &str = "2.5.29.35";
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";

/// Whether the key of `issuer` may sign these bytes: a TBSCertificate (RFC 5280, 4.1) of that issuer that
/// is no CA's, says so, and lies within the issuer's validity; or a TBSCertList (5.1) of that issuer that
/// is whole, not a delta or of limited scope. Nothing in them that we don't write ourselves.
///
/// # Errors
/// [`SignError::Refused`] with what is wrong.
pub fn may_sign(to_be_signed: &[u8], issuer: &Certificate) -> Result<(), SignError> {
    let refused = |why: &str| SignError::Refused(why.to_owned());
    let content = Value::only(to_be_signed).map_err(|_| refused("it is not DER"))?;
    let fields = content.children(der::SEQUENCE).map_err(|_| refused("it is no sequence"))?;
    let checked = match fields.as_slice() {
        // Version 3 is written as 2.
        [version, serial, rest @ ..] if version.raw == [0xa0, 3, 2, 1, 2] => {
            certificate(serial, rest, issuer)
        }
        [version, rest @ ..] if version.raw == [2, 1, 1] => list(rest, issuer),
        _ => Err("it is neither a certificate nor a revocation list"),
    };
    checked.map_err(refused)
}

/// serial, then algorithm, issuer, validity, subject, key, [3] extensions.
fn certificate(serial: &Value<'_>, rest: &[Value<'_>], ca: &Certificate) -> Result<(), &'static str> {
    let [algorithm, issuer, validity, subject, key, extensions] = rest else {
        return Err("the certificate has other fields than ours have");
    };
    if serial.unsigned().map_or(true, |number| number.len() > 20) {
        return Err("the certificate's serial number is out of range");
    }
    named(algorithm, issuer, ca)?;
    let times = validity.children(der::SEQUENCE).map_err(|_| "the certificate's validity is malformed")?;
    let [not_before, not_after] = times.as_slice() else {
        return Err("the certificate's validity is malformed");
    };
    let (not_before, not_after) = (at(not_before)?, at(not_after)?);
    if not_after <= not_before || not_before < ca.not_before || not_after > ca.not_after {
        return Err("the certificate's validity is not within the CA's");
    }
    if subject.children(der::SEQUENCE).is_err() || subject.raw == ca.subject_der {
        return Err("the certificate's subject is malformed, or the CA's own");
    }
    PublicKey::parse(key.raw).map_err(|_| "the certificate's key is not one that we accept")?;
    let known = |oid: &str| {
        let ours = [SUBJECT_KEY_ID, KEY_USAGE, ALT_NAMES, BASIC_CONSTRAINTS, AUTHORITY_KEY_ID];
        ours.contains(&oid) || oid == EXTENDED_KEY_USAGE || extension::arc_of(oid).is_some()
    };
    let found = only(extensions, 3, known)?;
    let value = |wanted: &str| found.iter().find(|(oid, _)| oid == wanted).map(|(_, value)| *value);
    // CA:FALSE is the default and so an empty sequence (X.690, 11.5).
    if value(BASIC_CONSTRAINTS) != Some(&[0x30, 0]) {
        return Err("the certificate does not say CA:FALSE");
    }
    // BIT STRING of one byte: digitalSignature, contentCommitment, keyEncipherment, dataEncipherment and
    // keyAgreement are its upper five bits; keyCertSign and cRLSign follow.
    let usage = value(KEY_USAGE).ok_or("the certificate has no key usage")?;
    let usage = Value::only(usage).and_then(|v| v.primitive(der::BIT_STRING));
    match usage {
        Ok([_, bits]) if bits & 0b0000_0111 == 0 => Ok(()),
        _ => Err("the certificate's key usage is not a leaf's"),
    }
}

/// algorithm, issuer, thisUpdate, nextUpdate, revoked certificates if there are any, [0] extensions.
fn list(rest: &[Value<'_>], ca: &Certificate) -> Result<(), &'static str> {
    let (algorithm, issuer, times, entries, extensions) = match rest {
        [algorithm, issuer, this, next, extensions] => (algorithm, issuer, [this, next], None, extensions),
        [algorithm, issuer, this, next, entries, extensions] => {
            (algorithm, issuer, [this, next], Some(entries), extensions)
        }
        _ => return Err("the revocation list has other fields than ours have"),
    };
    named(algorithm, issuer, ca)?;
    if at(times[1])? <= at(times[0])? {
        return Err("the revocation list ends before it begins");
    }
    let found = only(extensions, 0, |oid| [AUTHORITY_KEY_ID, CRL_NUMBER].contains(&oid))?;
    if !found.iter().any(|(oid, _)| oid == CRL_NUMBER) {
        return Err("the revocation list has no number");
    }
    match entries {
        Some(entries) => each_entry(entries).map_err(|NotDer| "an entry of the revocation list is malformed"),
        None => Ok(()),
    }
}

/// serial, revocation date, and the reason as the one extension that ours have. There may be a hundred
/// thousand, so this reads no more of them than it must.
fn each_entry(entries: &Value<'_>) -> Result<(), NotDer> {
    for entry in entries.each(der::SEQUENCE)? {
        let mut fields = entry?.each(der::SEQUENCE)?;
        let mut next = || fields.next().transpose();
        let (serial, revoked_at) = (next()?.ok_or(NotDer)?, next()?.ok_or(NotDer)?);
        serial.unsigned()?;
        revoked_at.primitive(der::UTC_TIME).or_else(|NotDer| revoked_at.primitive(der::GENERALIZED_TIME))?;
        match (next()?.map(|extensions| extensions.raw), next()?) {
            // One extension, reasonCode 2.5.29.21, not critical, with an ENUMERATED of one byte.
            (None | Some([0x30, 12, 0x30, 10, 6, 3, 0x55, 0x1d, 21, 4, 3, 10, 1, _]), None) => {}
            _ => return Err(NotDer),
        }
    }
    Ok(())
}

/// Whether the algorithm is the CA key's and the issuer the CA.
fn named(algorithm: &Value<'_>, issuer: &Value<'_>, ca: &Certificate) -> Result<(), &'static str> {
    if issuer.raw != ca.subject_der {
        return Err("it is in another issuer's name");
    }
    if algorithm.raw != algorithm_der(&ca.key) { Err("it names another signature algorithm") } else { Ok(()) }
}

fn at(value: &Value<'_>) -> Result<OffsetDateTime, &'static str> {
    let (rest, time) = ASN1Time::from_der(value.raw).map_err(|_| "a time in it is malformed")?;
    if rest.is_empty() { Ok(time.to_datetime()) } else { Err("a time in it is malformed") }
}

/// Extensions in a context-specific value of this tag.
fn only<'a>(
    value: &Value<'a>,
    tag: u32,
    known: impl Fn(&str) -> bool,
) -> Result<Vec<(String, &'a [u8])>, &'static str> {
    match value.context_children(tag).as_deref() {
        Ok([extensions]) => read(extensions, known),
        _ => Err("its extensions are malformed"),
    }
}

/// Identifier and value of each extension; all known, none twice.
fn read<'a>(
    extensions: &Value<'a>,
    known: impl Fn(&str) -> bool,
) -> Result<Vec<(String, &'a [u8])>, &'static str> {
    let malformed = |_: NotDer| "its extensions are malformed";
    let mut found: Vec<(String, &[u8])> = Vec::new();
    for extension in extensions.children(der::SEQUENCE).map_err(malformed)? {
        let fields = extension.children(der::SEQUENCE).map_err(malformed)?;
        let (oid, value) = match fields.as_slice() {
            [oid, value] => (oid, value),
            [oid, critical, value] if critical.raw == [1, 1, 0xff] => (oid, value),
            _ => return Err(malformed(NotDer)),
        };
        let oid = oid.oid().map_err(malformed)?;
        if !known(&oid) {
            return Err("it has an extension that ours never have");
        }
        if found.iter().any(|(earlier, _)| *earlier == oid) {
            return Err("it has an extension twice");
        }
        found.push((oid, value.primitive(der::OCTET_STRING).map_err(malformed)?));
    }
    Ok(found)
}
