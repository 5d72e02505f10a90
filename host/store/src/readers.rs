//! Connections that read at the same time.
//!
//! sqlx has a pool of its own, which asks each connection that comes back whether it is still alive:
//! that is a way to the connection's thread and back, and costs as much as most questions.

use std::path::Path;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, RecycleResult, Timeouts};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use crate::{Error, cannot_open};

/// How many.
const READERS: usize = 4;
/// How long to wait for one.
const WAIT: Duration = Duration::from_secs(30);
/// After so many uses a connection is asked whether it is still alive.
const USES: usize = 64;

pub(crate) struct Readers(Pool<Connect>);

/// A connection until it is dropped. A transaction that sqlx began on it is undone before its next use.
pub(crate) type Reader = Object<Connect>;

#[derive(Debug)]
pub(crate) struct Connect(SqliteConnectOptions);

impl Readers {
    pub(crate) async fn open(path: &Path, options: SqliteConnectOptions) -> Result<Readers, Error> {
        let timeouts = Timeouts { wait: Some(WAIT), create: None, recycle: None };
        let pool = Pool::builder(Connect(options)).max_size(READERS).timeouts(timeouts);
        let pool = pool.runtime(Runtime::Tokio1).build();
        let readers = Readers(pool.map_err(|e| cannot_open(path, sqlx::Error::Configuration(e.into())))?);
        // One, to see that it can be opened.
        drop(readers.take().await.map_err(|e| cannot_open(path, e))?);
        Ok(readers)
    }

    pub(crate) async fn take(&self) -> Result<Reader, sqlx::Error> {
        self.0.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            PoolError::Timeout(_) => sqlx::Error::PoolTimedOut,
            _ => sqlx::Error::PoolClosed,
        })
    }

    /// Waits for all that read, and closes their connections.
    pub(crate) async fn close(&self) {
        let mut held = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            held.extend(self.take().await.ok());
        }
        self.0.close();
        for reader in held {
            // They only read.
            let _ = Object::take(reader).close().await;
        }
    }
}

impl Manager for Connect {
    type Type = SqliteConnection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<SqliteConnection, sqlx::Error> {
        self.0.connect().await
    }

    async fn recycle(
        &self,
        connection: &mut SqliteConnection,
        metrics: &Metrics,
    ) -> RecycleResult<sqlx::Error> {
        if metrics.recycle_count % USES == USES - 1 {
            connection.ping().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Row;

    use super::*;

    #[tokio::test]
    async fn what_a_reader_left_half_done_is_undone_and_closing_waits_for_readers() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("state.db");
        crate::Store::open(&path).await.unwrap().close().await;
        let readers = Readers::open(&path, crate::options(&path).read_only(true)).await.unwrap();
        for _ in 0..2 * USES {
            let mut reader = readers.take().await.unwrap();
            let mut moment = reader.begin().await.unwrap();
            let row = sqlx::query("SELECT count(*) FROM meta").fetch_one(&mut *moment).await.unwrap();
            assert_eq!(row.get::<i64, _>(0), 0);
            // Neither committed nor rolled back.
        }
        let held = readers.take().await.unwrap();
        let close = tokio::time::timeout(Duration::from_millis(50), readers.close()).await;
        assert!(close.is_err(), "one still reads");
        drop(held);
        readers.close().await;
        assert!(matches!(readers.take().await, Err(sqlx::Error::PoolClosed)));
    }
}
