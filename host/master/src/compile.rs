//! What a node gets: its classification's classes, asked of the providers one
//! by one, become a catalog.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use catalog::{Catalog, CompileError, Compiler, Step, Target};
use pki::Certname;
use rollout::PluginSet;
use sandbox::{CallError, ProvideRequest};
use serde_json::Value;
use store::{Compilation, ExportRow};
use time::OffsetDateTime;

use crate::classify::{NodeClassification, trusted};
use crate::decider::Asking;
use crate::{Failed, Master, Peer, convert, reports};

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
        let environment = self.environment_of(&found, &request.environment)?;
        if environment != request.environment {
            tracing::info!(%certname, asked = %request.environment, %environment, "sent to another environment");
            let json = Catalog::empty_shell(certname.as_str(), &environment).to_json().into();
            return Ok(Compiled { json, resources: 0, environment });
        }
        let compiled = self.resources(&set, &certname, peer, &environment, &found, &facts).await?;
        let exports: Vec<ExportRow> =
            compiled.exports.into_iter().map(|e| convert::export_row(e, &environment)).collect();
        // One that served as the last good one must not look fresh again.
        let classification = if fresh { serde_json::to_value(&found).ok() } else { None };
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

    async fn resources(
        &self,
        set: &PluginSet,
        certname: &Certname,
        peer: &Peer,
        environment: &str,
        found: &NodeClassification,
        facts: &Arc<Value>,
    ) -> Result<catalog::Compiled, Failed> {
        let asking = Asking::about(facts.clone());
        let refused = |error: CompileError| {
            tracing::warn!(%certname, %error, "no catalog");
            Failed::internal(error.to_string())
        };
        let target = Target {
            certname: certname.to_string(),
            environment: environment.to_owned(),
            version: set.id().get(..12).unwrap_or_default().to_owned(),
            catalog_uuid: asking.id.clone(),
        };
        let mut compiler =
            Compiler::new(target, found.classes.clone(), set.classes().clone()).map_err(refused)?;
        let node = trusted(certname, peer);
        while let Step::Ask(ask) = compiler.next() {
            let ask = ask.clone();
            let Some(plugin) = set.plugin(&ask.plugin) else {
                return Err(Failed::internal(format!("plugin `{}` is not in its own set", ask.plugin)));
            };
            let asked = ProvideRequest {
                node: node.clone(),
                environment: environment.to_owned(),
                class: ask.class.clone(),
                parameters: ask.parameters.clone(),
                node_parameters: found.parameters.clone(),
            };
            let (call, _) = self.decider.call(&asking, plugin);
            match plugin.plugin.provide(call, &asked).await.answer {
                Ok(fragment) => compiler.answer(convert::fragment(fragment)).map_err(refused)?,
                Err(error) => {
                    let reason = match error {
                        CallError::Failure(failure) => failure.to_string(),
                        fault => format!("no-decision({fault})"),
                    };
                    tracing::warn!(%certname, class = %ask.class, plugin = %ask.plugin, %reason, "no catalog");
                    return Err(Failed::internal(format!(
                        "class `{}` of plugin `{}` on node {certname}: {reason}",
                        ask.class, ask.plugin
                    )));
                }
            }
        }
        compiler.finish().map_err(refused)
    }
}
