//! The double's answers of `/bunraku/v1/plugins`: each name stands for a case.

use std::collections::BTreeMap;

use bunraku_http::PluginSets;
use master::Failed;
use master::plugins::{Candidate, Event, Origin, Plugins, Set, Shadow, Staged, Swapped, Unstaged};

use crate::world::Double;

const AT: &str = "2026-11-23T01:40:00Z";

pub fn set(id: &str) -> Set {
    Set {
        id: id.to_owned(),
        plugins: Vec::new(),
        merge: "first-match".to_owned(),
        quorum: Vec::new(),
        made_at: AT.to_owned(),
        by: "root (uid 0)".to_owned(),
        from: "control socket".to_owned(),
    }
}

pub fn shadow(set: &str) -> Shadow {
    Shadow {
        set: set.to_owned(),
        asked: 3,
        dropped: 1,
        same: 2,
        differ: 1,
        by_change: BTreeMap::from([("pending → approve".to_owned(), 1)]),
        nodes: Vec::new(),
    }
}

impl Double {
    fn note_by(&self, what: &str, origin: &Origin) {
        self.note(format!("{what} by {} from {}", origin.by, origin.from));
    }
}

fn swapped(to: &str) -> Result<Swapped, Failed> {
    match to {
        "nosuch" => Err(Failed::not_found("there is no set nosuch")),
        "stranger" => Err(Failed::conflict("it would approve a stranger's request; it is held in shadow")),
        to => Ok(Swapped { from: "live".to_owned(), to: to.to_owned() }),
    }
}

impl PluginSets for Double {
    async fn describe_plugins(&self) -> Result<Plugins, Failed> {
        self.note("plugins");
        Ok(Plugins { live: set("live"), shadow: Some(shadow("next")), staged: vec![set("next")] })
    }

    fn describe_shadow(&self) -> Option<Shadow> {
        self.note("shadow");
        None
    }

    async fn plugin_history(&self, limit: u32) -> Result<Vec<Event>, Failed> {
        self.note(format!("history {limit}"));
        let event = Event {
            at: AT.to_owned(),
            event: "swapped".to_owned(),
            set: Some("live".to_owned()),
            by: "root (uid 0)".to_owned(),
            from: "control socket".to_owned(),
            reason: String::new(),
        };
        Ok(vec![event])
    }

    async fn put_component(
        &self,
        bytes: Vec<u8>,
        signature: Option<Vec<u8>>,
        origin: Origin,
    ) -> Result<String, Unstaged> {
        self.note_by(&format!("put {} bytes signed {signature:?}", bytes.len()), &origin);
        match bytes.as_slice() {
            b"wrong" => Err(Unstaged::Problems(vec!["no component".to_owned()])),
            _ => Ok("00".repeat(32)),
        }
    }

    async fn stage_candidate(&self, candidate: Candidate, origin: Origin) -> Result<Staged, Unstaged> {
        self.note_by(&format!("stage {candidate:?}"), &origin);
        match candidate {
            Candidate::Replace(replacement) if replacement.digest == "wrong" => {
                Err(Unstaged::Problems(vec!["one".to_owned(), "two".to_owned()]))
            }
            Candidate::Replace(replacement) if replacement.digest == "full" => {
                Err(Unstaged::Failed(Failed::unavailable("the master's store does not answer")))
            }
            _ => Ok(Staged { set: set("next"), probe: "pending".to_owned() }),
        }
    }

    async fn shadow_plugins(&self, set: Option<&str>, origin: Origin) -> Result<Option<Shadow>, Failed> {
        self.note_by(&format!("shadow {set:?}"), &origin);
        swapped(set.unwrap_or_default())?;
        Ok(set.map(shadow))
    }

    async fn promote_plugins(
        &self,
        set: Option<&str>,
        force: bool,
        origin: Origin,
    ) -> Result<Swapped, Failed> {
        self.note_by(&format!("promote {set:?} {force}"), &origin);
        swapped(set.unwrap_or("next"))
    }

    async fn swap_plugins(&self, set: &str, force: bool, origin: Origin) -> Result<Swapped, Failed> {
        self.note_by(&format!("swap {set} {force}"), &origin);
        if force { swapped("forced") } else { swapped(set) }
    }

    async fn rollback_plugins(
        &self,
        to: Option<&str>,
        reason: &str,
        origin: Origin,
    ) -> Result<Swapped, Failed> {
        self.note_by(&format!("rollback {to:?} {reason:?}"), &origin);
        swapped(to.unwrap_or("before"))
    }
}
