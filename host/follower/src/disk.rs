//! The folder: `key.pem`, `request.pem`, `certificate.pem`, `trust.json` and the `trust.json.1` before it.
//!
//! Bundle and lists are one file, so that they always belong together. A file gets its name when all of
//! it is on disk, so its name means the old content or the new one, whatever happens.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pki::{Bundle, SigningKey};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::judge::{Arrival, Held, Offer, judge};

/// Most bytes of a file: a bundle, and two texts of lists as long as a stream's line.
const MAX: u64 = 192 << 20;
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// The folder, held against other daemons.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    _lock: File,
}

/// What `trust.json` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    offer: Offer,
    #[serde(flatten)]
    arrival: Arrival,
    /// The bundle of the first contact, which a pin is about.
    first: String,
}

/// What was found to be in force.
#[derive(Debug)]
pub(crate) struct Kept {
    pub held: Held,
    /// The bundle of the first contact.
    pub first: Bundle,
}

impl Folder {
    /// Makes the folder if need be, for us alone, and takes hold of it.
    pub fn open(dir: &Path) -> Result<Folder, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io(dir))?;
        let path = dir.join("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(SECRET).open(&path);
        let lock = lock.map_err(io(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Folder { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::Held(dir.to_owned())),
            Err(TryLockError::Error(error)) => Err(io(&path)(error)),
        }
    }

    /// Where.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What was in force last, checked as if it came from the network. If the file is not what we wrote,
    /// the one before it, which says a little less; if that is no better, nothing.
    pub fn trust(&self) -> Result<Option<Kept>, Error> {
        for name in ["trust.json", "trust.json.1"] {
            let path = self.dir.join(name);
            let Some(content) = read(&path)? else { continue };
            match kept(&content) {
                Ok(kept) => {
                    if name != "trust.json" {
                        let (path, number) = (path.display(), kept.held.trust.number);
                        tracing::error!(%path, number, "took the bundle and revocation lists from before the last");
                    }
                    return Ok(Some(kept));
                }
                Err(reason) => {
                    let path = path.display();
                    tracing::error!(%path, reason, "the bundle and revocation lists on disk are damaged and not believed");
                }
            }
        }
        Ok(None)
    }

    /// Keeps a trust, and the one before it beside it.
    pub fn keep_trust(&self, held: &Held, first: &Bundle) -> Result<(), Error> {
        let path = self.dir.join("trust.json");
        let stored =
            Stored { offer: held.offer(), arrival: Arrival::of(&held.trust), first: first.pem().to_string() };
        let content = serde_json::to_vec(&stored).map_err(|error| io(&path)(error.into()))?;
        let beside = self.write_beside(&path, &content, PUBLIC)?;
        self.keep_previous(&path)?;
        self.rename(&beside, &path)
    }

    /// The key, if there is one.
    pub fn key(&self) -> Result<Option<SigningKey>, Error> {
        let path = self.dir.join("key.pem");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(&path)(error)),
        };
        let metadata = file.metadata().map_err(io(&path))?;
        let mode = metadata.permissions().mode() & 0o7777;
        let user = rustix::process::geteuid().as_raw();
        if mode & 0o077 != 0 {
            return Err(Error::Mode { path, mode });
        }
        if metadata.uid() != user {
            return Err(Error::Owner { path, owner: metadata.uid(), user });
        }
        let content = content(file, &path)?;
        SigningKey::from_pem(&content).map(Some).map_err(|source| Error::Key { path, source })
    }

    /// Keeps a key.
    pub fn keep_key(&self, key: &SigningKey) -> Result<(), Error> {
        let path = self.dir.join("key.pem");
        let beside = self.write_beside(&path, key.to_secret_pem().as_bytes(), SECRET)?;
        self.rename(&beside, &path)
    }

    /// The certificate's file, as it is.
    pub fn certificate(&self) -> Result<Option<Vec<u8>>, Error> {
        read(&self.dir.join("certificate.pem"))
    }

    /// Keeps a certificate.
    pub fn keep_certificate(&self, pem: &str) -> Result<(), Error> {
        let path = self.dir.join("certificate.pem");
        let beside = self.write_beside(&path, pem.as_bytes(), PUBLIC)?;
        self.rename(&beside, &path)
    }

    /// The request's file, as it is.
    pub fn request(&self) -> Result<Option<Vec<u8>>, Error> {
        read(&self.dir.join("request.pem"))
    }

    /// Keeps a request.
    pub fn keep_request(&self, pem: &str) -> Result<(), Error> {
        let path = self.dir.join("request.pem");
        let beside = self.write_beside(&path, pem.as_bytes(), PUBLIC)?;
        self.rename(&beside, &path)
    }

    /// Gives the file that is there a second name, so that it is never missing under its own.
    fn keep_previous(&self, path: &Path) -> Result<(), Error> {
        let (link, previous) = (self.dir.join("trust.json.1.new"), self.dir.join("trust.json.1"));
        remove(&link)?;
        match std::fs::hard_link(path, &link) {
            Ok(()) => std::fs::rename(&link, &previous).map_err(io(&previous)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io(path)(error)),
        }
    }

    /// Writes a file through to the disk under another name; the mode is there from the first byte on.
    fn write_beside(&self, path: &Path, content: &[u8], mode: u32) -> Result<PathBuf, Error> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        remove(&beside)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside);
        let mut file = file.map_err(io(&beside))?;
        file.write_all(content).and_then(|()| file.sync_all()).map_err(io(&beside))?;
        Ok(beside)
    }

    /// Renames, through to the disk: without the folder's own fsync a power cut may undo it.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        std::fs::rename(from, to).map_err(io(to))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(io(&self.dir))
    }
}

fn kept(content: &[u8]) -> Result<Kept, String> {
    let stored: Stored = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    let first = Bundle::parse(stored.first.as_bytes()).map_err(|error| error.to_string())?;
    let judged = judge(&stored.offer, None, stored.arrival);
    let held = judged.map_err(|refusal| refusal.to_string())?.ok_or("it holds nothing")?;
    Ok(Kept { held, first })
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match File::open(path) {
        Ok(file) => content(file, path).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(path)(error)),
    }
}

fn content(file: File, path: &Path) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    file.take(MAX).read_to_end(&mut content).map_err(io(path))?;
    Ok(content)
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io(path)(error)),
        _ => Ok(()),
    }
}
