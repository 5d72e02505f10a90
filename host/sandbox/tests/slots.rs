//! Who waits for whom: slots, shares and the host's time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail this way"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bunraku_sandbox::*;
use support::*;

#[tokio::test]
async fn waiting_for_the_host_does_not_use_up_the_deadline() {
    let plugin = plugin(Settings { host_time: 20 * SECOND, ..settings() });
    let host = Arc::new(Recorder { gate: Some(Gate::default()), ..Recorder::default() });
    let task = {
        let (plugin, host) = (Arc::clone(&plugin), host.clone());
        tokio::spawn(async move { plugin.decide(call(host), &csr("ask.example.test")).await.answer })
    };
    let gate = host.gate.as_ref().unwrap();
    gate.asked.notified().await;
    // Longer than the deadline; nothing else to wait for.
    tokio::time::sleep(Duration::from_millis(250)).await;
    gate.go.notify_one();
    assert_eq!(task.await.unwrap(), Ok(Verdict::Pending("3 bytes".into())));
}

#[tokio::test]
async fn without_a_free_slot_a_call_is_busy() {
    let sandbox = sandbox(Settings { slots: 1, host_time: 20 * SECOND, ..settings() });
    let plugin = sandbox.load(&guest("obedient")).unwrap();
    let host = Arc::new(Recorder { gate: Some(Gate::default()), ..Recorder::default() });
    let task = {
        let (plugin, host) = (Arc::clone(&plugin), host.clone());
        tokio::spawn(async move { plugin.decide(call(host), &csr("ask.example.test")).await.answer })
    };
    host.gate.as_ref().unwrap().asked.notified().await;
    assert_eq!(sandbox.free_slots(), 0);
    assert_eq!(decide(&plugin, "approve").await, Err(CallError::Busy(Taken::Sandbox(1))));
    host.gate.as_ref().unwrap().go.notify_one();
    task.await.unwrap().unwrap();
    assert!(decide(&plugin, "approve").await.is_ok());
}

#[tokio::test]
async fn a_call_nobody_waits_for_gives_its_slot_back() {
    let sandbox = sandbox(Settings { slots: 1, deadline: 20 * SECOND, ..settings() });
    let plugin = sandbox.load(&guest("obedient")).unwrap();
    let host = Arc::new(Recorder { gate: Some(Gate::default()), ..Recorder::default() });
    for _ in 0..3 {
        let task = {
            let (plugin, host) = (Arc::clone(&plugin), host.clone());
            tokio::spawn(async move { plugin.decide(call(host), &csr("ask.example.test")).await.answer })
        };
        host.gate.as_ref().unwrap().asked.notified().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        // The guest ends where it runs, a moment later.
        let freed = async {
            while sandbox.free_slots() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(SECOND, freed).await.expect("the slot stays taken");
        assert!(decide(&plugin, "approve").await.is_ok());
    }
}

/// Notes which thread it is asked on.
#[derive(Default)]
struct Thread(std::sync::Mutex<String>);

impl Host for Thread {
    fn log(&self, _: Level, _: &str, _: &[(String, String)]) {}

    fn get<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: Option<ByteRange>,
    ) -> BoxFuture<'a, Result<Object, HostError>> {
        *self.0.lock().unwrap() = std::thread::current().name().unwrap_or_default().to_owned();
        Box::pin(std::future::ready(Err(HostError::NotFound)))
    }
}

#[tokio::test]
async fn a_new_plugin_runs_apart() {
    let (plugin, host) = (plugin(settings()), Arc::new(Thread::default()));
    let _ = plugin.decide(call(host.clone()), &csr("ask.example.test")).await;
    let thread = host.0.lock().unwrap().clone();
    // The other ones, if this machine is busy.
    assert!(["sandbox-slow", "sandbox-busy"].contains(&thread.as_str()), "{thread}");
}

#[tokio::test]
async fn more_calls_than_slots_all_get_their_turn() {
    let plugin = plugin(Settings { slots: 2, deadline: 20 * SECOND, ..settings() });
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let plugin = Arc::clone(&plugin);
            tokio::spawn(async move { decide(&plugin, "approve").await })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
}

// faults row 63
#[tokio::test]
async fn a_plugin_that_is_stuck_leaves_slots_to_the_others() {
    let sandbox = sandbox(Settings { slots: 4, slots_per_plugin: 2, host_time: 60 * SECOND, ..settings() });
    let stuck = sandbox.load(&guest("obedient")).unwrap();
    let other = sandbox.load(&guest("obedient")).unwrap();
    let host = Arc::new(Recorder { hangs: true, ..Recorder::default() });
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (stuck, host) = (Arc::clone(&stuck), host.clone());
            tokio::spawn(async move { stuck.decide(call(host), &csr("ask.example.test")).await.answer })
        })
        .collect();
    while host.asked.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    // Two calls are in the host and stay there; those that wait for them give up.
    let taken = Err(CallError::Busy(Taken::Plugin(2)));
    assert_eq!(decide(&stuck, "approve").await, taken);
    assert_eq!(sandbox.free_slots(), 2);
    assert!(decide(&other, "approve").await.is_ok());
    // A newly loaded component, as after a swap, waits for none of them.
    let next = sandbox.load(&guest("obedient")).unwrap();
    assert!(decide(&next, "approve").await.is_ok());
    let (mut busy, mut asking) = (0, 0);
    for call in calls {
        if call.is_finished() {
            assert_eq!(call.await.unwrap(), Err(CallError::Busy(Taken::Plugin(2))));
            busy += 1;
        } else {
            call.abort();
            asking += 1;
        }
    }
    assert!(asking >= 2 && busy + asking == 8, "{busy} gave up, {asking} went on");
}
