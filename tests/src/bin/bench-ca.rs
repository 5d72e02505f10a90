//! How fast the CA is: from request to certificate beside the bare key in a loop, and what a hundred thousand
//! certificates and revocations cost.
//!
//! `cargo xtask bench ca` builds everything in release and runs this. Clients and CA share this machine's
//! processors, so a figure of the CA includes what its clients burn.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bunraku_tests::authority::{self, Authority};
use bunraku_tests::master::{Master, Settings};
use bunraku_tests::request::Request;
use bunraku_tests::wire::{Client, Connection};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use serde_json::Value;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::runtime::Runtime;

/// How long each rate is measured.
const SPAN: Duration = Duration::from_secs(6);
const CLIENTS: [usize; 3] = [1, 8, 64];
/// Certificates, and beside them revoked ones, of the large CA.
const MANY: usize = 100_000;
/// Revocations that are timed.
const REVOKED: usize = 300;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!(
        "from request to certificate: PUT and GET, policy and durable write included, a connection a client"
    );
    for (kind, most) in [("rsa-4096", 900), ("ec-p256", 4_000)] {
        issuing(&runtime, kind, most)?;
    }
    println!("\na CA with {MANY} certificates and {MANY} revoked serials");
    many(&runtime)
}

/// Certificates a second with as many clients, beside the bare key.
fn issuing(runtime: &Runtime, kind: &str, most_a_second: usize) -> Result<()> {
    let server = "requests_per_minute = 1000000\naccess_log = \"off\"";
    let settings = Settings { server, config: "[log]\nlevel = \"warn\"\n", ..Settings::default() };
    let mut master = Master::prepare(&settings)?;
    authority::cli(&master, 0, &["setup", "--key-kind", kind])?;
    master.start_again()?;
    let client = master.stranger()?;
    let threads = std::thread::available_parallelism()?.get();
    let (one, before) = (raw(&master, kind, 1)?, raw(&master, kind, threads)?);
    let mut figures = Vec::new();
    for clients in CLIENTS {
        let seconds = usize::try_from(SPAN.as_secs())?;
        let requests = prepare(&master, clients, most_a_second * seconds)?;
        let processes = [master.signer()?, master.pid()?, std::process::id()];
        let earlier = processes.map(burned);
        let times = enrol(runtime, &client, clients, requests)?;
        let mut spent = processes.map(burned);
        spent.iter_mut().zip(earlier).for_each(|(now, before)| *now -= before);
        figures.push((clients, times, spent));
    }
    let raw = f64::midpoint(before, raw(&master, kind, threads)?);
    println!("{kind:<9} the bare key {one:>7.0}/s in one loop, {raw:>7.0}/s in one on every processor");
    for (clients, times, [signer, daemon, own]) in figures {
        let (rate, each) = (times.rate(), |seconds: f64| 1e3 * seconds / times.count());
        println!(
            "{kind:<9} {clients:>2} clients {rate:>7.0}/s = {:>3.0} % and {:>3.0} %   p50 {:>6.1} ms  p99 {:>6.1} ms   \
             processor a certificate: signer {:.2} ms, daemon {:.2} ms, clients {:.2} ms",
            100.0 * rate / one,
            100.0 * rate / raw,
            times.at(0.50),
            times.at(0.99),
            each(signer),
            each(daemon),
            each(own)
        );
    }
    Ok(())
}

/// What was done in a span, and how long each took.
struct Times {
    milliseconds: Vec<f64>,
    span: Duration,
}

impl Times {
    fn new(mut milliseconds: Vec<f64>, span: Duration) -> Times {
        milliseconds.sort_by(f64::total_cmp);
        Times { milliseconds, span }
    }

    fn count(&self) -> f64 {
        f64::from(u32::try_from(self.milliseconds.len()).unwrap_or(u32::MAX))
    }

    fn rate(&self) -> f64 {
        self.count() / self.span.as_secs_f64()
    }

    /// The time that this part of all stayed below.
    fn at(&self, part: f64) -> f64 {
        let skip = self.milliseconds.len().saturating_sub(1);
        let place = (0..=skip).rev().find(|n| {
            let n = u32::try_from(*n).unwrap_or(u32::MAX);
            f64::from(n) <= part * f64::from(u32::try_from(skip).unwrap_or(u32::MAX))
        });
        place.and_then(|n| self.milliseconds.get(n)).copied().unwrap_or_default()
    }
}

/// Seconds that a process has kept a processor busy: fields 14 and 15 of its `stat`, in hundredths.
fn burned(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok());
    f64::from(ticks.sum::<u32>()) / 100.0
}

/// Names that are expected, and their requests.
fn prepare(master: &Master, clients: usize, most: usize) -> Result<Vec<(String, String)>> {
    let registry = master.state().join("registry");
    fs::create_dir_all(&registry)?;
    let one = |n: usize| {
        let name = format!("bench{clients}-{n}.cluster.test");
        fs::write(registry.join(&name), "classes: {}\n")?;
        let pem = Request::named(&name)?.pem;
        Ok((name, pem))
    };
    (0..most).map(one).collect()
}

