//! The registry as a folder: a key is a path below it, an etag the digest of the content.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use url::Url;

use crate::retry::Cause;
use crate::{Error, Failure, Fetched, Listing, Object, ObjectInfo};

/// Entries on a page of a listing, as S3 has it.
const PAGE: usize = 1000;

pub(crate) struct Dir {
    folder: Arc<Path>,
    max_object_bytes: u64,
}

impl Dir {
    pub(crate) fn open(url: &Url, max_object_bytes: u64) -> Result<Dir, Error> {
        let folder = url
            .to_file_path()
            .ok()
            .filter(|_| url.query().is_none() && url.fragment().is_none())
            .ok_or_else(|| Error::Config(format!("url: \"{url}\" must be dir: and an absolute path")))?;
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| {
            Error::Config(format!("url: cannot make the folder {}: {error}", folder.display()))
        })?;
        Ok(Dir { folder: folder.into(), max_object_bytes })
    }

    pub(crate) fn describe(&self) -> String {
        format!("dir:{}", self.folder.display()).trim_end_matches('/').to_owned()
    }

    pub(crate) async fn get(&self, key: &str, url: &str, etag: Option<&str>) -> Result<Fetched, Failure> {
        let (path, limit) = (self.folder.join(key), self.max_object_bytes);
        let (body, modified) = self.blocking(url, move || read(&path, limit)).await?;
        let body = body.ok_or_else(|| Error::TooLarge { url: url.to_owned(), limit })?;
        let found = etag_of(&body);
        if etag == Some(found.as_str()) {
            return Ok(Fetched::Unchanged);
        }
        Ok(Fetched::Object(Object {
            key: key.to_owned(),
            body,
            etag: Some(found),
            modified,
            content_type: None,
            url: url.to_owned(),
        }))
    }

    /// Reads the file: a definition is small, and no time stamp tells two writes within a tick apart.
    pub(crate) async fn head(&self, key: &str, url: &str) -> Result<ObjectInfo, Failure> {
        let (path, limit) = (self.folder.join(key), self.max_object_bytes);
        let (body, modified) = self.blocking(url, move || read(&path, limit)).await?;
        let body = body.ok_or_else(|| Error::TooLarge { url: url.to_owned(), limit })?;
        Ok(ObjectInfo {
            key: key.to_owned(),
            size: u64::try_from(body.len()).unwrap_or(u64::MAX),
            etag: Some(etag_of(&body)),
            modified,
            content_type: None,
            url: url.to_owned(),
        })
    }

    pub(crate) async fn list(
        &self,
        prefix: &str,
        url: &str,
        cursor: Option<&str>,
    ) -> Result<Listing, Failure> {
        let folder = Arc::clone(&self.folder);
        let base = url.strip_suffix(prefix).unwrap_or(url).to_owned();
        let (prefix, cursor) = (prefix.to_owned(), cursor.unwrap_or_default().to_owned());
        self.blocking(url, move || list(&folder, &prefix, &cursor, &base)).await
    }

    pub(crate) async fn put(
        &self,
        key: &str,
        url: &str,
        body: &[u8],
        only_new: bool,
    ) -> Result<Option<String>, Failure> {
        let (folder, path, body) = (Arc::clone(&self.folder), self.folder.join(key), body.to_vec());
        let etag = etag_of(&body);
        self.blocking(url, move || write(&folder, &path, &body, only_new)).await?;
        Ok(Some(etag))
    }

    pub(crate) async fn delete(&self, key: &str, url: &str) -> Result<(), Failure> {
        let path = self.folder.join(key);
        let gone = self
            .blocking(url, move || {
                std::fs::remove_file(&path)?;
                sync_folder(&path)
            })
            .await;
        match gone {
            Err(Failure::Final(Error::NotFound { .. })) => Ok(()),
            other => other,
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        url: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let outcome = tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(io::Error::other(e)));
        outcome.map_err(|error| {
            let url = url.to_owned();
            match error.kind() {
                // An unmounted registry is not an empty one.
                ErrorKind::NotFound if !self.folder.is_dir() => {
                    Failure::Again(Cause(format!("the folder {} is gone", self.folder.display())))
                }
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
                    Failure::Final(Error::NotFound { url })
                }
                ErrorKind::AlreadyExists => Failure::Final(Error::Exists { url }),
                ErrorKind::PermissionDenied => {
                    Failure::Final(Error::DeniedOrMissing { url, reason: "permission denied".to_owned() })
                }
                _ => Failure::Again(Cause::of(&error)),
            }
        })
    }
}

/// `None` for the body: it is larger than `limit`.
fn read(path: &Path, limit: u64) -> io::Result<(Option<Vec<u8>>, Option<OffsetDateTime>)> {
    // Looked at before it is opened: opening a pipe would wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(ErrorKind::NotFound.into());
    }
    let file = File::open(path)?;
    let modified = file.metadata()?.modified().ok().map(OffsetDateTime::from);
    let mut body = Vec::new();
    let length = file.take(limit.saturating_add(1)).read_to_end(&mut body)?;
    let fits = u64::try_from(length).is_ok_and(|length| length <= limit);
    Ok((fits.then_some(body), modified))
}

fn list(folder: &Path, prefix: &str, cursor: &str, base: &str) -> io::Result<Listing> {
    let (parent, start) = match prefix.rfind('/') {
        Some(slash) => prefix.split_at(slash + 1),
        None => ("", prefix),
    };
    let entries = match std::fs::read_dir(folder.join(parent)) {
        // As in a bucket: nothing lies under a prefix that does not exist. The root must exist.
        Err(error) if error.kind() == ErrorKind::NotFound && !parent.is_empty() => {
            return Ok(Listing::default());
        }
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // A link counts as what it points to; one that points nowhere is no object.
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        let slash = if metadata.is_dir() { "/" } else { "" };
        let key = format!("{parent}{name}{slash}");
        let is_key = crate::key::check_prefix(&key).is_ok() && (metadata.is_dir() || metadata.is_file());
        if is_key && name.starts_with(start) && key.as_str() > cursor {
            found.push((key, metadata));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = found.last().filter(|_| more).map(|(key, _)| key.clone());
    let mut listing = Listing { next, ..Listing::default() };
    for (key, metadata) in found {
        if metadata.is_dir() {
            listing.prefixes.push(key);
        } else {
            listing.objects.push(ObjectInfo {
                url: format!("{base}{key}"),
                key,
                size: metadata.len(),
                etag: None,
                modified: metadata.modified().ok().map(OffsetDateTime::from),
                content_type: None,
            });
        }
    }
    Ok(listing)
}

/// A temporary file in the registry's own folder, synced, then put in its place in one step.
fn write(folder: &Path, path: &Path, body: &[u8], only_new: bool) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let temporary = temporary(folder);
    let written = OpenOptions::new()
        .write(true)
        // A crash may have left one of this name behind, where process ids repeat (in containers).
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(body).and_then(|()| file.sync_all()))
        // A link fails where the name is taken; a rename replaces what has it.
        .and_then(|()| {
            if only_new { std::fs::hard_link(&temporary, path) } else { std::fs::rename(&temporary, path) }
        });
    if only_new || written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    sync_folder(path)
}

fn temporary(folder: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    folder.join(format!(".{}.{count}.tmp", std::process::id()))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn etag_of(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}
