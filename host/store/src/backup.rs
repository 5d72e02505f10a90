//! A copy of the database, and the room there is for it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::{Error, Store, schema};

impl Store {
    /// Writes a copy of the database as it is at this moment, through to the disk, into a file (0600)
    /// that must not exist yet. Writers go on meanwhile. Where it fails, no file stays.
    ///
    /// The copy is a whole database by itself: [`Store::open`] opens it.
    pub async fn backup_to(&self, path: &Path) -> Result<(), Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let text = path.to_str().ok_or_else(|| {
            io(std::io::Error::new(std::io::ErrorKind::InvalidFilename, "the path is not text in UTF-8"))
        })?;
        // SQLite accepts an empty file, and would itself make one that others can read.
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        let copied = sqlx::query("VACUUM INTO $1").bind(text).execute(&self.readers).await;
        let kept = copied.map_err(Error::from).and_then(|_| {
            File::open(path).and_then(|file| file.sync_all()).map_err(io)?;
            schema::sync_folder(path)
        });
        if kept.is_err() {
            let _ = std::fs::remove_file(path);
        }
        kept
    }

    /// Bytes that we may still write on the file system of the database.
    pub fn free_bytes(&self) -> Result<u64, Error> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let room = rustix::fs::statvfs(folder)
            .map_err(|errno| Error::Io { path: folder.to_owned(), source: errno.into() })?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }
}
