//! What becomes of a guest that misbehaves: the guests are in `tests/guests`.

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
use serde_json::json;
use support::*;

/// A deadline that a slow test machine does not reach by accident.
fn patient() -> Settings {
    Settings { deadline: 20 * SECOND, host_time: 20 * SECOND, ..settings() }
}

fn nobody() -> Arc<Recorder> {
    Arc::new(Recorder::default())
}

async fn ask(plugin: &Plugin, host: Arc<Recorder>) -> Answered<Verdict> {
    plugin.decide(call(host), &csr("any.example.test")).await
}

/// What comes of one call of `name`, and that the next one is no worse off.
async fn check(settings: Settings, name: &str, expected: Result<Verdict, CallError>) -> CallStats {
    let plugin = hostile(name, settings);
    let answered = ask(&plugin, nobody()).await;
    assert_eq!(answered.answer, expected, "{name}");
    assert_eq!(ask(&plugin, nobody()).await.answer, expected, "{name} again");
    answered.stats
}

/// That a guest which ends in no other way is ended at its deadline, and not a fifth later.
async fn check_deadline(name: &str) {
    let settings = Settings { deadline: Duration::from_millis(500), ..settings() };
    let plugin = hostile(name, settings.clone());
    let mut least = Duration::MAX;
    // The machine may be busy with something else, but not each time.
    for _ in 0..10 {
        let Answered { answer, stats } = ask(&plugin, nobody()).await;
        assert_eq!(answer, Err(CallError::Timeout(500)), "{name}");
        let own = stats.took - stats.waited;
        assert!(own >= settings.deadline, "{name} was ended early, after {own:?}");
        least = least.min(own);
        if least <= settings.deadline.mul_f64(1.2) {
            return;
        }
    }
    panic!("{name} was never ended before {least:?}");
}

// faults row 45
#[tokio::test]
async fn guests_without_an_end_are_ended_at_the_deadline() {
    check_deadline("loop_in_decide").await;
    check_deadline("sleep").await;
    check_deadline("sleep_often").await;
}

// faults row 45
#[tokio::test]
async fn a_settings_check_without_an_end_is_a_timeout() {
    let plugin = hostile("loop_in_settings_check", settings());
    assert_eq!(plugin.validate_settings(&json!({})).await, Err(CallError::Timeout(100)));
}

