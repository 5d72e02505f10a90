//! The set in shadow: what it would have decided is compared with what was decided, and nothing else
//! comes of it.
//!
//! It is told what the live set was told, and asks for the rest. It never keeps a decision waiting: it
//! begins when that is made, with a permit of its own, and where there is none it is not asked.

use std::sync::Arc;

use journal::{Kind, Record};
use rollout::Shadow;
use sandbox::Mode;

use crate::Master;
use crate::compare::compare;
use crate::decider::Decider;
use crate::replay::again;

impl Master {
    /// Has the set in shadow, if there is one, decide as well what was just decided.
    pub(crate) fn shadow(&self, record: &Record) {
        let Some(shadow) = self.parts.rollout.shadowed() else { return };
        // The host's own decisions are nobody's to compare; and right after a promotion it is the live set's.
        if record.input.is_null() || record.set == shadow.set().id() {
            return;
        }
        let Some(permit) = shadow.enter() else { return };
        let (was, decider, journal) =
            (Arc::new(record.clone()), self.decider.clone(), self.parts.journal.clone());
        tokio::spawn(async move {
            if let Some(now) = decide(&was, &shadow, &decider).await {
                journal.append(now);
            }
            drop(permit);
        });
    }
}

/// Asks the set in shadow, and counts whether it agrees; the record of it is for the journal.
async fn decide(was: &Arc<Record>, shadow: &Shadow, decider: &Decider) -> Option<Record> {
    // Facts that the live set did not read are those that the node sent before.
    let facts = match was.kind {
        Kind::Approval => Arc::default(),
        Kind::Classification | Kind::Provision => decider.facts(&was.certname).await,
    };
    let again = again(was, shadow.set(), Mode::Shadow, facts, Some(decider)).await;
    let now =
        again.inspect_err(|why| tracing::warn!(decision = was.id, why, "not asked in shadow")).ok()?.record;
    let kind = match was.kind {
        Kind::Approval => rollout::Kind::Approval,
        Kind::Classification => rollout::Kind::Classification,
        Kind::Provision => rollout::Kind::Provision,
    };
    match compare(was, &now) {
        None => shadow.agreed(kind),
        Some(flip) => {
            tracing::info!(
                certname = was.certname,
                decision = was.id,
                set = now.set,
                change = flip.change,
                "the set in shadow decides otherwise"
            );
            shadow.disagreed(kind, &was.certname, &flip.change);
        }
    }
    // Not the beginning of it: that names the decision which was acted on.
    Some(Record { id: format!("shadow-{}", was.id), ..now })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use journal::Mode;
    use rollout::Origin;
    use serde_json::json;

    use crate::replay::tests::{plugin, spec};
    use crate::{Peer, Submitted, fixture};

    fn policy(names: &str) -> rollout::SetSpec {
        spec(vec![plugin("autosign", json!({"names": [names]})), plugin("s3-registry", json!({}))])
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_set_in_shadow_says_is_compared_written_down_and_not_done() {
        let folder = tempfile::tempdir().unwrap();
        let master = fixture::master_with(folder.path(), policy("*.web.test")).await;
        master.parts.registry.put("known.test", b"classes: []\n", true).await.unwrap();
        let by = Origin::new("test", "");
        let rollout = &master.parts.rollout;
        let candidate = rollout.stage(policy("*.lab.test"), by.clone()).await.unwrap();
        rollout.shadow(Some(candidate.id()), by.clone()).await.unwrap();
        let shadow = rollout.shadowed().unwrap();

        let cases = [
            ("known.test", Submitted::Signed, "approve"),
            ("a.lab.test", Submitted::Pending, "approve"),
            // The live set never asked the registry about it: the candidate does, now.
            ("a.web.test", Submitted::Signed, "pending"),
        ];
        for (asked, (name, live, would)) in (1..).zip(cases) {
            let request = fixture::request(folder.path(), name, &[]);
            let submitted = master.submit_request(name, &request, &Peer::default()).await.unwrap();
            assert_eq!(submitted, live, "{name}");
            // Journalled after it was counted.
            let entry = loop {
                let found = master.parts.journal.of(name, 9).await.unwrap();
                match found.into_iter().find(|entry| entry.mode == Mode::Shadow) {
                    Some(entry) => break entry,
                    None => tokio::task::yield_now().await,
                }
            };
            assert_eq!((entry.verdict.as_str(), entry.set.as_str()), (would, candidate.id()));
            let record = master.parts.journal.get(&entry.id).await.unwrap().unwrap();
            assert_eq!(record.asked[0].plugin, "autosign");
            assert_eq!(shadow.summary().asked, asked);
        }
        let summary = shadow.summary();
        assert_eq!((summary.same, summary.differ, summary.dropped), (1, 2, 0));
        let changes = [("approve → pending".to_owned(), 1), ("pending → approve".to_owned(), 1)];
        assert_eq!(summary.by_change, BTreeMap::from(changes));

        // Once promoted it is asked no more beside itself.
        rollout.swap(candidate.id(), by).await.unwrap();
        let request = fixture::request(folder.path(), "b.lab.test", &[]);
        let submitted = master.submit_request("b.lab.test", &request, &Peer::default()).await.unwrap();
        assert_eq!((submitted, shadow.summary().asked), (Submitted::Signed, 3));
        master.parts.journal.close().await;
    }
}
