//! What a node is: the classifiers' answer, or the last good one while the
//! registry does not answer.

use std::sync::Arc;
use std::time::Instant;

use pki::Certname;
use rollout::{FailedClassification, PluginSet};
use sandbox::{Node, Trusted};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::chains::classification;
use crate::told::Asking;
use crate::{Failed, Master, Peer, record};

/// What a node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeClassification {
    /// The environment the classifier names, if it names one.
    pub environment: Option<String>,
    /// Classes with their parameters, in the classifier's order.
    pub classes: Vec<(String, Map<String, Value>)>,
    /// Top-scope parameters.
    pub parameters: Map<String, Value>,
    /// What led here.
    pub because: Vec<String>,
    /// The plugin that answered.
    pub by: String,
}

/// Why a node has no classification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclassified {
    /// No classifier knows the node.
    #[error("no classifier knows this node")]
    NoMatch,
    /// A classifier says that it must get no catalog.
    #[error("{0}")]
    Rejected(String),
    /// A classifier can't read what describes the node.
    #[error("{0}")]
    Unreadable(String),
    /// What two classifiers say of it does not go together.
    #[error("{0}")]
    Contradicted(String),
    /// What a classifier depends on did not answer.
    #[error("{0}")]
    Unavailable(String),
    /// A classifier ran out of time.
    #[error("{0}")]
    TimedOut(String),
    /// A classifier broke.
    #[error("{0}")]
    Broken(String),
}

impl Unclassified {
    /// No answer, but a failure: of what a classifier depends on, or its own. What it cannot read or will
    /// not have, and what contradicts another, somebody has written so.
    fn is_failure(&self) -> bool {
        match self {
            Unclassified::Unavailable(_) | Unclassified::TimedOut(_) | Unclassified::Broken(_) => true,
            Unclassified::NoMatch
            | Unclassified::Rejected(_)
            | Unclassified::Unreadable(_)
            | Unclassified::Contradicted(_) => false,
        }
    }
}

/// What a node was the last time.
enum Last {
    /// This, so many seconds ago.
    Good(NodeClassification, u64),
    /// That is longer ago than these seconds.
    TooOld(u64),
    /// Nobody knows, or it may not stand in.
    None,
}

impl Master {
    /// What the classifiers say, or, while the registry is down, the node's last good classification, if
    /// it is young enough; the `on_failure` of the classifier may say otherwise. The flag says whether it
    /// is fresh.
    pub(crate) async fn classify_or_last_good(
        &self,
        set: &PluginSet,
        certname: &Certname,
        peer: &Peer,
        requested: Option<String>,
        facts: Arc<Value>,
    ) -> Result<(NodeClassification, bool), Failed> {
        let node = Node { trusted: trusted(certname, peer), requested_environment: requested };
        let (asking, began) = (Asking::about(facts), Instant::now());
        let (said, asked) = classification(set, &asking, &node, &self.decider).await;
        let asked_last = asked.last().map(|asked| asked.plugin.clone());
        let record = record::of_classification(set, &asking, &node, &said, asked, began.elapsed());
        let error = match said {
            Ok(found) => {
                self.note(record, false);
                return Ok((found, true));
            }
            Err(error) => error,
        };
        let last = match self.last_good(set, certname, &error, asked_last.as_deref()).await {
            Ok(last) => last,
            Err(failed) => {
                self.note(record, false);
                return Err(failed);
            }
        };
        match last {
            Last::Good(last, age) => {
                self.note(record::last_good(record, &last, age), false);
                tracing::warn!(%certname, %error, age, "classified as last time: the classifier is unavailable");
                return Ok((last, false));
            }
            Last::TooOld(most) => self.note(record::too_old(record, most), false),
            Last::None => self.note(record, false),
        }
        tracing::warn!(%certname, %error, "not classified");
        Err(Failed::internal(format!("could not classify {certname}: {error}")))
    }

    /// What the node was the last time, where that may stand in for an answer that this classifier did
    /// not give.
    async fn last_good(
        &self,
        set: &PluginSet,
        certname: &Certname,
        error: &Unclassified,
        classifier: Option<&str>,
    ) -> Result<Last, Failed> {
        let on_failure = classifier.and_then(|name| set.plugin(name)).map(|plugin| plugin.on_failure);
        let on_failure = on_failure.unwrap_or_default();
        let stands_in = match on_failure.classification {
            Some(FailedClassification::LastGood) => error.is_failure(),
            Some(FailedClassification::Fail) => false,
            None => matches!(error, Unclassified::Unavailable(_) | Unclassified::TimedOut(_)),
        };
        if !stands_in {
            return Ok(Last::None);
        }
        let stored = self.parts.store.classification(certname.as_str()).await?;
        let Some((last, at)) = stored.and_then(|(value, at)| Some((serde_json::from_value(value).ok()?, at)))
        else {
            return Ok(Last::None);
        };
        let age = OffsetDateTime::now_utc().unix_timestamp().saturating_sub(at);
        let most = on_failure.max_age.unwrap_or(self.settings.last_good_max_age.as_secs());
        Ok(match u64::try_from(age) {
            Ok(age) if age <= most => Last::Good(last, age),
            _ => Last::TooOld(most),
        })
    }

    /// The node object that an agent without an environment of its own asks for.
    ///
    /// # Errors
    /// When no classification can be had.
    pub async fn node(&self, certname: &Certname, environment: &str, peer: &Peer) -> Result<Value, Failed> {
        let facts = self.parts.store.facts(certname.as_str()).await?.unwrap_or(Value::Null);
        let requested = Some(environment.to_owned());
        let (found, _) =
            self.classify_or_last_good(&self.plugins(), certname, peer, requested, Arc::new(facts)).await?;
        let classes: Map<String, Value> =
            found.classes.into_iter().map(|(name, parameters)| (name, Value::Object(parameters))).collect();
        let environment = found.environment.unwrap_or_else(|| self.environment_or_production(environment));
        Ok(serde_json::json!({
            "name": certname.as_str(),
            "environment": environment,
            "classes": classes,
            "parameters": found.parameters,
        }))
    }

    /// The environment asked for if it exists, else `production`.
    pub(crate) fn environment_or_production(&self, asked: &str) -> String {
        if self.environment_exists(asked) { asked.to_owned() } else { "production".to_owned() }
    }
}

/// A node as its certificate presents it.
pub(crate) fn trusted(certname: &Certname, peer: &Peer) -> Trusted {
    let own = peer.certificate.as_ref().filter(|c| c.certname.as_ref() == Some(certname));
    Trusted {
        certname: certname.to_string(),
        authenticated: own.is_some(),
        extensions: own.map(|c| c.extensions.clone()).unwrap_or_default(),
        external: Map::new(),
    }
}
