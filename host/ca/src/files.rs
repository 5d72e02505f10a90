//! Files that survive a power cut, and private keys that nobody else can read.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::Error;

/// Most bytes of a file that is read at once: a revocation list of five million entries.
const MAX: u64 = 256 * 1024 * 1024;
/// Mode of a private key.
pub(crate) const SECRET: u32 = 0o600;
/// Mode of what everybody may read.
pub(crate) const PUBLIC: u32 = 0o644;

pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

/// The folder, for us alone, with its parents. Their names are through to the disk: without them a power
/// cut takes all that was ever synced inside.
pub(crate) fn create_dir(dir: &Path) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(io(dir)(error)),
        Ok(()) => sync_dir_of(dir),
    }
}

/// What a file holds; `None` if it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    open(path)?.map(|file| content(file, path)).transpose()
}

/// What a private key's file holds, if it is ours and nobody else can read it.
pub(crate) fn read_secret(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let Some(file) = open(path)? else { return Ok(None) };
    let metadata = file.metadata().map_err(io(path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    let user = rustix::process::geteuid().as_raw();
    if mode & 0o077 != 0 {
        return Err(Error::Mode { path: path.to_owned(), mode });
    }
    if metadata.uid() != user {
        return Err(Error::Owner { path: path.to_owned(), owner: metadata.uid(), user });
    }
    content(file, path).map(Some)
}

/// Writes a file so that, whatever happens, its name means the old content or the new one.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let beside = beside(path);
    write(&beside, content, mode)?;
    rename(&beside, path)
}

/// Where a file is written before it gets its name.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Writes a file through to the disk. The mode is there from the first byte on.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    remove(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(io(path))?;
    file.write_all(content).map_err(io(path))?;
    file.sync_all().map_err(io(path))
}

/// Renames within a folder, through to the disk: without the folder's own fsync a power cut may bring
/// the old name back.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(io(to))?;
    sync_dir_of(to)
}

/// Makes what was created or renamed beside `path` stay.
pub(crate) fn sync_dir_of(path: &Path) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir))
}

/// Removes a file if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io(path)(error)),
        _ => Ok(()),
    }
}

fn open(path: &Path) -> Result<Option<File>, Error> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(path)(error)),
    }
}

fn content(file: File, path: &Path) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    file.take(MAX + 1).read_to_end(&mut content).map_err(io(path))?;
    if u64::try_from(content.len()).is_ok_and(|length| length > MAX) {
        return Err(Error::File { path: path.to_owned(), reason: format!("it has more than {MAX} bytes") });
    }
    Ok(content)
}
