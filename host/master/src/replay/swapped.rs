//! The journal of 10,000 decisions says beforehand, node by node, what a swap changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use journal::Kind;
use pki::Certname;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rollout::{Origin, SetSpec};
use serde_json::json;
use tokio::task::JoinSet;

use super::tests::{plugin, spec};
use super::*;
use crate::{Administrator, Master, Peer, Submitted, fixture};

const NODES: usize = 1_500;
/// How often each node's catalog run asks what it is.
const RUNS: usize = 6;

/// A third of the nodes each are `*.web`, `*.lab` and `*.db`; every second one is registered.
fn name(number: usize) -> String {
    format!("n{number}.{}.test", ["web", "lab", "db"][number % 3])
}

fn policy(names: &str, fallback: bool) -> SetSpec {
    spec(vec![
        plugin("autosign", json!({"names": [names]})),
        plugin("s3-registry", json!({"fallback": fallback})),
    ])
}

/// What became of a node when it asked: whether it was signed, and what it is.
type Outcome = (bool, Result<Value, String>);

/// Every node asks for a certificate, and what it is.
async fn all_ask(master: &Arc<Master>) -> BTreeMap<String, Outcome> {
    let key = Arc::new(KeyPair::generate().unwrap());
    let (mut asking, mut outcomes) = (JoinSet::new(), BTreeMap::new());
    for number in 0..NODES {
        if asking.len() >= 8 {
            outcomes.extend(asking.join_next().await.map(Result::unwrap));
        }
        let (master, key) = (master.clone(), key.clone());
        asking.spawn(async move {
            let name = name(number);
            let mut parameters = CertificateParams::default();
            parameters.distinguished_name = DistinguishedName::new();
            parameters.distinguished_name.push(DnType::CommonName, name.as_str());
            let pem = parameters.serialize_request(&*key).unwrap().pem().unwrap();
            let peer = Peer::default();
            let submitted = master.submit_request(&name, pem.as_bytes(), &peer).await.unwrap();
            let (certname, mut is) = (Certname::parse(&name).unwrap(), Err(String::new()));
            for _ in 0..RUNS {
                is = master.node(&certname, "production", &peer).await.map_err(|failed| failed.message);
            }
            (name, (submitted == Submitted::Signed, is))
        });
    }
    outcomes.extend(asking.join_all().await);
    outcomes
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flips_of_a_replay_are_what_happens_when_the_set_is_swapped_in() {
    let folder = tempfile::tempdir().unwrap();
    let master = fixture::master_with(folder.path(), policy("*.web.test", false)).await;
    for number in (0..NODES).step_by(2) {
        let definition = format!("classes: [role{}]\n", number % 7);
        master.parts.registry.put(&name(number), definition.as_bytes(), false).await.unwrap();
    }
    let before = all_ask(&master).await;
    let (first, by) = (master.plugins(), Origin::new("test", ""));
    let candidate = master.parts.rollout.stage(policy("*.lab.test", true), by.clone()).await;
    let candidate = candidate.unwrap_or_else(|problems| panic!("{problems:?}"));

    // The last records are on their way to the disk.
    let total = NODES * (1 + RUNS);
    while master.parts.journal.stats().written < u64::try_from(total).unwrap() {
        tokio::task::yield_now().await;
    }
    let again = |set: &Arc<PluginSet>, live| {
        let (journal, set) = (master.parts.journal.clone(), set.clone());
        let options = ReplayOptions { live, at_once: 8, ..ReplayOptions::default() };
        async move {
            let began = Instant::now();
            let replay = replay(&journal, &set, options, &mut |_| {}).await.unwrap();
            let rate = f64::from(u32::try_from(replay.asked).unwrap()) / began.elapsed().as_secs_f64();
            println!("{} decisions replayed, {rate:.0}/s", replay.asked);
            replay
        }
    };
    // faults row 52: the policy that decided would decide the same.
    let same = again(&first, None).await;
    assert_eq!((same.asked, same.flips.len(), same.cannot.len()), (u64::try_from(total).unwrap(), 0, 0));
    assert!(total >= 10_000 && same.same == same.asked && same.unsteady.is_empty());
    // Nobody asked the registry about a request that its name alone signed: that takes a look.
    let offline = again(&candidate, None).await;
    let unknown: Vec<_> = offline.cannot.iter().map(|cannot| cannot.certname.as_str()).collect();
    assert_eq!(unknown.len(), NODES / 3, "{:?}", offline.cannot.first());
    assert!(unknown.iter().all(|name| name.ends_with(".web.test")));
    let predicted = again(&candidate, Some(master.decider.clone())).await;
    assert!(predicted.cannot.is_empty() && predicted.unsteady.is_empty());

    // All nodes that were signed are cleaned, so that all ask once more.
    master.parts.rollout.swap(candidate.id(), by).await.unwrap();
    let signed: Vec<String> = before.iter().filter(|(_, was)| was.0).map(|(name, _)| name.clone()).collect();
    let administrator = Administrator::Local { uid: 0 };
    assert!(master.clean(&signed, &administrator).await.unwrap().is_empty());
    let after = all_ask(&master).await;

    let mut happened = BTreeMap::new();
    for (name, now) in &after {
        let was = &before[name];
        let mut changes = Vec::new();
        match (was.0, now.0) {
            (false, true) => changes.push((Kind::Approval, "pending → approve".to_owned())),
            (true, false) => changes.push((Kind::Approval, "approve → pending".to_owned())),
            _ => {}
        }
        match (&was.1, &now.1) {
            (Ok(was), Ok(now)) => assert_eq!(was, now, "{name}"),
            (Err(was), Err(now)) if was != now => {
                assert!(now.ends_with("no classifier knows this node"), "{now}");
                changes.push((Kind::Classification, "rejected → no-match".to_owned()));
            }
            other => assert!(matches!(other, (Err(_), Err(_))), "{name}: {other:?}"),
        }
        if !changes.is_empty() {
            happened.insert(name.clone(), changes);
        }
    }
    let predicted = predicted.nodes.into_iter().map(|(name, flips)| {
        (name, flips.into_iter().map(|flip| (flip.kind, flip.change)).collect::<Vec<_>>())
    });
    assert_eq!(predicted.collect::<BTreeMap<_, _>>(), happened);
    // Half of each third: strangers of the web wait now, those of the lab are signed, and all strangers
    // are no longer rejected but unknown.
    let of = |kind| happened.values().flatten().filter(|(other, _)| *other == kind).count();
    assert_eq!((of(Kind::Approval), of(Kind::Classification)), (NODES / 3, NODES / 2));
    master.parts.journal.close().await;
}
