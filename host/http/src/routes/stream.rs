//! `/bunraku/v1/ca/stream`: a catalog master follows the CA's bundle and revocation lists.
//!
//! An answer without an end, a JSON object a line: `{"bundle", "crls", "agents_crls", "number"}` at once
//! and after every change, `{"plugin_set": {"id", "spec"}}` after it and after every swap of the CA's
//! plugins, `{"alive": true}` every two seconds. It ends when the server drains, and when
//! the master is no longer one. A master that does not read is cut by the deadline for writing.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use bytes::Bytes;
use master::Published;
use pki::Trust;
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::Instrument;

use crate::answer::{self, Outcome, Refusal};
use crate::backend::Backend;
use crate::extract::Asked;
use crate::server::{Gauges, Shared};

/// How often a follower hears of us when nothing changes.
const BEAT: Duration = Duration::from_secs(2);
const ALIVE: &[u8] = b"{\"alive\":true}\n";
const NDJSON: &str = "application/x-ndjson";

/// The last line, made once for all masters: a long list has megabytes.
#[derive(Debug, Default)]
pub struct Announcements(Mutex<Option<(Arc<Trust>, Bytes)>>);

/// A stream that is open, for as long as this lives.
struct Following(Arc<Gauges>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// GET `stream`.
pub async fn follow<B: Backend>(State(shared): State<Arc<Shared<B>>>, asked: Asked) -> Outcome {
    let mut trust = shared.backend.watch_trust();
    let first = trust.borrow_and_update().clone();
    let Some(mut line) = shared.announcements.line(first).await else {
        return Err(Refusal { issue_kind: None, ..Refusal::internal() });
    };
    let mut plugins = shared.backend.watch_published_plugins();
    // The list first, whatever else there is to tell.
    if plugins.borrow().is_some() {
        plugins.mark_changed();
    }
    let (mut sender, body) = answer::channel();
    shared.gauges.streams.fetch_add(1, Ordering::Relaxed);
    let following = Following(shared.gauges.clone());
    let master = asked.peer().certname().map(ToString::to_string).unwrap_or_default();
    tracing::info!(master, from = %asked.connection.origin, "a master follows the revocation lists");
    let sending = async move {
        let _following = following;
        let mut beat = interval_at(Instant::now() + BEAT, BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while sender.send_data(line).await.is_ok() {
            let news = tokio::select! {
                biased;
                () = shared.draining.cancelled() => break,
                changed = trust.changed() => match changed {
                    Ok(()) => News::Trust,
                    // The CA is gone.
                    Err(_) => break,
                },
                Ok(()) = plugins.changed() => News::Plugins,
                _ = beat.tick() => News::None,
            };
            if !is_still_a_master(&shared, &asked) {
                tracing::info!(master, "ended the stream: this is no master any more");
                break;
            }
            line = match news {
                News::Trust => {
                    let latest = trust.borrow_and_update().clone();
                    let Some(line) = shared.announcements.line(latest).await else { break };
                    line
                }
                News::Plugins => plugins.borrow_and_update().as_ref().map_or(Bytes::from_static(ALIVE), told),
                News::None => Bytes::from_static(ALIVE),
            };
        }
    };
    tokio::spawn(sending.in_current_span());
    Ok(answer::ok(NDJSON, body))
}

/// What there is to tell.
enum News {
    Trust,
    Plugins,
    None,
}

/// The line of a set of plugins.
fn told(set: &Published) -> Bytes {
    let line = format!("{{\"plugin_set\":{{\"id\":{},\"spec\":{}}}}}\n", json!(set.id), set.spec);
    Bytes::from(line)
}

/// What the handshake and the table found holds only until somebody changes it.
fn is_still_a_master<B: Backend>(shared: &Shared<B>, asked: &Asked) -> bool {
    let now = OffsetDateTime::now_utc();
    asked.peer().certificate.as_ref().is_some_and(|certificate| {
        !shared.backend.is_revoked(&certificate.serial)
            && now <= certificate.not_after
            && certificate.certname.as_ref().is_some_and(|name| shared.backend.is_master(name))
    })
}

impl Announcements {
    /// The line for this version.
    async fn line(&self, trust: Arc<Trust>) -> Option<Bytes> {
        if let Some((known, line)) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner)
            && Arc::ptr_eq(known, &trust)
        {
            return Some(line.clone());
        }
        let making = tokio::task::spawn_blocking(move || {
            let line = json!({
                "bundle": &**trust.bundle.pem(), "crls": &*trust.crls, "agents_crls": &*trust.agents_crls,
                "number": trust.number,
            });
            let line = Bytes::from(line.to_string() + "\n");
            (trust, line)
        });
        let (trust, line) = making.await.ok()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((trust, line.clone()));
        Some(line)
    }
}
