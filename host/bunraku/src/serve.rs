//! `bunraku serve`: puts the master together, runs it, reloads its plugins on
//! SIGHUP and drains it on SIGTERM.

use std::sync::Arc;
use std::time::Duration;

use bunraku_http::{QuotaSettings, Server, TlsMaterial};
use ca::{Authority, ServerIdentity};
use master::{Master, Parts};
use rollout::Live;
use sandbox::Sandbox;
use store::{Filebucket, Store};
use time::OffsetDateTime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::arguments::Common;
use crate::config::Config;
use crate::setup::{self, Failure};

/// Runs the master until it is told to stop.
pub async fn run(common: &Common) -> Result<(), Failure> {
    let config = setup::configure(common)?;
    let on = |kind| signal(kind).map_err(|e| Failure::new(format_args!("cannot listen for signals: {e}")));
    let (mut terminate, mut interrupt, hangup) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);

    let store = Arc::new(open_store(&config).await?);
    let sandbox = setup::sandbox(&config)?;
    let live = Arc::new(Live::new(setup::plugin_set(&config, &sandbox).await?));
    let authority = authority(&config, &store).await?;
    let files = files::Tree::new(files::Settings {
        modules: config.below_state("modules"),
        environments: config.below_state("environments"),
    });
    let registry = setup::registry(&config).await?;
    let parts = Parts {
        store: store.clone(),
        authority: authority.clone(),
        registry: registry.clone(),
        live: live.clone(),
        files: Arc::new(files),
        filebucket: Arc::new(Filebucket::open(&config.below_state("filebucket")).map_err(Failure::new)?),
    };
    let master = Master::new(parts, master_settings(&config));
    let (identity, followed) = watch::channel(Arc::new(identity(&config, &authority).await?));
    let material =
        TlsMaterial { ca_bundle: authority.bundle_pem(), identity: followed, crl: authority.watch_crl() };
    let server =
        Server::bind(http_settings(&config), master.clone(), material).await.map_err(Failure::new)?;
    greet(&config, &server, &live, &authority);

    // A registry that is down now may be up for the first agent: said, and no reason to stop.
    tokio::spawn(async move {
        if let Err(error) = registry.check().await {
            tracing::warn!("no node can be looked up now: {error}");
        }
    });
    let tending = tokio::spawn(master.clone().tend());
    let renewing = tokio::spawn(renew_identity(config.clone(), authority, identity));
    let reloading = tokio::spawn(reload(common.clone(), sandbox, live, hangup));
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: no new connections, requests in flight may end");
    };
    let drained = server.run(stop, config.server.drain).await;
    for task in [tending, renewing, reloading] {
        task.abort();
    }
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

async fn identity(config: &Config, authority: &Authority) -> Result<ServerIdentity, Failure> {
    let server = &config.server;
    let now = OffsetDateTime::now_utc();
    authority.server_identity(&server.certname, &server.dns_alt_names, now).await.map_err(Failure::new)
}

/// Puts a new server certificate in use before the old one ends.
async fn renew_identity(config: Config, authority: Arc<Authority>, live: watch::Sender<Arc<ServerIdentity>>) {
    let mut hour = tokio::time::interval(Duration::from_secs(3600));
    loop {
        hour.tick().await;
        match identity(&config, &authority).await {
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

async fn authority(config: &Config, store: &Arc<Store>) -> Result<Arc<Authority>, Failure> {
    let settings = ca::Settings {
        dir: config.below_state("ca"),
        key: config.ca.key,
        ca_name: config.ca.name.clone().unwrap_or_else(|| format!("Puppet CA: {}", config.server.certname)),
        certificate_ttl: config.ca.certificate_ttl,
        crl_ttl: config.ca.crl_ttl,
        request_rules: setup::request_rules(config),
        host: pki::Certname::parse(&config.hostname).ok(),
    };
    Authority::open(settings, store.clone(), OffsetDateTime::now_utc())
        .await
        .map(Arc::new)
        .map_err(Failure::new)
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
    }
}

fn http_settings(config: &Config) -> bunraku_http::Settings {
    bunraku_http::Settings {
        listen: config.server.listen.clone(),
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
fn greet(config: &Config, server: &Server<Master>, live: &Live, authority: &Authority) {
    let addresses: Vec<String> = server.local_addrs().iter().map(|a| format!("https://{a}")).collect();
    let set = live.current();
    let plugins: Vec<String> =
        set.plugins().iter().map(|p| format!("{} {}", p.name, p.plugin.metadata().version)).collect();
    println!("ready: {}", addresses.join(" "));
    println!("  state    {}", config.state_dir.display());
    println!("  registry {}", config.registry.url);
    println!("  plugins  {}", plugins.join(", "));
    println!("  CA       {} SHA-256 {}", authority.name(), authority.fingerprint());
    println!("  next     bunraku registry put CERTNAME node.yaml");
    println!(
        "           puppet agent --test --waitforcert 5 --server {}",
        config.server.dns_alt_names.first().map_or("localhost", String::as_str)
    );
}

/// Stages the configured plugins anew at every SIGHUP. What can't be staged
/// changes nothing.
async fn reload(common: Common, sandbox: Arc<Sandbox>, live: Arc<Live>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        let staged = match setup::read_config(&common) {
            Ok(config) => setup::plugin_set(&config, &sandbox).await,
            Err(failure) => Err(failure),
        };
        match staged {
            Ok(set) => {
                let id = set.id().to_owned();
                let old = live.swap(set);
                tracing::info!(from = old.id(), to = id, "the plugins were reloaded");
            }
            Err(failure) => {
                // One event, one line.
                tracing::error!("the plugins stay as they are: {}", failure.message.replace("\n  ", " "));
            }
        }
    }
}
