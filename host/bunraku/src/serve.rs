//! `bunraku serve`: puts the master together, runs it, and drains it on SIGTERM.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use bunraku_http::{QuotaSettings, Server, TlsMaterial};
use ca::Authority;
use follower::Follower;
use journal::Journal;
use master::plugins::Configured;
use master::{Certificates, Master, Parts};
use pki::{AltName, Freshness, Identity};
use rollout::{Origin, Rollout};
use store::{Filebucket, Store};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::arguments::Common;
use crate::config::Config;
use crate::config::ca::{Follows, Pin};
use crate::fetch::Sources;
use crate::led;
use crate::print::printable;
use crate::reload::{self, Reload};
use crate::setup::{self, Failure};
use crate::watch::{Watch, look};

/// How often a CA that does not push is asked for its revocation list.
const POLL: Duration = Duration::from_secs(60);

/// Runs the master until it is told to stop.
pub async fn run(common: &Common) -> Result<(), Failure> {
    // Looked at before it is read: a change meanwhile is seen later.
    let mut files = Watch::new(look(reload::files(common, None)));
    let config = setup::configure(common)?;
    files.follow(look(reload::files(common, Some(&config))));
    let on = |kind| signal(kind).map_err(|e| Failure::new(format_args!("cannot listen for signals: {e}")));
    let (mut terminate, mut interrupt, hangup) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);

    let store = Arc::new(open_store(&config).await?);
    let sandbox = setup::sandbox(&config)?;
    let sources = Arc::new(Sources::new(&config));
    let (rollout, changed) = setup::rollout(&config, &store, sandbox, sources.clone()).await?;
    let journal = Arc::new(journal(&config).await?);
    let opened = tokio::select! {
        opened = role(&config, &store) => Some(opened?),
        // A catalog master may wait for its certificate for days.
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    let Some(Role { certificates, identity, tending: keeping }) = opened else {
        tracing::info!("stopped before there was a certificate");
        journal.close().await;
        store.close().await;
        return Ok(());
    };
    let tree = files::Tree::new(files::Settings {
        modules: config.below_state("modules"),
        environments: config.below_state("environments"),
    });
    let registry = setup::registry(&config).await?;
    let stores = setup::stores(&config).await?;
    let parts = Parts {
        store: store.clone(),
        certificates: certificates.clone(),
        registry: registry.clone(),
        stores,
        rollout: rollout.clone(),
        configured: Arc::new(configured(common)),
        journal: journal.clone(),
        files: Arc::new(tree),
        filebucket: Arc::new(Filebucket::open(&config.below_state("filebucket")).map_err(Failure::new)?),
    };
    if let Some(ca) = certificates.follower() {
        sources.ask_too(ca.clone());
    }
    let master = Master::new(parts, master_settings(&config));
    if let Some(set) = changed {
        // The way of every other change: what would sign strangers is held here too.
        let origin = Origin::new("start", setup::config_place(common));
        if let Err(refused) = master.swap_plugins(&set, false, origin).await {
            tracing::error!("the plugins are those that were live before: {}", refused.message);
        }
    }
    let material = TlsMaterial { trust: certificates.watch_trust(), identity };
    let server =
        Server::bind(http_settings(&config), master.clone(), material).await.map_err(Failure::new)?;
    greet(&config, &server, &rollout, &certificates);

    // A registry that is down now may be up for the first agent: said, and no reason to stop.
    tokio::spawn(async move {
        if let Err(error) = registry.check().await {
            tracing::warn!("no node can be looked up now: {error}");
        }
    });
    let tending = tokio::spawn(master.clone().tend());
    let guarding = tokio::spawn(rollout.tend());
    let (led, is_led) = watch::channel(false);
    let led = match certificates.follower().filter(|_| config.rollout.follow) {
        Some(ca) => tokio::spawn(led::follow(master.clone(), ca.clone(), led)),
        None => tokio::spawn(async move { led.closed().await }),
    };
    let reload = Reload { common: common.clone(), master, watch: config.rollout.watch, led: is_led };
    let reloading = tokio::spawn(reload.run(files, hangup));
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: no new connections, requests in flight may end");
    };
    let drained = server.run(stop, config.server.drain).await;
    for task in [tending, keeping, guarding, led, reloading] {
        task.abort();
    }
    journal.close().await;
    store.close().await;
    if drained.cut > 0 {
        return Err(Failure::new(format_args!(
            "{} connections did not end in time and were cut",
            drained.cut
        )));
    }
    tracing::info!("stopped");
    Ok(())
}

