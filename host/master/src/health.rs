//! How the master is: whether agents should come, how old the revocation lists are, and numbers.

use std::sync::Arc;

use ca::CaMetrics;
use follower::FollowState;
use pki::{Freshness, Trust};
use store::{Counts, MasterRow};
use time::OffsetDateTime;

use crate::{Failed, Master};

/// How well the master is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether agents should come here.
    pub ready: bool,
    /// What is wrong, a sentence each.
    pub why: Vec<String>,
    /// What of that is wrong with the CA; `None` where there is no CA here.
    pub ca: Option<Vec<String>>,
}

/// Numbers for whoever watches.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// What is believed of the CA.
    pub trust: Arc<Trust>,
    /// How old that is.
    pub freshness: Freshness,
    /// The CA's own; `None` where there is no CA here.
    pub ca: Option<CaMetrics>,
    /// How many there are of what, in its store.
    pub counts: Option<Counts>,
    /// Its catalog masters.
    pub masters: Vec<MasterRow>,
    /// How following goes; `None` where there is a CA here.
    pub follow: Option<FollowState>,
    /// The set of plugins that decides, by its id.
    pub plugin_set: String,
    /// What happened to sets since the start.
    pub plugins: rollout::Counts,
    /// What came of the set in shadow so far; `None` where there is none.
    pub shadow: Option<rollout::ShadowSummary>,
    /// How the journal does.
    pub journal: journal::Stats,
}

impl Master {
    /// Whether agents should come here.
    pub async fn status(&self) -> Status {
        let now = OffsetDateTime::now_utc();
        let mut why = Vec::new();
        let set = self.plugins();
        if set.classifiers().is_empty() {
            why.push("no classifier is installed".to_owned());
        }
        // Load balancers ask often: any read will do, and a revocation list has megabytes.
        if let Err(error) = self.parts.store.meta("ca.fingerprint").await {
            why.push(format!("the store does not answer: {error}"));
        }
        let lapsed = lapsed(&self.trust(), self.grace(), now);
        why.extend(lapsed.map(|at| format!("the revocation lists ended at {at}, and the grace after it")));
        let ca = self.parts.certificates.authority().map(|authority| authority.health(now));
        why.extend(ca.iter().flatten().cloned());
        Status { ready: why.is_empty(), why, ca }
    }

    /// Since when the revocation lists are too old to believe any certificate: they have ended, and so
    /// has the grace that the operator gives them.
    pub fn lapsed(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        lapsed(&self.trust(), self.grace(), now)
    }

    /// How old the revocation lists are.
    pub fn freshness(&self, now: OffsetDateTime) -> Freshness {
        self.trust().freshness(now, self.grace())
    }

    /// The numbers of this moment.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn metrics(&self) -> Result<Metrics, Failed> {
        let (now, certificates) = (OffsetDateTime::now_utc(), &self.parts.certificates);
        let (ca, counts, masters) = match certificates.authority() {
            Some(authority) => {
                let counts = self.parts.store.counts(now.unix_timestamp()).await?;
                (Some(authority.metrics()), Some(counts), self.masters().await?)
            }
            None => (None, None, Vec::new()),
        };
        Ok(Metrics {
            trust: self.trust(),
            freshness: self.freshness(now),
            ca,
            counts,
            masters,
            follow: certificates.follower().map(|follower| follower.state(now)),
            plugin_set: self.plugins().id().to_owned(),
            plugins: self.parts.rollout.counts(),
            shadow: self.parts.rollout.shadowed().map(|shadow| shadow.summary()),
            journal: self.parts.journal.stats(),
        })
    }

    /// The grace as the calendar counts; one that it cannot hold never ends.
    pub(crate) fn grace(&self) -> time::Duration {
        time::Duration::try_from(self.settings.grace).unwrap_or(time::Duration::MAX)
    }
}

fn lapsed(trust: &Trust, grace: time::Duration, now: OffsetDateTime) -> Option<OffsetDateTime> {
    (trust.freshness(now, grace) == Freshness::Expired).then_some(trust.next_update)
}
