//! What a change does: made ready, recorded, put in force, in this order, one change at a time.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use store::{PLUGIN_SETS, PluginEventRow, PluginRecord, PluginSetRow};
use time::OffsetDateTime;

use crate::components::is_digest;
use crate::error::{Error, Refused};
use crate::guard::Guard;
use crate::history::{SetRow, event, row};
use crate::problem::Problem;
use crate::rollout::{Published, Rollout, Swapped};
use crate::set::PluginSet;
use crate::shadow::Shadow;
use crate::spec::{Origin, SetSpec, Source};
use crate::staging::{Written, blocking};
use crate::standing::Standing;
use crate::start::{again, text};

/// The fewest characters that stand for an id.
const SHORT: usize = 6;
/// Problems whose words are kept in the history.
const TOLD: usize = 3;

/// A change of the live set.
pub(crate) enum Change {
    Swap {
        id: String,
        origin: Origin,
    },
    Rollback {
        to: Option<String>,
        origin: Origin,
        reason: String,
    },
    /// The guard wants `set` gone.
    Guard {
        set: String,
        reason: String,
    },
}

/// A change that is ready to be recorded.
struct Ready {
    set: Arc<PluginSet>,
    standing: Standing,
    guard: Guard,
    event: PluginEventRow,
}

impl Rollout {
    /// Does a change to its end, though whoever asked for it goes away.
    pub(crate) async fn change(self: &Arc<Self>, change: Change) -> Result<Swapped, Refused> {
        let this = Arc::clone(self);
        let changed = tokio::spawn(async move { this.change_now(change).await });
        changed.await.unwrap_or(Err(Refused::Stopping))
    }

    async fn change_now(&self, change: Change) -> Result<Swapped, Refused> {
        let mut standing = self.standing.lock().await;
        let live = self.current();
        let ready = match change {
            Change::Swap { id, origin } => self.swapping(&mut standing, &live, &id, &origin).await?,
            Change::Rollback { to, origin, reason } => {
                self.rolling_back(&standing, &live, to.as_deref(), &origin, &reason).await?
            }
            Change::Guard { set, reason } => self.guarding(&standing, &live, &set, &reason).await?,
        };
        let Ready { set, standing: next, guard, event } = ready;
        let swapped = Swapped { from: live.id.clone(), to: set.id.clone() };
        let (word, by, reason) = (event.event.clone(), event.made_by.clone(), event.reason.clone());
        let mut needed = next.line.clone();
        needed.extend(self.needed());
        let record = PluginRecord { set: Some(row(&set)?), event, standing: Some(text(&next)?), needed };
        self.store.record_plugins(record).await?;

        // From here on nothing can fail.
        self.retire(&live, &set, &next);
        self.live.swap(Arc::clone(&set));
        *self.lock_guard() = guard;
        *standing = next;
        if let Some(shadow) = self.shadowed() {
            // What was compared with another live set says nothing any more.
            let candidate = Arc::clone(shadow.set());
            self.shadow.store((candidate.id != set.id).then(|| self.shadow_of(candidate)));
        }
        self.published.send_replace(published(&set));
        let counters = &self.counters;
        count(if word == "rolled-back" { &counters.rolled_back } else { &counters.swapped });
        if by == GUARD {
            count(&counters.guarded);
        }
        tracing::info!(from = swapped.from, to = swapped.to, by, reason, "plugins {word}");
        Ok(swapped)
    }

    async fn swapping(
        &self,
        standing: &mut Standing,
        live: &PluginSet,
        id: &str,
        origin: &Origin,
    ) -> Result<Ready, Refused> {
        let set = self.ready(id).await?;
        if set.id == live.id {
            if set.configured {
                standing.configured = Some(set.id.clone());
            }
            return Err(Refused::Live(set.id.clone()));
        }
        let promoted = self.shadowed().is_some_and(|shadow| shadow.set().id == set.id);
        let before = self.lock_guard().baseline();
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let mut next = standing.swapped(&set.id, self.settings.keep, now, before);
        if set.configured {
            next.configured = Some(set.id.clone());
        }
        let word = if promoted { "promoted" } else { "swapped" };
        Ok(Ready {
            guard: Guard::armed(&set.id, before, Instant::now(), self.settings.window),
            event: event(word, Some(&set.id), origin, ""),
            standing: next,
            set,
        })
    }

    async fn rolling_back(
        &self,
        standing: &Standing,
        live: &PluginSet,
        to: Option<&str>,
        origin: &Origin,
        reason: &str,
    ) -> Result<Ready, Refused> {
        let to = match to {
            Some(to) => to,
            None => standing.candidates(false).next().ok_or(Refused::NothingBefore)?,
        };
        let set = self.ready(to).await?;
        if set.id == live.id {
            return Err(Refused::Live(set.id.clone()));
        }
        Ok(self.back(standing.rolled_back(&set.id, self.settings.keep), set, origin, reason))
    }

