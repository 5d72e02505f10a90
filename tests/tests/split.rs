//! One CA and two catalog masters, each on a machine of its own, with real agents: who is refused how soon
//! after a revocation, and what goes on while the CA is away.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bunraku_tests::agent::{self, Agent, Run};
use bunraku_tests::machine::Machine;
use bunraku_tests::master::{Master, Settings};
use bunraku_tests::network::{self, Host, Network};
use bunraku_tests::request::{self, Identity, Request};
use bunraku_tests::wire::Client;
use bunraku_tests::{openssl, tools};
use serde_json::{Value, json};
use tempfile::TempDir;

const CA: &str = "ca.split.test";
const MASTERS: [&str; 2] = ["master1.split.test", "master2.split.test"];
/// What agents call the masters: names that their certificates have beside their own.
const CALLED: [&str; 2] = ["puppet1.split.test", "puppet2.split.test"];
const NODES: [&str; 2] = ["node1.split.test", "node2.split.test"];
/// Enrolled without an agent, to ask masters often.
const PROBE: &str = "probe.split.test";
const VICTIMS: [&str; 2] = ["victim1.split.test", "victim2.split.test"];

const DEFINITION: &str = "classes: {}\n";
/// How soon a master refuses what the CA revoked.
const SOON: Duration = Duration::from_secs(5);
/// How soon a master has caught up with a CA that nobody heard of for a while: its patience and its backoff.
const AFTER_SILENCE: Duration = Duration::from_secs(20);
/// The masters' patience with a list that has ended.
const GRACE: Duration = Duration::from_secs(6);
/// How long a list of the CA's second life is in force.
const SHORT_LIST: Duration = Duration::from_secs(4);

// faults rows 29, 31
#[test]
fn masters_refuse_within_seconds_and_serve_on_without_their_ca() -> Result<()> {
    network::alone("masters_refuse_within_seconds_and_serve_on_without_their_ca", || {
        let network = Network::new(&[
            CA,
            &format!("{} {}", MASTERS[0], CALLED[0]),
            &format!("{} {}", MASTERS[1], CALLED[1]),
            NODES[0],
            NODES[1],
        ])?;
        let host = network.host(CA)?;
        let mut split = Split::start(&network, &host)?;
        split.agents_enrol_at_the_ca_and_get_catalogs_from_the_masters()?;
        split.a_revocation_is_in_force_on_every_master_within_seconds()?;
        split.masters_name_the_ca_where_they_have_no_answer()?;
        split.a_pulled_cable_stops_nobody_but_revocations(&host)?;
        split.a_stopped_ca_stops_no_catalog()?;
        split.an_ended_list_is_believed_for_the_grace_and_no_longer()
    })
}

struct Split {
    registry: TempDir,
    ca: Master,
    sides: Vec<Side>,
    probe: Identity,
}

/// A catalog master and a node that goes to it.
struct Side {
    name: &'static str,
    called: &'static str,
    node: &'static str,
    bundle: String,
    master: Master,
    machine: Machine,
    _hosts: [Host; 2],
}

impl Split {
    fn start(network: &Network, host: &Host) -> Result<Split> {
        let registry = TempDir::with_prefix("bunraku-registry-")?;
        for name in NODES.iter().chain(&MASTERS).chain(&VICTIMS).chain([&PROBE]) {
            fs::write(registry.path().join(name), DEFINITION)?;
        }
        let config = registry_at(registry.path());
        let server = format!("dns_alt_names = [\"{CA}\"]");
        let settings = Settings { on: Some(host), server: &server, config: &config, ..Settings::default() };
        let ca = Master::start_with(&settings)?;
        let bundle = ca.ca()?;
        let file = ca.state().join("handed-over.pem");
        fs::write(&file, &bundle)?;
        // One believes a fingerprint, the other a file.
        let pins = [format!("fingerprint = \"{}\"", sha256(&bundle)?), format!("bundle = {file:?}")];
        let mut sides = Vec::new();
        for (((name, called), node), pin) in MASTERS.into_iter().zip(CALLED).zip(NODES).zip(pins) {
            done(&ca, &["ca", "masters", "add", name, "--dns-alt-name", called])?;
            let hosts = [network.host(name)?, network.host(node)?];
            let grace = GRACE.as_secs();
            let on = hosts.first();
            let metrics = hosts.first().map(Host::address).context("no machine")?;
            let config = format!(
                "[metrics]\nlisten = \"{metrics}:9140\"\n[ca]\nenabled = false\nserver = \"{CA}:8140\"\n{pin}\ngrace = \"{grace}s\"\n{config}"
            );
            let server = format!("dns_alt_names = [\"{called}\"]");
            let settings = Settings { on, server: &server, config: &config, ..Settings::default() };
            let since = Instant::now();
            let master =
                Master::start_with(&settings).with_context(|| format!("the CA's log:\n{}", ca.log()))?;
            eprintln!("{name} enrolled itself and was ready in {:.1?}", since.elapsed());
            let machine = Machine::start_on(&hosts[1], &[])?;
            let bundle = bundle.clone();
            sides.push(Side { name, called, node, bundle, master, machine, _hosts: hosts });
        }
        let probe = request::enrol(&ca.stranger()?, PROBE)?;
        Ok(Split { registry, ca, sides, probe })
    }

