//! Reading: lists from plain columns, whole records from their sealed blobs.

use std::time::Duration;

use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use time::OffsetDateTime;

use crate::blob::{Grounds, decode, join};
use crate::seal::Unopened;
use crate::{Entry, Error, Journal, Kind, Mode, Record, nanoseconds};

const OF: &str = "SELECT * FROM records WHERE certname = $1 ORDER BY seq DESC LIMIT $2";
/// Two, to know whether there is one.
const BY_PREFIX: &str =
    "SELECT * FROM records WHERE id >= $1 AND id < $1 || char(1114111) ORDER BY id LIMIT 2";
const SINCE: &str =
    "SELECT * FROM records WHERE kind = $1 AND (at, seq) > ($2, $3) ORDER BY at, seq LIMIT $4";
const COUNT: &str = "SELECT count(*) FROM records WHERE kind = $1 AND at >= $2";
const BLOB_BY_NUMBER: &str =
    "SELECT address, sealed_by, body FROM blobs JOIN bodies USING (number) WHERE number = $1";
const BLOB_BY_ADDRESS: &str =
    "SELECT address, sealed_by, body FROM blobs JOIN bodies USING (number) WHERE address = $1";

/// Where a page ended; give it to [`Journal::since`] for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    at: i64,
    seq: i64,
}

/// Some records, from old to new.
#[derive(Debug)]
pub struct Page {
    /// What is readable without the key, and the whole, or why it can't be had.
    pub records: Vec<(Entry, Result<Record, Error>)>,
    /// `None` after the last page.
    pub next: Option<Cursor>,
}

impl Journal {
    /// The decisions about a name, newest first.
    ///
    /// # Errors
    /// Only when the database fails: no key is needed.
    pub async fn of(&self, certname: &str, limit: u32) -> Result<Vec<Entry>, Error> {
        let rows = sqlx::query(OF).bind(certname).bind(i64::from(limit)).fetch_all(&self.readers).await?;
        rows.iter().map(entry).collect()
    }

    /// The plain part of the decision with this id, or with the only id that begins like this.
    ///
    /// # Errors
    /// [`Error::Ambiguous`].
    pub async fn find(&self, id: &str) -> Result<Option<Entry>, Error> {
        let mut reader = self.readers.acquire().await?;
        row_of(&mut reader, id).await?.as_ref().map(entry).transpose()
    }

    /// The decision with this id, or with the only id that begins like this.
    ///
    /// # Errors
    /// [`Error::Ambiguous`]; [`Error::Sealed`] without the key; [`Error::Damaged`].
    pub async fn get(&self, id: &str) -> Result<Option<Record>, Error> {
        let mut reader = self.readers.begin().await?;
        match row_of(&mut reader, id).await? {
            Some(row) => self.whole(&mut reader, &row).await.map(Some),
            None => Ok(None),
        }
    }

