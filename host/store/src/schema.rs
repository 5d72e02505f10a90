//! The database file and its tables.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Row, SqlSafeStr};

use crate::{Error, cannot_open};

/// In order; one that was released never changes.
const MIGRATIONS: [(i64, &str, &str); 3] = [
    (1, "first", include_str!("../migrations/0001_first.sql")),
    (2, "authority", include_str!("../migrations/0002_authority.sql")),
    (3, "plugins", include_str!("../migrations/0003_plugins.sql")),
];

/// Makes the file and its folder where they are missing, so that nobody else can read either.
/// SQLite gives its `-wal` and `-shm` files the same mode.
pub(crate) fn create_file(path: &Path) -> Result<(), Error> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        create_folder(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => sync_folder(path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}

/// A folder of mode 0700, where there is none yet, and its parents. Their names last through a power
/// cut, or else all that is ever synced inside may be gone after it.
pub(crate) fn create_folder(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_folder(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
        Ok(()) => sync_folder(path),
    }
}

/// Makes the names in the folder of `path` last through a power cut.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| Error::Io { path: folder.to_owned(), source })
}

pub(crate) async fn migrate(path: &Path, connection: &mut SqliteConnection) -> Result<(), Error> {
    let migrations = MIGRATIONS
        .into_iter()
        .map(|(version, name, sql)| {
            Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
        })
        .collect();
    Migrator::with_migrations(migrations).run(connection).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => schema(path, found),
        MigrateError::Execute(source) => cannot_open(path, source),
        other => Error::Open { path: path.to_owned(), source: Box::new(other) },
    })
}

/// For a reader, which cannot migrate.
pub(crate) async fn check(path: &Path, reader: &mut SqliteConnection) -> Result<(), Error> {
    let found: i64 = sqlx::query("SELECT coalesce(max(version), 0) AS version FROM _sqlx_migrations")
        .fetch_one(reader)
        .await
        .and_then(|row| row.try_get("version"))
        .map_err(|e| cannot_open(path, e))?;
    if found == known() { Ok(()) } else { Err(schema(path, found)) }
}

fn schema(path: &Path, found: i64) -> Error {
    Error::Schema { path: path.to_owned(), found, known: known() }
}

fn known() -> i64 {
    MIGRATIONS.last().map_or(0, |(version, ..)| *version)
}
