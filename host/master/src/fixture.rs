//! A master in a folder, for tests.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rollout::SetSpec;
use time::OffsetDateTime;

use crate::{Certificates, Master, Parts, Settings};

const HOUR: Duration = Duration::from_secs(3600);

/// With a CA and no plugin: whatever it decides on stays pending.
pub async fn master(dir: &Path) -> Arc<Master> {
    master_with(dir, SetSpec::default()).await
}

/// With a CA and these plugins.
pub async fn master_with(dir: &Path, spec: SetSpec) -> Arc<Master> {
    let rules = pki::RequestRules { allow_subject_alt_names: false, allow_authorization_extensions: false };
    let store = Arc::new(store::Store::open(&dir.join("db")).await.unwrap());
    let ca = ca::Settings {
        dir: dir.join("ca"),
        key: ca::KeyKind::EcP256,
        ca_name: "Puppet CA: test".into(),
        certificate_ttl: 24 * HOUR,
        crl_ttl: HOUR,
        request_rules: rules,
        host: None,
        keys: Arc::new(signer::InProcess::new(None)),
        min_free: 0,
        infra_crl: false,
        renewal: true,
    };
    let authority = ca::Authority::open(ca, store.clone(), OffsetDateTime::now_utc()).await.unwrap();
    let url = format!("dir:{}", dir.join("registry").display()).parse().unwrap();
    // No call of a test is to run out of time because its machine is busy.
    let limits =
        sandbox::Settings { slots: 8, deadline: Duration::from_secs(2), ..sandbox::Settings::default() };
    let sandbox = sandbox::Sandbox::new(limits).unwrap();
    let plugins = rollout::Parts {
        dir: dir.join("plugins"),
        store: store.clone(),
        sandbox,
        fetch: Arc::new(rollout::NoFetch),
        keys: rollout::SigningKeys::default(),
        stores: ["registry".to_owned()].into(),
    };
    let opened = rollout::Rollout::open(plugins, rollout::Settings::default(), spec).await.unwrap();
    let rollout = opened.rollout;
    let files = files::Settings { modules: dir.join("m"), environments: dir.join("e") };
    let parts = Parts {
        store,
        certificates: Certificates::Authority(Arc::new(authority)),
        registry: Arc::new(registry::Registry::open(&registry::Settings::new(url)).await.unwrap()),
        stores: crate::Stores::new(),
        rollout,
        configured: Arc::default(),
        journal: Arc::new(
            journal::Journal::open(&dir.join("journal.db"), journal::Settings::default()).await.unwrap(),
        ),
        files: Arc::new(files::Tree::new(files)),
        filebucket: Arc::new(store::Filebucket::open(&dir.join("bucket")).unwrap()),
    };
    let settings = Settings {
        environments: Vec::new(),
        max_pending: 2000,
        max_pending_per_name: 3,
        pending_ttl: HOUR,
        pending_poll: HOUR,
        report_ttl: HOUR,
        last_good_max_age: HOUR,
        grace: 2 * HOUR,
        renewal: true,
        publish_plugins: true,
        ca_server: None,
    };
    Master::new(parts, settings)
}

/// A request for this name and a new key, from OpenSSL; with `extensions` as `openssl req -addext` takes
/// them.
pub fn request(dir: &Path, name: &str, extensions: &[&str]) -> Vec<u8> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-batch"]);
    openssl.args(["-keyout", "key.pem", "-subj", &format!("/CN={name}")]).current_dir(dir);
    for extension in extensions {
        openssl.args(["-addext", extension]);
    }
    let made = openssl.output().unwrap();
    assert!(made.status.success(), "{made:?}");
    made.stdout
}
