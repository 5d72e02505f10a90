//! Backups of the whole CA in one file, and what is made of them.
//!
//! A backup is a tar file: first `MANIFEST`, a text that names every other member with its size and
//! SHA-256, then the database, the CA's key as it is on disk, its certificate and its lists.
//!
//! A restored CA has forgotten what came after the backup. So that nothing of it repeats: serials are
//! random, and lists get numbers beyond a floor that is higher than any before, made from the clock.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use pki::crl::Crl;
use sha2::{Digest as _, Sha256};
use store::Store;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::files::{self, SECRET};
use crate::founding::{self, Place, State, blocking};
use crate::{Error, Settings, lists};

const MANIFEST: &str = "MANIFEST";
/// First line of a manifest.
const KIND: &str = "bunraku-ca-backup 1";
const DATABASE: &str = "state.db";
/// The files beside the database; all but the last must be there.
const FILES: [&str; 3] = ["ca_key.pem", "ca_crt.pem", lists::FILE];
/// Most bytes of a manifest.
const LONGEST: u64 = 64 * 1024;
/// Rows that are read at once.
const PAGE: u32 = 1000;
/// Lists that may be published in one second without using up the numbers of the next: 2 to the 20th.
const NUMBERS_PER_SECOND: u64 = 1 << 20;

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
    pub moved: Option<PathBuf>,
}

/// Writes the whole CA into one tar file (mode 0600): the database, the key as it is on disk, the
/// certificate, the lists, and a manifest with the SHA-256 of each. It may be done beside a running
/// daemon, with the store open for reading only.
///
/// # Errors
/// [`Error::NoCa`], [`Error::Incomplete`]; [`Error::Archive`] where the file exists; [`Error::Io`], and
/// no file stays then.
pub async fn backup(
    settings: &Settings,
    store: &Store,
    path: &Path,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let place = Place::of(settings);
    let State::Made(fingerprint) = founding::state(store).await? else {
        return Err(Error::NoCa { dir: settings.dir.clone(), remedy: "there is nothing to back up" });
    };
    let bundle = founding::read_bundle(&place.certificate)?.ok_or_else(|| founding::incomplete(&place))?;
    if !place.key.exists() {
        return Err(founding::incomplete(&place));
    }
    if path.exists() {
        return Err(archive(path, "there is such a file already; a backup is never overwritten"));
    }
    // The database first: a list that is newer than it does no harm, the other way round it would.
    let provisional = files::beside(path);
    let database = files::beside(&provisional);
    files::remove(&database)?;
    store.backup_to(&database).await?;
    let mut members = vec![(DATABASE.to_owned(), database.clone())];
    members.extend(FILES.map(|name| (name.to_owned(), settings.dir.join(name))));
    members.retain(|(_, path)| path.exists());
    let made = now.format(&Rfc3339).unwrap_or_default();
    let header = format!("{KIND}\nmade {made}\nca {fingerprint} {}\n", bundle.issuer().subject_cn);

    let (target, aside, unfinished) = (path.to_owned(), database.clone(), provisional.clone());
    let written = blocking(move || {
        pack(&provisional, &header, &members)?;
        files::rename(&provisional, &target)
    });
    let written = written.await;
    if let Err(error) = files::remove(&aside) {
        tracing::warn!(%error, "what the backup was made from stays behind");
    }
    if written.is_err() {
        files::remove(&unfinished)?;
        // It has its name already where only that could not be made to last.
        files::remove(path)?;
    }
    written
}

/// Puts a backup in place: the CA's files into the settings' folder, the database at `database`. No
/// number of a list and no serial is ever used again, and what the replaced state had revoked stays so.
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
    let dir = &settings.dir;
    let taken = [database.exists().then(|| database.to_owned()), full(dir).then(|| dir.clone())];
    let taken: Vec<PathBuf> = taken.into_iter().flatten().collect();
    if let Some(first) = taken.first().filter(|_| !force) {
        let reason =
            format!("{} is there already, and would be replaced: say so with --force", first.display());
        return Err(archive(path, reason));
    }
    let staging = beside(dir, "restoring");
    remove_folder(&staging)?;
    files::create_dir(&staging)?;
    let restored = bring_back(path, settings, database, &taken, &staging, now).await;
    if restored.is_err() {
        // A copy of the key is not left lying about; the first error is the one to tell.
        let _ = remove_folder(&staging);
    }
    restored
}

