//! What can go wrong, by what a caller can do about it.

use std::path::PathBuf;

use crate::problem::Problem;

/// Why there is no [`Rollout`](crate::Rollout), or why what is recorded cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither the recorded set nor the configured one can be used.
    #[error("the plugins can't be used: {}", listed(.0))]
    Plugins(Vec<Problem>),
    /// The folder of components cannot be used.
    #[error("the components in {} can't be used: {source}", dir.display())]
    Components {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A record that this program cannot have written.
    #[error("the record of plugin set {set} is unreadable: restore the store from a backup")]
    Unreadable {
        /// The set's id, or `standing` for which one is live.
        set: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Why nothing was swapped.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No set has this id, nor one that starts with it.
    #[error("there is no plugin set {0}; stage it first")]
    Unknown(String),
    /// More than one id starts with this.
    #[error("more than one plugin set starts with {0}; give more of its id")]
    Ambiguous(String),
    /// It is the live one already.
    #[error("plugin set {0} is live already")]
    Live(String),
    /// There is no set to go back to.
    #[error("there is no plugin set to go back to")]
    NothingBefore,
    /// No set is in shadow.
    #[error("no plugin set is in shadow")]
    NoShadow,
    /// The set was staged once and cannot be made again.
    #[error("plugin set {set} can't be used any more: {}", listed(.problems))]
    Plugins {
        /// Its id.
        set: String,
        /// Why.
        problems: Vec<Problem>,
    },
    /// It could not be recorded, so it was not done.
    #[error("nothing was changed, for it could not be recorded: {0}")]
    Record(#[source] Error),
    /// The program is stopping.
    #[error("nothing was changed: the program is stopping")]
    Stopping,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Record(error)
    }
}

impl From<store::Error> for Refused {
    fn from(error: store::Error) -> Self {
        Refused::Record(error.into())
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
