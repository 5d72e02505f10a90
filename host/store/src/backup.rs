//! A copy of the database, and the room there is for it.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::{Error, Store, schema};

impl Store {
    /// Writes a copy of the database as it is at this moment, through to the disk, into a file (0600)
    /// that must not exist yet. Writers go on meanwhile. Whatever happens, under that name there is the
    /// whole copy or nothing; what a crash may leave is `<path>.new`, which the next backup takes away.
    ///
    /// The copy is a whole database by itself: [`Store::open`] opens it.
    pub async fn backup_to(&self, path: &Path) -> Result<(), Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        if path.try_exists().map_err(io)? {
            return Err(io(ErrorKind::AlreadyExists.into()));
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let name = beside.to_str().ok_or_else(|| {
            io(std::io::Error::new(ErrorKind::InvalidFilename, "the path is not text in UTF-8"))
        })?;
        // A half copy, and the journal that SQLite would play back into a new one.
        remove(&beside)?;
        remove(Path::new(&format!("{name}-journal")))?;
        // SQLite accepts an empty file, and would itself make one that others can read.
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(io)?;
        let copied = sqlx::query("VACUUM INTO $1").bind(name).execute(&mut *self.reader().await?).await;
        let kept = copied.map_err(Error::from).and_then(|_| {
            File::open(&beside).and_then(|file| file.sync_all()).map_err(io)?;
            std::fs::rename(&beside, path).map_err(io)?;
            schema::sync_folder(path).inspect_err(|_| _ = remove(path))
        });
        if kept.is_err() {
            let _ = remove(&beside);
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

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(Error::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
