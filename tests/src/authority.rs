//! A master as certificate authority: an administrator, requests that wait, and the commands of `bunraku ca`.

use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::master::{Master, Settings};
use crate::openssl::{Believed, Verdict};
use crate::request::{self, Identity, Request};
use crate::tools;
use crate::wire::{Answer, Client};

/// A running master with an administrator of its CA.
pub struct Authority {
    /// The master itself.
    pub master: Master,
    /// The administrator's client.
    pub admin: Client,
    /// The administrator's certificate and key.
    pub identity: Identity,
}

/// How soon what is revoked is on the list.
const SOON: Duration = Duration::from_secs(5);

/// Media type of what administrators send.
const JSON: [(&str, &str); 2] = [("content-type", "application/json"), ("accept", "application/json")];

impl Authority {
    /// The administrator's name; the configuration allows it.
    pub const ADMIN: &'static str = "admin.cluster.test";

    /// Starts one with more lines of the table `[ca]`.
    ///
    /// # Errors
    /// As [`Master::start_with`].
    pub fn start(lines: &str) -> Result<Authority> {
        let config = Authority::config(lines);
        Authority::of(Master::start_with(&Settings { config: &config, ..Settings::default() })?)
    }

    /// The configuration of a master with this administrator and more lines of the table `[ca]`.
    pub fn config(lines: &str) -> String {
        format!("[ca]\nadmins = [{:?}]\n{lines}\n", Authority::ADMIN)
    }

    /// Enrols the administrator of a master that runs.
    ///
    /// # Errors
    /// When the master does not sign it.
    pub fn of(master: Master) -> Result<Authority> {
        master.register(Authority::ADMIN, "classes: {}\n")?;
        let identity = request::enrol(&master.stranger()?, Authority::ADMIN)?;
        let admin = Client::new(master.address(), &master.ca()?, Some(&identity))?;
        Ok(Authority { master, admin, identity })
    }

    /// Sends JSON as the administrator.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn send(&self, method: &str, path: &str, body: &Value) -> Result<Answer> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.admin.send(method, path, &JSON, body.as_bytes())
    }

    /// Sends JSON as the administrator and wants that status.
    ///
    /// # Errors
    /// Another status, with the answer.
    pub fn wants(&self, status: u16, method: &str, path: &str, body: &Value) -> Result<Answer> {
        let answer = self.send(method, path, body)?;
        ensure!(
            answer.status == status,
            "{method} {path} {body}: {} {}, wanted {status}",
            answer.status,
            answer.text()
        );
        Ok(answer)
    }

    /// `certificate_status` of a name; `None` is a 404.
    ///
    /// # Errors
    /// Another answer, or one that is not JSON.
    pub fn status(&self, name: &str) -> Result<Option<Value>> {
        let answer = self.send("GET", &format!("/puppet-ca/v1/certificate_status/{name}"), &Value::Null)?;
        match answer.status {
            404 => Ok(None),
            200 => Ok(Some(serde_json::from_slice(&answer.body)?)),
            other => anyhow::bail!("certificate_status/{name}: {other} {}", answer.text()),
        }
    }

    /// A request of a name that nobody expects: it waits.
    ///
    /// # Errors
    /// When it is refused.
    pub fn wait_for(&self, name: &str) -> Result<Request> {
        let request = Request::named(name)?;
        let answer = request.submit(&self.master.stranger()?, name)?;
        ensure!(answer.status == 200, "{name}: {} {}", answer.status, answer.text());
        Ok(request)
    }

    /// A name with a certificate, and its key.
    ///
    /// # Errors
    /// When it is refused.
    pub fn enrol(&self, name: &str) -> Result<Identity> {
        self.master.register(name, "classes: {}\n")?;
        request::enrol(&self.master.stranger()?, name)
    }

    /// What `certificate/NAME` answers to anybody; `None` is a 404.
    ///
    /// # Errors
    /// As [`request::certificate`].
    pub fn certificate(&self, name: &str) -> Result<Option<String>> {
        request::certificate(&self.master.stranger()?, name)
    }

    /// A client with that certificate.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn client(&self, identity: &Identity) -> Result<Client> {
        Client::new(self.master.address(), &self.master.ca()?, Some(identity))
    }

    /// Bundle and lists as they are served now, for OpenSSL.
    ///
    /// # Errors
    /// Any answer but 200.
    pub fn believed(&self) -> Result<Believed> {
        believed(&self.master)
    }

    /// As [`agree`].
    ///
    /// # Errors
    /// As [`agree`].
    pub fn agree(&self, certificates: &[&str], expected: &[Verdict]) -> Result<()> {
        agree(&self.master, certificates, expected)
    }

    /// Runs `bunraku ca` with these words and wants that exit code; returns standard output.
    ///
    /// # Errors
    /// Another exit code, with all that it printed.
    pub fn cli(&self, code: i32, words: &[&str]) -> Result<String> {
        cli(&self.master, code, words)
    }

    /// As [`Authority::cli`] with `--json`.
    ///
    /// # Errors
    /// Another exit code, or no JSON.
    pub fn json(&self, code: i32, words: &[&str]) -> Result<Value> {
        let said = self.cli(code, &[words, &["--json"]].concat())?;
        serde_json::from_str(&said).with_context(|| format!("{words:?} printed no JSON:\n{said}"))
    }
}

/// Bundle and lists of a master as they are served now, for OpenSSL.
///
/// # Errors
/// Any answer but 200.
pub fn believed(master: &Master) -> Result<Believed> {
    let lists = master.stranger()?.get("/puppet-ca/v1/certificate_revocation_list/ca")?;
    ensure!(lists.status == 200, "the lists: {} {}", lists.status, lists.text());
    Believed::new(&master.ca()?, &lists.text())
}

/// Waits until OpenSSL says that of these certificates: a revocation is in force at once and durable when it is
/// answered, and in the list that is served soon after.
///
/// # Errors
/// When it says something else for five seconds.
pub fn agree(master: &Master, certificates: &[&str], expected: &[Verdict]) -> Result<()> {
    let since = Instant::now();
    loop {
        let verdicts = believed(master)?.verify(certificates.iter().copied())?;
        if verdicts == expected {
            return Ok(());
        }
        ensure!(since.elapsed() < SOON, "OpenSSL says {verdicts:?}, wanted {expected:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs `bunraku ca` of a master that may not run, and wants that exit code; returns standard output.
///
/// # Errors
/// Another exit code, with all that it printed.
pub fn cli(master: &Master, code: i32, words: &[&str]) -> Result<String> {
    let output: Output = master.command(&[&["ca"], words].concat())?;
    let said = tools::text(&output);
    // For whoever reads why a test failed; a list of thousands helps nobody.
    let shown: String = said.chars().take(4_000).collect();
    eprintln!("bunraku ca {}: {}\n{shown}", words.join(" "), output.status);
    ensure!(output.status.code() == Some(code), "ca {words:?}: {}, wanted {code}\n{said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