    async fn guarding(
        &self,
        standing: &Standing,
        live: &PluginSet,
        tripped: &str,
        reason: &str,
    ) -> Result<Ready, Refused> {
        if live.id != tripped {
            // Somebody was quicker.
            return Err(Refused::Live(live.id.clone()));
        }
        let (origin, reason) = (Origin::new(GUARD, ""), format!("guard: {reason}"));
        for to in standing.candidates(true) {
            match self.ready(to).await {
                Ok(set) => {
                    let next = standing.rolled_back(&set.id, self.settings.keep);
                    let next = next.tripping(tripped, self.settings.keep);
                    return Ok(self.back(next, set, &origin, &reason));
                }
                Err(refused) => tracing::error!("the guard can't go back to plugin set {to}: {refused}"),
            }
        }
        let event = event("tripped", Some(tripped), &origin, &reason);
        self.record(None, event, None).await?;
        self.lock_guard().disarm();
        Err(Refused::NothingBefore)
    }

    /// To a set that was live before: nobody watches it, so that one outage does not undo all there was.
    fn back(&self, standing: Standing, set: Arc<PluginSet>, origin: &Origin, reason: &str) -> Ready {
        let before = self.lock_guard().before();
        Ready {
            guard: Guard::idle(&set.id, before),
            event: event("rolled-back", Some(&set.id), origin, reason),
            standing: Standing { before, ..standing },
            set,
        }
    }

    /// Stages a set, records it and keeps it compiled.
    pub(crate) async fn stage_now(
        &self,
        spec: SetSpec,
        origin: Origin,
    ) -> Result<Arc<PluginSet>, Vec<Problem>> {
        let written = self.written(&spec);
        let staged = self.staging.stage(&spec, &written, origin.clone()).await;
        let set = match staged {
            Ok(set) => set,
            Err(problems) => {
                count(&self.counters.refused);
                let event = event("refused", None, &origin, &told(&problems));
                if let Err(error) = self.record(None, event, None).await {
                    tracing::error!("a refused plugin set is not in the history: {error}");
                }
                return Err(problems);
            }
        };
        let unrecorded =
            |error: Error| vec![Problem::of_set(format_args!("the set can't be recorded: {error}"))];
        let row = row(&set).map_err(unrecorded)?;
        let set = {
            let mut standing = self.standing.lock().await;
            let mut next = standing.clone();
            let live = self.current();
            if set.configured && set.id == live.id {
                next.configured = Some(set.id.clone());
            }
            let event = event("staged", Some(&set.id), &origin, "");
            let text = text(&next).map_err(unrecorded)?;
            let mut needed = next.line.clone();
            needed.push(set.id.clone());
            needed.extend(self.needed());
            let record = PluginRecord { set: Some(row), event, standing: Some(text), needed };
            self.store.record_plugins(record).await.map_err(|error| unrecorded(error.into()))?;
            *standing = next;
            self.keep(Arc::new(set), &standing)
        };
        count(&self.counters.staged);
        self.drop_unnamed().await;
        Ok(set)
    }

    /// Puts a set in shadow, or ends the shadow.
    pub(crate) async fn shadow_now(&self, id: Option<String>, origin: Origin) -> Result<(), Refused> {
        let mut standing = self.standing.lock().await;
        let before = self.shadowed();
        let Some(id) = id else {
            let Some(before) = before else { return Err(Refused::NoShadow) };
            let event = event("unshadowed", Some(&before.set().id), &origin, "");
            self.record(None, event, None).await?;
            self.shadow.store(None);
            return Ok(());
        };
        let set = self.ready(&id).await?;
        if set.id == self.current().id {
            return Err(Refused::Live(set.id.clone()));
        }
        if before.is_some_and(|before| before.set().id == set.id) {
            return Ok(());
        }
        let mut next = standing.clone();
        if set.configured {
            // It was told that it is held; a restart does not put it in force behind anybody's back.
            next.configured = Some(set.id.clone());
        }
        let event = event("shadowed", Some(&set.id), &origin, "");
        self.record(Some(row(&set)?), event, Some(text(&next)?)).await?;
        *standing = next;
        self.shadow.store(Some(self.shadow_of(set)));
        Ok(())
    }

    /// Removes components that nothing needs. What it cannot remove now it removes another time.
    pub(crate) async fn drop_unnamed(&self) {
        let line = self.standing.lock().await.line.clone();
        let mut named = BTreeSet::new();
        let mut sets = vec![self.current()];
        sets.extend(self.kept());
        sets.extend(self.shadowed().map(|shadow| Arc::clone(shadow.set())));
        sets.iter().for_each(|set| named.extend(digests(&set.spec)));
        for id in line.iter().filter(|id| sets.iter().all(|set| set.id != **id)) {
            let recorded = self.store.plugin_set(id).await.map_err(Error::from);
            match recorded.and_then(|row| row.map(SetRow::try_from).transpose()) {
                Ok(row) => named.extend(row.iter().flat_map(|row| digests(&row.spec))),
                Err(error) => {
                    tracing::warn!("old components are not removed: {error}");
                    return;
                }
            }
        }
        let components = Arc::clone(&self.components);
        if let Err(error) =
            blocking(move || components.drop_unnamed(&named).map_err(|error| error.to_string())).await
        {
            tracing::warn!("old components are not removed: {error}");
        }
    }

