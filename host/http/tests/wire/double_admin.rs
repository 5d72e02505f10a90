//! The double's answers to administrators and masters: each name stands for a case.

use std::sync::Arc;
use std::time::Duration;

use bunraku_http::Administration;
use ca::{CaMetrics, Expirations, Revoked};
use master::{
    Administrator, CertificateStatus, Component, Failed, Metrics, Peer, Published, Revoke, Signing, Standing,
    State, StatusCursor, StatusPage,
};
use pki::crl::Reason;
use pki::{AltName, Certname, Freshness, Serial, Trust};
use store::{Counts, DecisionRow, MasterRow};
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::sync::watch;

use crate::world::Double;

/// Entries of a page of the double's list.
pub const PAGE: usize = 500;
pub const POINTER: &str =
    "this is a catalog master; certificates come from https://ca.test:8140 (set ca_server)";

pub fn signed(name: &str) -> CertificateStatus {
    CertificateStatus {
        name: name.to_owned(),
        der: name.as_bytes().to_vec(),
        alt_names: vec![AltName::Dns(name.to_owned())],
        authorization: Vec::new(),
        standing: Standing::Issued {
            serial: Serial::from_hex("7F000000000000000000000000000001").unwrap(),
            not_before: datetime!(2026-11-21 16:38:05 UTC),
            not_after: datetime!(2031-11-21 16:38:05 UTC),
            revoked: None,
        },
    }
}

pub fn waiting(name: &str, key: &str) -> CertificateStatus {
    let decision = DecisionRow {
        verdict: "pending".into(),
        reason: "no rule".into(),
        plugin: Some("policy".into()),
        plugin_digest: None,
        plugin_set: "set".into(),
        registry_version: None,
        decided_at: 0,
    };
    CertificateStatus {
        name: name.to_owned(),
        der: key.as_bytes().to_vec(),
        alt_names: Vec::new(),
        authorization: Vec::new(),
        standing: Standing::Requested {
            submitted_at: datetime!(2026-11-22 16:38:05 UTC),
            peer: Some("192.0.2.7".into()),
            decision: Some(decision),
        },
    }
}

impl Double {
    /// Notes what is asked; a catalog master has no answer to it.
    fn ca(&self, what: String) -> Result<(), Failed> {
        if *self.elsewhere.lock().unwrap() {
            return Err(Failed::not_found(POINTER));
        }
        self.note(what);
        Ok(())
    }
}

fn no_subject() -> Failed {
    Failed::not_found("Invalid certificate subject.")
}

impl Administration for Double {
    fn watch_trust(&self) -> watch::Receiver<Arc<Trust>> {
        self.trust.subscribe()
    }

    fn watch_published_plugins(&self) -> watch::Receiver<Option<Published>> {
        self.plugins.subscribe()
    }

    async fn component(&self, digest: &str) -> Option<Component> {
        self.note(format!("component {digest}"));
        let signature = digest.starts_with('a').then(|| b"signed".to_vec());
        (!digest.starts_with('0')).then(|| Component { bytes: b"\0asm".to_vec(), signature })
    }

    fn lapsed(&self, _: OffsetDateTime) -> Option<OffsetDateTime> {
        *self.lapsed.lock().unwrap()
    }

    fn is_master(&self, certname: &Certname) -> bool {
        self.masters.lock().unwrap().contains(certname.as_str())
    }

    async fn statuses(
        &self,
        state: Option<State>,
        after: Option<StatusCursor>,
    ) -> Result<StatusPage, Failed> {
        self.ca(format!("statuses {state:?}"))?;
        let at = match after {
            None => 0,
            Some(StatusCursor::Certificates(Some(at))) => at.parse::<usize>().unwrap(),
            Some(other) => panic!("{other:?}"),
        };
        let pages = *self.pages.lock().unwrap();
        if at == pages && *self.cut_list.lock().unwrap() {
            return Err(Failed::unavailable("the master's store does not answer"));
        }
        let names = (0..PAGE).map(|n| format!("n{}.test", at * PAGE + n));
        let entries = if at < pages { names.map(|name| signed(&name)).collect() } else { Vec::new() };
        let next = (at < pages).then(|| StatusCursor::Certificates(Some((at + 1).to_string())));
        Ok(StatusPage { entries, next })
    }

    async fn statuses_of(&self, name: &str) -> Result<Vec<CertificateStatus>, Failed> {
        self.ca(format!("status of {name}"))?;
        Ok(match name {
            "signed.test" => vec![signed(name)],
            "waiting.test" => vec![waiting(name, "one")],
            "several.test" => vec![waiting(name, "one"), waiting(name, "two")],
            _ => Vec::new(),
        })
    }

    async fn sign(
        &self,
        name: &str,
        fingerprint: Option<&str>,
        lifetime: Option<Duration>,
        by: &Administrator,
    ) -> Result<(), Failed> {
        self.ca(format!("sign {name} {fingerprint:?} {lifetime:?} by {by}"))?;
        match name {
            "waiting.test" => Ok(()),
            "several.test" if fingerprint.is_some() => Ok(()),
            "several.test" => Err(Failed::conflict("several.test has 2 certificate requests")),
            "signed.test" => Err(Failed::conflict(
                "Cannot sign certificate for host signed.test without a certificate request",
            )),
            "full.test" => Err(Failed::unavailable("the CA can't do that now: no space")),
            _ => Err(no_subject()),
        }
    }

    async fn sign_several(&self, names: Option<Vec<String>>, by: &Administrator) -> Result<Signing, Failed> {
        self.ca(format!("sign {names:?} by {by}"))?;
        let signed = names.unwrap_or_else(|| vec!["all.test".to_owned()]);
        Ok(Signing { signed, no_csr: vec!["no.test".into()], errors: vec!["bad.test".into()] })
    }

