//! `bunraku plugin stage`, `shadow`, `promote`, `swap` and `rollback`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use client::Method;
use master::plugins::{Shadow, Staged, Swapped};
use serde_json::{Value, json};

use super::arguments::{Again, Candidate};
use super::{PATH, list, plugins, post, read, read_settings, replay, short, wrong};
use crate::arguments::{Online, Output};
use crate::call::{Call, segment};
use crate::config::Config;
use crate::print::{count, out, printable};
use crate::setup::Failure;

/// The largest signature read, in bytes.
const MAX_SIGNATURE: u64 = 16 << 10;
/// What a set's approvers say of a stranger, where they should not.
const APPROVES: &str = "approve";

/// How a set is swapped in.
pub struct How<'a> {
    /// One that is staged.
    pub set: Option<&'a str>,
    /// Though it approves strangers.
    pub force: bool,
    /// What was decided in this time is decided again before.
    pub replay: Option<Duration>,
    /// No swap if that comes out otherwise.
    pub fail_on_flip: bool,
}

/// Stages a set, and says what it has otherwise.
pub async fn stage(config: &Config, candidate: &Candidate, online: &Online) -> Result<(), Failure> {
    let call = Call::daemon(config, online)?.patient();
    let staged = staged(&call, candidate).await?;
    if online.output.json {
        out(&format!("{}\n", json!(staged)));
        return Ok(());
    }
    let (_, plugins) = plugins(config, online).await?;
    let id = short(&staged.set.id);
    if staged.set.id == plugins.live.id {
        out(&format!("{id} is the live set: nothing is to be swapped\n"));
        return Ok(());
    }
    out(&format!("staged  {id}\n{}", list::differences(&plugins.live, &staged.set)));
    if staged.probe == APPROVES {
        out("it APPROVES a stranger's request: a swap takes --force, unless the live set does so too\n");
    }
    out(&format!("next: bunraku plugin shadow {id}, or bunraku plugin swap --set {id}\n"));
    Ok(())
}

/// Starts or ends a shadow, or says how it does.
pub async fn shadow(config: &Config, set: Option<&str>, end: bool, online: &Online) -> Result<(), Failure> {
    let call = Call::daemon(config, online)?.patient();
    let shadow: Option<Shadow> = match (set, end) {
        (None, false) => call.list(&format!("{PATH}/shadow")).await?,
        (set, _) => post(&call, "shadow", &json!({"set": set})).await?,
    };
    if online.output.json {
        out(&format!("{}\n", json!(shadow)));
        return Ok(());
    }
    match (&shadow, set) {
        (Some(shadow), Some(_)) => out(&format!(
            "{} answers in shadow from now on; how that goes: bunraku plugin shadow\n",
            short(&shadow.set)
        )),
        (Some(shadow), None) => out(&list::summary(shadow)),
        (None, _) if end => out("no set answers in shadow any more\n"),
        (None, _) => out("no set answers in shadow: bunraku plugin shadow SET\n"),
    }
    Ok(())
}

/// Puts the shadow in force.
pub async fn promote(
    config: &Config,
    set: Option<&str>,
    force: bool,
    online: &Online,
) -> Result<(), Failure> {
    let call = Call::daemon(config, online)?.patient();
    let body = json!({"set": set, "force": force});
    say(&post(&call, "promote", &body).await?, "promoted", online.output);
    Ok(())
}

/// Puts a set in force that is staged, or stages it first.
pub async fn swap(
    config: &Config,
    candidate: &Candidate,
    how: How<'_>,
    online: &Online,
) -> Result<(), Failure> {
    let call = Call::daemon(config, online)?.patient();
    if how.replay.is_some() {
        decide_again(config, candidate, &how).await?;
    }
    let set = match how.set {
        Some(set) => set.to_owned(),
        None => staged(&call, candidate).await?.set.id,
    };
    let (_, plugins) = plugins(config, online).await?;
    if set == plugins.live.id {
        let same = Swapped { from: set.clone(), to: set };
        if online.output.json {
            out(&format!("{}\n", json!(same)));
        } else {
            out(&format!("{} is the live set already\n", short(&same.to)));
        }
        return Ok(());
    }
    let swapped: Swapped = post(&call, "swap", &json!({"set": set, "force": how.force})).await?;
    say(&swapped, "swapped", online.output);
    Ok(())
}

/// Says what the candidate would have decided otherwise; an error where that keeps it out.
async fn decide_again(config: &Config, candidate: &Candidate, how: &How<'_>) -> Result<(), Failure> {
    let again = Again {
        file: candidate.file.clone().unwrap_or_default(),
        name: candidate.name.clone(),
        settings: candidate.settings.clone(),
        since: how.replay,
        ..Again::default()
    };
    let outcome = replay::replay(config, &again).await?;
    // Standard output is for what the swap came to.
    eprint!("{}", outcome.as_text());
    match outcome.flips() {
        flips if flips > 0 && how.fail_on_flip => Err(Failure::new(format_args!(
            "not swapped: it decides otherwise {}",
            count(u64::try_from(flips).unwrap_or(u64::MAX), "time")
        ))),
        _ => Ok(()),
    }
}

/// Goes back to an earlier set.
pub async fn rollback(
    config: &Config,
    to: Option<&str>,
    reason: &str,
    online: &Online,
) -> Result<(), Failure> {
    let call = Call::daemon(config, online)?.patient();
    let body = json!({"to": to, "reason": reason});
    say(&post(&call, "rollback", &body).await?, "rolled back", online.output);
    Ok(())
}

fn say(swapped: &Swapped, word: &str, output: Output) {
    if output.json {
        out(&format!("{}\n", json!(swapped)));
    } else {
        out(&format!("{word} from {} to {}\n", short(&swapped.from), short(&swapped.to)));
    }
}

/// Brings the daemon what it has not, and has it staged.
async fn staged(call: &Call, candidate: &Candidate) -> Result<Staged, Failure> {
    let Some(file) = &candidate.file else { return post(call, "stage", &json!({"config": true})).await };
    let component = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
    let settings = candidate.settings.as_deref().map(read_settings).transpose()?;
    let signature = signature(file, candidate.signature.as_deref())?;
    let query = signature.map(|bytes| format!("?signature={}", segment(&STANDARD.encode(bytes))));
    let path = format!("{PATH}/components{}", query.unwrap_or_default());
    let answered =
        call.send(Method::POST, &path, Some(("application/octet-stream", Bytes::from(component)))).await?;
    let kept: Value = read(call, &answered)?;
    let name = file.file_name().map(|name| name.to_string_lossy());
    let replace = json!({
        "name": candidate.name, "digest": kept.get("digest"), "settings": settings, "file": name,
    });
    post(call, "stage", &json!({"replace": replace})).await
}

/// The signature that is said, or the one beside the component, if there is one.
fn signature(component: &Path, said: Option<&Path>) -> Result<Option<Vec<u8>>, Failure> {
    let mut beside = component.as_os_str().to_owned();
    beside.push(".sig");
    let path = said.map_or_else(|| PathBuf::from(beside), Path::to_owned);
    match std::fs::metadata(&path) {
        Ok(about) if about.len() > MAX_SIGNATURE => {
            Err(wrong(format_args!("{} is too large to be a signature", path.display())))
        }
        Err(error) if error.kind() == ErrorKind::NotFound && said.is_none() => Ok(None),
        _ => std::fs::read(&path).map(Some).map_err(|error| unreadable(&path, &error)),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    wrong(format_args!("cannot read {}: {error}", printable(&path.display().to_string())))
}
