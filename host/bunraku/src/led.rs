//! On a catalog master with `rollout.follow`: the plugins that decide at the CA decide here too.

use std::sync::Arc;
use std::time::Duration;

use follower::{Follower, PushedSet};
use master::Master;
use rollout::{Origin, SetSpec};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How long to wait before a set that could not be taken is tried again, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Takes each set that the CA tells of, for as long as it is polled. `led` becomes true with the first.
pub async fn follow(master: Arc<Master>, ca: Arc<Follower>, led: watch::Sender<bool>) {
    let mut told = ca.watch_plugin_set();
    let mut taken: Option<String> = None;
    let mut pause = PAUSE.0;
    loop {
        let wanted = told.borrow_and_update().clone();
        // The CA tells at every new connection: what was taken, and may have been rolled back here since,
        // is not taken again for that.
        let Some(wanted) = wanted.filter(|set| taken.as_ref() != Some(&set.id)) else {
            if told.changed().await.is_err() {
                return;
            }
            continue;
        };
        led.send_replace(true);
        let (set, ca) = (&wanted.id, ca.at());
        let began = Instant::now();
        match take(&master, &ca, &wanted).await {
            Ok(()) => {
                let took_ms = began.elapsed().as_millis();
                tracing::info!(set, ca, took_ms, "decides with the plugins of the CA");
                taken = Some(wanted.id.clone());
                pause = PAUSE.0;
            }
            Err(problem) => {
                let problem = problem.replace('\n', " ");
                tracing::error!(set, ca, "the plugins of the CA are not taken: {problem}");
                // The CA may be away, or a store; another set is tried at once.
                if let Ok(Err(_)) = timeout(pause, told.changed()).await {
                    return;
                }
                pause = pause.saturating_mul(2).min(PAUSE.1);
            }
        }
    }
}

async fn take(master: &Arc<Master>, ca: &str, wanted: &PushedSet) -> Result<(), String> {
    if master.plugins().id() == wanted.id {
        return Ok(());
    }
    let spec: SetSpec = serde_json::from_value(wanted.spec.clone())
        .map_err(|error| format!("its description can't be read here: {error}"))?;
    let origin = Origin::new(format!("CA {ca}"), "push");
    let staged = master.stage_plugins(spec, origin.clone()).await.map_err(|e| e.to_string())?;
    let id = staged.set.id;
    if id != wanted.id {
        return Err(format!("what it describes is the set {id} here: is this program as new as the CA's?"));
    }
    // Whether it approves strangers was judged where certificates are signed.
    master.swap_plugins(&id, true, origin).await.map(drop).map_err(|failed| failed.message)
}