/// Where certificates come from, the server's own, and the task that keeps both.
struct Role {
    certificates: Certificates,
    identity: watch::Receiver<Arc<Identity>>,
    tending: JoinHandle<()>,
}

async fn role(config: &Config, store: &Arc<Store>) -> Result<Role, Failure> {
    if let Some(follows) = &config.ca.follows {
        let follower = Arc::new(follow(config, follows).await?);
        return Ok(Role {
            identity: follower.watch_identity(),
            tending: tokio::spawn(follower.clone().follow()),
            certificates: Certificates::Followed(follower),
        });
    }
    let authority = authority(config, store).await?;
    let (sender, identity) = watch::channel(Arc::new(own_identity(config, &authority).await?));
    Ok(Role {
        identity,
        tending: tokio::spawn(renew_identity(config.clone(), authority.clone(), sender)),
        certificates: Certificates::Authority(authority),
    })
}

/// Opens what this catalog master knows of its CA, or enrols it there.
async fn follow(config: &Config, follows: &Follows) -> Result<Follower, Failure> {
    if config.below_state("ca").join("ca_crt.pem").exists() {
        tracing::warn!(
            "there is a CA in {}, and ca.enabled is false: it is not used",
            config.state_dir.display()
        );
    }
    let names: Result<Vec<AltName>, _> =
        config.server.dns_alt_names.iter().map(|n| AltName::parse(n)).collect();
    let names = names.map_err(|e| Failure::with_code(2, format_args!("server.dns_alt_names: {e}")))?;
    let pin = match &follows.pin {
        Some(Pin::Fingerprint(hex)) => Some(follower::Pin::fingerprint(hex).map_err(Failure::new)?),
        Some(Pin::Bundle(file)) => Some(follower::Pin::File(file.clone())),
        None => None,
    };
    let settings = follower::Settings {
        dir: config.below_state("follow"),
        server: (follows.server.host.clone(), follows.server.port),
        certname: config.server.certname.clone(),
        dns_alt_names: names,
        pin,
        grace: config.ca.grace,
        key: pki::KeyKind::default(),
        poll: POLL,
    };
    if !settings.dir.exists() {
        let names: String =
            config.server.dns_alt_names.iter().map(|name| format!(" --dns-alt-name {name}")).collect();
        // Standard output begins with `ready:`.
        eprintln!("enrolling with the CA at https://{}; there, an administrator says:", follows.server);
        eprintln!("  bunraku ca masters add {}{names}", config.server.certname);
        eprintln!("  bunraku ca sign {}", config.server.certname);
    }
    Follower::open(settings, OffsetDateTime::now_utc()).await.map_err(Failure::new)
}

async fn own_identity(config: &Config, authority: &Authority) -> Result<Identity, Failure> {
    let server = &config.server;
    let now = OffsetDateTime::now_utc();
    authority.server_identity(&server.certname, &server.dns_alt_names, now).await.map_err(Failure::new)
}

/// Puts a new server certificate in use before the old one ends.
async fn renew_identity(config: Config, authority: Arc<Authority>, live: watch::Sender<Arc<Identity>>) {
    let mut hour = tokio::time::interval(Duration::from_secs(3600));
    loop {
        hour.tick().await;
        match own_identity(&config, &authority).await {
            Ok(new) => {
                live.send_if_modified(|old| {
                    let differs = old.certificate.serial != new.certificate.serial;
                    if differs {
                        *old = Arc::new(new);
                    }
                    differs
                });
            }
            Err(failure) => tracing::error!("the server's certificate can't be renewed: {}", failure.message),
        }
    }
}

async fn open_store(config: &Config) -> Result<Store, Failure> {
    Store::open(&config.below_state(setup::DATABASE)).await.map_err(Failure::new)
}

async fn journal(config: &Config) -> Result<Journal, Failure> {
    let settings = ::journal::Settings {
        max_age: config.journal.keep,
        max_bytes: config.journal.max_bytes,
        ..::journal::Settings::default()
    };
    Journal::open(&config.below_state(setup::JOURNAL), settings).await.map_err(Failure::new)
}

