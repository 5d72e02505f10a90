//! Looking whether everything about the CA is as it should be, changing nothing.

use store::Store;
use time::OffsetDateTime;

use crate::{Settings, founding};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It will be bad, or is merely odd.
    Warning,
    /// It is bad.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is, on one line.
    pub what: String,
}

/// Looks at everything. The store may be open for reading only.
pub async fn verify(settings: &Settings, store: &Store, now: OffsetDateTime) -> Vec<Finding> {
    let _ = now;
    match founding::find(settings, store).await {
        Ok(_) => Vec::new(),
        Err(error) => vec![Finding { level: Level::Error, what: error.to_string() }],
    }
}
