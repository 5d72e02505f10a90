//! When a pending request is looked at again: when its agent polls, when an
//! object that its decision read has changed, and when the plugins have. What is too old goes.

use std::sync::Arc;
use std::time::Duration;

use pki::{Freshness, Trust};
use store::{RequestKey, RequestRow};
use time::OffsetDateTime;
use tokio::time::MissedTickBehavior;

use crate::reach::{Seen, seen_in};
use crate::{Failed, Master};

/// Pending requests looked through in one round; the next round goes on there.
const ROUND: u32 = 500;
/// An agent that polls faster than this is told what was decided before.
const LEAST_AGE: i64 = 1;

impl Master {
    /// The housekeeping that goes on beside the requests: pending requests and
    /// the CA's revocation list, where there is a CA here; old reports. Ends
    /// when its future is dropped.
    pub async fn tend(self: Arc<Self>) {
        let mut swaps = self.parts.rollout.live().subscribe();
        let mut round = tokio::time::interval(self.settings.pending_poll.max(Duration::from_millis(100)));
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut after, mut freshness) = (None, Freshness::Fresh);
        loop {
            let swapped = tokio::select! {
                _ = round.tick() => false,
                Ok(()) = swaps.changed() => {
                    after = None;
                    true
                }
            };
            loop {
                match self.round(after.take()).await {
                    Ok(next) => after = next,
                    Err(error) => tracing::warn!(%error, "pending requests could not be looked at"),
                }
                // Other plugins may say otherwise of all of them.
                if !swapped || after.is_none() {
                    break;
                }
            }
            let Some(authority) = self.parts.certificates.authority() else { continue };
            let now = OffsetDateTime::now_utc();
            if let Err(error) = authority.maintain(now).await {
                tracing::error!(%error, "the CRL could not be renewed");
            }
            let is = self.freshness(now);
            if is != freshness {
                told(is, &authority.trust());
                freshness = is;
            }
        }
    }

    /// One page of pending requests; says where the next round starts.
    pub(crate) async fn round(&self, after: Option<RequestKey>) -> Result<Option<RequestKey>, Failed> {
        self.parts.store.prune_reports(ago(self.settings.report_ttl)).await?;
        if self.parts.certificates.authority().is_none() {
            // Whatever waits here, from before the CA went elsewhere, waits there now.
            return Ok(None);
        }
        self.parts.store.expire_requests(ago(self.settings.pending_ttl)).await?;
        let rows = self.parts.store.requests(after, ROUND).await?;
        for row in &rows {
            if !self.has_changed(row).await {
                continue;
            }
            // One request that can't be dealt with must not keep those behind it waiting.
            if let Err(error) = self.look_again(row).await {
                tracing::warn!(certname = %row.key.certname, %error, "a pending request could not be looked at");
            }
        }
        let full = u32::try_from(rows.len()).is_ok_and(|n| n == ROUND);
        Ok(rows.into_iter().next_back().filter(|_| full).map(|row| row.key))
    }

    /// Whether what the last decision rests on is no longer so.
    async fn has_changed(&self, row: &RequestRow) -> bool {
        let Some(decision) = &row.decision else { return true };
        if decision.plugin_set != self.plugins().id() || decision.verdict == "no-decision" {
            return true;
        }
        let seen: Seen = decision
            .registry_version
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        for (key, version) in seen {
            let Some((store, key)) = seen_in(&self.decider.stores, &key) else { return true };
            match store.version(key).await {
                Ok(now) if now == version => {}
                // A registry that does not answer changes no decision.
                Err(_) => {}
                Ok(_) => return true,
            }
        }
        false
    }

    /// Whether a poll of the agent may start the approvers: a busy loop of
    /// polls must not.
    pub(crate) fn may_look_again(&self, row: &RequestRow) -> bool {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        row.decision.as_ref().is_none_or(|d| now.saturating_sub(d.decided_at) >= LEAST_AGE)
    }
}

/// Says once how old the CA's own lists have become; a catalog master's follower says it there.
fn told(freshness: Freshness, trust: &Trust) {
    let ended = trust.next_update;
    match freshness {
        Freshness::Fresh => tracing::info!(number = trust.number, "the revocation lists are fresh again"),
        Freshness::Stale => {
            tracing::warn!(%ended, "the revocation lists have ended; they are believed until the grace is over")
        }
        Freshness::Expired => {
            tracing::error!(%ended, "the revocation lists have ended and the grace is over: certificates are refused")
        }
    }
}

/// The unix second that lies so far back.
fn ago(time: Duration) -> i64 {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::now_utc().unix_timestamp().saturating_sub(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::master;

    const AGENTS_REQUEST: &str = include_str!("../../pki/tests/vectors/ec-p256.pem");

    #[tokio::test]
    async fn a_request_that_cannot_be_read_holds_up_nobody_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let master = master(folder.path()).await;
        let rules = master.ca().unwrap().request_rules();
        let good = pki::CertificateRequest::parse(AGENTS_REQUEST.as_bytes(), &rules).unwrap();
        // Sorted by name, the broken one comes first.
        let (name, digest) = (good.certname.to_string(), good.key_digest.to_hex());
        for (certname, key_digest, pem) in
            [("0".to_owned(), "00".to_owned(), "no request"), (name, digest, AGENTS_REQUEST)]
        {
            let row = RequestRow {
                key: RequestKey { certname, key_digest },
                pem: pem.to_owned(),
                fingerprint: String::new(),
                submitted_at: OffsetDateTime::now_utc().unix_timestamp(),
                peer: None,
                decision: None,
            };
            master.parts.store.add_request(&row, 10, 2).await.unwrap();
        }
        master.round(None).await.unwrap();
        let rows = master.parts.store.requests(None, 10).await.unwrap();
        let decided: Vec<bool> = rows.iter().map(|row| row.decision.is_some()).collect();
        assert_eq!(decided, [false, true]);
    }
}