    fn agents_enrol_at_the_ca_and_get_catalogs_from_the_masters(&self) -> Result<()> {
        for side in &self.sides {
            let run = side.agent(5)?.expect_code(0)?;
            ensure!(run.output.contains("Downloaded certificate"), "{}", run.output);
            ensure!(run.output.contains("Applied catalog"), "{}", run.output);
            let certificate = request::certificate(&self.ca.stranger()?, side.name)?;
            let text = openssl::text(&certificate.context("a master without a certificate")?)?;
            ensure!(text.contains(&format!("DNS:{}", side.called)), "{}: {text}", side.name);
        }
        Ok(())
    }

    fn a_revocation_is_in_force_on_every_master_within_seconds(&self) -> Result<()> {
        let victim = request::enrol(&self.ca.stranger()?, VICTIMS[0])?;
        for side in &self.sides {
            ensure!(side.serves(VICTIMS[0], &victim)?, "{} refuses a good certificate", side.name);
        }
        let since = Instant::now();
        done(&self.ca, &["ca", "revoke", VICTIMS[0]])?;
        for side in &self.sides {
            until(SOON, || Ok(!side.serves(VICTIMS[0], &victim)?))
                .with_context(|| format!("{} still serves who was revoked", side.name))?;
            eprintln!("{} refuses {:.0?} after the revocation", side.name, since.elapsed());
        }
        self.caught_up(SOON)
    }

    /// Agents that were not told of `ca_server` are told by the master.
    fn masters_name_the_ca_where_they_have_no_answer(&self) -> Result<()> {
        for side in &self.sides {
            let client = side.master.stranger()?;
            let request = Request::named("lost.split.test")?;
            for answer in [
                request.submit(&client, "lost.split.test")?,
                client.get("/puppet-ca/v1/certificate/lost.split.test")?,
            ] {
                ensure!(answer.status == 404, "{}: {} {}", side.name, answer.status, answer.text());
                ensure!(answer.text().contains(&format!("{CA}:8140")), "{}: {}", side.name, answer.text());
                ensure!(answer.text().contains("ca_server"), "{}: {}", side.name, answer.text());
            }
            let bundle = client.get("/puppet-ca/v1/certificate/ca")?;
            ensure!(bundle.text() == side.bundle, "{} serves another bundle: {}", side.name, bundle.text());
        }
        Ok(())
    }

    fn a_pulled_cable_stops_nobody_but_revocations(&self, host: &Host) -> Result<()> {
        let victim = request::enrol(&self.ca.stranger()?, VICTIMS[1])?;
        host.unplug()?;
        done(&self.ca, &["ca", "revoke", VICTIMS[1]])?;
        for side in &self.sides {
            side.agent(0)?.expect_code(0)?;
            ensure!(side.serves(VICTIMS[1], &victim)?, "{} cannot know of it", side.name);
        }
        host.plug()?;
        let since = Instant::now();
        for side in &self.sides {
            until(AFTER_SILENCE, || Ok(!side.serves(VICTIMS[1], &victim)?))
                .with_context(|| format!("{} does not learn of it", side.name))?;
            eprintln!("{} refuses {:.1?} after the cable is back", side.name, since.elapsed());
        }
        self.caught_up(AFTER_SILENCE)
    }

    fn a_stopped_ca_stops_no_catalog(&mut self) -> Result<()> {
        ensure!(self.ca.stop()?.success(), "the CA did not stop cleanly");
        for side in &mut self.sides {
            side.agent(0)?.expect_code(0)?;
            // What it believes is on its disk.
            side.master.crash_and_restart()?;
            side.agent(0)?.expect_code(0)?;
            let answer =
                Request::named("late.split.test")?.submit(&side.master.stranger()?, "late.split.test")?;
            ensure!(answer.status == 404 && answer.text().contains(CA), "{}", answer.text());
        }
        Ok(())
    }

