//! A component that passed every check, and the questions it can be asked.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::bindings::bunraku::plugin::types;
use crate::bindings::exports::bunraku::plugin::{
    csr_approval, manifest, node_classification, resource_provision,
};
use crate::call::{Circumstances, Question, Share, Shared};
use crate::lane::{Pace, Paces};
use crate::state::State;
use crate::{
    Answered, CallContext, CallError, ClassInfo, Csr, Failure, Fragment, Host, Kinds, Metadata, NoHost, Node,
    Outcome, ProvideRequest, SettingsProblem, Verdict,
};

/// A loaded plugin. Every call runs in an instance of its own.
pub struct Plugin {
    pub(crate) component: Checked,
    pub(crate) digest: String,
    pub(crate) imports: Vec<String>,
    pub(crate) metadata: Metadata,
    pub(crate) classes: Vec<ClassInfo>,
}

/// What a call needs besides its question.
#[derive(Clone)]
pub struct Call {
    /// What the plugin is told about the call.
    pub context: CallContext,
    /// What its imports lead to.
    pub host: Arc<dyn Host>,
}

impl Plugin {
    /// SHA-256 of the component, lower-case hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What the plugin says of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The interfaces that it imports, with their versions, in order: what it
    /// could reach if everything were granted.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// What it can be asked.
    pub fn kinds(&self) -> Kinds {
        self.component.exports.kinds()
    }

    /// The classes it provides, none unless it is a provider.
    pub fn classes(&self) -> &[ClassInfo] {
        &self.classes
    }

    /// Has the plugin check its settings, with nothing granted. No problem means yes.
    pub async fn validate_settings(&self, settings: &Value) -> Result<Vec<SettingsProblem>, CallError> {
        let component = &self.component;
        let question =
            Validate { export: component.exports.manifest.clone(), settings: settings.to_string() };
        let read = |problems: Vec<manifest::Problem>| Ok(problems.into_iter().map(Into::into).collect());
        component.ask(component.nothing_granted(), question, read).await.answer
    }

    /// Asks whether a request is to be signed.
    pub async fn decide(&self, call: Call, csr: &Csr) -> Answered<Verdict> {
        let Some(export) = self.component.exports.approver.clone() else {
            return Answered::not_asked(CallError::NotExported("csr-approval"));
        };
        let (circumstances, context) = self.component.circumstances(call);
        let question = Decide { export, context, request: csr.into() };
        let read = |answer: Result<_, _>| Ok(Verdict::from(answer.map_err(failed)?));
        self.component.ask(circumstances, question, read).await
    }

    /// Asks what a node is.
    pub async fn classify(&self, call: Call, node: &Node) -> Answered<Outcome> {
        let Some(export) = self.component.exports.classifier.clone() else {
            return Answered::not_asked(CallError::NotExported("node-classification"));
        };
        let (circumstances, context) = self.component.circumstances(call);
        let question = Classify { export, context, node: node.into() };
        let read = |answer: Result<_, _>| Outcome::try_from(answer.map_err(failed)?);
        self.component.ask(circumstances, question, read).await
    }

    /// Asks for the resources of a class.
    pub async fn provide(&self, call: Call, request: &ProvideRequest) -> Answered<Fragment> {
        let Some(export) = self.component.exports.provider.clone() else {
            return Answered::not_asked(CallError::NotExported("resource-provision"));
        };
        let (circumstances, context) = self.component.circumstances(call);
        let question = Provide { export, context, request: request.into() };
        let read = |answer: Result<_, _>| Fragment::try_from(answer.map_err(failed)?);
        self.component.ask(circumstances, question, read).await
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.metadata.name)
            .field("version", &self.metadata.version)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

fn failed(failure: types::Failure) -> CallError {
    CallError::Failure(Failure::from(failure))
}

/// A component with the contract's names, ready to be instantiated.
pub(crate) struct Checked {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pre: InstancePre<State>,
    pub(crate) exports: Exports,
    /// This plugin's share of the slots.
    pub(crate) share: Share,
}

impl Checked {
    /// What the plugin says of itself; an error inside tells how its types differ from the contract's.
    pub(crate) async fn describe(&self) -> Result<Result<Metadata, String>, CallError> {
        let read = |found: Result<manifest::Metadata, String>| match found {
            Ok(metadata) => metadata.try_into().map(Ok),
            Err(difference) => Ok(Err(difference)),
        };
        self.ask(self.at_load(), Describe(self.exports.clone()), read).await.answer
    }

    /// The classes it provides.
    pub(crate) async fn classes(&self) -> Result<Vec<ClassInfo>, CallError> {
        let Some(export) = self.exports.provider.clone() else { return Ok(Vec::new()) };
        let read =
            |found: Vec<resource_provision::ClassInfo>| found.into_iter().map(TryInto::try_into).collect();
        self.ask(self.at_load(), Classes(export), read).await.answer
    }

