//! Backups of files that agents replaced: files under a folder, named by the digest of their content.
//!
//! Nothing that an agent says becomes a path but a checked hex digest (CVE-2012-1987, CVE-2012-3864).

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use md5::{Digest as _, Md5};
use sha2::{Digest as _, Sha256};

use crate::{Error, schema};

/// A folder of content. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Filebucket {
    dir: Arc<Path>,
}

impl Filebucket {
    /// Uses the folder, and makes it (0700) where there is none.
    pub fn open(dir: &Path) -> Result<Filebucket, Error> {
        schema::create_folder(dir)?;
        Ok(Filebucket { dir: dir.into() })
    }

    /// Whether content with this sum is there. `sum`: SHA-256 or MD5, lower hex ([`Error::Sum`] if not).
    pub async fn has(&self, sum: &str) -> Result<bool, Error> {
        let path = self.path(&Sum::parse(sum)?);
        blocking(move || path.try_exists().map_err(|source| Error::Io { path, source })).await
    }

    /// Keeps content under its sum, durably. [`Error::Sum`] where the two do not fit. How large a body
    /// may be is the caller's business.
    pub async fn put(&self, sum: &str, content: &[u8]) -> Result<(), Error> {
        let sum = Sum::parse(sum)?;
        let path = self.path(&sum);
        let content = content.to_vec();
        blocking(move || {
            if !sum.fits(&content) {
                return Err(Error::Sum("the content does not have the sum it was sent under".to_owned()));
            }
            match path.try_exists() {
                Ok(true) => Ok(()),
                _ => {
                    schema::create_folder(path.parent().unwrap_or(&path))?;
                    write(&path, &content).map_err(|source| Error::Io { path, source })
                }
            }
        })
        .await
    }

    /// The content with this sum.
    pub async fn get(&self, sum: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(&Sum::parse(sum)?);
        blocking(move || match std::fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { path, source }),
        })
        .await
    }

    /// `<dir>/sha256/ab/abcd…`
    fn path(&self, sum: &Sum) -> PathBuf {
        let (algorithm, hex) = match sum {
            Sum::Sha256(hex) => ("sha256", hex),
            Sum::Md5(hex) => ("md5", hex),
        };
        let shard: String = hex.chars().take(2).collect();
        self.dir.join(algorithm).join(shard).join(hex)
    }
}

enum Sum {
    Sha256(String),
    Md5(String),
}

impl Sum {
    fn parse(text: &str) -> Result<Sum, Error> {
        let is_hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match text.len() {
            64 if is_hex => Ok(Sum::Sha256(text.to_owned())),
            32 if is_hex => Ok(Sum::Md5(text.to_owned())),
            _ => Err(Error::Sum("not a sha256 or md5 sum in lower hex".to_owned())),
        }
    }

    fn fits(&self, content: &[u8]) -> bool {
        match self {
            Sum::Sha256(hex) => hex::encode(Sha256::digest(content)) == *hex,
            Sum::Md5(hex) => hex::encode(Md5::digest(content)) == *hex,
        }
    }
}

/// Whole or not at all: a temporary file, synced, renamed, and the folder synced.
fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    /// Tells apart writers of the same content in this process.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().unwrap_or(path);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let temporary = folder.join(format!(".{}.{count}.tmp", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        // A crash may have left one of this name behind, where process ids repeat (in containers).
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Closed)?
}
