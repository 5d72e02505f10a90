//! Compiled components on disk.
//!
//! A compiled component is machine code that the engine runs as it is, so
//! only a file that this user alone could have written is read: the folder
//! and the file belong to us, nobody else may write to either, no link is
//! followed, and the file says what it holds with a checksum. Any doubt means
//! compiling again; nothing here ever fails a load.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// First bytes of every file; after them a SHA-256 of the rest.
const MAGIC: &[u8] = b"bunraku compiled component 1\n";
/// Files kept; the oldest goes first.
const FILES: usize = 64;
/// The most that is read.
const FILE_BYTES: u64 = 1 << 30;

pub(crate) struct Cache {
    dir: PathBuf,
    engine_digest: String,
}

impl Cache {
    /// The cache in `dir`, which is made where it is missing.
    pub(crate) fn open(dir: &Path, engine: &Engine) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let cache = Cache { dir: dir.to_owned(), engine_digest: engine_digest(engine) };
        cache.check_dir()?;
        Ok(cache)
    }

    /// The compiled component, if it is there beyond doubt.
    pub(crate) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        let loaded = self.check_dir().and_then(|()| read(&path)).and_then(|code| {
            // SAFETY: `read` and `check_dir` saw to it that only this user
            // could have written these bytes, and the checksum that they are
            // the ones `store` wrote: what `Component::serialize` made.
            unsafe { Component::deserialize(engine, code) }.map_err(io::Error::other)
        });
        match loaded {
            Ok(component) => Some(component),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compiled component not used, compiling again");
                None
            }
        }
    }

    /// Keeps a component that was just compiled.
    pub(crate) fn store(&self, digest: &str, component: &Component) {
        let path = self.path(digest);
        let stored = self.check_dir().and_then(|()| {
            let code = component.serialize().map_err(io::Error::other)?;
            self.write(&path, &code)?;
            self.drop_oldest()
        });
        if let Err(error) = stored {
            tracing::warn!(path = %path.display(), %error, "compiled component not kept");
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}-{}.cwasm", self.engine_digest))
    }

    fn check_dir(&self) -> io::Result<()> {
        let found = fs::symlink_metadata(&self.dir)?;
        if !found.is_dir() {
            return Err(doubt("the cache folder is not a folder"));
        }
        check_owner(&found, 0o077, "the cache folder")
    }

    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!("new-{}-{number}", std::process::id()));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(MAGIC)?;
            file.write_all(&Sha256::digest(code))?;
            file.write_all(code)?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        })();
        if written.is_err() {
            // It may not be there at all.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn drop_oldest(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        files.sort();
        let surplus = files.len().saturating_sub(FILES);
        files.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }
}

/// What `path` holds, checked.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits();
    let mut file: File =
        OpenOptions::new().read(true).custom_flags(i32::try_from(flags).unwrap_or(0)).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 {
        return Err(doubt("not a plain file"));
    }
    check_owner(&found, 0o077, "the file")?;
    if found.len() > FILE_BYTES {
        return Err(doubt("too large"));
    }
    let mut head = [0; MAGIC.len()];
    let mut checksum = [0; 32];
    file.read_exact(&mut head)?;
    file.read_exact(&mut checksum)?;
    if head != MAGIC {
        return Err(doubt("not a compiled component"));
    }
    let mut code = Vec::new();
    file.take(FILE_BYTES).read_to_end(&mut code)?;
    if <[u8; 32]>::from(Sha256::digest(&code)) != checksum {
        return Err(doubt("the checksum differs"));
    }
    Ok(code)
}

fn check_owner(found: &fs::Metadata, others: u32, what: &str) -> io::Result<()> {
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(doubt(&format!("{what} belongs to someone else")));
    }
    if found.mode() & others != 0 {
        return Err(doubt(&format!("{what} is open to others (mode {:o})", found.mode() & 0o7777)));
    }
    Ok(())
}

fn doubt(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn engine_digest(engine: &Engine) -> String {
    let mut hasher = Sha(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hex::encode(hasher.0.finalize()).chars().take(16).collect()
}

/// Feeds a [`std::hash::Hash`] to SHA-256.
struct Sha(Sha256);

impl Hasher for Sha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