fn enrol(
    runtime: &Runtime,
    client: &Client,
    clients: usize,
    requests: Vec<(String, String)>,
) -> Result<Times> {
    let requests = Arc::new(requests);
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (client, requests, next) = (client.clone(), requests.clone(), next.clone());
            runtime.spawn(async move {
                let mut connection = client.connect().await?;
                let mut times = Vec::new();
                while began.elapsed() < SPAN {
                    let Some((name, pem)) = requests.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                    times.push(one(&mut connection, name, pem).await?);
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(runtime.block_on(task)??);
    }
    Ok(Times::new(all, began.elapsed()))
}

async fn one(connection: &mut Connection, name: &str, pem: &str) -> Result<f64> {
    let began = Instant::now();
    let path = format!("/puppet-ca/v1/certificate_request/{name}");
    let answer = connection.send("PUT", &path, &[("content-type", "text/plain")], pem.as_bytes()).await?;
    ensure!(answer.status == 200, "{name}: {} {}", answer.status, answer.text());
    let answer = connection.send("GET", &format!("/puppet-ca/v1/certificate/{name}"), &[], b"").await?;
    ensure!(answer.status == 200, "{name} was not signed: {} {}", answer.status, answer.text());
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// The CA's own key in loops, with nothing around it; while the CA idles.
fn raw(master: &Master, kind: &str, threads: usize) -> Result<f64> {
    let pem = fs::read_to_string(master.state().join("ca/ca_key.pem"))?;
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = BASE64.decode(body)?;
    let message = [0x5a; 700];
    let done = AtomicUsize::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let loops: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let random = SystemRandom::new();
                    let sign: Box<dyn Fn() -> Result<()>> = if kind.starts_with("rsa") {
                        let key = RsaKeyPair::from_pkcs8(&der).map_err(|e| anyhow::anyhow!("{e}"))?;
                        Box::new(move || {
                            let mut out = vec![0; key.public_modulus_len()];
                            Ok(key.sign(&RSA_PKCS1_SHA256, &random, &message, &mut out)?)
                        })
                    } else {
                        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der)
                            .map_err(|e| anyhow::anyhow!("{e}"))?;
                        Box::new(move || Ok(key.sign(&random, &message).map(drop)?))
                    };
                    while began.elapsed() < SPAN / 2 {
                        sign()?;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        for task in loops {
            task.join().ok().context("a thread panicked")??;
        }
        Ok(())
    })?;
    Ok(f64::from(u32::try_from(done.into_inner())?) / began.elapsed().as_secs_f64())
}

fn many(runtime: &Runtime) -> Result<()> {
    let folder = TempDir::with_prefix("bunraku-bench-")?;
    let began = Instant::now();
    let serials = puppet_folder(folder.path())?;
    println!("made a Puppet CA's folder in {:.0?}", began.elapsed());
    let server = "requests_per_minute = 1000000\naccess_log = \"off\"";
    let config = Authority::config("") + "[log]\nlevel = \"warn\"\n";
    let mut master = Master::prepare(&Settings { server, config: &config, ..Settings::default() })?;
    let began = Instant::now();
    authority::cli(&master, 0, &["import", &folder.path().display().to_string()])?;
    println!("ca import                       {:>8.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    master.start_again()?;
    println!("start to serving                {:>8.2} s", began.elapsed().as_secs_f64());
    let ca = Authority::of(master)?;

    let began = Instant::now();
    let answer = ca.wants(200, "GET", "/puppet-ca/v1/certificate_statuses/any", &Value::Null)?;
    let took = began.elapsed().as_secs_f64();
    let rows: Vec<Value> = serde_json::from_slice(&answer.body)?;
    ensure!(rows.len() > MANY, "{} rows", rows.len());
    let size = answer.body.len() / 1_000_000;
    println!("certificate_statuses            {took:>8.2} s for {} rows, {size} MB", rows.len());
    let began = Instant::now();
    ca.cli(0, &["list", "--all", "--json"])?;
    println!("bunraku ca list --all --json    {:>8.2} s", began.elapsed().as_secs_f64());

    let times = runtime.block_on(async {
        let mut connection = ca.admin.connect().await?;
        let mut times = Vec::new();
        for serial in serials.iter().take(REVOKED) {
            let body = format!("{{\"serial\":\"0x{serial}\",\"reason\":\"superseded\"}}");
            let began = Instant::now();
            let headers = [("content-type", "application/json")];
            let answer = connection.send("POST", "/bunraku/v1/ca/revoke", &headers, body.as_bytes()).await?;
            ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        anyhow::Ok(times)
    })?;
    let times = Times::new(times, Duration::from_secs(1));
    println!("revoke                          p50 {:.1} ms, p99 {:.1} ms", times.at(0.5), times.at(0.99));
    let began = Instant::now();
    loop {
        let listed = ca.believed()?.list()?.serials;
        if serials.iter().take(REVOKED).all(|serial| listed.contains(serial)) {
            break;
        }
        ensure!(began.elapsed().as_secs() < 20, "a revoked serial is not listed");
    }
    // OpenSSL's reading of it included.
    println!("revoked to listed             < {:>8.1} s", began.elapsed().as_secs_f64());

    let stranger = ca.master.stranger()?;
    let path = "/puppet-ca/v1/certificate_revocation_list/ca";
    let size = stranger.get(path)?.body.len();
    for what in ["CRL GET", "CRL GET, not modified"] {
        // Of a moment after the list was made.
        let now = http_date();
        let modified = [("if-modified-since", now.as_str())];
        let headers = if what.ends_with("GET") { &[][..] } else { &modified };
        let rate = gets(runtime, &stranger, path, headers)?;
        println!("{what:<31} {rate:>8.0}/s of {:.1} MB", f64::from(u32::try_from(size)?) / 1e6);
    }
    Ok(())
}

fn gets(runtime: &Runtime, client: &Client, path: &str, headers: &[(&str, &str)]) -> Result<f64> {
    let began = Instant::now();
    let headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (client, path, headers) = (client.clone(), path.to_owned(), headers.clone());
            runtime.spawn(async move {
                let mut connection = client.connect().await?;
                let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                let mut count = 0_u32;
                while began.elapsed() < SPAN {
                    let answer = connection.send("GET", &path, &headers, b"").await?;
                    ensure!([200, 304].contains(&answer.status), "{}", answer.status);
                    count += 1;
                }
                Ok(count)
            })
        })
        .collect();
    let mut all = 0;
    for task in tasks {
        all += runtime.block_on(task)??;
    }
    Ok(f64::from(all) / began.elapsed().as_secs_f64())
}

/// Now, as HTTP writes it.
fn http_date() -> String {
    let time = OffsetDateTime::now_utc();
    let (day, month) = (time.weekday().to_string(), time.month().to_string());
    let short = |text: &str| text.chars().take(3).collect::<String>();
    format!(
        "{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
        short(&day),
        time.day(),
        short(&month),
        time.year(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// Writes a CA as puppetserver keeps it; returns the serials of the certificates that are in force.
fn puppet_folder(folder: &Path) -> Result<Vec<String>> {
    let now = OffsetDateTime::now_utc();
    let (start, end) = (now - Duration::from_secs(86_400), now + Duration::from_secs(86_400 * 365));
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Puppet CA: bench");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (start, end);
    let certificate = params.self_signed(&key)?;
    fs::write(folder.join("ca_crt.pem"), certificate.pem())?;
    fs::write(folder.join("ca_key.pem"), key.serialize_pem())?;
    let issuer = Issuer::new(params, key);
    for below in ["signed", "requests"] {
        fs::create_dir(folder.join(below))?;
    }
    let stamp = |time: OffsetDateTime| {
        let (date, clock) = (time.date(), time.time());
        format!("{date}T{:02}:{:02}:{:02}UTC", clock.hour(), clock.minute(), clock.second())
    };
    let times = format!("{} {}", stamp(start), stamp(end));
    let mut inventory = String::new();
    let mut serials = Vec::with_capacity(MANY);
    let leaf_key = KeyPair::generate()?;
    for n in 0..MANY {
        let serial = 0x1000 + u64::try_from(n)?;
        let certname = format!("many{n}.cluster.test");
        let mut params = CertificateParams::new(vec![certname.clone()])?;
        params.distinguished_name = name(&certname);
        params.serial_number = Some(SerialNumber::from(serial));
        (params.not_before, params.not_after) = (start, end);
        let certificate = params.signed_by(&leaf_key, &issuer)?;
        fs::write(folder.join("signed").join(format!("{certname}.pem")), certificate.pem())?;
        inventory += &format!("0x{serial:04X} {times} /CN={certname}\n");
        serials.push(format!("{serial:X}"));
    }
    let mut revoked = Vec::with_capacity(MANY);
    for n in 0..MANY {
        let serial = 0x10_0000 + u64::try_from(n)?;
        inventory += &format!("0x{serial:04X} {times} /CN=gone{n}.cluster.test\n");
        revoked.push(RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: start,
            reason_code: None,
            invalidity_date: None,
        });
    }
    let list = CertificateRevocationListParams {
        this_update: start,
        next_update: end,
        crl_number: SerialNumber::from(7),
        issuing_distribution_point: None,
        revoked_certs: revoked,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    fs::write(folder.join("ca_crl.pem"), list.signed_by(&issuer)?.pem()?)?;
    fs::write(folder.join("inventory.txt"), inventory)?;
    fs::write(folder.join("serial"), "200000\n")?;
    Ok(serials)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