    fn an_ended_list_is_believed_for_the_grace_and_no_longer(&mut self) -> Result<()> {
        let registry = registry_at(self.registry.path());
        self.ca.configure(&format!("[ca]\ncrl_ttl = \"{}s\"\n{registry}", SHORT_LIST.as_secs()))?;
        self.ca.start_again()?;
        done(&self.ca, &["ca", "crl", "--publish"])?;
        self.caught_up(AFTER_SILENCE)?;
        self.ca.crash()?;
        let since = Instant::now();
        for side in &self.sides {
            side.master.wait_for(&["stale"], SHORT_LIST * 3)?;
            ensure!(side.serves(PROBE, &self.probe)?, "{} refuses within the grace", side.name);
            side.measures("stale")?;
            eprintln!("{} serves {:.1?} after the CA died, by an ended list", side.name, since.elapsed());
        }
        for side in &self.sides {
            let mut last = String::new();
            until(SHORT_LIST + GRACE + SOON, || {
                let answer = side.client(&self.probe)?.catalog(PROBE, &json!({}));
                last = format!("{answer:?}");
                Ok(answer.is_ok_and(|a| a.status == 403 && a.text().contains("revocation list")))
            })
            .with_context(|| format!("{}: the last answer was {last}", side.name))?;
            eprintln!("{} refuses everybody {:.1?} after the CA died", side.name, since.elapsed());
            let status = side.master.stranger()?.get("/status/v1/simple")?;
            ensure!(status.status == 503, "{} says that it is ready: {}", side.name, status.text());
            side.measures("expired")?;
        }
        ensure!(since.elapsed() > GRACE, "refused before the grace was over");
        self.ca.start_again()?;
        let since = Instant::now();
        for side in &self.sides {
            until(AFTER_SILENCE, || side.serves(PROBE, &self.probe))
                .with_context(|| format!("{} does not believe the new list", side.name))?;
            eprintln!("{} serves again {:.1?} after the CA is back", side.name, since.elapsed());
            let status = side.master.stranger()?.get("/status/v1/simple")?;
            ensure!(status.status == 200, "{}: {} {}", side.name, status.status, status.text());
            side.measures("fresh")?;
            // The agent's own copy of the list has not ended: agents 7 fetch theirs once.
            side.agent(0)?.expect_code(0)?;
        }
        Ok(())
    }

    /// `bunraku ca masters` says of both the number of the list in force.
    fn caught_up(&self, limit: Duration) -> Result<()> {
        let number = |value: &Value| value.get("crl_number").and_then(Value::as_u64);
        let mut said = String::new();
        until(limit, || {
            let crl: Value = serde_json::from_slice(&done(&self.ca, &["ca", "crl", "--json"])?)?;
            let masters: Value = serde_json::from_slice(&done(&self.ca, &["ca", "masters", "--json"])?)?;
            said = format!("{masters} {crl}");
            let rows = masters.as_array().or_else(|| masters.get("masters")?.as_array());
            let rows = rows.map_or(&[][..], Vec::as_slice);
            let own = crl.get("number").or_else(|| crl.get("crl_number")).and_then(Value::as_u64);
            Ok(own.is_some() && rows.len() == 2 && rows.iter().all(|row| number(row) == own))
        })
        .with_context(|| format!("not every master enforces the newest list: {said}"))?;
        Ok(())
    }
}

impl Side {
    fn agent(&self, waitforcert: u32) -> Result<Run> {
        let address = self.master.address();
        let settings = agent::Settings { certname: self.node, server: self.called, address, waitforcert };
        let more = ["--ca_server", CA, "--ca_port", "8140"];
        Agent::installed().run_with(&self.machine, &settings, &more)
    }

    /// Whether the master gives that node its catalog; a refused handshake is a no.
    fn serves(&self, name: &str, identity: &Identity) -> Result<bool> {
        match self.client(identity)?.catalog(name, &json!({})) {
            Ok(answer) if answer.status == 200 => Ok(true),
            Ok(answer) if answer.status == 403 => Ok(false),
            Ok(answer) => bail!("{}: {} {}", self.name, answer.status, answer.text()),
            Err(_) => Ok(false),
        }
    }

    /// Its metrics, which anybody may read where they are configured to be, name the state of its lists.
    fn measures(&self, state: &str) -> Result<()> {
        let mut stream = TcpStream::connect((self.master.address().ip(), 9140))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let line = format!("bunraku_crl_freshness{{state=\"{state}\"}} 1");
        ensure!(text.contains(&line), "{} lacks {line}:\n{text}", self.name);
        Ok(())
    }

    fn client(&self, identity: &Identity) -> Result<Client> {
        Ok(Client::new(self.master.address(), &self.bundle, Some(identity))?.of(self.called))
    }
}

fn registry_at(folder: &Path) -> String {
    format!("[registry]\nurl = \"dir:{}\"\npoll = \"500ms\"\n", folder.display())
}

/// What a command of that master printed; anything but exit code 0 is an error.
fn done(master: &Master, arguments: &[&str]) -> Result<Vec<u8>> {
    let output = master.command(arguments)?;
    ensure!(output.status.success(), "{arguments:?}: {}", tools::text(&output));
    Ok(output.stdout)
}

/// Asks until the answer is yes; says how long that took.
fn until(limit: Duration, mut yes: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let since = Instant::now();
    while since.elapsed() < limit {
        if yes()? {
            return Ok(since.elapsed());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("not in {limit:?}")
}

fn sha256(text: &str) -> Result<String> {
    let said = tools::output_with_input(Command::new("openssl").args(["dgst", "-sha256", "-r"]), text)?;
    Ok(tools::text(&said).split(' ').next().context("openssl printed no digest")?.to_owned())
}
