//! What a node gets: its classification's classes, asked of the providers one
//! by one, become a catalog.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use catalog::Catalog;
use journal::{Kind, Record};
use pki::Certname;
use serde_json::Value;
use store::{Compilation, ExportRow};
use time::OffsetDateTime;

use crate::chains::{ProvisionInput, provision};
use crate::classify::{NodeClassification, trusted};
use crate::told::Asking;
use crate::{Failed, Master, Peer, convert, record, reports};

/// What an agent asks with its facts.
#[derive(Clone, Debug)]
pub struct CatalogRequest {
    /// Whose catalog.
    pub certname: Certname,
    /// The environment the agent believes to be in.
    pub environment: String,
    /// The facts' values, if the agent sent any.
    pub facts: Option<Value>,
    /// Names the request in errors and logs.
    pub request_id: String,
}

/// A catalog for the wire.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The catalog as JSON.
    pub json: Bytes,
    /// How many resources it holds.
    pub resources: usize,
    /// The environment it is of.
    pub environment: String,
}

impl Master {
    /// Compiles a node's catalog and stores its facts and exports in one
    /// transaction. A node that asks from the wrong environment gets an empty
    /// catalog of the right one and asks again (protocol page, §3).
    ///
    /// # Errors
    /// When the node can't be classified or its classes don't make a catalog.
    pub async fn compile(&self, request: CatalogRequest, peer: &Peer) -> Result<Compiled, Failed> {
        let began = Instant::now();
        let certname = request.certname.clone();
        let facts = match request.facts {
            Some(sent) => Arc::new(reports::clean(sent)),
            None => Arc::new(self.parts.store.facts(certname.as_str()).await?.unwrap_or(Value::Null)),
        };
        let asked = Some(request.environment.clone());
        let set = self.plugins();
        let (found, fresh) = self.classify_or_last_good(&set, &certname, peer, asked, facts.clone()).await?;
        let environment = self.environment_of(&found, &request.environment).inspect_err(|failed| {
            let (name, reason) = (certname.as_str(), "the environment that the classifier names is not here");
            let record = record::of_host(&set, Kind::Provision, name, "failed", reason.to_owned());
            self.note(Record { because: vec![failed.message.clone()], ..record }, false);
        })?;
        if environment != request.environment {
            tracing::info!(%certname, asked = %request.environment, %environment, "sent to another environment");
            let json = Catalog::empty_shell(certname.as_str(), &environment).to_json().into();
            return Ok(Compiled { json, resources: 0, environment });
        }
        // One that served as the last good one must not look fresh again.
        let classification = if fresh { serde_json::to_value(&found).ok() } else { None };
        let asks = Instant::now();
        let asking = Asking::about(facts.clone());
        let input = ProvisionInput {
            certname: certname.to_string(),
            environment: environment.clone(),
            trusted: trusted(&certname, peer),
            classes: found.classes,
            parameters: found.parameters,
        };
        let (compiled, asked) = provision(&set, &asking, &input, &self.decider).await;
        self.note(record::of_provision(&set, &asking, &input, &compiled, asked, asks.elapsed()), false);
        let compiled = compiled.inspect_err(|error| tracing::warn!(%certname, %error, "no catalog"))?;
        let exports: Vec<ExportRow> =
            compiled.exports.into_iter().map(|e| convert::export_row(e, &environment)).collect();
        let made = Compilation {
            environment: &environment,
            facts: Some(facts.as_ref()),
            classification: classification.as_ref(),
            exports: &exports,
        };
        let at = OffsetDateTime::now_utc().unix_timestamp();
        self.parts.store.save_compilation(certname.as_str(), made, at).await?;
        let resources = compiled.catalog.resources.len();
        tracing::info!(
            resources,
            "Compiled catalog for {certname} in environment {environment} in {:.3} seconds",
            began.elapsed().as_secs_f64()
        );
        Ok(Compiled { json: compiled.catalog.to_json().into(), resources, environment })
    }

    fn environment_of(&self, found: &NodeClassification, asked: &str) -> Result<String, Failed> {
        match &found.environment {
            None => Ok(self.environment_or_production(asked)),
            Some(named) if self.environment_exists(named) => Ok(named.clone()),
            Some(named) => Err(Failed::internal(format!(
                "Could not find environment '{named}' that the node definition names: add it to `environments` or make its folder below environments/"
            ))),
        }
    }
}