// faults row 45
#[test]
fn looping_guests_leave_the_runtime_to_others() {
    let sandbox = sandbox(Settings { deadline: SECOND, ..settings() });
    let looping = sandbox.load(&guest("loop_in_decide")).unwrap();
    let other = sandbox.load(&guest("obedient")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let looping: Vec<_> = (0..4)
            .map(|_| {
                let plugin = Arc::clone(&looping);
                tokio::spawn(async move { ask(&plugin, nobody()).await.answer })
            })
            .collect();
        let other = tokio::spawn(async move {
            for _ in 0..10 {
                decide(&other, "approve").await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        other.await.unwrap();
        assert!(looping.iter().any(|task| !task.is_finished()), "the loops ended first");
        for task in looping {
            assert_eq!(task.await.unwrap(), Err(CallError::Timeout(1000)));
        }
    });
}

// faults row 46
#[tokio::test]
async fn a_memory_bomb_is_memory_and_gives_it_back() {
    let plugin = hostile("memory_bomb", patient());
    for _ in 0..20 {
        let Answered { answer, stats } = ask(&plugin, nobody()).await;
        assert_eq!(answer, Err(CallError::Memory(64 << 20)));
        assert!((51 << 20..=64 << 20).contains(&stats.memory_bytes), "{} bytes", stats.memory_bytes);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 300 << 10, "{kib} KiB are resident after 20 bombs of 64 MiB");
}

// faults row 47
#[tokio::test]
async fn too_much_output_is_cut_off_unread() {
    let too_much = CallError::Output(8 << 20);
    check(patient(), "huge_answer", Err(too_much.clone())).await;
    check(patient(), "huge_argument", Err(too_much.clone())).await;
    let plugin = hostile("many_references", patient());
    let outcome = plugin.classify(call(nobody()), &node("any")).await.answer;
    assert_eq!(outcome, Err(too_much.clone()));
    assert_eq!(provide("empty_resources").await, Err(too_much));
}

// faults row 47
#[tokio::test]
async fn json_that_is_none_is_an_invalid_answer_that_says_where() {
    let check = async |name: &str, expected: &str| {
        let plugin = hostile(name, patient());
        let outcome = plugin.classify(call(nobody()), &node("any")).await.answer;
        let Err(CallError::Invalid(message)) = outcome else { panic!("{name}: {outcome:?}") };
        assert!(message.contains("parameters of class role") && message.contains(expected), "{message}");
    };
    check("half_json", "EOF").await;
    check("list_for_object", "not a JSON object").await;
    check("deep_json", "recursion limit").await;
    check("wide_json", "more than 500000 JSON values").await;
}

#[tokio::test]
async fn a_broken_secret_is_not_quoted() {
    let error = provide("half_secret").await.unwrap_err().to_string();
    assert!(error.contains("File[/etc/motd] secret") && !error.contains("hunter2"), "{error}");
}

async fn provide(name: &str) -> Result<Fragment, CallError> {
    let request = ProvideRequest {
        node: trusted("any"),
        environment: "production".into(),
        class: "hostile".into(),
        parameters: Default::default(),
        node_parameters: Default::default(),
    };
    hostile(name, patient()).provide(call(nobody()), &request).await.answer
}

// faults row 48
#[tokio::test]
async fn unbounded_recursion_is_a_trap() {
    let plugin = hostile("recursion", patient());
    for _ in 0..2 {
        let Err(CallError::Trap(message)) = ask(&plugin, nobody()).await.answer else { panic!() };
        assert!(message.contains("call stack exhausted") || message.contains("out of bounds"), "{message}");
    }
}

// faults row 59
#[tokio::test]
async fn what_traps_on_every_call_never_approves() {
    check(patient(), "trap", Err(CallError::Trap("wasm `unreachable` instruction executed".into()))).await;
    let plugin = hostile("exit", patient());
    let answer = ask(&plugin, nobody()).await.answer;
    assert!(matches!(answer, Err(CallError::Trap(_))), "{answer:?}");
}

// faults row 49
#[tokio::test]
async fn a_flood_of_log_lines_is_cut_with_a_count() {
    let (plugin, host) = (hostile("log_flood", patient()), nobody());
    let answer = ask(&plugin, host.clone()).await.answer;
    assert_eq!(answer, Ok(Verdict::Pending("logged".into())));
    let messages = host.messages();
    assert_eq!(messages.len(), 101);
    assert_eq!((messages[0].as_str(), messages[99].as_str()), ("line 0", "line 99"));
    assert_eq!(messages[100], "999900 more log lines were dropped");
}

// faults row 49
#[tokio::test]
async fn a_log_line_stays_one_line_of_bounded_length() {
    let (plugin, host) = (hostile("log_forgery", patient()), nobody());
    let answer = ask(&plugin, host.clone()).await.answer;
    assert_eq!(answer, Ok(Verdict::Pending("logged signed".into())));
    let lines = host.lines.lock().unwrap();
    let (level, message, fields) = &lines[0];
    assert_eq!(*level, Level::Warn);
    let bytes = message.len() + fields.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
    assert!((2048..2060).contains(&bytes), "{bytes} bytes");
    let (_, message, fields) = &lines[1];
    assert_eq!(message, "mine ERROR not mine [2J");
    assert_eq!(fields[0], ("k ".into(), "v  ".into()));
}

#[tokio::test]
async fn settings_that_a_plugin_shows_are_in_its_log_alone() {
    let (plugin, host) = (hostile("settings_echo", patient()), nobody());
    let mut call = call(host.clone());
    call.context.settings = r#"{"token":"hunter2"}"#.into();
    let answer = plugin.decide(call, &csr("any.example.test")).await.answer;
    assert_eq!(host.messages(), [r#"{"token":"hunter2"}"#]);
    assert!(matches!(answer, Err(CallError::Trap(_))), "{answer:?}");
    assert!(!format!("{answer:?}").contains("hunter2"), "{answer:?}");
}

// faults row 49
#[tokio::test]
async fn a_flood_of_host_calls_is_budget() {
    for name in ["object_flood", "fact_flood"] {
        let (plugin, host) = (hostile(name, patient()), nobody());
        let expected = CallError::Budget { what: "host calls", limit: 1000 };
        assert_eq!(ask(&plugin, host.clone()).await.answer, Err(expected), "{name}");
        assert_eq!(host.asked.lock().unwrap().len(), 1000, "{name}");
    }
}

#[tokio::test]
async fn the_clock_stands_still_and_costs_no_host_call() {
    check(patient(), "clock_flood", Ok(Verdict::Pending("0 other instants".into()))).await;
}

#[tokio::test]
async fn a_host_that_hangs_is_asked_once_and_the_guest_has_its_own_time_after_that() {
    let settings = Settings { host_time: Duration::from_millis(50), ..patient() };
    let host = Arc::new(Recorder { hangs: true, ..Recorder::default() });
    let answer = plugin(settings).decide(call(host.clone()), &csr("ask.example.test")).await.answer;
    let late = "unavailable: the host's time for this call is used up";
    assert_eq!(answer, Ok(Verdict::Pending(late.into())));
    assert_eq!(*host.asked.lock().unwrap(), ["registry/ask.example.test"]);

    let settings =
        Settings { host_time: Duration::from_millis(50), host_calls: u32::MAX, ..support::settings() };
    let Answered { answer, stats } = ask(&hostile("ask_forever", settings), host).await;
    assert_eq!(answer, Err(CallError::Timeout(100)));
    assert!(stats.waited >= Duration::from_millis(50), "{stats:?}");
}

#[tokio::test]
async fn what_the_host_keeps_for_a_guest_is_bounded() {
    let trap = async |name: &str, expected: &str| {
        let answer = ask(&hostile(name, patient()), nobody()).await.answer;
        let Err(CallError::Trap(message)) = answer else { panic!("{name}: {answer:?}") };
        assert!(message.contains(expected), "{name}: {message}");
    };
    trap("resource_flood", "no free keys").await;
    trap("random_bomb", "exceeds limit 65536").await;
    check(patient(), "output_to_nowhere", Ok(Verdict::Pending("100 writes".into()))).await;
}

// faults row 51
#[tokio::test]
async fn a_lifetime_is_handed_on_for_the_ca_to_shorten() {
    let verdict = Verdict::Approve { reason: "for ever".into(), lifetime: Some(u64::MAX) };
    check(patient(), "eternal", Ok(verdict)).await;
}

// faults row 52
#[tokio::test]
async fn dice_and_clocks_fall_the_same_for_the_same_decision() {
    let plugin = hostile("fickle", patient());
    let answer = async |decision_id: String| {
        let mut call = call(nobody());
        call.context.decision_id = decision_id;
        plugin.decide(call, &csr("any.example.test")).await.answer.unwrap()
    };
    let mut approved = 0;
    for n in 0..20 {
        let first = answer(format!("decision-{n}")).await;
        assert_eq!(answer(format!("decision-{n}")).await, first);
        approved += u32::from(matches!(first, Verdict::Approve { .. }));
    }
    assert!((1..20).contains(&approved), "{approved} of 20: it threw no dice");
}
