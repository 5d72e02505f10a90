//! One group of records on its way into the database: a few statements for all of them.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{QueryBuilder, Row};

use crate::blob::{Encoded, Plain, encode, microseconds};
use crate::seal::{Address, Key};
use crate::{Error, Record};

/// Rows of one statement.
const ROWS: usize = 256;

/// A group ready for its transaction.
pub(crate) struct Group {
    records: Vec<(i64, Encoded)>,
    new: Vec<New>,
    /// Blobs to keep for longer.
    extended: Vec<i64>,
}

/// A blob that is to be written.
struct New {
    address: Address,
    sealed: Vec<u8>,
    /// The number of the record of this group that uses it last.
    through: i64,
}

impl Group {
    /// Takes records with their numbers apart, looks up which blobs are there, and seals the others:
    /// here if that is a small work.
    pub(crate) async fn of(
        connection: &mut SqliteConnection,
        key: &Arc<Key>,
        records: Vec<(i64, Record)>,
        small: bool,
    ) -> Result<Group, Error> {
        let keys = Arc::clone(key);
        let (records, mut plain) = work(small, move || {
            let mut plain = Plain::new();
            let records = records.into_iter().map(|(seq, record)| {
                let encoded = encode(&keys, seq, record, &mut plain)?;
                Some((seq, encoded))
            });
            let records: Option<Vec<_>> = records.collect();
            Some((records?, plain))
        })
        .await?;
        let mut extended = Vec::new();
        let addresses: Vec<Address> = plain.keys().copied().collect();
        for addresses in addresses.chunks(ROWS) {
            let mut sql =
                QueryBuilder::<Sqlite>::new("SELECT address, number, through FROM blobs WHERE address IN (");
            let mut list = sql.separated(", ");
            addresses.iter().for_each(|address| {
                list.push_bind(address.as_slice());
            });
            sql.push(")");
            for row in sql.build().persistent(false).fetch_all(&mut *connection).await? {
                let address = address_of(row.try_get("address")?)?;
                if let Some((_, needed)) = plain.remove(&address)
                    && row.try_get::<i64, _>("through")? < needed
                {
                    extended.push(row.try_get("number")?);
                }
            }
        }
        let keys = Arc::clone(key);
        let new = work(small, move || {
            let seal = |(address, (content, through)): (Address, (Vec<u8>, i64))| {
                Some(New { sealed: keys.seal(&address, &content)?, address, through })
            };
            plain.into_iter().map(seal).collect()
        })
        .await?;
        Ok(Group { records, new, extended })
    }

    /// Writes it in one transaction: an answer for each record, in order. Blobs that are used again
    /// are kept until the record with the number `through`.
    ///
    /// It goes to the connection's thread as a whole: each way there and back costs as much as several
    /// statements do.
    pub(crate) async fn write(
        self,
        connection: &mut SqliteConnection,
        key: &[u8],
        through: i64,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let mut sql = QueryBuilder::<Sqlite>::new("BEGIN IMMEDIATE; ");
        // A new blob is kept for those that use it now; for longer once it is used again.
        for new in self.new.chunks(ROWS) {
            add(&mut sql, key, new);
        }
        for numbers in self.extended.chunks(ROWS) {
            sql.push("UPDATE blobs SET through = ").push_bind(through).push(" WHERE number IN (");
            let mut list = sql.separated(", ");
            numbers.iter().for_each(|number| {
                list.push_bind(*number);
            });
            sql.push("); ");
        }
        for records in self.records.chunks(ROWS) {
            insert(&mut sql, records);
        }
        sql.push("COMMIT");
        let mut taken = HashSet::with_capacity(self.records.len());
        for row in sql.build().persistent(false).fetch_all(connection).await? {
            taken.insert(row.try_get::<i64, _>("seq")?);
        }
        let answer = |(seq, record): (i64, Encoded)| {
            if taken.contains(&seq) { Ok(()) } else { Err(Error::Duplicate { id: record.entry.id }) }
        };
        Ok(self.records.into_iter().map(answer).collect())
    }
}

/// Work for the processor: much of it away from the tasks that answer agents.
async fn work<T: Send + 'static>(
    here: bool,
    work: impl FnOnce() -> Option<T> + Send + 'static,
) -> Result<T, Error> {
    if here {
        return work().ok_or(Error::Closed);
    }
    tokio::task::spawn_blocking(work).await.ok().flatten().ok_or(Error::Closed)
}

fn address_of(bytes: Vec<u8>) -> Result<Address, Error> {
    bytes.try_into().map_err(|_| Error::from(sqlx::Error::Decode("an address of another length".into())))
}

/// The number of the blob with the address that is bound to it.
const NUMBER: &str = "(SELECT number FROM blobs WHERE address = ";

/// Adds blobs.
fn add(sql: &mut QueryBuilder<Sqlite>, key: &[u8], new: &[New]) {
    sql.push("INSERT INTO blobs (address, sealed_by, through) ");
    sql.push_values(new, |mut row, blob| {
        row.push_bind(blob.address.as_slice()).push_bind(key).push_bind(blob.through);
    });
    sql.push("; INSERT INTO bodies (number, body) ");
    sql.push_values(new, |mut row, blob| {
        row.push(NUMBER).push_bind_unseparated(blob.address.as_slice()).push_unseparated(")");
        row.push_bind(blob.sealed.as_slice());
    });
    sql.push("; ");
}

/// Inserts records, and answers with the numbers of those whose id was not there already.
fn insert(sql: &mut QueryBuilder<Sqlite>, records: &[(i64, Encoded)]) {
    sql.push(
        "INSERT INTO records (seq, id, at, kind, mode, certname, occasion, peer, plugin_set, verdict,
                              reason, decided_by, took, costs, input, grounds, answer) ",
    );
    sql.push_values(records, |mut row, (seq, record)| {
        let entry = &record.entry;
        row.push_bind(*seq)
            .push_bind(&entry.id)
            .push_bind(crate::nanoseconds(entry.at))
            .push_bind(entry.kind.number())
            .push_bind(entry.mode.number())
            .push_bind(&entry.certname)
            .push_bind(&entry.occasion)
            .push_bind(&entry.peer)
            .push_bind(&entry.set)
            .push_bind(&entry.verdict)
            .push_bind(&entry.reason)
            .push_bind(&entry.by)
            .push_bind(i64::try_from(microseconds(entry.took)).unwrap_or(i64::MAX))
            .push_bind(&record.costs);
        for address in [Some(&record.input), Some(&record.grounds), record.answer.as_ref()] {
            row.push(NUMBER).push_bind_unseparated(address.map(Address::as_slice)).push_unseparated(")");
        }
    });
    sql.push(" ON CONFLICT (id) DO NOTHING RETURNING seq; ");
}