    /// Decisions of a kind from an instant on, from old to new, whole: for replay. A record that can't
    /// be read has its error in its place.
    ///
    /// # Errors
    /// Only when the database fails.
    pub async fn since(
        &self,
        at: OffsetDateTime,
        kind: Kind,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page, Error> {
        let after = after.unwrap_or(Cursor { at: nanoseconds(at), seq: 0 });
        let mut reader = self.readers.begin().await?;
        let rows = sqlx::query(SINCE)
            .bind(kind.number())
            .bind(after.at)
            .bind(after.seq)
            .bind(i64::from(limit))
            .fetch_all(&mut *reader)
            .await?;
        let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let mut page = Page { records: Vec::with_capacity(rows.len()), next: None };
        for row in &rows {
            let record = self.whole(&mut reader, row).await;
            page.records.push((entry(row)?, record));
            if full {
                page.next = Some(Cursor { at: row.try_get("at")?, seq: row.try_get("seq")? });
            }
        }
        Ok(page)
    }

    /// How many decisions of a kind there are from an instant on.
    ///
    /// # Errors
    /// Only when the database fails.
    pub async fn count(&self, at: OffsetDateTime, kind: Kind) -> Result<u64, Error> {
        let query = sqlx::query_scalar(COUNT).bind(kind.number()).bind(nanoseconds(at));
        let count: i64 = query.fetch_one(&self.readers).await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn whole(&self, reader: &mut SqliteConnection, row: &SqliteRow) -> Result<Record, Error> {
        let entry = entry(row)?;
        let id = entry.id.as_str();
        let input = self.by_number(reader, id, "input", row.try_get("input")?).await?;
        let answer = match row.try_get("answer")? {
            Some(number) => Some(self.by_number(reader, id, "answer", number).await?),
            None => None,
        };
        let grounds: Grounds = self.by_number(reader, id, "list of calls", row.try_get("grounds")?).await?;
        let mut transcripts = Vec::with_capacity(grounds.asked.len());
        for step in &grounds.asked {
            let address = hex::decode(&step.transcript).unwrap_or_default();
            let blob = sqlx::query(BLOB_BY_ADDRESS).bind(address).fetch_optional(&mut *reader).await?;
            transcripts.push(self.unseal(id, "transcript", blob)?);
        }
        let costs: String = row.try_get("costs")?;
        let damaged = |_| Error::Damaged { id: id.to_owned(), part: "row", how: "its costs are no list" };
        let costs = serde_json::from_str(&costs).map_err(damaged)?;
        Ok(join(entry, input, answer, grounds, transcripts, costs))
    }

    async fn by_number<T: DeserializeOwned>(
        &self,
        reader: &mut SqliteConnection,
        id: &str,
        part: &'static str,
        number: i64,
    ) -> Result<T, Error> {
        let blob = sqlx::query(BLOB_BY_NUMBER).bind(number).fetch_optional(reader).await?;
        self.unseal(id, part, blob)
    }

    fn unseal<T: DeserializeOwned>(
        &self,
        id: &str,
        part: &'static str,
        blob: Option<SqliteRow>,
    ) -> Result<T, Error> {
        let Some(blob) = blob else {
            return Err(Error::Damaged { id: id.to_owned(), part, how: "it is not there" });
        };
        let sealed = || Error::Sealed { id: id.to_owned() };
        let key = self.key.as_ref().ok_or_else(sealed)?;
        let column = |name| blob.try_get::<Vec<u8>, _>(name);
        let opened = key.open_blob(&column("address")?, &column("sealed_by")?, &column("body")?);
        let plain = opened.map_err(|error| match error {
            Unopened::OtherKey => sealed(),
            Unopened::Damaged(how) => Error::Damaged { id: id.to_owned(), part, how },
        })?;
        decode(id, part, &plain)
    }
}

/// By its id, or by the beginning of one.
async fn row_of(reader: &mut SqliteConnection, id: &str) -> Result<Option<SqliteRow>, Error> {
    let mut rows = sqlx::query(BY_PREFIX).bind(id).fetch_all(reader).await?.into_iter();
    let (first, second) = (rows.next(), rows.next());
    match (first, second) {
        // The shortest comes first: an id that is the beginning of another is meant itself.
        (Some(first), Some(_)) if first.try_get::<&str, _>("id")? != id => {
            Err(Error::Ambiguous { prefix: id.to_owned() })
        }
        (first, _) => Ok(first),
    }
}

fn entry(row: &SqliteRow) -> Result<Entry, Error> {
    let id: String = row.try_get("id")?;
    let damaged = |how| Error::Damaged { id: id.clone(), part: "row", how };
    let at = i128::from(row.try_get::<i64, _>("at")?);
    let took = u64::try_from(row.try_get::<i64, _>("took")?).unwrap_or(0);
    Ok(Entry {
        at: OffsetDateTime::from_unix_timestamp_nanos(at).map_err(|_| damaged("its time is none"))?,
        kind: Kind::of(row.try_get("kind")?).ok_or_else(|| damaged("its kind is not known"))?,
        mode: Mode::of(row.try_get("mode")?).ok_or_else(|| damaged("its mode is not known"))?,
        certname: row.try_get("certname")?,
        occasion: row.try_get("occasion")?,
        peer: row.try_get("peer")?,
        set: row.try_get("plugin_set")?,
        verdict: row.try_get("verdict")?,
        reason: row.try_get("reason")?,
        by: row.try_get("decided_by")?,
        took: Duration::from_micros(took),
        id,
    })
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, ConnectOptions, Row};

    use super::*;
    use crate::schema;

    #[tokio::test]
    async fn no_query_reads_more_than_its_answer() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("journal.db");
        schema::create_file(&path).unwrap();
        let mut connection = crate::options(&path).connect().await.unwrap();
        schema::migrate(&path, &mut connection).await.unwrap();
        for (sql, index) in [
            (OF, "records USING INDEX records_of_name (certname=?)"),
            (BY_PREFIX, "records USING INDEX sqlite_autoindex_records_1 (id>? AND id<?)"),
            (SINCE, "records USING INDEX records_in_time (kind=? AND at>?)"),
            (COUNT, "records USING COVERING INDEX records_in_time (kind=? AND at>?)"),
            (BLOB_BY_NUMBER, "blobs USING INTEGER PRIMARY KEY (rowid=?)"),
            (BLOB_BY_ADDRESS, "blobs USING INDEX sqlite_autoindex_blobs_1 (address=?)"),
        ] {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let rows = sqlx::query(explain).fetch_all(&mut connection).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            assert!(plan.contains(&format!("SEARCH {index}")), "{sql}: {plan:?}");
            // Nothing is gone over whole, nothing sorted.
            let dear = |step: &&String| step.contains("TEMP B-TREE") || step.starts_with("SCAN ");
            assert_eq!(plan.iter().find(dear), None, "{sql}");
        }
    }
}