async fn bring_back(
    path: &Path,
    settings: &Settings,
    database: &Path,
    taken: &[PathBuf],
    staging: &Path,
    now: OffsetDateTime,
) -> Result<Restored, Error> {
    let dir = &settings.dir;
    let (source, target) = (path.to_owned(), staging.to_owned());
    let manifest = blocking(move || unpack(&source, &target)).await?;

    let place = Place { key: staging.join("ca_key.pem"), certificate: staging.join("ca_crt.pem") };
    let staged = Store::open(&staging.join(DATABASE)).await?;
    if founding::state(&staged).await? != State::Made(manifest.fingerprint.clone()) {
        return Err(archive(path, "its database is not of the CA that its manifest names"));
    }
    founding::settle(&place, &manifest.fingerprint)?;
    let bundle = founding::read_bundle(&place.certificate)?.ok_or_else(|| founding::incomplete(&place))?;
    let (mut missing, mut published) = (Vec::new(), None);
    if database.exists() {
        missing = carry_over(database, &staged, now).await?;
    }
    // A list from after the backup says more than the backup's own.
    let old = files::read(&dir.join(lists::FILE))?.unwrap_or_default();
    let newest = |text: &[u8]| {
        let lists = Crl::parse_pem_all(text).unwrap_or_default();
        lists.iter().filter(|l| l.is_signed_by(bundle.issuer())).map(|l| l.number).max()
    };
    if newest(&old) > newest(&files::read(&staging.join(lists::FILE))?.unwrap_or_default()) {
        files::write(&staging.join(lists::FILE), &old, files::PUBLIC)?;
        published = newest(&old);
    }
    let stored = staged.latest_crl().await?.and_then(|row| u64::try_from(row.number).ok());
    let before = staged.crl_floor().await?.and_then(|floor| u64::try_from(floor).ok());
    let highest = [stored, before, published].into_iter().flatten().max().unwrap_or(0);
    let crl_floor = epoch(now, highest);
    staged.raise_crl_floor(lists::as_number(crl_floor)).await?;
    let certificates = count(&staged).await?;
    staged.close().await;

    let moved = match taken.is_empty() {
        true => None,
        false => Some(move_aside(dir, database, now)?),
    };
    put_in_place(staging, dir, database)?;
    let name = bundle.issuer().subject_cn.clone();
    tracing::info!(name, made = %manifest.made, certificates, crl_floor, "restored a CA from a backup");
    Ok(Restored { name, made: manifest.made, certificates, missing, crl_floor, moved })
}

/// A number beyond any that a list may have had: from the clock, or, should that have gone back, from
/// what is known.
pub(crate) fn epoch(now: OffsetDateTime, highest: u64) -> u64 {
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or(0);
    seconds.saturating_mul(NUMBERS_PER_SECOND).max(highest.saturating_add(NUMBERS_PER_SECOND))
}

struct Manifest {
    fingerprint: String,
    made: OffsetDateTime,
    /// Name, size and SHA-256 of each member.
    members: Vec<(String, u64, String)>,
}

impl Manifest {
    fn parse(text: &str) -> Option<Manifest> {
        let mut lines = text.lines();
        if lines.next()? != KIND {
            return None;
        }
        let made = OffsetDateTime::parse(lines.next()?.strip_prefix("made ")?, &Rfc3339).ok()?;
        let (fingerprint, _) = lines.next()?.strip_prefix("ca ")?.split_once(' ')?;
        let mut members = Vec::new();
        for line in lines {
            let mut fields = line.split(' ');
            let (sum, size, name) = (fields.next()?, fields.next()?.parse().ok()?, fields.next()?);
            if name != DATABASE && !FILES.contains(&name) || fields.next().is_some() {
                return None;
            }
            members.push((name.to_owned(), size, sum.to_owned()));
        }
        Some(Manifest { fingerprint: fingerprint.to_owned(), made, members })
    }
}

fn pack(path: &Path, header: &str, members: &[(String, PathBuf)]) -> Result<(), Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let (mut manifest, mut contents) = (header.to_owned(), Vec::new());
    for (name, path) in members {
        let mut file = File::open(path).map_err(files::io(path))?;
        let (sum, size) = digest(&mut file, &mut std::io::sink()).map_err(files::io(path))?;
        file.rewind().map_err(files::io(path))?;
        manifest.push_str(&format!("{sum} {size} {name}\n"));
        // The daemon may put a new list in the place of this one at any moment: what goes in has to be
        // the file that was summed, not the one that has its name by then.
        contents.push((name, file, size));
    }
    files::remove(path)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(SECRET).open(path).map_err(io)?;
    let mut tar = tar::Builder::new(file);
    let size = u64::try_from(manifest.len()).unwrap_or(u64::MAX);
    tar.append_data(&mut member(size), MANIFEST, manifest.as_bytes()).map_err(io)?;
    for (name, file, size) in contents {
        tar.append_data(&mut member(size), name, file.take(size)).map_err(io)?;
    }
    tar.into_inner().and_then(|file| file.sync_all()).map_err(io)
}

fn member(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_mode(SECRET);
    header.set_size(size);
    header
}

