//! What keeps a set from going live.

use std::fmt;

/// One reason why a set can't go live: which plugin, what is wrong, how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Problem {
    text: String,
    /// What stands for it where plugins' own words must not be kept: these may quote a setting.
    public: Option<String>,
}

impl Problem {
    /// Of one plugin, in the host's words.
    pub(crate) fn new(plugin: &str, message: impl fmt::Display) -> Self {
        Problem { text: format!("plugin {plugin}: {message}"), public: None }
    }

    /// Of one plugin, in its own words.
    pub(crate) fn quoted(plugin: &str, message: impl fmt::Display) -> Self {
        let public = Some(format!("plugin {plugin}: refuses its settings"));
        Problem { text: format!("plugin {plugin}: {message}"), public }
    }

    /// Of the set as a whole.
    pub(crate) fn of_set(message: impl fmt::Display) -> Self {
        Problem { text: message.to_string(), public: None }
    }

    /// Fit for a history that keeps no setting.
    pub(crate) fn public(&self) -> &str {
        self.public.as_deref().unwrap_or(&self.text)
    }
}
