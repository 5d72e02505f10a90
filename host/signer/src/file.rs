//! Key files and passphrases: read only if they are ours and nobody else's, written so that they survive
//! a power cut.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pki::{KeyError, Passphrase, SigningKey};
use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use crate::Error;

/// The variable with the passphrase of the CA's key, where no file is named.
pub const PASSPHRASE_VARIABLE: &str = "BUNRAKU_CA_PASSPHRASE";

/// Most bytes of a key's file.
const MAX_KEY: usize = 1024 * 1024;
/// Most bytes of a passphrase's file.
const MAX_PASSPHRASE: usize = 4096;

/// The passphrase of the CA's key: from the file if one is named, else from [`PASSPHRASE_VARIABLE`] if it
/// is set, else none.
///
/// The file may also be root's with mode 0440, as systemd lays credentials down for a service.
///
/// # Errors
/// [`Error`] when the file is missing, open to others or somebody else's, or when there is no passphrase
/// in it.
pub fn passphrase(file: Option<&Path>) -> Result<Option<Passphrase>, Error> {
    let (place, text) = match file {
        Some(path) => {
            let file = open(path)?.ok_or_else(|| unusable(path, "there is no such file"))?;
            private(&file, path, true)?;
            let text = content(&file, path, MAX_PASSPHRASE)?;
            (path.display().to_string(), text.ok_or_else(|| unusable(path, "more than 4 KiB"))?)
        }
        None => match std::env::var_os(PASSPHRASE_VARIABLE) {
            None => return Ok(None),
            Some(text) => (PASSPHRASE_VARIABLE.to_owned(), Zeroizing::new(text.into_encoded_bytes())),
        },
    };
    // Passphrase::new takes the bytes over and wipes them in the end.
    Passphrase::new(text.to_vec()).map(Some).map_err(|e| Error::Passphrase { place, reason: e.to_string() })
}

/// The key in a file.
pub(crate) fn read(path: &Path, passphrase: Option<&Passphrase>) -> Result<SigningKey, Error> {
    let file = open(path)?.ok_or_else(|| Error::Missing { path: path.to_owned() })?;
    private(&file, path, false)?;
    let unusable = |reason: String| Error::Key { path: path.to_owned(), reason };
    let text = content(&file, path, MAX_KEY)?.ok_or_else(|| unusable("more than 1 MiB: no key".into()))?;
    let key = match (pki::is_encrypted_pem(&text), passphrase) {
        (false, _) => SigningKey::from_pem(&text),
        (true, Some(passphrase)) => SigningKey::from_encrypted_pem(&text, passphrase),
        (true, None) => return Err(Error::PassphraseMissing { path: path.to_owned() }),
    };
    key.map_err(|error| match error {
        KeyError::PassphraseWrong => Error::PassphraseWrong { path: path.to_owned() },
        error => unusable(error.to_string()),
    })
}

/// Makes a key's file. It has its name only when all of it is on the disk.
pub(crate) fn create(path: &Path, key: &SigningKey, passphrase: Option<&Passphrase>) -> Result<(), Error> {
    match path.symlink_metadata() {
        Ok(_) => return Err(Error::Exists { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io(path)(error)),
    }
    let text = Zeroizing::new(match passphrase {
        Some(passphrase) => key
            .to_encrypted_pem(passphrase)
            .map_err(|e| Error::Key { path: path.to_owned(), reason: e.to_string() })?,
        None => key.to_secret_pem(),
    });
    let mut beside = path.as_os_str().to_owned();
    beside.push(".making");
    let beside = PathBuf::from(beside);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(&beside)(error)),
        _ => {}
    }
    let made = write(&beside, text.as_bytes()).and_then(|()| {
        std::fs::rename(&beside, path).map_err(io(path))?;
        // Without the folder's own fsync a power cut may take the name away again.
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir))
    });
    if made.is_err() {
        // Nobody needs half a key; the error that is told is the one that came first.
        let _ = std::fs::remove_file(&beside);
    }
    made
}

fn write(path: &Path, text: &[u8]) -> Result<(), Error> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io(path))?;
    file.write_all(text).map_err(io(path))?;
    file.sync_all().map_err(io(path))
}

/// Not blocking, or a pipe of that name would hold us up.
fn open(path: &Path) -> Result<Option<File>, Error> {
    match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()) {
        Ok(file) => Ok(Some(File::from(file))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(io(path)(error.into())),
    }
}

/// Checks that a secret is a file, ours, and for nobody else to read.
fn private(file: &File, path: &Path, roots_too: bool) -> Result<(), Error> {
    let metadata = file.metadata().map_err(io(path))?;
    if !metadata.is_file() {
        return Err(Error::Key { path: path.to_owned(), reason: "not a file".into() });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    let lent = roots_too && owner == 0;
    if owner != user && !lent {
        return Err(Error::Owner { path: path.to_owned(), owner, user });
    }
    if mode & if lent { 0o037 } else { 0o077 } != 0 {
        return Err(Error::Mode { path: path.to_owned(), mode });
    }
    Ok(())
}

/// What a file holds, read into one piece of memory that is wiped; `None` if it is more than `max`.
fn content(file: &File, path: &Path, max: usize) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    // Growing would leave copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(max + 1));
    let limit = u64::try_from(max + 1).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut text).map_err(io(path))?;
    Ok(Some(text).filter(|text| text.len() <= max))
}

fn unusable(path: &Path, reason: &str) -> Error {
    Error::Passphrase { place: path.display().to_string(), reason: reason.to_owned() }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}
