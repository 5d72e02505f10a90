//! Catalog masters that an administrator has declared, and which revocation list each enforces.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::nodes::json;
use crate::{Error, Store};

/// A declared catalog master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterRow {
    /// Its certname.
    pub certname: String,
    /// The alternative names that it, and nobody else, may have.
    pub alt_names: Vec<String>,
    /// Unix seconds.
    pub added_at: i64,
    /// The number of the CRL that it last said it enforces.
    pub crl_number: Option<u64>,
    /// Unix seconds, when it said so.
    pub seen_at: Option<i64>,
    /// The address it said so from.
    pub address: Option<String>,
}

impl Store {
    /// Declares a master, or gives a declared one other alternative names.
    pub async fn add_master(&self, certname: &str, alt_names: &[String], at: i64) -> Result<(), Error> {
        let (certname, alt_names) = (certname.to_owned(), json(&alt_names)?);
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO masters (certname, alt_names, added_at) VALUES ($1, $2, $3)
                     ON CONFLICT (certname) DO UPDATE SET alt_names = excluded.alt_names",
                )
                .bind(certname)
                .bind(alt_names)
                .bind(at)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// Takes the declaration back. `false`: there was none.
    pub async fn remove_master(&self, certname: &str) -> Result<bool, Error> {
        let certname = certname.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query("DELETE FROM masters WHERE certname = $1")
                    .bind(certname)
                    .execute(connection)
                    .await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
    }

    /// All declared masters, by name.
    pub async fn masters(&self) -> Result<Vec<MasterRow>, Error> {
        let rows = sqlx::query("SELECT * FROM masters ORDER BY certname")
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(master).collect()
    }

    /// Notes which CRL a master enforces, when it said so and from where. `false`: it is not declared.
    pub async fn note_master(
        &self,
        certname: &str,
        crl_number: u64,
        at: i64,
        address: &str,
    ) -> Result<bool, Error> {
        let (certname, address) = (certname.to_owned(), address.to_owned());
        // No list of ours has a number that an i64 does not hold.
        let number = i64::try_from(crl_number).unwrap_or(i64::MAX);
        self.write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE masters SET crl_number = $1, seen_at = $2, address = $3 WHERE certname = $4",
                )
                .bind(number)
                .bind(at)
                .bind(address)
                .bind(certname)
                .execute(connection)
                .await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
    }
}

fn master(row: &SqliteRow) -> Result<MasterRow, Error> {
    let certname: String = row.try_get("certname")?;
    let alt_names = serde_json::from_str(row.try_get("alt_names")?)
        .map_err(|_| Error::Unreadable { what: format!("master {certname}") })?;
    let number: Option<i64> = row.try_get("crl_number")?;
    Ok(MasterRow {
        certname,
        alt_names,
        added_at: row.try_get("added_at")?,
        crl_number: number.and_then(|number| u64::try_from(number).ok()),
        seen_at: row.try_get("seen_at")?,
        address: row.try_get("address")?,
    })
}
