//! Which set a start begins with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{PluginRecord, Store};
use time::OffsetDateTime;

use crate::error::Error;
use crate::guard::{Guard, Tally};
use crate::history::{SetRow, event, row};
use crate::problem::Problem;
use crate::set::PluginSet;
use crate::spec::{Origin, SetSpec};
use crate::staging::{Staging, Written};
use crate::standing::Standing;

/// What a start came to.
pub(crate) struct Start {
    pub(crate) set: Arc<PluginSet>,
    pub(crate) standing: Standing,
    /// The configuration has changed to this, which is to be swapped in.
    pub(crate) configured: Option<Arc<PluginSet>>,
    /// Why the configured set is not the live one.
    pub(crate) problems: Vec<Problem>,
}

/// Finds the set to start with, and records the first one.
pub(crate) async fn start(staging: &Staging, store: &Store, configured: SetSpec) -> Result<Start, Error> {
    let origin = Origin::new("start", "the configuration");
    let standing = standing(store).await?;
    let Some(live) = standing.live().map(str::to_owned) else {
        let set = staging.stage(&configured, &Written::new(), origin).await.map_err(Error::Plugins)?;
        let set = Arc::new(set);
        let standing = first(store, &set, "the first one").await?;
        return Ok(Start { set, standing, configured: None, problems: Vec::new() });
    };
    let row = store.plugin_set(&live).await?.map(SetRow::try_from).transpose()?;
    let recorded = match row {
        Some(row) => again(staging, row).await,
        None => Err(vec![Problem::of_set(format_args!("the record of the live plugin set {live} is gone"))]),
    };
    let wanted = staging.identify(&configured).await;
    let unchanged = matches!(&wanted, Ok(id) if standing.configured.as_deref() == Some(id.as_str()));
    match recorded {
        Ok(set) if unchanged => {
            let mut problems = Vec::new();
            if standing.configured.as_ref() != Some(&live) {
                problems.push(Problem::of_set(format_args!(
                    "the configured plugins are not live, for set {live} was put in their place; see `bunraku plugin history`"
                )));
            }
            Ok(Start { set: Arc::new(set), standing, configured: None, problems })
        }
        Ok(set) => {
            let staged = match wanted {
                Ok(_) => staging.stage(&configured, &Written::new(), origin).await,
                Err(problems) => Err(problems),
            };
            let mut standing = standing;
            let (configured, problems) = match staged {
                Ok(configured) if configured.id == live => {
                    standing.configured = Some(live);
                    (None, Vec::new())
                }
                Ok(configured) => (Some(Arc::new(configured)), Vec::new()),
                Err(problems) => (None, problems),
            };
            Ok(Start { set: Arc::new(set), standing, configured, problems })
        }
        // An older configuration must not quietly take the place of what was swapped in since.
        Err(problems) if unchanged && standing.configured.as_ref() != Some(&live) => {
            Err(Error::Plugins(problems))
        }
        Err(mut problems) => {
            let staged = staging.stage(&configured, &Written::new(), origin).await;
            let set = Arc::new(staged.map_err(|more| {
                problems.extend(more);
                Error::Plugins(std::mem::take(&mut problems))
            })?);
            let reason = format!("the recorded set {live} can't be used any more");
            let standing = first(store, &set, &reason).await?;
            let place = Problem::of_set(format_args!(
                "the plugin set {live} that was live can't be used any more; the configured one takes its place"
            ));
            problems.insert(0, place);
            Ok(Start { set, standing, configured: None, problems })
        }
    }
}

/// Makes a recorded set once more.
pub(crate) async fn again(staging: &Staging, row: SetRow) -> Result<PluginSet, Vec<Problem>> {
    let mut set = staging.stage(&row.spec, &row.written, row.origin).await?;
    if set.id != row.id {
        let message = format_args!("the record of plugin set {} is another one's, {}", row.id, set.id);
        return Err(vec![Problem::of_set(message)]);
    }
    set.made_at = OffsetDateTime::from_unix_timestamp(row.made_at).unwrap_or(set.made_at);
    Ok(set)
}

/// Which set is live, as it was last recorded.
pub(crate) async fn standing(store: &Store) -> Result<Standing, Error> {
    let Some(text) = store.plugin_standing().await? else { return Ok(Standing::default()) };
    serde_json::from_str(&text).map_err(|_| Error::Unreadable { set: "standing".to_owned() })
}

/// For a set that was swapped in at `since`, in unix seconds: for what is left of its window.
pub(crate) fn guard(set: &str, since: i64, before: Tally, window: Duration) -> Guard {
    let gone = OffsetDateTime::now_utc().unix_timestamp().saturating_sub(since);
    match u64::try_from(gone).ok().and_then(|gone| window.checked_sub(Duration::from_secs(gone))) {
        Some(left) => Guard::armed(set, before, Instant::now(), left),
        None => Guard::idle(set, before),
    }
}

/// Records a set with which everything begins: nobody watches it, and nothing is before it.
async fn first(store: &Store, set: &PluginSet, reason: &str) -> Result<Standing, Error> {
    let id = set.id.clone();
    let standing = Standing { line: vec![id.clone()], configured: Some(id.clone()), ..Standing::default() };
    let record = PluginRecord {
        set: Some(row(set)?),
        event: event("swapped", Some(&id), &set.origin, reason),
        standing: Some(text(&standing)?),
        needed: standing.line.clone(),
    };
    store.record_plugins(record).await?;
    Ok(standing)
}

/// As it is recorded.
pub(crate) fn text(standing: &Standing) -> Result<String, Error> {
    serde_json::to_string(standing).map_err(|_| Error::Unreadable { set: "standing".to_owned() })
}
