//! Those who ask the CA while it is killed, and the ledger of what they asked and were answered.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bunraku_tests::request::Request;
use bunraku_tests::wire::{Answer, Client, Connection};
use fastrand::Rng;
use serde_json::json;

/// Names that the registry expects, for each round.
pub const NAMES: u32 = 1_500;
/// One in so many clients asks for a name that nobody expects.
const STRANGER: u32 = 20;

/// One certificate of one name, from its request on.
pub struct Life {
    pub name: String,
    pub round: u32,
    pub request: String,
    /// As it was first received.
    pub certificate: Option<String>,
    /// What an administrator asked for it.
    pub end: Option<End>,
    /// The answer said that it is done.
    pub ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Revoke,
    Clean,
}

/// Everything that was asked and answered.
#[derive(Default)]
pub struct Ledger {
    pub lives: Vec<Life>,
    pub strangers: Vec<String>,
    /// Answers that no client should get.
    pub odd: Vec<String>,
}

impl Ledger {
    /// Certificates that were received in this round, the last one.
    pub fn received(&self, round: u32) -> usize {
        let of_round = self.lives.iter().rev().take_while(|life| life.round == round);
        of_round.filter(|life| life.certificate.is_some()).count()
    }
}

impl Life {
    pub fn was_told(&self) -> &'static str {
        match (self.end, self.ended) {
            (None, _) => "received a certificate",
            (Some(End::Revoke), true) => "was revoked",
            (Some(End::Clean), true) => "was cleaned",
            (Some(_), false) => "may have been revoked",
        }
    }
}

/// One client of a round; an error of its methods is a connection that was cut.
pub struct Customer {
    pub ledger: Arc<Mutex<Ledger>>,
    pub stop: Arc<AtomicBool>,
    /// Nothing was killed yet, so nothing may fail.
    pub calm: Arc<AtomicBool>,
    pub next: Arc<AtomicU32>,
    pub random: Rng,
    pub round: u32,
}

impl Customer {
    /// Enrols one name after the other.
    pub async fn enrol(mut self, stranger: Client) -> Result<()> {
        let mut connection = stranger.connect().await?;
        while !self.stop.load(Ordering::SeqCst) {
            if self.random.u32(0..STRANGER) == 0 {
                let name = format!("stranger{}-{}.crash.test", self.round, self.random.u32(..));
                lock(&self.ledger).strangers.push(name.clone());
                let pem = Request::named(&name)?.pem;
                self.submit(&mut connection, &name, &pem).await?;
                continue;
            }
            let n = self.next.fetch_add(1, Ordering::SeqCst);
            if n >= NAMES {
                break;
            }
            self.first(&mut connection, expected(self.round, n)).await?;
        }
        Ok(())
    }

    /// A new life of a name: its request and its certificate.
    async fn first(&mut self, connection: &mut Connection, name: String) -> Result<()> {
        let pem = Request::named(&name)?.pem;
        let place = {
            let mut ledger = lock(&self.ledger);
            let request = pem.clone();
            let (name, round) = (name.clone(), self.round);
            ledger.lives.push(Life { name, round, request, certificate: None, end: None, ended: false });
            ledger.lives.len() - 1
        };
        self.submit(connection, &name, &pem).await?;
        let path = format!("/puppet-ca/v1/certificate/{name}");
        let answer = connection.send("GET", &path, &[], b"").await?;
        if answer.status == 200 {
            if let Some(life) = lock(&self.ledger).lives.get_mut(place) {
                life.certificate = Some(answer.text());
            }
        } else if answer.status != 404 {
            // A policy that ran out of time on a busy machine leaves a request waiting; it asks again later.
            self.odd(&path, &answer);
        }
        Ok(())
    }

    async fn submit(&self, connection: &mut Connection, name: &str, pem: &str) -> Result<()> {
        let path = format!("/puppet-ca/v1/certificate_request/{name}");
        let answer = connection.send("PUT", &path, &[("content-type", "text/plain")], pem.as_bytes()).await?;
        if answer.status != 200 {
            self.odd(&path, &answer);
        }
        Ok(())
    }

    /// Revokes and cleans what others have received; a cleaned name enrols again.
    pub async fn end(mut self, stranger: Client, admin: Client) -> Result<()> {
        let (mut connection, mut admin) = (stranger.connect().await?, admin.connect().await?);
        let json = [("content-type", "application/json"), ("accept", "application/json")];
        while !self.stop.load(Ordering::SeqCst) {
            let end = if self.random.u32(0..3) == 0 { End::Clean } else { End::Revoke };
            let Some((place, name, serial)) = self.choose(end)? else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let by_serial = end == End::Revoke && self.random.bool();
            let (method, path, body, good) = match end {
                End::Clean => ("PUT", "/puppet-ca/v1/clean".to_owned(), json!({"certnames": [name]}), 200),
                End::Revoke if by_serial => {
                    let body = json!({"serial": format!("0x{serial}"), "reason": "superseded"});
                    ("POST", "/bunraku/v1/ca/revoke".to_owned(), body, 200)
                }
                End::Revoke => {
                    let path = format!("/puppet-ca/v1/certificate_status/{name}");
                    ("PUT", path, json!({"desired_state": "revoked"}), 204)
                }
            };
            let answer = admin.send(method, &path, &json, body.to_string().as_bytes()).await?;
            if answer.status != good {
                self.odd(&path, &answer);
                continue;
            }
            if let Some(life) = lock(&self.ledger).lives.get_mut(place) {
                life.ended = true;
            }
            if end == End::Clean && name.starts_with(&format!("crash{}-", self.round)) && self.random.bool() {
                self.first(&mut connection, name).await?;
            }
        }
        Ok(())
    }

    /// One that lives, marked before anybody is asked to end it.
    fn choose(&mut self, end: End) -> Result<Option<(usize, String, String)>> {
        let mut ledger = lock(&self.ledger);
        let count = ledger.lives.len();
        for _ in 0..20.min(count) {
            let place = self.random.usize(0..count);
            let Some(life) = ledger.lives.get_mut(place) else { continue };
            if let (Some(certificate), None) = (&life.certificate, life.end) {
                let serial = serial(certificate)?;
                life.end = Some(end);
                return Ok(Some((place, life.name.clone(), serial)));
            }
        }
        Ok(None)
    }

    /// Before the kill no answer may be bad; after it the daemon may be without its signer.
    fn odd(&self, path: &str, answer: &Answer) {
        if self.calm.load(Ordering::SeqCst) {
            lock(&self.ledger).odd.push(format!(
                "{path} was answered with {} {}",
                answer.status,
                answer.text()
            ));
        }
    }
}

pub fn expected(round: u32, n: u32) -> String {
    format!("crash{round}-{n}.crash.test")
}

/// The serial of a certificate in upper case hexadecimal, without leading zeros.
pub fn serial(pem: &str) -> Result<String> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes())?;
    Ok(format!("{:X}", block.parse_x509()?.tbs_certificate.serial))
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