/// Takes the members out, each checked against the manifest.
fn unpack(path: &Path, target: &Path) -> Result<Manifest, Error> {
    let not_whole = |error: std::io::Error| archive(path, format!("it is no whole backup: {error}"));
    let file = File::open(path).map_err(files::io(path))?;
    let mut tar = tar::Archive::new(file);
    let mut entries = tar.entries().map_err(not_whole)?;
    let mut text = String::new();
    let first = entries.next().ok_or_else(|| archive(path, "it is empty"))?.map_err(not_whole)?;
    let is_manifest = first.path().map_err(not_whole)?.as_os_str() == MANIFEST;
    first.take(LONGEST).read_to_string(&mut text).map_err(not_whole)?;
    let manifest = Manifest::parse(&text).filter(|_| is_manifest);
    let manifest = manifest.ok_or_else(|| archive(path, "it does not begin with a backup's manifest"))?;
    let mut left = manifest.members.clone();
    for entry in entries {
        let mut entry = entry.map_err(not_whole)?;
        let name = entry.path().map_err(not_whole)?.into_owned();
        let known = left.iter().position(|(known, ..)| Path::new(known) == name);
        let Some(known) = known else {
            return Err(archive(path, format!("its manifest does not know {}", name.display())));
        };
        let (name, size, sum) = left.swap_remove(known);
        let path_there = target.join(&name);
        let create = OpenOptions::new().write(true).create_new(true).mode(SECRET).open(&path_there);
        let mut file = create.map_err(files::io(&path_there))?;
        let (found, length) = digest(&mut entry, &mut file).map_err(not_whole)?;
        file.sync_all().map_err(files::io(&path_there))?;
        if (length, &found) != (size, &sum) {
            return Err(archive(path, format!("{name} in it is damaged: its SHA-256 is not the manifest's")));
        }
    }
    if let Some((name, ..)) = left.first() {
        return Err(archive(path, format!("{name} is missing in it")));
    }
    Ok(manifest)
}

/// Copies, and answers SHA-256 and length.
fn digest(from: &mut impl Read, to: &mut impl std::io::Write) -> std::io::Result<(String, u64)> {
    let (mut sum, mut length, mut buffer) = (Sha256::new(), 0u64, vec![0; 64 * 1024]);
    loop {
        let count = from.read(&mut buffer)?;
        let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else {
            return Ok((hex::encode(sum.finalize()), length));
        };
        sum.update(read);
        to.write_all(read)?;
        length += u64::try_from(count).unwrap_or(0);
    }
}

/// What the state to be replaced knows and the backup does not: revocations go over, certificates are
/// named. A state that cannot be read says nothing.
async fn carry_over(
    database: &Path,
    staged: &Store,
    now: OffsetDateTime,
) -> Result<Vec<(String, String)>, Error> {
    let old = match Store::open(database).await {
        Ok(old) => old,
        Err(error @ store::Error::Held { .. }) => return Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "the state that is replaced cannot be read");
            return Ok(Vec::new());
        }
    };
    let carried = async {
        staged.import_revoked(old.revoked(now.unix_timestamp()).await?).await?;
        let (mut missing, mut after) = (Vec::new(), 0);
        loop {
            let page = old.certificates_after(after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for (_, row) in page {
                if staged.certificate_by_serial(&row.serial).await?.is_none() {
                    missing.push((row.serial, row.certname));
                }
            }
        }
        Ok::<_, store::Error>(missing)
    };
    let carried = carried.await;
    old.close().await;
    carried.or_else(|error| {
        tracing::warn!(%error, "the state that is replaced cannot be read whole");
        Ok(Vec::new())
    })
}

async fn count(store: &Store) -> Result<u64, Error> {
    let (mut count, mut after) = (0, 0);
    loop {
        let page = store.certificates_after(after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(count) };
        after = *last;
        count += u64::try_from(page.len()).unwrap_or(0);
    }
}

/// Files of a database, all in the same folder.
fn database_files(database: &Path) -> impl Iterator<Item = PathBuf> {
    ["", "-wal", "-shm"].into_iter().map(|end| {
        let mut name = database.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    })
}

fn move_aside(dir: &Path, database: &Path, now: OffsetDateTime) -> Result<PathBuf, Error> {
    let aside = beside(dir, &format!("replaced-{}", now.unix_timestamp()));
    files::create_dir(&aside)?;
    for file in database_files(database).filter(|file| file.exists()) {
        let name = file.file_name().unwrap_or(database.as_os_str()).to_owned();
        files::rename(&file, &aside.join(name))?;
    }
    if dir.exists() {
        files::rename(dir, &aside.join("ca"))?;
        files::sync_dir_of(dir)?;
    }
    files::sync_dir_of(database)?;
    Ok(aside)
}

/// The database comes last: without it the rest is no CA, and the restore can be done again.
fn put_in_place(staging: &Path, dir: &Path, database: &Path) -> Result<(), Error> {
    files::create_dir(dir)?;
    for name in FILES {
        let from = staging.join(name);
        if from.exists() {
            files::rename(&from, &dir.join(name))?;
        }
    }
    files::rename(&staging.join(DATABASE), database)?;
    remove_folder(staging)
}

fn full(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut files| files.next().is_some())
}

fn beside(dir: &Path, what: &str) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(format!(".{what}"));
    PathBuf::from(name)
}

fn remove_folder(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(files::io(path)(error)),
        _ => Ok(()),
    }
}

fn archive(path: &Path, reason: impl Into<String>) -> Error {
    Error::Archive { path: path.to_owned(), reason: reason.into() }
}