    /// The set of an id or of the first characters of one, made once more where it is only recorded.
    ///
    /// # Errors
    /// Nobody knows it, or it cannot be made any more.
    pub async fn ready(&self, id: &str) -> Result<Arc<PluginSet>, Refused> {
        let id = self.full_id(id).await?;
        if let Some(set) = self.set(&id) {
            return Ok(set);
        }
        let row = self.store.plugin_set(&id).await?.ok_or_else(|| Refused::Unknown(id.clone()))?;
        let set = again(&self.staging, SetRow::try_from(row)?).await;
        set.map(Arc::new).map_err(|problems| Refused::Plugins { set: id, problems })
    }

    async fn full_id(&self, short: &str) -> Result<String, Refused> {
        if is_digest(short) {
            return Ok(short.to_owned());
        }
        let unknown = || Refused::Unknown(short.escape_debug().take(80).collect());
        if short.len() < SHORT {
            return Err(unknown());
        }
        let rows = self.store.plugin_sets(PLUGIN_SETS.saturating_mul(2)).await?;
        let mut ids: BTreeSet<String> = rows.into_iter().map(|row| row.id).collect();
        ids.retain(|id| id.starts_with(short));
        match (ids.pop_first(), ids.is_empty()) {
            (Some(id), true) => Ok(id),
            (Some(_), false) => Err(Refused::Ambiguous(short.to_owned())),
            (None, _) => Err(unknown()),
        }
    }

    async fn record(
        &self,
        set: Option<PluginSetRow>,
        event: PluginEventRow,
        standing: Option<String>,
    ) -> Result<(), Error> {
        let record = PluginRecord { set, event, standing, needed: self.needed() };
        Ok(self.store.record_plugins(record).await?)
    }

    /// The sets whose records must stay.
    fn needed(&self) -> Vec<String> {
        let mut needed = vec![self.current().id.clone()];
        needed.extend(self.lock_kept().iter().map(|set| set.id.clone()));
        needed.extend(self.shadowed().map(|shadow| shadow.set().id.clone()));
        needed
    }

    /// Where components named by digest came from, as far as sets that are compiled tell.
    fn written(&self, spec: &SetSpec) -> Written {
        let mut sets = vec![self.current()];
        sets.extend(self.kept());
        let from = |digest: &str| {
            let mut plugins = sets.iter().flat_map(|set| &set.plugins);
            plugins.find(|live| live.plugin.digest() == digest).map(|live| live.written.clone())
        };
        let named = spec.plugins.iter().filter_map(|plugin| match &plugin.source {
            Source::Digest(digest) => Some((plugin.name.clone(), from(digest)?)),
            _ => None,
        });
        named.collect()
    }

    /// Keeps a staged set compiled; gives the one that was there if it is not new.
    fn keep(&self, set: Arc<PluginSet>, standing: &Standing) -> Arc<PluginSet> {
        if let Some(known) = self.set(&set.id) {
            return known;
        }
        let mut kept = self.lock_kept();
        kept.push_back(Arc::clone(&set));
        self.trim(&mut kept, standing);
        set
    }

    /// Keeps the set that was live compiled, in place of the one that will be.
    fn retire(&self, live: &Arc<PluginSet>, next: &PluginSet, standing: &Standing) {
        let mut kept = self.lock_kept();
        kept.retain(|set| set.id != next.id && set.id != live.id);
        kept.push_back(Arc::clone(live));
        self.trim(&mut kept, standing);
    }

    /// The oldest go, and last of all the one to go back to.
    fn trim(&self, kept: &mut VecDeque<Arc<PluginSet>>, standing: &Standing) {
        let previous = standing.candidates(false).next();
        while kept.len() > self.settings.keep {
            let oldest = kept.iter().position(|set| Some(set.id.as_str()) != previous);
            kept.remove(oldest.unwrap_or(0));
        }
    }

    fn shadow_of(&self, set: Arc<PluginSet>) -> Arc<Shadow> {
        Arc::new(Shadow::new(set, Arc::clone(self.sandbox()), self.settings.shadow_slots))
    }
}

/// Who goes back by itself.
const GUARD: &str = "guard";

/// What is told to those who follow.
pub(crate) fn published(set: &PluginSet) -> Option<Published> {
    // A set that has no JSON form could not have been recorded either.
    let spec = serde_json::to_string(&set.spec).ok()?;
    Some(Published { id: set.id.clone(), spec, digests: digests(&set.spec).collect() })
}

fn digests(spec: &SetSpec) -> impl Iterator<Item = String> {
    spec.plugins.iter().filter_map(|plugin| match &plugin.source {
        Source::Digest(digest) => Some(digest.clone()),
        _ => None,
    })
}

/// The first problems, in words that quote no setting.
fn told(problems: &[Problem]) -> String {
    let mut told: Vec<_> = problems.iter().take(TOLD).map(Problem::public).collect();
    let more = format!("and {} more", problems.len().saturating_sub(TOLD));
    if problems.len() > TOLD {
        told.push(&more);
    }
    told.join("; ")
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
