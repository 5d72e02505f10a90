//! Components as files named after their SHA-256: what a restart compiles the live set from.
//!
//! A file is written whole, synced and renamed into place, and its digest is checked at every reading: a
//! crash or a damaged disk leaves a file that is refused, never one that is trusted.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::fetch::Component;

/// The largest component read, in bytes.
const MAX_COMPONENT: u64 = 64 << 20;
/// The largest signature read, in bytes.
const MAX_SIGNATURE: u64 = 16 << 10;
/// Files kept that no recorded set names, such as uploads that are not staged yet: the newest.
const UNNAMED: usize = 32;

/// A folder of components.
pub(crate) struct Components {
    dir: PathBuf,
}

impl Components {
    /// The components in `dir`, which is left as it is.
    pub(crate) fn at(dir: &Path) -> Self {
        Components { dir: dir.to_owned() }
    }

    /// The same; makes the folder where it is missing, and removes what a crash left half-written.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("new-") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self::at(dir))
    }

    /// Keeps a component; durable when it returns. Gives its digest.
    pub(crate) fn put(&self, bytes: &[u8], signature: Option<&[u8]>) -> io::Result<String> {
        let digest = digest(bytes);
        let (path, signed) = (self.path(&digest), self.signature(&digest));
        if let Some(signature) = signature
            && fs::read(&signed).ok().as_deref() != Some(signature)
        {
            self.write(&signed, signature)?;
        }
        match self.read(&digest) {
            // So that it is among the newest.
            Ok(Some(_)) => File::open(&path)?.set_modified(SystemTime::now())?,
            Ok(None) | Err(_) => self.write(&path, bytes)?,
        }
        Ok(digest)
    }

    /// The component of that digest, none where it is not there; the text says what is wrong with its file.
    pub(crate) fn get(&self, digest: &str) -> Result<Option<Component>, String> {
        if !is_digest(digest) {
            return Err(format!("{digest:?} is no SHA-256 in lower-case hex"));
        }
        let Some(bytes) = self.read(digest)? else { return Ok(None) };
        Ok(Some(Component { bytes, signature: signature(&self.signature(digest)) }))
    }

    /// Removes what `named` does not name, but for the newest few.
    pub(crate) fn drop_unnamed(&self, named: &BTreeSet<String>) -> io::Result<()> {
        let mut unnamed = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(digest) = name.to_str().and_then(|name| name.strip_suffix(".wasm")) else { continue };
            if is_digest(digest) && !named.contains(digest) {
                match entry.metadata().and_then(|found| found.modified()) {
                    Ok(modified) => unnamed.push((modified, digest.to_owned())),
                    // Another one is at the same work.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        unnamed.sort();
        let surplus = unnamed.len().saturating_sub(UNNAMED);
        for (_, digest) in unnamed.iter().take(surplus) {
            for path in [self.path(digest), self.signature(digest)] {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The file of a component.
    pub(crate) fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}.wasm"))
    }

    fn signature(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}.wasm.sig"))
    }

    fn read(&self, wanted: &str) -> Result<Option<Vec<u8>>, String> {
        let path = self.path(wanted);
        let bytes = match read_limited(&path, MAX_COMPONENT, OFlags::NOFOLLOW) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        let found = digest(&bytes);
        if found != wanted {
            return Err(format!("{} is damaged: its SHA-256 is {found}", path.display()));
        }
        Ok(Some(bytes))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!("new-{}-{number}", std::process::id()));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            File::open(&self.dir)?.sync_all()
        })();
        if written.is_err() {
            // It may not be there at all.
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

/// An operator's file, with the signature beside it.
pub(crate) fn read_file(path: &Path) -> Result<Component, String> {
    let bytes = read_limited(path, MAX_COMPONENT, OFlags::empty())
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".sig");
    Ok(Component { bytes, signature: signature(Path::new(&beside)) })
}

/// SHA-256 in lower-case hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Whether it is written as [`digest`] writes it; such a name leads out of no folder.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// One that cannot be read is none: where a signature is needed, its lack is said.
fn signature(path: &Path) -> Option<Vec<u8>> {
    read_limited(path, MAX_SIGNATURE, OFlags::empty()).ok()
}

/// A plain file, waiting for no pipe.
fn read_limited(path: &Path, limit: u64, flags: OFlags) -> io::Result<Vec<u8>> {
    let flags = i32::try_from((flags | OFlags::NONBLOCK).bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a plain file"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(found.len().min(limit)).unwrap_or(0));
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|read| read <= limit) {
        return Ok(bytes);
    }
    Err(io::Error::new(ErrorKind::FileTooLarge, format!("larger than the {limit} bytes it may have")))
}
