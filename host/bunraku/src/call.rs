//! Asks a running daemon: over the control socket of this configuration's, or
//! over the network as an administrator.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use client::{Client, Deadlines, Method, Response, Roots, StatusCode, Target};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pki::{Certificate, Identity};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::arguments::Online;
use crate::config::Config;
use crate::setup::Failure;

/// What stays as it is in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Most bytes of a list, 1 KiB or so a certificate, and how long what takes long may take.
const LONGEST: usize = 4 << 30;
const LONG: Duration = Duration::from_secs(600);

/// A daemon that can be asked.
pub struct Call {
    client: Client,
    local: bool,
}

impl Call {
    /// The CA that the arguments and the configuration name.
    ///
    /// # Errors
    /// With exit code 2 where the CA is elsewhere and nobody says how to reach
    /// it, and where certificates or keys cannot be read.
    pub fn ca(config: &Config, online: &Online) -> Result<Call, Failure> {
        match &config.ca.follows {
            Some(follows) if online.server.is_none() => Err(wrong(format_args!(
                "this is a catalog master, its CA is {server}: run this there, or say --server {server} --cert FILE --key FILE --ca FILE",
                server = follows.server
            ))),
            _ => Call::daemon(config, online),
        }
    }

    /// The daemon that the arguments and the configuration name, be it the CA or a catalog master.
    ///
    /// # Errors
    /// With exit code 2 where certificates or keys cannot be read.
    pub fn daemon(config: &Config, online: &Online) -> Result<Call, Failure> {
        let local = online.server.is_none();
        let target = match (&online.server, &online.cert, &online.key, &online.ca) {
            (Some(server), Some(cert), Some(key), Some(ca)) => {
                let certificate_pem = text(cert)?;
                let certificate = Certificate::parse_pem(certificate_pem.as_bytes())
                    .map_err(|e| wrong(format_args!("{}: {e}", cert.display())))?;
                let identity = Identity { certificate, certificate_pem, key_pem: text(key)? };
                Target::Https {
                    host: server.host.clone(),
                    port: server.port,
                    roots: Roots::Bundle(text(ca)?.into()),
                    identity: Some(identity),
                }
            }
            _ => Target::Unix(config.server.control_socket.clone()),
        };
        Ok(Call { client: Client::new(target).map_err(wrong)?, local })
    }

    /// The same, with patience for what takes long: many certificates, a set of plugins to compile.
    #[must_use]
    pub fn patient(&self) -> Call {
        let deadlines = Deadlines { head: LONG, body: LONG, ..Deadlines::default() };
        let client = self.client.clone().with_cap(LONGEST).with_deadlines(deadlines);
        Call { client, local: self.local }
    }

    /// Asks, and gives the answer whatever its status, but for refusals.
    ///
    /// # Errors
    /// Nobody answers, or the daemon lets us not.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response, Failure> {
        let body = body.map(|value| ("application/json", value.to_string().into()));
        self.send(method, path, body).await
    }

    /// As [`Call::ask`], with a body of another type.
    ///
    /// # Errors
    /// As [`Call::ask`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Response, Failure> {
        let answered = self.client.request(method, path, body).await.map_err(|error| match error {
            client::Error::Connect { reason, .. } if self.local && reason.ends_with("running?") => {
                Failure::new(format_args!(
                    "no daemon answers at {}: start it with `bunraku serve`, or name another one with --server HOST --cert FILE --key FILE --ca FILE",
                    self.client.at()
                ))
            }
            other => Failure::new(other),
        })?;
        match answered.status {
            StatusCode::FORBIDDEN => Err(Failure::new(format_args!(
                "{} does not allow it: {}; an administrator's certificate has pp_cli_auth or is named in ca.admins",
                self.client.at(),
                answered.text()
            ))),
            _ => Ok(answered),
        }
    }

    /// What is there to be read, as JSON.
    ///
    /// # Errors
    /// As [`Call::ask`], for any other status than 200, and for what is no JSON.
    pub async fn json(&self, path: &str) -> Result<Value, Failure> {
        let answered = self.ask(Method::GET, path, None).await?;
        self.read(&answered)
    }

    /// A list that may be long: every certificate there is.
    ///
    /// # Errors
    /// As [`Call::json`].
    pub async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answered = self.patient().ask(Method::GET, path, None).await?;
        self.read(&answered)
    }

    /// The JSON of a 200.
    ///
    /// # Errors
    /// Any other status, and what is no JSON.
    pub fn read<T: DeserializeOwned>(&self, answered: &Response) -> Result<T, Failure> {
        if answered.status != StatusCode::OK {
            return Err(Failure::new(format_args!("{} says: {}", self.client.at(), said(answered))));
        }
        serde_json::from_slice(&answered.body)
            .map_err(|e| Failure::new(format_args!("the answer of {} cannot be read: {e}", self.client.at())))
    }
}

/// A name in a path.
pub fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

/// What an answer says to a person, with its status where it says nothing.
pub fn said(answered: &Response) -> String {
    let message = serde_json::from_slice::<Value>(&answered.body).ok();
    let message = message.as_ref().and_then(|value| value.get("message").or(value.get("error")));
    match message.and_then(Value::as_str) {
        Some(message) => message.to_owned(),
        None if answered.body.is_empty() => answered.status.to_string(),
        None => answered.text(),
    }
}

fn text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| wrong(format_args!("cannot read {}: {e}", path.display())))
}

fn wrong(message: impl std::fmt::Display) -> Failure {
    Failure::with_code(2, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_its_segment() {
        fn check(name: &str, expected: &str) {
            assert_eq!(segment(name), expected);
        }
        check("web-1.example_x.test", "web-1.example_x.test");
        check("../clean?a=b#c", "..%2Fclean%3Fa%3Db%23c");
        check("a b\n%", "a%20b%0A%25");
    }
}
