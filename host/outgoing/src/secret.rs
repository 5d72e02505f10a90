//! Reads what a rule only points to: credentials and CA files.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use hyper::header::HeaderValue;

use crate::rule::{Credential, From};

/// Bytes of a credential, at most.
const MAX_CREDENTIAL: u64 = 16 << 10;

/// The value of a credential's header. It blocks.
///
/// # Errors
/// What is wrong and where, without the value.
pub fn value(credential: &Credential) -> Result<HeaderValue, String> {
    let (bytes, place) = match &credential.from {
        From::Env(name) => {
            let place = format!("the environment variable {name}");
            let value = std::env::var_os(name).ok_or_else(|| format!("is missing: {place} is not set"))?;
            (value.into_encoded_bytes(), place)
        }
        From::File(path) => (file(path, MAX_CREDENTIAL)?, path.display().to_string()),
    };
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    if bytes.is_empty() {
        return Err(format!("is empty: there is nothing in {place}"));
    }
    let mut value = HeaderValue::from_bytes(bytes)
        .map_err(|_| format!("is of no use: {place} holds more than one line or a control character"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A file of at most so many bytes. It blocks.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn file(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let opened = File::open(path).map_err(|error| format!("cannot be read: {}: {error}", path.display()))?;
    let read = opened.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {}: {error}", path.display()))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= most) {
        return Ok(bytes);
    }
    Err(format!("is too large: {} has more than {most} bytes", path.display()))
}
