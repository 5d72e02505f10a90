//! Keeps the journal within its bounds: the oldest records go first, and the blobs that only they used.

use std::path::PathBuf;
use std::time::Duration;

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use time::OffsetDateTime;

use crate::{BUSY, nanoseconds};

/// Records removed in one transaction.
const STEP: usize = 64;
/// Blobs removed in one transaction.
const BLOBS: i64 = 512;
/// Pages given back to the file system in one transaction.
const PAGES: u64 = 512;
/// How long a checkpoint waits for readers to let go of the log.
const LET_GO: Duration = Duration::from_millis(250);

pub(crate) struct Bounds {
    max_age: Duration,
    /// Bytes of the database file alone.
    max_file: u64,
    /// Bytes of the write-ahead log from which on it is folded in.
    max_log: u64,
    /// The file of the write-ahead log.
    log: PathBuf,
    /// The size of the log at which that is tried next, should a reader not have let go.
    retry_at: u64,
    /// Something may be too old.
    look: bool,
    /// There is too much: until it is some less than that.
    shrinking: bool,
    /// Pages were given back: the file gets shorter when the log is folded in.
    gave: bool,
    /// No record with a lower number is there.
    oldest: i64,
}

/// Pages of the database file.
struct Pages {
    all: u64,
    free: u64,
    size: u64,
}

impl Bounds {
    /// The log gets an eighth of `max_bytes`, at most 32 MiB.
    pub(crate) fn new(max_age: Duration, max_bytes: u64, log: PathBuf) -> Bounds {
        let max_log = (max_bytes / 8).min(32 * 1024 * 1024);
        Bounds {
            max_age,
            max_file: max_bytes.saturating_sub(max_log),
            max_log,
            log,
            retry_at: max_log / 2,
            look: true,
            shrinking: false,
            gave: false,
            oldest: 0,
        }
    }

    /// Look for what is too old.
    pub(crate) fn look(&mut self) {
        self.look = true;
    }

    /// The number of the oldest record, as last seen.
    pub(crate) fn oldest(&self) -> i64 {
        self.oldest
    }

    /// Does a part of what there is to do, at least as much as `written` records brought; says whether
    /// there is more. `next`: above all records' numbers.
    pub(crate) async fn keep(
        &mut self,
        connection: &mut SqliteConnection,
        next: i64,
        written: usize,
    ) -> Result<bool, sqlx::Error> {
        let mut more = true;
        // Twice as much goes as came, or else it never ends.
        for _ in 0..=written.saturating_mul(2).div_ceil(STEP) {
            more = self.step(connection, next).await?;
            if !more {
                break;
            }
        }
        let shorten = !more && std::mem::take(&mut self.gave);
        if shorten || self.log_size() >= self.retry_at {
            self.fold(connection).await?;
        }
        Ok(more)
    }

    async fn step(&mut self, connection: &mut SqliteConnection, next: i64) -> Result<bool, sqlx::Error> {
        let pages = Pages::read(connection).await?;
        let used = pages.all.saturating_sub(pages.free).saturating_mul(pages.size);
        // Some below the bound, so as not to be back here with the next record.
        let enough = self.max_file / 20 * 19;
        self.shrinking = used > if self.shrinking { enough } else { self.max_file };
        let mut removed = false;
        if self.shrinking || self.look {
            removed = self.remove(connection, next).await?;
            self.look &= removed;
            self.shrinking &= removed;
        }
        Ok(removed | self.give_back(connection).await?)
    }

    /// Removes the oldest few records that may go and the blobs that no record needs any more.
    async fn remove(&mut self, connection: &mut SqliteConnection, next: i64) -> Result<bool, sqlx::Error> {
        let oldest = sqlx::query("SELECT seq, at FROM records ORDER BY seq LIMIT $1")
            .bind(i64::try_from(STEP).unwrap_or(i64::MAX))
            .fetch_all(&mut *connection)
            .await?;
        let now = OffsetDateTime::now_utc();
        let cut = nanoseconds(now - self.max_age);
        // From so far ahead that only a clock that was wrong explains it: as old as its neighbours.
        let absurd = nanoseconds(now + self.max_age);
        let mut through = None;
        for row in &oldest {
            let at: i64 = row.try_get("at")?;
            if !self.shrinking && at >= cut && at <= absurd {
                break;
            }
            through = Some(row.try_get::<i64, _>("seq")?);
        }
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        if let Some(through) = through {
            sqlx::query("DELETE FROM records WHERE seq <= $1")
                .bind(through)
                .execute(&mut *connection)
                .await?;
        }
        let row = sqlx::query("SELECT min(seq) AS oldest FROM records").fetch_one(&mut *connection).await?;
        self.oldest = row.try_get::<Option<i64>, _>("oldest")?.unwrap_or(next);
        let orphans = sqlx::query("SELECT number FROM blobs WHERE through < $1 ORDER BY through LIMIT $2")
            .bind(self.oldest)
            .bind(BLOBS)
            .fetch_all(&mut *connection)
            .await?;
        for row in &orphans {
            let number: i64 = row.try_get("number")?;
            for delete in ["DELETE FROM blobs WHERE number = $1", "DELETE FROM bodies WHERE number = $1"] {
                sqlx::query(delete).bind(number).execute(&mut *connection).await?;
            }
        }
        sqlx::query("COMMIT").execute(&mut *connection).await?;
        Ok(through.is_some() || !orphans.is_empty())
    }

    /// Free pages are filled again by later records; what is beyond the bound, and more than a quarter
    /// of the file, goes back to the file system.
    async fn give_back(&mut self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let pages = Pages::read(connection).await?;
        let beyond = pages.all.saturating_sub(self.max_file / pages.size.max(1));
        let idle = pages.free.saturating_sub(pages.all / 4);
        let count = beyond.max(idle).min(pages.free).min(PAGES);
        // A handful is not worth the writing, but beyond the bound each one counts.
        if count == 0 || (beyond == 0 && count < 64) {
            return Ok(false);
        }
        let vacuum = sqlx::AssertSqlSafe(format!("PRAGMA incremental_vacuum({count})"));
        sqlx::query(vacuum).execute(&mut *connection).await?;
        let gave = Pages::read(connection).await?.all < pages.all;
        self.gave |= gave;
        Ok(gave)
    }

    /// Folds the log into the database once it is long: SQLite by itself starts it anew only at a
    /// moment when nobody reads, and leaves the file as long as it was.
    async fn fold(&mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let timeout =
            |time: Duration| sqlx::AssertSqlSafe(format!("PRAGMA busy_timeout = {}", time.as_millis()));
        sqlx::query(timeout(LET_GO)).execute(&mut *connection).await?;
        // That a long reader holds out is no error.
        let folded = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *connection).await;
        sqlx::query(timeout(BUSY)).execute(&mut *connection).await?;
        let half = self.max_log / 2;
        self.retry_at = half.max(self.log_size().saturating_add(half / 2));
        folded.map(|_| ())
    }

    fn log_size(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |file| file.len())
    }
}

impl Pages {
    async fn read(connection: &mut SqliteConnection) -> Result<Pages, sqlx::Error> {
        let mut numbers = [0; 3];
        let pragmas = ["PRAGMA page_count", "PRAGMA freelist_count", "PRAGMA page_size"];
        for (number, pragma) in numbers.iter_mut().zip(pragmas) {
            let value: i64 = sqlx::query(pragma).fetch_one(&mut *connection).await?.try_get(0)?;
            *number = u64::try_from(value).unwrap_or(0);
        }
        let [all, free, size] = numbers;
        Ok(Pages { all, free, size })
    }
}
