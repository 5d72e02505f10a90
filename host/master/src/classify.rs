//! What a node is: the classifiers' answer, or the last good one while the
//! registry does not answer.

use std::sync::Arc;
use std::time::Instant;

use pki::Certname;
use rollout::PluginSet;
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

impl Master {
    /// What the classifiers say, or, while the registry is down, the node's
    /// last good classification, if it is young enough. The flag says whether it
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
        let record = record::of_classification(set, &asking, &node, &said, asked, began.elapsed());
        let error = match said {
            Ok(found) => {
                self.note(record);
                return Ok((found, true));
            }
            Err(error) => error,
        };
        match self.last_good(certname, &error).await {
            Ok(Some((last, age))) => {
                self.note(record::last_good(record, &last, age));
                tracing::warn!(%certname, %error, age, "classified as last time: the classifier is unavailable");
                Ok((last, false))
            }
            other => {
                self.note(record);
                other?;
                tracing::warn!(%certname, %error, "not classified");
                Err(Failed::internal(format!("could not classify {certname}: {error}")))
            }
        }
    }

    /// What the node was the last time, and how many seconds ago, if that may stand in for this answer.
    async fn last_good(
        &self,
        certname: &Certname,
        error: &Unclassified,
    ) -> Result<Option<(NodeClassification, i64)>, Failed> {
        if !matches!(error, Unclassified::Unavailable(_) | Unclassified::TimedOut(_)) {
            return Ok(None);
        }
        let Some((value, at)) = self.parts.store.classification(certname.as_str()).await? else {
            return Ok(None);
        };
        let age = OffsetDateTime::now_utc().unix_timestamp().saturating_sub(at);
        let young = u64::try_from(age).is_ok_and(|a| a <= self.settings.last_good_max_age.as_secs());
        Ok(serde_json::from_value(value).ok().filter(|_| young).map(|last| (last, age)))
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
