//! `bunraku plugin check`: everything that would keep a component from going live, without a daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use master::plugins::{Probe, Set, probe};
use rollout::{Origin, PluginSpec, SetSpec, Source};
use sandbox::Sandbox;
use serde_json::{Value, json};

use super::{inspect, list, read_settings, wrong};
use crate::arguments::Output;
use crate::config::Config;
use crate::print::{out, printable};
use crate::setup::{self, Failure};

/// A component in the place of a configured plugin.
pub struct Checked<'a> {
    /// Its file.
    pub file: &'a Path,
    /// Of which plugin; the one that goes by its own name where none.
    pub name: Option<String>,
    /// Other settings than that one's.
    pub settings: Option<PathBuf>,
}

/// Checks a component, or the whole of the configuration.
pub async fn run(config: &Config, checked: Option<Checked<'_>>, output: Output) -> Result<(), Failure> {
    let sandbox = setup::sandbox(config)?;
    let configured = config.plugins.clone();
    let (place, spec, remark) = match &checked {
        None => ("the configuration".to_owned(), configured, None),
        Some(checked) => {
            let (plugin, remark) = candidate(checked, &configured, &sandbox).await?;
            let spec = SetSpec { plugins: vec![plugin], ..SetSpec::default() };
            (checked.file.display().to_string(), spec, remark)
        }
    };
    let staged = rollout::stage(&setup::means(config, &sandbox), &spec, Origin::new("check", &place)).await;
    let (set, problems) = match staged {
        Ok(set) => (Some(set), Vec::new()),
        Err(problems) => (None, problems.iter().map(ToString::to_string).collect()),
    };
    let stranger = match &set {
        Some(set) if !set.approvers().is_empty() => Some(probe(set).await),
        _ => None,
    };
    let set = set.as_ref().map(Set::of);
    if output.json {
        let probe = stranger.map(Probe::word);
        out(&format!("{}\n", json!({"problems": problems, "remark": remark, "probe": probe, "set": set})));
        return if set.is_some() { Ok(()) } else { Err(Failure::with_code(1, "")) };
    }
    let Some(set) = set else { return Err(Failure::new(faults(&place, remark.as_deref(), &problems))) };
    let mut text: String = match &checked {
        Some(_) => set.plugins.iter().map(inspect::as_text).collect(),
        None => list::members(&set),
    };
    text.extend(remark.iter().map(|remark| format!("{}\n", printable(remark))));
    if stranger == Some(Probe::Approve) {
        text.push_str("it APPROVES the request of a node that nobody knows\n");
    }
    out(&format!("{text}nothing is wrong with {}\n", printable(&place)));
    Ok(())
}

/// The configured plugin with this component, and what was assumed where there is none.
async fn candidate(
    checked: &Checked<'_>,
    configured: &SetSpec,
    sandbox: &Arc<Sandbox>,
) -> Result<(PluginSpec, Option<String>), Failure> {
    let file = checked.file;
    let bytes =
        std::fs::read(file).map_err(|e| wrong(format_args!("cannot read {}: {e}", file.display())))?;
    let sandbox = Arc::clone(sandbox);
    let loaded = tokio::task::spawn_blocking(move || sandbox.load(&bytes)).await.map_err(Failure::new)?;
    // What keeps it from being loaded is told with all else.
    let metadata = loaded.as_ref().ok().map(|plugin| plugin.metadata());
    let name = match (&checked.name, metadata) {
        (Some(name), _) => name.clone(),
        (None, Some(metadata)) => metadata.name.clone(),
        (None, None) => file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let known = configured.plugins.iter().find(|plugin| plugin.name == name);
    if let (None, Some(name)) = (known, &checked.name) {
        let names: Vec<&str> = configured.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        return Err(wrong(format_args!("no plugin {name:?} is configured, but {}", names.join(", "))));
    }
    let mut remark = None;
    let mut plugin = match known {
        // Its pin is for the component that it has now.
        Some(plugin) => PluginSpec { digest: None, ..plugin.clone() },
        None => {
            let mut plugin = PluginSpec::new(&name, Source::File(file.to_owned()));
            let needed = metadata.into_iter().flat_map(|m| &m.capabilities).filter(|c| !c.optional);
            plugin.grants = needed.filter_map(|c| Some((c.name.clone(), usual(&c.name)?))).collect();
            let granted: Vec<String> =
                plugin.grants.iter().map(|(name, grant)| format!("{name} = {grant}")).collect();
            remark = Some(match granted.as_slice() {
                [] => format!("no plugin {name} is configured: it was checked without grants"),
                granted => format!(
                    "no plugin {name} is configured: it was checked with the grants that it needs, {}",
                    granted.join(", ")
                ),
            });
            plugin
        }
    };
    plugin.source = Source::File(file.to_owned());
    if let Some(settings) = &checked.settings {
        plugin.settings = read_settings(settings)?;
    }
    Ok((plugin, remark))
}

/// What an operator would grant who is asked for this.
fn usual(capability: &str) -> Option<Value> {
    match capability {
        "object-store" => Some(json!(["registry"])),
        "stored-config" => Some(json!(true)),
        _ => None,
    }
}

fn faults(place: &str, remark: Option<&str>, problems: &[String]) -> String {
    let noun = if problems.len() == 1 { "problem" } else { "problems" };
    let list: Vec<String> = problems.iter().map(|problem| format!("\n  {}", printable(problem))).collect();
    let remark = remark.map(|remark| format!("\n{}", printable(remark))).unwrap_or_default();
    format!("{} has {} {noun}:{}{remark}", printable(place), problems.len(), list.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_told_at_once_and_safely() {
        let problems = ["plugin a: is no component".to_owned(), "plugin a: \u{1b}[2J".to_owned()];
        let expected = "a.wasm has 2 problems:\n  plugin a: is no component\n  plugin a: \\u{1b}[2J\nno plugin a is configured";
        assert_eq!(faults("a.wasm", Some("no plugin a is configured"), &problems), expected);
        assert_eq!(
            faults("a.wasm", None, &problems[..1]),
            "a.wasm has 1 problem:\n  plugin a: is no component"
        );
    }
}
