//! Puts sets of plugins in force: stages, shadows, swaps and rolls back, for whoever may ask for it.
//!
//! Every way to another set comes through here: an administrator's request, the configuration read anew,
//! what the CA pushes. Who may is the caller's business (see `http`); who did is in the history.

mod candidate;
mod probe;
mod shown;

use std::sync::Arc;

use rollout::{PluginSet, Refused};

use crate::{Failed, Master};

pub use candidate::{Candidate, Configured, Replacement, Unstaged};
pub use probe::{Probe, probe};
pub use rollout::{Origin, SetSpec};
pub use shown::{Differs, Event, Plugin, Plugins, Quorum, Set, Shadow, Staged, Swapped, Wanted};

impl Master {
    /// The live set, the shadow, and the sets that are kept ready.
    ///
    /// # Errors
    /// None so far.
    pub async fn describe_plugins(&self) -> Result<Plugins, Failed> {
        let rollout = &self.parts.rollout;
        let live = rollout.current();
        let kept = rollout.kept();
        Ok(Plugins {
            live: Set::of(&live),
            shadow: self.describe_shadow(),
            staged: kept.iter().filter(|set| set.id() != live.id()).map(|set| Set::of(set)).collect(),
        })
    }

    /// How the set in shadow does.
    pub fn describe_shadow(&self) -> Option<Shadow> {
        self.parts.rollout.shadowed().map(|shadow| shown::shadow(shadow.set().id(), shadow.summary()))
    }

    /// What happened to sets, the newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn plugin_history(&self, limit: u32) -> Result<Vec<Event>, Failed> {
        let events = self.parts.rollout.history(limit).await.map_err(|error| failing(&error))?;
        Ok(events.into_iter().map(shown::event).collect())
    }

    /// Keeps a component, for a set that is yet to be staged, and answers its SHA-256.
    ///
    /// # Errors
    /// What keeps it from being kept.
    pub async fn put_component(
        &self,
        bytes: Vec<u8>,
        signature: Option<Vec<u8>>,
        origin: Origin,
    ) -> Result<String, Unstaged> {
        let kept = self.parts.rollout.put_component(bytes, signature).await;
        let digest = kept.map_err(|problem| Unstaged::Problems(vec![problem.to_string()]))?;
        tracing::info!(by = origin.by, from = origin.from, digest, "a component was uploaded");
        Ok(digest)
    }

    /// Stages a set and asks it about a stranger. Nothing changes for decisions.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub async fn stage_plugins(&self, spec: SetSpec, origin: Origin) -> Result<Staged, Unstaged> {
        let staged = self.parts.rollout.stage(spec, origin).await;
        let set = staged.map_err(|problems| Unstaged::problems(&problems))?;
        Ok(Staged { probe: probe(&set).await.word().to_owned(), set: Set::of(&set) })
    }

    /// The same of a set that is yet to be put together.
    ///
    /// # Errors
    /// As [`Master::stage_plugins`], and what keeps it from being put together.
    pub async fn stage_candidate(&self, candidate: Candidate, origin: Origin) -> Result<Staged, Unstaged> {
        let (spec, origin) = self.assemble(candidate, origin).await?;
        self.stage_plugins(spec, origin).await
    }

    /// Has a staged set answer beside the live one; `None` ends that.
    ///
    /// # Errors
    /// 404 for a set that nobody knows, 409 for one that cannot be in shadow.
    pub async fn shadow_plugins(&self, set: Option<&str>, origin: Origin) -> Result<Option<Shadow>, Failed> {
        self.parts.rollout.shadow(set, origin).await.map_err(refused)?;
        Ok(self.describe_shadow())
    }

    /// Puts the set in shadow in force; with an identifier, or the start of one, only if it is that one.
    ///
    /// # Errors
    /// As [`Master::swap_plugins`]; 409 where no set, or another one, is in shadow.
    pub async fn promote_plugins(
        &self,
        set: Option<&str>,
        force: bool,
        origin: Origin,
    ) -> Result<Swapped, Failed> {
        let shadow = self.parts.rollout.shadowed().ok_or_else(|| refused(Refused::NoShadow))?;
        let id = shadow.set().id();
        if set.is_some_and(|set| !id.starts_with(set)) {
            return Err(Failed::conflict(format!("the plugin set in shadow is {id}, not that one")));
        }
        self.swap_plugins(id, force, origin).await
    }

    /// Puts a set in force, by its identifier or the start of it. One that approves a stranger while the
    /// live one does not is put in shadow instead, unless that is forced.
    ///
    /// # Errors
    /// 404 for a set that nobody knows; 409 for the live one, one that is held in shadow, and one that
    /// cannot be used any more; 503 when it cannot be recorded. The live set is as it was then.
    pub async fn swap_plugins(&self, set: &str, force: bool, origin: Origin) -> Result<Swapped, Failed> {
        let rollout = &self.parts.rollout;
        let set = rollout.ready(set).await.map_err(refused)?;
        if !force && self.opens_the_door(&set).await {
            return Err(self.hold(&set, origin).await);
        }
        rollout.swap(set.id(), origin).await.map(Swapped::from).map_err(refused)
    }

    /// Puts an earlier set in force: the one before the live one where none is named.
    ///
    /// # Errors
    /// As [`Master::swap_plugins`], but nothing is held: that set has decided before.
    pub async fn rollback_plugins(
        &self,
        to: Option<&str>,
        reason: &str,
        origin: Origin,
    ) -> Result<Swapped, Failed> {
        let rolled = self.parts.rollout.rollback(to, origin, reason).await;
        rolled.map(Swapped::from).map_err(refused)
    }

    /// Whether strangers would be signed that are not signed now.
    async fn opens_the_door(&self, set: &Arc<PluginSet>) -> bool {
        let live = self.parts.rollout.current();
        live.id() != set.id() && probe(set).await == Probe::Approve && probe(&live).await != Probe::Approve
    }

    /// Puts a set in shadow that was to be live.
    async fn hold(&self, set: &PluginSet, origin: Origin) -> Failed {
        let id = set.id();
        let what = format!(
            "plugin set {id} approves the request of a node that nobody knows, and the live set does not"
        );
        tracing::error!(set = id, by = origin.by, from = origin.from, "not swapped in: {what}");
        let short = id.get(..12).unwrap_or(id);
        match self.parts.rollout.shadow(Some(id), origin).await {
            Ok(()) => Failed::conflict(format!(
                "{what}: it is held in shadow. Look at `bunraku plugin shadow`; if that is wanted, `bunraku plugin swap --set {short} --force`"
            )),
            Err(error) => Failed::conflict(format!(
                "{what}: it is not swapped in. If that is wanted, `bunraku plugin swap --set {short} --force` ({error})"
            )),
        }
    }
}

fn refused(refused: Refused) -> Failed {
    match &refused {
        Refused::Unknown(_) => Failed::not_found(refused.to_string()),
        Refused::Record(_) | Refused::Stopping => {
            tracing::error!("{refused}");
            Failed::unavailable(refused.to_string())
        }
        Refused::Ambiguous(_)
        | Refused::Live(_)
        | Refused::NothingBefore
        | Refused::NoShadow
        | Refused::Plugins { .. } => Failed::conflict(refused.to_string()),
    }
}

fn failing(error: &rollout::Error) -> Failed {
    tracing::error!(%error, "the history of plugin sets can't be read");
    Failed::unavailable("the master's store does not answer")
}

#[cfg(test)]
mod tests;
