//! The catalog masters of the CA here: who they are, and which revocation list each enforces.

use pki::Certname;
use store::MasterRow;
use time::OffsetDateTime;

use crate::admin::refused;
use crate::{Administrator, Failed, Master, Peer};

impl Master {
    /// The declared masters, by name.
    ///
    /// # Errors
    /// On a catalog master, and when the store fails.
    pub async fn masters(&self) -> Result<Vec<MasterRow>, Failed> {
        self.ca()?.masters().await.map_err(refused)
    }

    /// Declares a master, or gives a declared one other alternative names.
    ///
    /// # Errors
    /// 400 for a name that is none; 409 for one that is another's.
    pub async fn add_master(
        &self,
        name: &str,
        alt_names: &[String],
        by: &Administrator,
    ) -> Result<(), Failed> {
        let ca = self.ca()?;
        let certname = Certname::parse(name).map_err(|error| Failed::bad_request(error.to_string()))?;
        ca.add_master(&certname, alt_names, OffsetDateTime::now_utc()).await.map_err(
            |error| match error {
                ca::Error::Name { .. } => Failed::bad_request(error.to_string()),
                error => refused(error),
            },
        )?;
        tracing::info!(%by, %certname, "an administrator declared a master");
        Ok(())
    }

    /// Takes a declaration back. `false`: there was none.
    ///
    /// # Errors
    /// On a catalog master, and when the store fails.
    pub async fn remove_master(&self, name: &str, by: &Administrator) -> Result<bool, Failed> {
        let ca = self.ca()?;
        let Ok(certname) = Certname::parse(name) else { return Ok(false) };
        let removed = ca.remove_master(&certname, OffsetDateTime::now_utc()).await.map_err(refused)?;
        if removed {
            tracing::info!(%by, %certname, "an administrator took a master's declaration back");
        }
        Ok(removed)
    }

    /// Whether the name is a declared master's. In memory.
    pub fn is_master(&self, certname: &Certname) -> bool {
        self.parts.certificates.is_master(certname)
    }

    /// Notes which revocation list a master says that it enforces. `false`: it is not declared.
    ///
    /// # Errors
    /// On a catalog master, and when the store fails.
    pub async fn note_enforcing(&self, peer: &Peer, number: u64) -> Result<bool, Failed> {
        let (ca, now) = (self.ca()?, OffsetDateTime::now_utc());
        let Some(certname) = peer.certname() else { return Ok(false) };
        let address = peer.address.map(|address| address.to_string()).unwrap_or_default();
        ca.note_enforcing(certname, number, &address, now).await.map_err(refused)
    }
}
