//! Signed revocation lists. Their numbers only grow, across restarts and restores.

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::{Error, Store};

/// CRLs that are kept, the newest included; the others are of no use to anybody, and each of 100,000
/// entries takes several megabytes.
const CRLS: i64 = 3;
/// The row of `meta` that holds the floor.
const FLOOR: &str = "crl_floor";

/// A signed CRL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlRow {
    /// cRLNumber, RFC 5280 §5.2.3.
    pub number: i64,
    /// The CRL.
    pub pem: String,
    /// Unix seconds.
    pub this_update: i64,
    /// Unix seconds.
    pub next_update: i64,
}

impl Store {
    /// Stores a CRL. Its number must come after every earlier one's and after the floor
    /// ([`Error::CrlNumber`]).
    pub async fn save_crl(
        &self,
        number: i64,
        pem: &str,
        this_update: i64,
        next_update: i64,
    ) -> Result<(), Error> {
        let pem = pem.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let latest: Option<i64> = sqlx::query("SELECT max(number) AS latest FROM crls")
                    .fetch_one(&mut *connection)
                    .await?
                    .try_get("latest")?;
                let latest = latest.max(floor(connection).await?);
                if let Some(latest) = latest.filter(|latest| number <= *latest) {
                    return Err(Error::CrlNumber { number, latest });
                }
                sqlx::query(
                    "INSERT INTO crls (number, pem, this_update, next_update) VALUES ($1, $2, $3, $4)",
                )
                .bind(number)
                .bind(pem)
                .bind(this_update)
                .bind(next_update)
                .execute(&mut *connection)
                .await?;
                sqlx::query(
                    "DELETE FROM crls WHERE number NOT IN
                     (SELECT number FROM crls ORDER BY number DESC LIMIT $1)",
                )
                .bind(CRLS)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// The CRL with the highest number.
    pub async fn latest_crl(&self) -> Result<Option<CrlRow>, Error> {
        let row = sqlx::query("SELECT * FROM crls ORDER BY number DESC LIMIT 1")
            .fetch_optional(&mut *self.reader().await?)
            .await?;
        let read = |row: SqliteRow| {
            Ok(CrlRow {
                number: row.try_get("number")?,
                pem: row.try_get("pem")?,
                this_update: row.try_get("this_update")?,
                next_update: row.try_get("next_update")?,
            })
        };
        row.map(read).transpose()
    }

    /// From now on no CRL gets this number or a lower one. A lower floor than there is changes nothing.
    ///
    /// A restore sets it, because lists after the backup may have used numbers that nobody remembers.
    pub async fn raise_crl_floor(&self, number: i64) -> Result<(), Error> {
        self.write(move |connection| {
            Box::pin(async move {
                if floor(connection).await?.is_some_and(|floor| floor >= number) {
                    return Ok(());
                }
                sqlx::query(
                    "INSERT INTO meta (key, value) VALUES ($1, $2)
                     ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                )
                .bind(FLOOR)
                .bind(number.to_string())
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// The number that every later CRL's comes after, were there no other; `None` before a restore.
    pub async fn crl_floor(&self) -> Result<Option<i64>, Error> {
        let mut connection = self.reader().await?;
        floor(&mut connection).await
    }
}

async fn floor(connection: &mut SqliteConnection) -> Result<Option<i64>, Error> {
    let row =
        sqlx::query("SELECT value FROM meta WHERE key = $1").bind(FLOOR).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let value: String = row.try_get("value")?;
    let number = value.parse().map_err(|_| Error::Unreadable { what: "crl floor".to_owned() })?;
    Ok(Some(number))
}
