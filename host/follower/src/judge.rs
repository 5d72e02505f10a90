//! What is taken from a CA, and what is refused. Pure.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pki::{Bundle, BundleError, ChainError, CrlChain, Trust};
use serde::{Deserialize, Serialize};

/// What a CA says of itself: a line of its stream, two answers to a poll, or our own file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    /// The bundle in PEM.
    pub bundle: String,
    /// All lists in PEM.
    pub crls: String,
    /// The lists for agents, where they are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents_crls: Option<String>,
    /// The number of the signing CA's list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
}

/// What is in force, with the lists as we read them.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub trust: Arc<Trust>,
    pub chain: Arc<CrlChain>,
}

/// When a bundle and the lists came, to the second after: what agents are told has changed since. A list's
/// own thisUpdate will not do for that, as a CA dates its lists back for clocks that are behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arrival {
    /// In seconds since 1970.
    pub bundle_modified: u64,
    /// In seconds since 1970.
    pub lists_modified: u64,
}

impl Arrival {
    /// Now. The second after, for agents who have fetched the old ones within this one.
    pub fn now(now: SystemTime) -> Arrival {
        let next = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() + 1);
        Arrival { bundle_modified: next, lists_modified: next }
    }

    /// When what is in force came.
    pub fn of(trust: &Trust) -> Arrival {
        let seconds =
            |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Arrival {
            bundle_modified: seconds(trust.bundle_modified),
            lists_modified: seconds(trust.this_update.into()),
        }
    }
}

/// Why an offer is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Bundle(#[from] BundleError),
    #[error("{0}")]
    Lists(#[from] ChainError),
    #[error("the lists for agents: {0}")]
    AgentsLists(ChainError),
    #[error("it says that its list has the number {said}, and the list has {real}")]
    Number { said: u64, real: u64 },
    #[error(
        "the CA has become another one: {new} with SHA-256 {fingerprint} has neither the name and key of {old} nor the same root; to enrol there, stop this master and remove its folder"
    )]
    OtherCa { old: String, new: String, fingerprint: String },
}

/// Judges an offer by what is held. `None`: it says nothing new. In the trust that comes of it, `this_update`
/// is when the lists came here.
pub(crate) fn judge(offer: &Offer, held: Option<&Held>, arrival: Arrival) -> Result<Option<Held>, Refusal> {
    let bundle = match held {
        Some(held) if **held.trust.bundle.pem() == offer.bundle => held.trust.bundle.clone(),
        _ => Arc::new(Bundle::parse(offer.bundle.as_bytes())?),
    };
    let known_bundle = held.filter(|held| held.trust.bundle == bundle);
    if let Some(held) = held
        && !continues(&held.trust.bundle, &bundle)
    {
        return Err(Refusal::OtherCa {
            old: held.trust.bundle.issuer().subject_cn.clone(),
            new: bundle.issuer().subject_cn.clone(),
            fingerprint: bundle.fingerprint().to_string(),
        });
    }
    let chain = CrlChain::parse(offer.crls.as_bytes(), &bundle)?;
    if let Some(held) = held {
        chain.must_follow(&held.chain)?;
    }
    let number = chain.own().number;
    if let Some(said) = offer.number.filter(|said| *said != number) {
        return Err(Refusal::Number { said, real: number });
    }
    // Written anew from what was read, so that TLS reads neither more nor less than was checked.
    let crls: Arc<str> = chain.to_pem().into();
    let agents_crls = match &offer.agents_crls {
        None => crls.clone(),
        Some(text) => {
            CrlChain::parse(text.as_bytes(), &bundle).map_err(Refusal::AgentsLists)?.to_pem().into()
        }
    };
    if known_bundle.is_some_and(|held| held.trust.crls == crls && held.trust.agents_crls == agents_crls) {
        return Ok(None);
    }
    let trust = Trust {
        bundle_modified: known_bundle
            .map_or_else(|| of_seconds(arrival.bundle_modified), |held| held.trust.bundle_modified),
        number,
        this_update: of_seconds(arrival.lists_modified).into(),
        next_update: chain.next_update(),
        revoked: Arc::new(chain.revoked()),
        bundle,
        crls,
        agents_crls,
    };
    Ok(Some(Held { trust: Arc::new(trust), chain: Arc::new(chain) }))
}

/// Whether `new` is the same CA as `old`: renewed with its name and key, or another under the same root.
pub(crate) fn continues(old: &Bundle, new: &Bundle) -> bool {
    let same = |a: &pki::Certificate, b: &pki::Certificate| {
        a.key_digest == b.key_digest && a.subject_cn == b.subject_cn
    };
    let roots = (old.certificates().last(), new.certificates().last());
    same(old.issuer(), new.issuer()) || matches!(roots, (Some(old), Some(new)) if same(old, new))
}

impl Held {
    /// What to say to get it again.
    pub fn offer(&self) -> Offer {
        let Trust { bundle, crls, agents_crls, number, .. } = &*self.trust;
        Offer {
            bundle: bundle.pem().to_string(),
            crls: crls.to_string(),
            agents_crls: (agents_crls != crls).then(|| agents_crls.to_string()),
            number: Some(*number),
        }
    }

    /// What a poll brought, as an offer. The one text of lists that it brings is the agents': where that
    /// is another than the one to enforce, the latter must not shrink to it.
    pub fn polled(&self, bundle: Option<String>, lists: Option<String>) -> Offer {
        let mut offer = self.offer();
        if let Some(bundle) = bundle {
            offer.bundle = bundle;
        }
        match (lists, &mut offer.agents_crls) {
            (None, _) => {}
            (Some(lists), Some(agents_crls)) => *agents_crls = lists,
            (Some(lists), None) => (offer.crls, offer.number) = (lists, None),
        }
        offer
    }
}

fn of_seconds(seconds: u64) -> SystemTime {
    // A file that says otherwise has no say beyond the calendar's end.
    let seconds = Duration::from_secs(seconds.min(200_000_000_000));
    SystemTime::UNIX_EPOCH.checked_add(seconds).unwrap_or(SystemTime::UNIX_EPOCH)
}
