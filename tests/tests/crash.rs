//! A master that is killed while it signs, and what its agents find afterwards.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use bunraku_tests::master::Master;
use bunraku_tests::request::{self, Identity, Request};
use bunraku_tests::wire::Client;
use serde_json::json;

/// Certificates handed out before the master is killed.
const ENOUGH: usize = 12;
/// Agents at once.
const AGENTS: u32 = 4;
/// Names that are expected; more than can be signed meanwhile.
const NAMES: u32 = 200;

// faults row 21
#[test]
fn a_master_killed_while_agents_enrol_forgets_no_certificate_and_signs_the_rest() -> Result<()> {
    let mut master = Master::start()?;
    let folder = master.state().join("registry");
    std::fs::create_dir_all(&folder)?;
    for n in 0..NAMES {
        std::fs::write(folder.join(name(n)), "classes: {}\n")?;
    }
    let ca = master.ca()?;
    let requests: Mutex<BTreeMap<u32, Request>> = Mutex::default();
    let handed_out: Mutex<BTreeMap<u32, String>> = Mutex::default();
    let (next, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let stranger = master.stranger()?;
    std::thread::scope(|scope| -> Result<()> {
        let agent = || -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                let n = next.fetch_add(1, Ordering::Relaxed);
                ensure!(n < NAMES, "all were signed before the master could be killed");
                let request = Request::named(&name(n))?;
                let pem = request.pem.clone();
                requests.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.insert(n, request);
                // The kill cuts each agent off, some in the midst of this.
                let Ok(_) = request::submit(&stranger, &name(n), pem.as_bytes()) else { break };
                if let Ok(Some(certificate)) = request::certificate(&stranger, &name(n)) {
                    handed_out.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.insert(n, certificate);
                }
            }
            Ok(())
        };
        let agents: Vec<_> = (0..AGENTS).map(|_| scope.spawn(agent)).collect();
        while handed_out.lock().is_ok_and(|all| all.len() < ENOUGH) && agents.iter().any(|a| !a.is_finished())
        {
            std::thread::yield_now();
        }
        let restarted = master.crash_and_restart();
        stop.store(true, Ordering::Relaxed);
        for agent in agents {
            agent.join().ok().context("an agent's thread panicked")??;
        }
        restarted
    })?;

    assert_eq!(master.ca()?, ca, "another CA after the crash");
    let handed_out = handed_out.into_inner()?;
    assert!(handed_out.len() >= ENOUGH);
    for (n, certificate) in &handed_out {
        let served = request::certificate(&stranger, &name(*n))?;
        assert_eq!(served.as_ref(), Some(certificate), "{} has another certificate", name(*n));
    }
    // With the key that it asked with before, every agent gets a certificate that opens its door.
    for (n, request) in requests.into_inner()? {
        let (n, name) = (n, name(n));
        let answer = request.submit(&stranger, &name)?;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let certificate = request::certificate(&stranger, &name)?.with_context(|| format!("{name} waits"))?;
        if n % 8 == 0 {
            let identity = Identity { certificate, key: request.key };
            let client = Client::new(master.address(), &ca, Some(&identity))?;
            assert_eq!(client.catalog(&name, &json!({}))?.status, 200, "{name}");
        }
    }
    Ok(())
}

fn name(n: u32) -> String {
    format!("crash{n}.cluster.test")
}
