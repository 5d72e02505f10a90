//! What a guest reaches over HTTP, and what becomes of one that asks too much.

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

fn patient() -> Settings {
    Settings { deadline: 20 * SECOND, host_time: 20 * SECOND, ..settings() }
}

fn answering(body: &[u8]) -> Arc<Recorder> {
    let headers = vec![("content-type".into(), b"text/plain".to_vec())];
    let response = Some(HttpResponse { status: 203, headers, body: body.to_vec() });
    Arc::new(Recorder { response, ..Recorder::default() })
}

async fn ask(name: &str, settings: Settings, host: &Arc<Recorder>) -> Answered<Verdict> {
    hostile(name, settings).decide(call(host.clone()), &csr("any.example.test")).await
}

#[tokio::test]
async fn a_request_goes_to_the_host_and_its_answer_to_the_guest() {
    let host = answering(b"hello");
    let answered = ask("http", patient(), &host).await;
    assert_eq!(answered.answer, Ok(Verdict::Pending("203 hello".into())));
    let expected = HttpRequest {
        method: "POST".into(),
        url: "https://any.example.test/path?query=1".into(),
        headers: vec![],
        body: vec![],
    };
    assert_eq!(*host.requests.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn a_guest_without_a_grant_is_denied() {
    let answer =
        hostile("http", patient()).decide(call(Arc::new(NoHost)), &csr("any.example.test")).await.answer;
    assert_eq!(answer, Ok(Verdict::Pending("ErrorCode::HttpRequestDenied".into())));
}

#[test]
fn a_plugin_tells_that_it_could_reach_http() {
    let reaches = |name: &str| {
        let plugin = hostile(name, settings());
        plugin.imports().iter().any(|import| import.starts_with("wasi:http/outgoing-handler@0.2."))
    };
    assert!(reaches("http"));
    assert!(!reaches("obedient"));
}

// faults row 49
#[tokio::test]
async fn a_flood_of_requests_is_budget() {
    let host = answering(b"");
    let answer = ask("http_flood", Settings { host_calls: 50, ..patient() }, &host).await.answer;
    assert_eq!(answer, Err(CallError::Budget { what: "host calls", limit: 50 }));
    assert_eq!(host.requests.lock().unwrap().len(), 50);
}

#[tokio::test]
async fn responses_that_nobody_reads_are_few() {
    let answer = ask("http_hoard", patient(), &answering(&[b'x'; 1 << 20])).await.answer;
    assert_eq!(answer, Ok(Verdict::Pending("4 held, then ErrorCode::ConnectionLimitReached".into())));
}

#[tokio::test]
async fn a_body_over_the_limit_is_given_up() {
    let (host, kept) = (answering(b""), Settings { http_request_bytes: 100_000, ..patient() });
    let answer = ask("http_huge_body", kept, &host).await.answer;
    let Ok(Verdict::Pending(text)) = &answer else { panic!("{answer:?}") };
    assert!(text.contains("HttpRequestBodySize"), "{text}");
    assert!(host.requests.lock().unwrap().is_empty());

    let kept = Settings { http_response_bytes: 1000, ..patient() };
    let answer = ask("http", kept, &answering(&[b'x'; 1001])).await.answer;
    let Ok(Verdict::Pending(text)) = &answer else { panic!("{answer:?}") };
    assert!(text.contains("HttpResponseBodySize"), "{text}");
}

#[tokio::test]
async fn waiting_for_an_answer_is_the_host_s_time_and_bounded() {
    let host = Arc::new(Recorder { hangs: true, ..Recorder::default() });
    // Longer than the guest's own time.
    let kept = Settings { host_time: Duration::from_millis(300), ..settings() };
    let Answered { answer, stats } = ask("http", kept, &host).await;
    assert_eq!(answer, Ok(Verdict::Pending("ErrorCode::HttpResponseTimeout".into())));
    assert!(stats.waited >= Duration::from_millis(200), "{stats:?}");
}

// faults row 45
#[tokio::test]
async fn an_open_request_is_no_more_time_to_loop_in() {
    let host = Arc::new(Recorder { hangs: true, ..Recorder::default() });
    let Answered { answer, stats } = ask("http_then_loop", settings(), &host).await;
    assert_eq!(answer, Err(CallError::Timeout(100)));
    assert!(stats.took < Duration::from_millis(1500), "{stats:?}");
}
