//! A worker's catalog over the wire, beside the one that puppetserver compiled from an equivalent module.

use anyhow::{Context, Result, ensure};
use bunraku_tests::master::Master;
use bunraku_tests::reference::differences;
use bunraku_tests::request;
use bunraku_tests::wire::Client;
use serde_json::{Value, json};

#[test]
fn a_worker_gets_what_puppetserver_made_of_the_same_module() -> Result<()> {
    let recorded: Value = serde_json::from_str(include_str!("../reference/worker-puppetserver.json"))?;
    let resources = recorded.get("resources").and_then(Value::as_array).context("no resources")?;
    let worker = resources.iter().find(|resource| resource["title"] == "Hadoop::Worker");
    let repositories = &worker.context("no worker in the recording")?["parameters"]["repositories"];
    let master = Master::start()?;
    // The masters export their addresses as they get their own catalogs.
    catalog(&master, "namenode.cluster.test", &json!({"hadoop::namenode": {}}))?;
    catalog(&master, "jobtracker.cluster.test", &json!({"hadoop::jobtracker": {}}))?;
    let class = json!({"hadoop::worker": {"repositories": repositories}});
    let ours = catalog(&master, "worker1.cluster.test", &class)?;
    assert_eq!(differences(&recorded, &ours), Vec::<String>::new());
    Ok(())
}

/// Registers and enrols a node and takes its catalog.
fn catalog(master: &Master, name: &str, classes: &Value) -> Result<Value> {
    master.register(name, &json!({"classes": classes}).to_string())?;
    let identity = request::enrol(&master.stranger()?, name)?;
    let answer = Client::new(master.address(), &master.ca()?, Some(&identity))?.catalog(name, &json!({}))?;
    ensure!(answer.status == 200, "{name}: {} {}", answer.status, answer.text());
    Ok(serde_json::from_slice(&answer.body)?)
}