    async fn revoke(&self, what: &Revoke, reason: Reason, by: &Administrator) -> Result<Revoked, Failed> {
        self.ca(format!("revoke {what:?} {reason} by {by}"))?;
        match what {
            Revoke::Serial(serial) if serial.as_be_bytes() == [1] => Ok(Revoked::Unknown),
            Revoke::Serial(_) => Ok(Revoked::Already),
            Revoke::Name(name) if name == "signed.test" => Ok(Revoked::Done),
            Revoke::Name(name) if name == "waiting.test" => Err(Failed::conflict(
                "Cannot revoke certificate for host waiting.test without a signed certificate",
            )),
            Revoke::Name(_) => Err(no_subject()),
        }
    }

    async fn clean(&self, names: &[String], by: &Administrator) -> Result<Vec<String>, Failed> {
        self.ca(format!("clean {names:?} by {by}"))?;
        Ok(names.iter().filter(|name| *name != "signed.test").cloned().collect())
    }

    async fn delete(&self, name: &str, by: &Administrator) -> Result<bool, Failed> {
        self.ca(format!("delete {name} by {by}"))?;
        Ok(name == "signed.test")
    }

    async fn forget_request(
        &self,
        name: &str,
        fingerprint: Option<&str>,
        by: &Administrator,
    ) -> Result<bool, Failed> {
        self.ca(format!("forget {name} {fingerprint:?} by {by}"))?;
        Ok(name == "waiting.test")
    }

    async fn generate(
        &self,
        csr: &[u8],
        lifetime: Option<Duration>,
        admin: bool,
        by: &Administrator,
    ) -> Result<String, Failed> {
        self.ca(format!("generate {} {lifetime:?} {admin} by {by}", String::from_utf8_lossy(csr)))?;
        match csr {
            b"CSR" => Ok("PEM".to_owned()),
            _ => Err(Failed::bad_request("the certificate request is not PEM")),
        }
    }

    async fn renew_name(&self, name: &str, by: &Administrator) -> Result<String, Failed> {
        self.ca(format!("renew {name} by {by}"))?;
        Ok("PEM".to_owned())
    }

    async fn prune(&self, by: &Administrator) -> Result<u64, Failed> {
        self.ca(format!("prune by {by}"))?;
        Ok(3)
    }

    async fn publish(&self, by: &Administrator) -> Result<(), Failed> {
        self.ca(format!("publish by {by}"))
    }

    async fn upload_crls(&self, pem: &[u8], by: &Administrator) -> Result<Vec<String>, Failed> {
        self.ca(format!("upload {} by {by}", String::from_utf8_lossy(pem)))?;
        match pem {
            b"newer" => Ok(vec!["Root".to_owned()]),
            b"old" => Err(Failed::bad_request("Could not determine newest CRL.")),
            _ => Err(Failed::bad_request("No valid CRLs submitted.")),
        }
    }

    fn expirations(&self) -> Result<Expirations, Failed> {
        self.ca("expirations".to_owned())?;
        let ends = vec![("Puppet CA: test".to_owned(), datetime!(2041-11-18 16:33:39 UTC))];
        Ok(Expirations { ca_certs: ends.clone(), crls: ends })
    }

    async fn masters(&self) -> Result<Vec<MasterRow>, Failed> {
        self.ca("masters".to_owned())?;
        Ok(vec![MasterRow {
            certname: "m.test".into(),
            alt_names: vec!["puppet".into()],
            added_at: 1_700_000_000,
            crl_number: Some(7),
            seen_at: None,
            address: Some("192.0.2.7".into()),
        }])
    }

    async fn add_master(&self, name: &str, alt_names: &[String], by: &Administrator) -> Result<(), Failed> {
        self.ca(format!("add {name} {alt_names:?} by {by}"))
    }

    async fn remove_master(&self, name: &str, by: &Administrator) -> Result<bool, Failed> {
        self.ca(format!("remove {name} by {by}"))?;
        Ok(name == "m.test")
    }

    async fn note_enforcing(&self, peer: &Peer, number: u64) -> Result<bool, Failed> {
        self.ca(format!("{} enforces {number}", peer.certname().unwrap()))?;
        Ok(true)
    }

    async fn metrics(&self) -> Result<Metrics, Failed> {
        let trust = self.trust.borrow().clone();
        let here = !*self.elsewhere.lock().unwrap();
        let ca = CaMetrics {
            signed_total: 11,
            revoked_total: 12,
            renewals_total: 13,
            crl_number: trust.number,
            crl_bytes: 14,
            crl_entries: 15,
            crl_sign_seconds: 0.25,
            crl_made: 0,
            crl_next_update: 0,
            ca_cert_expiry: 0,
            signer_restarts: 16,
            free_bytes: Some(17),
            masters: 1,
        };
        let counts = Counts {
            signed: 21,
            revoked: 22,
            requests: 23,
            expiring_7d: 24,
            expiring_30d: 25,
            superseded: 26,
        };
        Ok(Metrics {
            freshness: Freshness::Fresh,
            ca: here.then_some(ca),
            counts: here.then_some(counts),
            masters: if here { self.masters().await? } else { Vec::new() },
            follow: None,
            plugin_set: "5e7".to_owned(),
            plugins: rollout::Counts { swapped: 31, rolled_back: 32, ..rollout::Counts::default() },
            shadow: Some(rollout::ShadowSummary { same: 33, differ: 34, ..Default::default() }),
            journal: journal::Stats { written: 35, ..journal::Stats::default() },
            trust,
        })
    }
}
