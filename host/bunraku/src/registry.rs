//! `bunraku registry`: node definitions, by hand or from a script.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::sync::Arc;

use ::registry::{Error, Registry};
use definition::NodeDefinition;
use pki::Certname;
use serde_json::json;

use crate::arguments::{Common, Registry as Command};
use crate::setup::{self, Failure};

/// Runs one of the registry's commands.
pub async fn run(common: &Common, command: Command) -> Result<(), Failure> {
    let config = setup::configure(common)?;
    let registry = setup::registry(&config).await?;
    match command {
        Command::Put { certname, file, new } => put(&registry, &certname, file.as_deref(), new).await,
        Command::Get { certname } => get(&registry, &certname).await,
        Command::List { prefix, json } => list(&registry, &prefix, json).await,
        Command::Rm { certname } => {
            let certname = name(&certname)?;
            registry.delete(certname.as_str()).await.map_err(|e| missing(&certname, e))?;
            println!("removed {certname} from {}", registry.describe());
            Ok(())
        }
    }
}

/// A certificate name from the command line.
pub fn name(text: &str) -> Result<Certname, Failure> {
    Certname::parse(text)
        .map_err(|e| Failure::with_code(2, format_args!("{text:?} is no certificate name: {e}")))
}

fn missing(certname: &Certname, error: Error) -> Failure {
    match error {
        Error::NotFound { .. } => Failure::new(format_args!("{certname} is not registered ({error})")),
        other => Failure::new(other),
    }
}

async fn put(
    registry: &Arc<Registry>,
    certname: &str,
    file: Option<&Path>,
    new: bool,
) -> Result<(), Failure> {
    let certname = name(certname)?;
    let (place, text) = read(file)?;
    let definition = NodeDefinition::parse(&text)
        .map_err(|problem| Failure::with_code(2, format_args!("{place}: {problem}; nothing was stored")))?;
    registry.put(certname.as_str(), text.as_bytes(), new).await.map_err(|error| match error {
        Error::Exists { .. } => {
            Failure::new(format_args!("{certname} is registered already; leave out --new to replace it"))
        }
        other => Failure::new(other),
    })?;
    let classes: Vec<&str> = definition.classes.iter().map(|(name, _)| name.as_str()).collect();
    println!("registered {certname} as {} in {}", summary(&classes), registry.describe());
    Ok(())
}

fn summary(classes: &[&str]) -> String {
    if classes.is_empty() { "a node without classes".to_owned() } else { classes.join(", ") }
}

fn read(file: Option<&Path>) -> Result<(String, String), Failure> {
    let file = file.filter(|f| *f != Path::new("-"));
    if let Some(file) = file {
        let text = std::fs::read_to_string(file)
            .map_err(|e| Failure::with_code(2, format_args!("cannot read {}: {e}", file.display())))?;
        return Ok((file.display().to_string(), text));
    }
    if std::io::stdin().is_terminal() {
        eprintln!("reading the definition from this terminal; end it with Ctrl-D");
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|e| Failure::with_code(2, format_args!("cannot read standard input: {e}")))?;
    Ok(("standard input".to_owned(), text))
}

async fn get(registry: &Arc<Registry>, certname: &str) -> Result<(), Failure> {
    let certname = name(certname)?;
    let object = registry.get(certname.as_str()).await.map_err(|e| missing(&certname, e))?;
    // The bytes as they are: what was put comes back.
    std::io::stdout().write_all(&object.body).map_err(Failure::new)
}

async fn list(registry: &Arc<Registry>, prefix: &str, as_json: bool) -> Result<(), Failure> {
    let mut cursor = None;
    let mut rows = Vec::new();
    loop {
        let page = registry.list(prefix, cursor.as_deref()).await.map_err(Failure::new)?;
        for object in page.objects {
            if as_json {
                rows.push(json!({"certname": object.key, "bytes": object.size, "etag": object.etag}));
            } else {
                println!("{}", object.key.escape_default());
            }
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    if as_json {
        println!("{}", serde_json::Value::Array(rows));
    }
    Ok(())
}