async fn authority(config: &Config, store: &Arc<Store>) -> Result<Arc<Authority>, Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::new(format_args!("cannot find this program's own file: {e}")))?;
    let keys = signer::Process::new(signer::Settings {
        program,
        arguments: vec!["signer".into()],
        passphrase_file: config.ca.passphrase_file.clone(),
        threads: available_parallelism().map_or(1, usize::from),
    });
    let settings = setup::ca_settings(config, Arc::new(keys));
    let opened = Authority::open(settings, store.clone(), OffsetDateTime::now_utc()).await;
    opened.map(Arc::new).map_err(|error| setup::ca_failure(config, error))
}

fn master_settings(config: &Config) -> master::Settings {
    master::Settings {
        environments: config.environments.clone(),
        max_pending: config.ca.max_pending,
        max_pending_per_name: config.ca.max_pending_per_name,
        pending_ttl: config.ca.pending_ttl,
        pending_poll: config.registry.poll,
        report_ttl: config.reports_keep,
        last_good_max_age: config.registry.last_good,
        grace: config.ca.grace,
        renewal: config.ca.renewal,
        publish_plugins: config.rollout.publish,
        ca_server: config.ca.follows.as_ref().map(|follows| follows.server.to_string()),
    }
}

fn http_settings(config: &Config) -> bunraku_http::Settings {
    bunraku_http::Settings {
        listen: config.server.listen.clone(),
        control_socket: Some(config.server.control_socket.clone()),
        metrics_listen: config.metrics_listen,
        admins: config.ca.admins.iter().cloned().collect(),
        access_log: config.server.access_log.clone(),
        connections: usize::try_from(config.server.max_connections).unwrap_or(usize::MAX),
        quota: QuotaSettings {
            burst: config.server.requests_per_minute,
            per_second: f64::from(config.server.requests_per_minute) / 60.0,
            ..QuotaSettings::default()
        },
        ..bunraku_http::Settings::default()
    }
}

/// What an operator wants to see first: where it listens, what decides, and
/// what to type next. The first line is for scripts too.
fn greet(config: &Config, server: &Server<Master>, rollout: &Rollout, certificates: &Certificates) {
    let addresses: Vec<String> = server.local_addrs().iter().map(|a| format!("https://{a}")).collect();
    let set = rollout.current();
    let plugins: Vec<String> =
        set.plugins().iter().map(|p| format!("{} {}", p.name, p.plugin.metadata().version)).collect();
    println!("ready: {}", addresses.join(" "));
    println!("  state    {}", config.state_dir.display());
    println!("  registry {}", config.registry.store.url);
    println!("  plugins  {}", plugins.join(", "));
    println!("  set      {}", set.id());
    let trust = certificates.trust();
    let ca = trust.bundle.issuer();
    match &config.ca.follows {
        None => println!("  role     CA and catalog master; bunraku ca list"),
        Some(follows) => println!("  role     catalog master of the CA at https://{}", follows.server),
    }
    println!("  CA       {} SHA-256 {}", printable(&ca.subject_cn), ca.fingerprint);
    println!("  bundle   SHA-256 {}", trust.bundle.fingerprint());
    let until = trust.next_update.format(&Rfc3339).unwrap_or_default();
    let grace = time::Duration::try_from(config.ca.grace).unwrap_or(time::Duration::MAX);
    let freshness = match trust.freshness(OffsetDateTime::now_utc(), grace) {
        Freshness::Fresh => "fresh",
        Freshness::Stale => "stale, within ca.grace",
        Freshness::Expired => "expired: no certificate is believed until the CA is reached",
    };
    println!("  CRL      number {}, until {until}, {freshness}", trust.number);
    if let Some(metrics) = server.metrics_addr() {
        println!("  metrics  http://{metrics}/metrics");
    }
    println!("  next     bunraku registry put CERTNAME node.yaml");
    let elsewhere = config
        .ca
        .follows
        .as_ref()
        .map(|follows| format!(" --ca_server {} --ca_port {}", follows.server.host, follows.server.port));
    println!(
        "           puppet agent --test --waitforcert 5 --server {}{}",
        config.server.dns_alt_names.first().map_or("localhost", String::as_str),
        elsewhere.unwrap_or_default()
    );
}

/// The plugins of the configuration, read anew.
fn configured(common: &Common) -> Configured {
    let common = common.clone();
    let place = setup::config_place(&common);
    let read = move || match setup::read_config(&common) {
        Ok(config) => Ok(config.plugins),
        Err(failure) => Err(vec![failure.message.replace("\n  ", " ")]),
    };
    Configured { place, read: Box::new(read) }
}
