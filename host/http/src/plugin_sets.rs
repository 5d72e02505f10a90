//! What the routes of `/bunraku/v1/plugins` need of the use cases, apart from what agents need
//! (`backend.rs`) and the CA's administrators (`administration.rs`). Each method is [`Master`]'s of the
//! same name.

use std::future::Future;

use master::plugins::{Candidate, Event, Origin, Plugins, Shadow, Staged, Swapped, Unstaged};
use master::{Failed, Master};

/// The use cases that put sets of plugins in force.
pub trait PluginSets: Send + Sync + 'static {
    /// The live set, the shadow and those that are staged.
    fn describe_plugins(&self) -> impl Future<Output = Result<Plugins, Failed>> + Send;
    /// How the shadow does. In memory.
    fn describe_shadow(&self) -> Option<Shadow>;
    /// What happened to sets, newest first.
    fn plugin_history(&self, limit: u32) -> impl Future<Output = Result<Vec<Event>, Failed>> + Send;
    /// Keeps a component and answers its digest.
    fn put_component(
        &self,
        bytes: Vec<u8>,
        signature: Option<Vec<u8>>,
        origin: Origin,
    ) -> impl Future<Output = Result<String, Unstaged>> + Send;
    /// Stages a set.
    fn stage_candidate(
        &self,
        candidate: Candidate,
        origin: Origin,
    ) -> impl Future<Output = Result<Staged, Unstaged>> + Send;
    /// Has a staged set answer beside the live one; none ends that.
    fn shadow_plugins(
        &self,
        set: Option<&str>,
        origin: Origin,
    ) -> impl Future<Output = Result<Option<Shadow>, Failed>> + Send;
    /// Puts the shadow in force; with a set, only if it is that one.
    fn promote_plugins(
        &self,
        set: Option<&str>,
        force: bool,
        origin: Origin,
    ) -> impl Future<Output = Result<Swapped, Failed>> + Send;
    /// Puts a staged set in force.
    fn swap_plugins(
        &self,
        set: &str,
        force: bool,
        origin: Origin,
    ) -> impl Future<Output = Result<Swapped, Failed>> + Send;
    /// Puts an earlier set in force, the one before where none is named.
    fn rollback_plugins(
        &self,
        to: Option<&str>,
        reason: &str,
        origin: Origin,
    ) -> impl Future<Output = Result<Swapped, Failed>> + Send;
}

impl PluginSets for Master {
    async fn describe_plugins(&self) -> Result<Plugins, Failed> {
        self.describe_plugins().await
    }

    fn describe_shadow(&self) -> Option<Shadow> {
        self.describe_shadow()
    }

    async fn plugin_history(&self, limit: u32) -> Result<Vec<Event>, Failed> {
        self.plugin_history(limit).await
    }

    async fn put_component(
        &self,
        bytes: Vec<u8>,
        signature: Option<Vec<u8>>,
        origin: Origin,
    ) -> Result<String, Unstaged> {
        self.put_component(bytes, signature, origin).await
    }

    async fn stage_candidate(&self, candidate: Candidate, origin: Origin) -> Result<Staged, Unstaged> {
        self.stage_candidate(candidate, origin).await
    }

    async fn shadow_plugins(&self, set: Option<&str>, origin: Origin) -> Result<Option<Shadow>, Failed> {
        self.shadow_plugins(set, origin).await
    }

    async fn promote_plugins(
        &self,
        set: Option<&str>,
        force: bool,
        origin: Origin,
    ) -> Result<Swapped, Failed> {
        self.promote_plugins(set, force, origin).await
    }

    async fn swap_plugins(&self, set: &str, force: bool, origin: Origin) -> Result<Swapped, Failed> {
        self.swap_plugins(set, force, origin).await
    }

    async fn rollback_plugins(
        &self,
        to: Option<&str>,
        reason: &str,
        origin: Origin,
    ) -> Result<Swapped, Failed> {
        self.rollback_plugins(to, reason, origin).await
    }
}