    async fn ask<Q: Question, T: Send + 'static>(
        &self,
        with: Circumstances,
        question: Q,
        read: impl FnOnce(Q::Answer) -> Result<T, CallError> + Send + 'static,
    ) -> Answered<T> {
        self.shared.ask(&self.pre, &self.share, with, question, read).await
    }

    fn circumstances(&self, call: Call) -> (Circumstances, types::CallContext) {
        let Call { context, host } = call;
        let circumstances = Circumstances {
            host,
            now: context.now,
            decision_id: context.decision_id.clone(),
            deadline: self.shared.settings.deadline,
        };
        (circumstances, context.into())
    }

    fn at_load(&self) -> Circumstances {
        ungranted(self.shared.settings.load_deadline)
    }

    fn nothing_granted(&self) -> Circumstances {
        ungranted(self.shared.settings.deadline)
    }
}

fn ungranted(deadline: Duration) -> Circumstances {
    Circumstances { host: Arc::new(NoHost), now: 0, decision_id: String::new(), deadline }
}

/// Where a component's exports are.
#[derive(Clone)]
pub(crate) struct Exports {
    manifest: manifest::GuestIndices,
    approver: Option<csr_approval::GuestIndices>,
    classifier: Option<node_classification::GuestIndices>,
    provider: Option<resource_provision::GuestIndices>,
}

impl Exports {
    pub(crate) fn find(pre: &InstancePre<State>, kinds: Kinds) -> wasmtime::Result<Self> {
        Ok(Exports {
            manifest: manifest::GuestIndices::new(pre)?,
            approver: kinds.approver.then(|| csr_approval::GuestIndices::new(pre)).transpose()?,
            classifier: kinds.classifier.then(|| node_classification::GuestIndices::new(pre)).transpose()?,
            provider: kinds.provider.then(|| resource_provision::GuestIndices::new(pre)).transpose()?,
        })
    }

    fn kinds(&self) -> Kinds {
        Kinds {
            approver: self.approver.is_some(),
            classifier: self.classifier.is_some(),
            provider: self.provider.is_some(),
        }
    }

    /// Compares the types of everything exported with the contract's.
    fn check_types(&self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<()> {
        self.manifest.load(&mut *store, instance)?;
        if let Some(export) = &self.approver {
            export.load(&mut *store, instance)?;
        }
        if let Some(export) = &self.classifier {
            export.load(&mut *store, instance)?;
        }
        if let Some(export) = &self.provider {
            export.load(&mut *store, instance)?;
        }
        Ok(())
    }
}

struct Describe(Exports);

impl Question for Describe {
    type Answer = Result<manifest::Metadata, String>;

    fn pace(paces: &Paces) -> &Arc<Pace> {
        &paces.manifest
    }

    async fn ask(self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Self::Answer> {
        if let Err(difference) = self.0.check_types(store, instance) {
            return Ok(Err(format!("{difference:#}")));
        }
        let guest = self.0.manifest.load(&mut *store, instance)?;
        guest.call_describe(store).await.map(Ok)
    }
}

struct Classes(resource_provision::GuestIndices);

impl Question for Classes {
    type Answer = Vec<resource_provision::ClassInfo>;

    fn pace(paces: &Paces) -> &Arc<Pace> {
        &paces.manifest
    }

    async fn ask(self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Self::Answer> {
        self.0.load(&mut *store, instance)?.call_classes(store).await
    }
}

struct Validate {
    export: manifest::GuestIndices,
    settings: String,
}

impl Question for Validate {
    type Answer = Vec<manifest::Problem>;

    fn pace(paces: &Paces) -> &Arc<Pace> {
        &paces.manifest
    }

    async fn ask(self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Self::Answer> {
        self.export.load(&mut *store, instance)?.call_validate_settings(store, &self.settings).await
    }
}

struct Decide {
    export: csr_approval::GuestIndices,
    context: types::CallContext,
    request: csr_approval::Csr,
}

impl Question for Decide {
    type Answer = Result<csr_approval::Verdict, types::Failure>;

    fn pace(paces: &Paces) -> &Arc<Pace> {
        &paces.approver
    }

    async fn ask(self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Self::Answer> {
        self.export.load(&mut *store, instance)?.call_decide(store, &self.context, &self.request).await
    }
}

struct Classify {
    export: node_classification::GuestIndices,
    context: types::CallContext,
    node: node_classification::Node,
}

impl Question for Classify {
    type Answer = Result<node_classification::Outcome, types::Failure>;

    fn pace(paces: &Paces) -> &Arc<Pace> {
        &paces.classifier
    }

    async fn ask(self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Self::Answer> {
        self.export.load(&mut *store, instance)?.call_classify(store, &self.context, &self.node).await
    }
}

struct Provide {
    export: resource_provision::GuestIndices,
    context: types::CallContext,
    request: resource_provision::Request,
}

impl Question for Provide {
    type Answer = Result<resource_provision::Fragment, types::Failure>;

    fn pace(paces: &Paces) -> &Arc<Pace> {
        &paces.provider
    }

    async fn ask(self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Self::Answer> {
        self.export.load(&mut *store, instance)?.call_provide(store, &self.context, &self.request).await
    }
}
