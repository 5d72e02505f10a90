//! What becomes of a plugin that misbehaves, and of its neighbours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail this way"
)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bunraku_sandbox::*;
use support::*;

/// A deadline that a slow test machine does not reach by accident.
fn patient() -> Settings {
    Settings { deadline: 20 * SECOND, ..settings() }
}

async fn check(settings: Settings, word: &str, expected: CallError) {
    let plugin = plugin(settings);
    assert_eq!(decide(&plugin, word).await, Err(expected), "{word}");
    assert!(decide(&plugin, "approve").await.is_ok(), "the next call after {word}");
}

// faults row 45
#[tokio::test]
async fn an_endless_loop_is_a_timeout() {
    let plugin = plugin(settings());
    let started = Instant::now();
    assert_eq!(decide(&plugin, "loop").await, Err(CallError::Timeout(100)));
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(100), "ended early, after {took:?}");
    assert!(took < SECOND, "took {took:?}");
}

// faults row 45
#[test]
fn looping_guests_leave_the_runtime_to_others() {
    let plugin = plugin(Settings { deadline: SECOND, ..settings() });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let looping: Vec<_> = (0..4)
            .map(|_| {
                let plugin = Arc::clone(&plugin);
                tokio::spawn(async move { decide(&plugin, "loop").await })
            })
            .collect();
        let other = {
            let plugin = Arc::clone(&plugin);
            tokio::spawn(async move {
                for _ in 0..10 {
                    decide(&plugin, "approve").await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        };
        other.await.unwrap();
        assert!(looping.iter().any(|task| !task.is_finished()), "the loops ended first");
        for task in looping {
            assert_eq!(task.await.unwrap(), Err(CallError::Timeout(1000)));
        }
    });
}

#[tokio::test]
async fn a_sleeping_guest_is_a_timeout() {
    check(settings(), "sleep", CallError::Timeout(100)).await;
}

// faults row 46
#[tokio::test]
async fn a_memory_bomb_is_memory() {
    check(patient(), "hog", CallError::Memory(64 << 20)).await;
}

// faults row 46
#[tokio::test]
async fn a_memory_bomb_gives_its_memory_back() {
    let plugin = plugin(patient());
    for _ in 0..20 {
        assert_eq!(decide(&plugin, "hog").await, Err(CallError::Memory(64 << 20)));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 300 << 10, "{kib} KiB are resident after 20 bombs of 64 MiB");
}

// faults row 47
#[tokio::test]
async fn a_huge_answer_is_output() {
    check(patient(), "huge", CallError::Output(8 << 20)).await;
}

// faults row 47
#[tokio::test]
async fn many_references_to_one_long_text_are_output() {
    let plugin = plugin(patient());
    let outcome = plugin.classify(call(Arc::new(NoHost)), &node("quadratic.example.test")).await.answer;
    assert_eq!(outcome, Err(CallError::Output(8 << 20)));
}

// faults row 47
#[tokio::test]
async fn json_that_is_none_is_an_invalid_answer_that_says_where() {
    let plugin = plugin(patient());
    let check = async |word: &str, expected: &str| {
        let outcome = plugin.classify(call(Arc::new(NoHost)), &node(word)).await.answer;
        let Err(CallError::Invalid(message)) = outcome else { panic!("{outcome:?}") };
        assert!(message.contains("parameters of class role") && message.contains(expected), "{message}");
    };
    check("broken-json", "EOF").await;
    check("no-object", "not a JSON object").await;
    check("deep-json", "recursion limit").await;
}

#[tokio::test]
async fn a_broken_secret_is_not_quoted() {
    let plugin = plugin(patient());
    let request = ProvideRequest {
        node: trusted("any"),
        environment: "production".into(),
        class: "broken-secret".into(),
        parameters: Default::default(),
        node_parameters: Default::default(),
    };
    let error = plugin.provide(call(Arc::new(NoHost)), &request).await.answer.unwrap_err().to_string();
    assert!(error.contains("File[/etc/motd] secret") && !error.contains("hunter2"), "{error}");
}

// faults row 48
#[tokio::test]
async fn unbounded_recursion_is_a_trap() {
    let plugin = plugin(patient());
    let Err(CallError::Trap(message)) = decide(&plugin, "recurse").await else { panic!() };
    assert!(message.contains("call stack exhausted") || message.contains("out of bounds"), "{message}");
    assert!(decide(&plugin, "approve").await.is_ok());
}

#[tokio::test]
async fn a_panic_is_a_trap() {
    check(patient(), "panic", CallError::Trap("wasm `unreachable` instruction executed".into())).await;
}

#[tokio::test]
async fn an_exit_is_a_trap() {
    let plugin = plugin(patient());
    let verdict = decide(&plugin, "exit").await;
    assert!(matches!(verdict, Err(CallError::Trap(_))), "{verdict:?}");
}

// faults row 49
#[tokio::test]
async fn a_flood_of_log_lines_is_cut_with_a_count() {
    let plugin = plugin(patient());
    let host = Arc::new(Recorder::default());
    let verdict = plugin.decide(call(host.clone()), &csr("log-flood.example.test")).await.answer;
    assert_eq!(verdict, Ok(Verdict::Pending("logged".into())));
    let messages = host.messages();
    assert_eq!(messages.len(), 101);
    assert_eq!((messages[0].as_str(), messages[99].as_str()), ("line 0", "line 99"));
    assert_eq!(messages[100], "999900 more log lines were dropped");
}

// faults row 49
#[tokio::test]
async fn a_long_log_line_is_cut() {
    let plugin = plugin(patient());
    let host = Arc::new(Recorder::default());
    plugin.decide(call(host.clone()), &csr("long-line.example.test")).await.answer.unwrap();
    let lines = host.lines.lock().unwrap();
    let (level, message, fields) = &lines[0];
    assert_eq!(*level, Level::Warn);
    let bytes = message.len() + fields.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
    assert!((2048..2060).contains(&bytes), "{bytes} bytes");
    let (_, message, fields) = &lines[1];
    assert_eq!((message.as_str(), fields[0].1.as_str()), ("two lines", "v  "));
}

// faults row 49
#[tokio::test]
async fn a_flood_of_host_calls_is_budget() {
    let expected = CallError::Budget { what: "host calls", limit: 1000 };
    check(patient(), "object-flood", expected.clone()).await;
    check(patient(), "fact-flood", expected).await;
}

#[tokio::test]
async fn the_clock_stands_still_and_costs_no_host_call() {
    let plugin = plugin(patient());
    assert_eq!(decide(&plugin, "clock-flood").await, Ok(Verdict::Pending("0 other instants".into())));
}

#[tokio::test]
async fn a_host_call_that_hangs_is_cut_and_the_guest_may_answer() {
    let plugin = plugin(Settings { host_time: Duration::from_millis(50), ..patient() });
    let host = Arc::new(Recorder { hangs: true, ..Recorder::default() });
    let verdict = plugin.decide(call(host.clone()), &csr("ask.example.test")).await.answer;
    assert_eq!(verdict, Ok(Verdict::Pending("unavailable: the host's time for this call is used up".into())));
    assert_eq!(*host.asked.lock().unwrap(), ["registry/ask.example.test"]);
    let started = Instant::now();
    let plugin = support::plugin(Settings { host_time: Duration::from_millis(50), ..settings() });
    let verdict = plugin.decide(call(host), &csr("ask-then-loop.example.test")).await.answer;
    assert_eq!(verdict, Err(CallError::Timeout(100)));
    assert!(started.elapsed() < 10 * SECOND);
}

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
    let plugin = sandbox.load(&guest()).unwrap();
    let host = Arc::new(Recorder { gate: Some(Gate::default()), ..Recorder::default() });
    let task = {
        let (plugin, host) = (Arc::clone(&plugin), host.clone());
        tokio::spawn(async move { plugin.decide(call(host), &csr("ask.example.test")).await.answer })
    };
    host.gate.as_ref().unwrap().asked.notified().await;
    assert_eq!(sandbox.free_slots(), 0);
    assert_eq!(decide(&plugin, "approve").await, Err(CallError::Busy(1)));
    host.gate.as_ref().unwrap().go.notify_one();
    task.await.unwrap().unwrap();
    assert!(decide(&plugin, "approve").await.is_ok());
}

#[tokio::test]
async fn a_call_nobody_waits_for_gives_its_slot_back() {
    let sandbox = sandbox(Settings { slots: 1, ..patient() });
    let plugin = sandbox.load(&guest()).unwrap();
    let host = Arc::new(Recorder { gate: Some(Gate::default()), ..Recorder::default() });
    for _ in 0..3 {
        let task = {
            let (plugin, host) = (Arc::clone(&plugin), host.clone());
            tokio::spawn(async move { plugin.decide(call(host), &csr("ask.example.test")).await.answer })
        };
        host.gate.as_ref().unwrap().asked.notified().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(sandbox.free_slots(), 1);
        assert!(decide(&plugin, "approve").await.is_ok());
    }
}

#[tokio::test]
async fn more_calls_than_slots_all_get_their_turn() {
    let plugin = plugin(Settings { slots: 2, ..patient() });
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
