//! `bunraku csr check`: what waits, what would be signed, and why. The
//! original's `check_csr`, also for a puppetserver's `autosign`.

use std::io::Read;
use std::sync::Arc;

use ca::Occasion;
use decide::{Decision, Verdict};
use master::{Decided, Decider};
use pki::CertificateRequest;
use rollout::PluginSet;
use serde_json::{Value, json};
use store::{RequestRow, Store};

use crate::arguments::{Common, Csr as Command};
use crate::config::Config;
use crate::print::{printable, when};
use crate::registry::name;
use crate::setup::{self, Failure};

/// Requests read from the store at once.
const PAGE: u32 = 500;
/// The largest request read from standard input, as on the wire.
const MAX_REQUEST: u64 = 64 << 10;

/// Runs one of the requests' commands.
pub async fn run(common: &Common, command: Command) -> Result<(), Failure> {
    let Command::Check { certname, json } = command;
    let config = setup::configure(common)?;
    let decider = decider(&config).await?;
    let sandbox = setup::sandbox(&config)?;
    let set = setup::plugin_set(&config, decider.store.as_deref(), &sandbox).await?;
    match certname {
        Some(certname) => policy(&config, &decider, &set, &certname).await,
        None => check(&config, &decider, &set, json).await,
    }
}

/// What plugins reach from the command line: the registry, and the store of the
/// master in this state directory, if there is one.
pub async fn decider(config: &Config) -> Result<Decider, Failure> {
    let path = config.below_state(setup::DATABASE);
    let store = if path.exists() {
        Some(Arc::new(Store::open_read_only(&path).await.map_err(Failure::new)?))
    } else {
        None
    };
    Ok(Decider::new(setup::registry(config).await?, setup::stores(config).await?, store))
}

/// One request on standard input: exit code 0 if the plugins approve it.
async fn policy(config: &Config, decider: &Decider, set: &PluginSet, certname: &str) -> Result<(), Failure> {
    let certname = name(certname)?;
    let mut pem = Vec::new();
    std::io::stdin().take(MAX_REQUEST + 1).read_to_end(&mut pem).map_err(Failure::new)?;
    let request = CertificateRequest::parse(&pem, &setup::request_rules(config))
        .map_err(|e| Failure::new(format_args!("{certname}: refused: {e}")))?;
    if request.certname != certname {
        return Err(Failure::new(format_args!(
            "{certname}: refused: the request is for {}",
            request.certname
        )));
    }
    let decided = decider.approval(set, &request, &Occasion::First, None).await;
    let line = format!("{certname}: {}", sentence(&decided.decision));
    match decided.decision.verdict {
        Verdict::Approve { .. } => {
            println!("{line}");
            Ok(())
        }
        Verdict::Deny | Verdict::Pending => Err(Failure::new(line)),
    }
}

/// Every pending request, decided on and not signed.
async fn check(config: &Config, decider: &Decider, set: &PluginSet, as_json: bool) -> Result<(), Failure> {
    let Some(store) = &decider.store else {
        return Err(Failure::new(format_args!(
            "no master has run in {}: there is no {}",
            config.state_dir.display(),
            setup::DATABASE
        )));
    };
    let (mut waiting, mut would_sign, mut undecided) = (0_u32, 0_u32, 0_u32);
    let mut rows = Vec::new();
    let mut after = None;
    tracing::debug!("List of waiting csr");
    loop {
        let page = store.requests(after.take(), PAGE).await.map_err(Failure::new)?;
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        for row in page {
            let decided = decide_on(config, decider, set, &row).await;
            waiting += 1;
            would_sign += u32::from(matches!(decided.decision.verdict, Verdict::Approve { .. }));
            undecided += u32::from(decided.decision.fault);
            if as_json {
                rows.push(as_value(&row, &decided.decision));
            } else {
                print(&row, &decided.decision);
            }
        }
    }
    if as_json {
        println!("{}", Value::Array(rows));
    } else {
        println!("{waiting} waiting, {would_sign} would be signed now");
    }
    if undecided > 0 {
        return Err(Failure::new(format_args!("{undecided} could not be decided")));
    }
    Ok(())
}

async fn decide_on(config: &Config, decider: &Decider, set: &PluginSet, row: &RequestRow) -> Decided {
    match CertificateRequest::parse(row.pem.as_bytes(), &setup::request_rules(config)) {
        Ok(request) => decider.approval(set, &request, &Occasion::First, row.peer.clone()).await,
        Err(error) => Decided::refused(set, error.to_string()),
    }
}

/// A decision as a sentence: what would happen, why, and whose answer it is.
fn sentence(decision: &Decision<String>) -> String {
    let what = match decision.verdict {
        Verdict::Approve { .. } => "would be signed",
        Verdict::Deny => "denied",
        Verdict::Pending => "stays pending",
    };
    let by = decision.by.as_deref().map(|by| format!(" [{by}]")).unwrap_or_default();
    format!("{what}: {}{by}", printable(&decision.reason))
}

fn print(row: &RequestRow, decision: &Decision<String>) {
    let from = row.peer.as_deref().map(|p| format!(" from {}", printable(p))).unwrap_or_default();
    println!("{}", row.key.certname);
    println!("  requested {}{from}, SHA-256 {}", when(row.submitted_at), row.fingerprint);
    println!("  {}", sentence(decision));
}

fn as_value(row: &RequestRow, decision: &Decision<String>) -> Value {
    json!({
        "certname": row.key.certname,
        "fingerprint": row.fingerprint,
        "submitted_at": when(row.submitted_at),
        "peer": row.peer,
        "verdict": match decision.verdict {
            Verdict::Approve { .. } => "approve",
            Verdict::Deny => "deny",
            Verdict::Pending if decision.fault => "no-decision",
            Verdict::Pending => "pending",
        },
        "reason": decision.reason,
        "plugin": decision.by,
    })
}
