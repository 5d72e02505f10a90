//! The database file and its tables.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{Row, SqlSafeStr};

use crate::{Error, cannot_open};

/// In order; one that was released never changes.
const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "first", include_str!("../migrations/0001_first.sql"))];

/// Makes the file (0600) and its folder (0700) where they are missing.
/// SQLite gives its `-wal` and `-shm` files the same mode.
pub(crate) fn create_file(path: &Path) -> Result<(), Error> {
    let io = |source| Error::Io { path: path.to_owned(), source: Arc::new(source) };
    DirBuilder::new().recursive(true).mode(0o700).create(folder(path)).map_err(io)?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => sync_folder(path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(io(source)),
    }
}

/// Makes the names in the folder of `path` last through a power cut.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = folder(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| Error::Io { path: folder.to_owned(), source: Arc::new(source) })
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
        other => Error::Open { path: path.to_owned(), source: Arc::new(other) },
    })
}

/// For a reader, which cannot migrate.
pub(crate) async fn check(path: &Path, readers: &SqlitePool) -> Result<(), Error> {
    let found: i64 = sqlx::query("SELECT coalesce(max(version), 0) AS version FROM _sqlx_migrations")
        .fetch_one(readers)
        .await
        .and_then(|row| row.try_get("version"))
        .map_err(|e| cannot_open(path, e))?;
    if found == known() { Ok(()) } else { Err(schema(path, found)) }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn schema(path: &Path, found: i64) -> Error {
    Error::Schema { path: path.to_owned(), found, known: known() }
}

fn known() -> i64 {
    MIGRATIONS.last().map_or(0, |(version, ..)| *version)
}
