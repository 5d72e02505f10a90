//! Daemons: their packages, their services, and how Hadoop 0.20 restarts.

use sdk::Resource;

use crate::distribution::Distribution;

/// How long a restart waits for the old process, in seconds.
const PATIENCE: u32 = 60;

/// A service that runs, and restarts when its package or one of its files changes.
///
/// Nothing ever requires a service: a restart that fails is reported, and the rest is applied.
/// The agent picks the way to run it: only it knows what the node's first process is.
pub fn service(distribution: &Distribution, name: &str, files: &[String]) -> Resource {
    let mut service = Resource::new("Service", name).param("ensure", "running").param("hasstatus", true);
    if distribution.restarts_too_early {
        service = service.param("restart", restart(name));
    }
    service
        .refs("subscribe", [("Package", name)])
        .refs("subscribe", files.iter().map(|f| ("File", f.as_str())))
}

/// The init scripts of 0.20 start the new process while the old one still holds its ports and locks,
/// and return 1. So: stop, wait for the process to go, start; and where start says no, ask once more.
fn restart(service: &str) -> String {
    let daemon = service.rsplit('-').next().unwrap_or(service);
    format!(
        "p=$(cat /var/run/hadoop-0.20/hadoop-hadoop-{daemon}.pid 2>/dev/null); service {service} stop; n=0; \
         while [ -n \"$p\" ] && kill -0 \"$p\" 2>/dev/null && [ $n -lt {PATIENCE} ]; do sleep 1; n=$((n+1)); \
         done; service {service} start || service {service} status"
    )
}
