//! The first contact: what CA is this, and is it the one that the operator means?

use std::time::Duration;

use client::{Client, Method, Roots, StatusCode, Target};
use pki::{Bundle, Identity};
use tokio::time::sleep;

use crate::disk::{Folder, Kept};
use crate::judge::{Arrival, Offer, continues, judge};
use crate::settings::ExpectedFingerprint;
use crate::wait::{Backoff, Said};
use crate::{Error, Pin, Settings};

/// Where agents, and we, fetch the bundle.
pub(crate) const BUNDLE: &str = "/puppet-ca/v1/certificate/ca";
/// Where they fetch the lists.
pub(crate) const LISTS: &str = "/puppet-ca/v1/certificate_revocation_list/ca";

/// What the CA is known by.
#[derive(Debug)]
pub(crate) enum Anchor {
    /// Nothing: it is trusted on first use.
    FirstUse,
    Fingerprint(ExpectedFingerprint),
    Bundle(Box<Bundle>),
}

impl Anchor {
    /// Reads what the operator has pinned.
    pub fn read(settings: &Settings) -> Result<Anchor, Error> {
        match &settings.pin {
            None => Ok(Anchor::FirstUse),
            Some(Pin::Fingerprint(expected)) => Ok(Anchor::Fingerprint(*expected)),
            Some(Pin::File(path)) => {
                let text = std::fs::read(path).map_err(|source| Error::Io { path: path.clone(), source })?;
                let bundle = Bundle::parse(&text);
                let bundle =
                    bundle.map_err(|e| Error::PinFile { path: path.clone(), reason: e.to_string() })?;
                Ok(Anchor::Bundle(Box::new(bundle)))
            }
        }
    }

    /// Whether a bundle is of the pinned CA.
    pub fn holds(&self, bundle: &Bundle) -> bool {
        match self {
            Anchor::FirstUse => true,
            Anchor::Fingerprint(expected) => expected.is(&bundle.fingerprint()),
            Anchor::Bundle(pinned) => continues(pinned, bundle),
        }
    }
}

/// A client of the CA.
pub(crate) fn client(
    settings: &Settings,
    roots: Roots,
    identity: Option<Identity>,
) -> Result<Client, client::Error> {
    let (host, port) = settings.server.clone();
    Client::new(Target::Https { host, port, roots, identity })
}

/// Meets the CA, for as long as it takes it to be there. What it says is kept before it is returned.
///
/// # Errors
/// [`Error::NotPinned`] at once; what cannot be written.
pub(crate) async fn first_contact(
    settings: &Settings,
    folder: &Folder,
    anchor: &Anchor,
) -> Result<Kept, Error> {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));
    let mut said = Said::default();
    loop {
        match meet(settings, anchor).await {
            Ok(kept) => {
                folder.keep_trust(&kept.held, &kept.first)?;
                return Ok(kept);
            }
            Err(Obstacle::Final(error)) => return Err(error),
            Err(Obstacle::Passing(reason)) => {
                if said.is_due(&reason) {
                    tracing::warn!(
                        ca = at(settings),
                        reason,
                        "this master knows nothing of its CA yet and waits for it; trying again every 15 s"
                    );
                }
                sleep(backoff.pause()).await;
            }
        }
    }
}

/// The CA's address, for people.
pub(crate) fn at(settings: &Settings) -> String {
    format!("{}:{}", settings.server.0, settings.server.1)
}

enum Obstacle {
    Final(Error),
    Passing(String),
}

impl From<client::Error> for Obstacle {
    fn from(error: client::Error) -> Obstacle {
        match error {
            client::Error::Target { .. } | client::Error::Unverified { .. } => {
                Obstacle::Final(Error::Client(error))
            }
            error => Obstacle::Passing(error.to_string()),
        }
    }
}

async fn meet(settings: &Settings, anchor: &Anchor) -> Result<Kept, Obstacle> {
    let bundle = get(&client(settings, Roots::AnyOnce, None)?, BUNDLE).await?;
    let bundle = Bundle::parse(bundle.as_bytes()).map_err(|error| Obstacle::Passing(error.to_string()))?;
    check_pin(settings, anchor, &bundle).map_err(Obstacle::Final)?;

    // From here on the server has to prove that it is of that CA, and has the name that we know.
    let lists = get(&client(settings, Roots::Bundle(bundle.pem().clone()), None)?, LISTS).await?;
    let offer = Offer { bundle: bundle.pem().to_string(), crls: lists, ..Offer::default() };
    let judged = judge(&offer, None, Arrival::now(std::time::SystemTime::now()));
    let held = judged.map_err(|refusal| Obstacle::Passing(refusal.to_string()))?;
    let held = held.ok_or_else(|| Obstacle::Passing("it has no revocation list".to_owned()))?;
    let (name, fingerprint) = (bundle.issuer().subject_cn.clone(), bundle.fingerprint());
    if matches!(anchor, Anchor::FirstUse) {
        tracing::warn!(
            ca = at(settings),
            name,
            %fingerprint,
            "TRUSTING THIS CA ON FIRST USE: nobody vouches for it. Compare the fingerprint with the SHA-256 of \
             the bundle on the CA itself (sha256sum ca_crt.pem), and pin it in the configuration"
        );
    } else {
        tracing::info!(ca = at(settings), name, %fingerprint, "met the CA that is pinned");
    }
    Ok(Kept { held, first: bundle })
}

fn check_pin(settings: &Settings, anchor: &Anchor, bundle: &Bundle) -> Result<(), Error> {
    if anchor.holds(bundle) {
        return Ok(());
    }
    Err(Error::NotPinned {
        at: at(settings),
        offered: format!(
            "its bundle is of {:?} and has the SHA-256 {}",
            bundle.issuer().subject_cn,
            bundle.fingerprint()
        ),
        expected: match anchor {
            Anchor::Bundle(pinned) => format!("{:?} is expected", pinned.issuer().subject_cn),
            Anchor::Fingerprint(_) | Anchor::FirstUse => "another one is pinned".to_owned(),
        },
    })
}

async fn get(client: &Client, path: &str) -> Result<String, Obstacle> {
    let answer = client.request(Method::GET, path, None).await?;
    if answer.status != StatusCode::OK {
        let (status, text) = (answer.status, answer.text());
        return Err(Obstacle::Passing(format!("{} answered {status} to {path}: {text}", client.at())));
    }
    let not_text = |_| Obstacle::Passing(format!("{} answered no text to {path}", client.at()));
    String::from_utf8(answer.body.to_vec()).map_err(not_text)
}
