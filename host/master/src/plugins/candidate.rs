//! Sets that are yet to be staged: where each comes from, and how it is put together.

use std::fmt;
use std::sync::Arc;

use rollout::{Origin, Problem, SetSpec, Source};
use serde::Deserialize;
use serde_json::Value;

use crate::{Failed, Master};

/// What is to be staged.
#[derive(Clone, Debug)]
pub enum Candidate {
    /// What the configuration says now.
    Config,
    /// The live set with one plugin replaced.
    Replace(Replacement),
    /// This set.
    Set(SetSpec),
}

/// Another component for one plugin of the live set.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// The operator's name of the plugin; where none, the one that goes by the component's own name.
    pub name: Option<String>,
    /// The component, which is kept already: SHA-256 in lower-case hex.
    pub digest: String,
    /// Other settings; the present ones where none.
    pub settings: Option<Value>,
    /// The file that it was uploaded from, for the history.
    pub file: Option<String>,
}

/// The configuration, to be read anew whenever somebody asks for it.
pub struct Configured {
    /// Where it is, for the history.
    pub place: String,
    /// Reads it: the set that it asks for, or all that is wrong. It may block.
    pub read: Box<dyn Fn() -> Result<SetSpec, Vec<String>> + Send + Sync>,
}

impl Default for Configured {
    /// No configuration: there is nothing to read anew.
    fn default() -> Self {
        let none = || Err(vec!["there is no configuration to read".to_owned()]);
        Configured { place: String::new(), read: Box::new(none) }
    }
}

/// Why there is no new set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unstaged {
    /// All that is wrong with it.
    #[error("{}", .0.join("; "))]
    Problems(Vec<String>),
    /// It could not even be looked at.
    #[error(transparent)]
    Failed(#[from] Failed),
}

impl Unstaged {
    pub(super) fn problems(problems: &[Problem]) -> Self {
        Unstaged::Problems(problems.iter().map(ToString::to_string).collect())
    }

    fn problem(problem: String) -> Self {
        Unstaged::Problems(vec![problem])
    }
}

impl Candidate {
    /// A set that somebody wrote down.
    ///
    /// # Errors
    /// What keeps it from being one; no setting is repeated.
    pub fn read(set: Value) -> Result<Self, String> {
        serde_json::from_value(set).map(Candidate::Set).map_err(|error| format!("`set`: {error}"))
    }
}

impl Master {
    /// Puts a candidate together, and says where it comes from as exactly as is known.
    pub(super) async fn assemble(
        &self,
        candidate: Candidate,
        origin: Origin,
    ) -> Result<(SetSpec, Origin), Unstaged> {
        match candidate {
            Candidate::Set(spec) => Ok((spec, origin)),
            Candidate::Config => {
                let configured = Arc::clone(&self.parts.configured);
                let from = configured.place.clone();
                let read = tokio::task::spawn_blocking(move || (configured.read)()).await;
                let read = read.map_err(|_| Failed::internal("reading the configuration was cut short"))?;
                Ok((read.map_err(Unstaged::Problems)?, Origin { from, ..origin }))
            }
            Candidate::Replace(replacement) => {
                let spec = self.replaced(&replacement).await?;
                let from = match &replacement.file {
                    Some(file) => format!("{} over {}", one_line(file), origin.from),
                    None => origin.from,
                };
                Ok((spec, Origin { from, by: origin.by }))
            }
        }
    }

    /// The live set with another component in the place of one.
    async fn replaced(&self, replacement: &Replacement) -> Result<SetSpec, Unstaged> {
        let name = match &replacement.name {
            Some(name) => name.clone(),
            None => self.place_of(&replacement.digest).await?,
        };
        let live = self.parts.rollout.current();
        let mut spec = live.spec().clone();
        let names: Vec<String> = spec.plugins.iter().map(|plugin| plugin.name.clone()).collect();
        let Some(plugin) = spec.plugins.iter_mut().find(|plugin| plugin.name == name) else {
            return Err(Unstaged::problem(format!(
                "the live set has no plugin {name:?} whose place to take, but {}: say which one (--as NAME)",
                names.join(", ")
            )));
        };
        plugin.source = Source::Digest(replacement.digest.clone());
        // Whoever replaces a pinned component means this one.
        plugin.digest = None;
        if let Some(settings) = &replacement.settings {
            plugin.settings = settings.clone();
        }
        Ok(spec)
    }

    /// The name, in the live set, of the plugin that has the same name of its own as this component.
    async fn place_of(&self, digest: &str) -> Result<String, Unstaged> {
        let rollout = &self.parts.rollout;
        let component = rollout.component(digest).await.ok_or_else(|| {
            Unstaged::problem(format!("there is no component {}: upload it first", one_line(digest)))
        })?;
        let sandbox = Arc::clone(rollout.sandbox());
        // Compiling takes a core for as long as it takes.
        let loaded = tokio::task::spawn_blocking(move || sandbox.load(&component.bytes)).await;
        let loaded = loaded.map_err(|_| Failed::internal("loading the component was cut short"))?;
        let own = loaded.map_err(|error| Unstaged::problem(error.to_string()))?.metadata().name.clone();
        let live = rollout.current();
        let mut same = live.plugins().iter().filter(|plugin| plugin.plugin.metadata().name == own);
        match (same.next(), same.next()) {
            (Some(plugin), None) => Ok(plugin.name.clone()),
            (Some(first), Some(second)) => Err(Unstaged::problem(format!(
                "the component calls itself {own:?}, and so do {} and {} of the live set: say which one's place it takes (--as NAME)",
                first.name, second.name
            ))),
            // Perhaps the operator calls one so; else the names that there are will be told.
            (None, _) => Ok(own),
        }
    }
}

/// What somebody else wrote, as a word of ours.
fn one_line(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}

impl fmt::Debug for Replacement {
    /// Leaves out the settings, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replacement")
            .field("name", &self.name)
            .field("digest", &self.digest)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}
