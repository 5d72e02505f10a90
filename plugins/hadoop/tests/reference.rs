//! Our catalog of a worker, beside the one that puppetserver compiled from an equivalent module.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails where it finds something else"
)]

mod common;
#[path = "../../../tests/src/reference.rs"]
mod reference;

use common::{compile, masters, node};
use serde_json::{Value, json};

#[test]
fn a_worker_is_what_puppetserver_made_of_the_same_module() {
    let recorded: Value =
        serde_json::from_str(include_str!("../../../tests/reference/worker-puppetserver.json")).unwrap();
    let repositories = recorded["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|resource| resource["title"] == "Hadoop::Worker")
        .map(|worker| worker["parameters"]["repositories"].clone())
        .unwrap();
    let parameters = json!({"repositories": repositories});
    let ours = compile(&node("worker1.cluster.test", "hadoop::worker", parameters, &masters())).unwrap();
    assert_eq!(reference::differences(&recorded, &ours.catalog), Vec::<String>::new());

    let other = compile(&node("worker1.cluster.test", "hadoop::worker", json!({}), &masters())).unwrap();
    assert_ne!(reference::differences(&recorded, &other.catalog), Vec::<String>::new());
}
