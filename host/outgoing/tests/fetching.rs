//! Requests to real servers on loopback, with a resolver that says what the test wants.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod servers;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bunraku_outgoing::{
    Credential, From, Method, Origin, Outgoing, Refused, Request, Resolve, Response, Rule, Settings,
    SystemResolver,
};

use servers::{Authority, OK, Server};

/// Answers with each list of addresses in turn, the last one again and again, and counts the questions.
struct Names {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Names {
    fn new(answers: &[&[&str]]) -> Arc<Names> {
        let read = |list: &&[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Names { answers: answers.iter().map(read).collect(), asked: AtomicUsize::new(0) })
    }
}

impl Resolve for Names {
    fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        Ok(self.answers.get(turn).unwrap().clone())
    }
}

fn outgoing(resolver: Arc<dyn Resolve>) -> Outgoing {
    Outgoing::new(Settings { resolver, ..Settings::default() })
}

/// Every name is at 127.0.0.1.
fn loopback() -> Outgoing {
    outgoing(Names::new(&[&["127.0.0.1"]]))
}

/// What a rule with everything that a test on loopback needs allows.
fn rule(origin: &str) -> Rule {
    Rule {
        origin: Origin::parse(origin).unwrap(),
        methods: vec![Method::GET, Method::POST],
        max_body: 1000,
        timeout: Duration::from_secs(20),
        private: true,
        credentials: vec![],
        ca_file: None,
    }
}

fn request(method: &str, url: &str) -> Request {
    Request { method: method.into(), url: url.into(), headers: vec![], body: vec![] }
}

async fn get(outgoing: &Outgoing, rule: Rule) -> Result<Response, Refused> {
    let url = format!("{}/v1?q=s3cret", rule.origin);
    outgoing.fetch(&[rule], request("GET", &url)).await
}

#[tokio::test]
async fn a_request_carries_the_granted_credential_and_not_the_plugins_own() {
    let authority = Authority::new();
    let mut server = Server::tls(&authority, "api.test", OK).await;
    let folder = tempfile::tempdir().unwrap();
    let (ca_file, token) = (folder.path().join("ca.pem"), folder.path().join("token"));
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let origin = format!("https://api.test:{}", server.port);
    let credential = |header: &str, from| Credential { header: header.parse().unwrap(), from };
    let rule = Rule {
        credentials: vec![
            credential("authorization", From::File(token.clone())),
            // Any variable that is surely there.
            credential("x-home", From::Env("PATH".to_owned())),
        ],
        ca_file: Some(ca_file),
        ..rule(&origin)
    };
    let headers = [
        ("Authorization", "Bearer forged"),
        ("X-Home", "forged"),
        ("Host", "other.test"),
        ("Connection", "upgrade, x-own"),
        ("Upgrade", "websocket"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Length", "9999"),
        ("TE", "trailers"),
        ("Proxy-Authorization", "forged"),
        ("Expect", "100-continue"),
        ("X-Own", "kept"),
        ("X-Own", "twice"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    let url = format!("{origin}/v1/nodes?name=a%20b#part");
    let asked = Request { headers: headers.to_vec(), body: b"hello".to_vec(), ..request("POST", &url) };
    // Read anew each time: a rotated one is used at once.
    for secret in ["Bearer one\n", "Bearer two\r\n"] {
        std::fs::write(&token, secret).unwrap();
        let answer = loopback().fetch(std::slice::from_ref(&rule), asked.clone()).await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"fine".as_slice()));
        assert!(answer.headers.contains(&("x-told".to_owned(), b"yes".to_vec())), "{:?}", answer.headers);
        assert!(!answer.headers.iter().any(|(name, _)| name == "connection" || name == "keep-alive"));
        let got = server.asked.recv().await.unwrap();
        let (head, body) = got.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<&str> = head.split("\r\n").collect();
        assert_eq!(lines.remove(0), "POST /v1/nodes?name=a%20b HTTP/1.1");
        lines.sort_unstable();
        let expected = [
            &format!("authorization: {}", secret.trim()),
            "content-length: 5",
            &format!("host: api.test:{}", server.port),
            concat!("user-agent: bunraku/", env!("CARGO_PKG_VERSION")),
            &format!("x-home: {}", std::env::var("PATH").unwrap()),
            "x-own: kept",
            "x-own: twice",
        ];
        assert_eq!((lines.as_slice(), body), (expected.as_slice(), "hello"));
    }
}

#[tokio::test]
async fn what_is_not_granted_is_not_even_looked_up() {
    let names = Names::new(&[&["127.0.0.1"]]);
    let outgoing = outgoing(names.clone());
    let rules = [rule("https://api.test"), rule("http://plain.test:8080")];
    let check = async |method: &str, url: &str, expected: &str| {
        let refused = outgoing.fetch(&rules, request(method, url)).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{method} {url}: {refused}");
        assert!(!refused.contains("s3cret"), "{refused}");
    };
    check("GET", "https://other.test/?s3cret", "GET https://other.test:443 is not granted").await;
    check("GET", "http://api.test/s3cret", "is not granted").await;
    check("GET", "https://api.test:8443/", "is not granted").await;
    check("GET", "https://api.test./", "is not granted").await;
    check("GET", "https://sub.api.test/", "is not granted").await;
    check("GET", "http://plain.test/", "is not granted").await;
    check("GET", "https://127.0.0.1/", "is not granted").await;
    check("DELETE", "https://api.test/s3cret", "DELETE https://api.test:443 is not granted").await;
    check("get", "https://api.test/", "is not granted").await;
    check("G T", "https://api.test/", "its method is none").await;
    check("GET", "https://u:s3cret@api.test/", "a user name or a password").await;
    check("GET", "https://api.test@other.test/", "a user name or a password").await;
    check("GET", "file:///etc/s3cret", "its URL is none of a web server").await;
    check("GET", "ftp://api.test/", "its URL is none of a web server").await;
    check("GET", "s3cret", "its URL is none of a web server").await;
    for (name, value) in [("x y", b"a".as_slice()), ("", b"a"), ("x", b"a\r\nHost: other"), ("x", b"a\0")] {
        let headers = vec![(name.to_owned(), value.to_vec())];
        let odd = Request { headers, ..request("GET", "https://api.test/") };
        let refused = outgoing.fetch(&rules, odd).await.unwrap_err();
        assert!(matches!(refused, Refused::Invalid(_)), "{refused}");
    }
    let large = Request { body: vec![0; 1001], ..request("POST", "https://api.test/") };
    let refused = outgoing.fetch(&rules, large).await.unwrap_err();
    assert!(matches!(refused, Refused::TooLarge { what: "request", cap: 1000, .. }), "{refused}");
    assert_eq!(names.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_before_anything_is_sent() {
    let mut server = Server::plain(OK).await;
    let origin = |host: &str| format!("http://{host}:{}", server.port);
    let closed = |host: &str| Rule { private: false, ..rule(&origin(host)) };
    let check = async |outgoing: &Outgoing, rule: Rule, expected: &str| {
        let refused = get(outgoing, rule).await.unwrap_err();
        assert!(matches!(refused, Refused::Address { .. }), "{refused}");
        assert!(refused.to_string().contains(expected), "{refused}");
    };
    for (address, expected) in [
        ("127.0.0.1", "is at 127.0.0.1, a loopback address; it takes `private = true`"),
        ("10.1.2.3", "a private address"),
        ("::1", "a loopback address"),
        ("::ffff:127.0.0.1", "a loopback address"),
        ("64:ff9b::7f00:1", "a loopback address"),
        ("fd00::1", "a private address"),
        ("0.0.0.0", "no request goes there"),
        ("169.254.169.254", "names this very address"),
    ] {
        let names = outgoing(Names::new(&[&[address]]));
        check(&names, closed("api.test"), expected).await;
        // One bad address is enough, wherever it stands.
        let names = outgoing(Names::new(&[&["1.1.1.1", address]]));
        check(&names, closed("api.test"), expected).await;
    }
    check(&outgoing(Arc::new(SystemResolver)), closed("localhost"), "a loopback address").await;
    check(&loopback(), closed("127.0.0.1"), "a loopback address").await;
    check(&loopback(), closed("2130706433"), "a loopback address").await;
    check(&loopback(), closed("[::ffff:7f00:1]"), "a loopback address").await;
    // What opens the inside does not open the machine's credentials.
    let metadata = outgoing(Names::new(&[&["169.254.169.254"]]));
    check(&metadata, rule(&origin("api.test")), "a link-local address").await;
    assert!(server.asked.try_recv().is_err(), "something was sent");
    // And with the grant it goes there.
    get(&outgoing(Arc::new(SystemResolver)), rule(&origin("localhost"))).await.unwrap();
    assert!(server.asked.recv().await.is_some());
}

/// A name that is elsewhere when it is asked for again: it is not asked for again.
#[tokio::test]
async fn the_address_that_was_looked_at_is_the_one_connected_to() {
    let mut first = Server::plain(OK).await;
    let mut second = Server::plain_at(&format!("127.0.0.2:{}", first.port), OK).await;
    let names = Names::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let outgoing = outgoing(names.clone());
    let rule = rule(&format!("http://api.test:{}", first.port));
    get(&outgoing, rule.clone()).await.unwrap();
    assert!(first.asked.recv().await.unwrap().starts_with("GET /v1?q=s3cret HTTP/1.1\r\n"));
    assert_eq!(names.asked.load(Ordering::SeqCst), 1);
    // The next request asks anew, and looks anew.
    let closed = Rule { private: false, ..rule };
    assert!(matches!(get(&outgoing, closed).await, Err(Refused::Address { .. })));
    assert!(second.asked.try_recv().is_err());
}

// faults row 39, for plugins
#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let mut other = Server::plain(OK).await;
    let location = format!("http://127.0.0.1:{}", other.port);
    let answer = format!("HTTP/1.1 302 Found\r\nLocation: {location}/\r\nContent-Length: 0\r\n\r\n");
    let server = Server::plain(&answer).await;
    let origin = format!("http://api.test:{}", server.port);
    // Not even to where the plugin might go itself.
    let rules = [rule(&origin), rule(&location)];
    let answer = loopback().fetch(&rules, request("GET", &origin)).await.unwrap();
    assert_eq!(answer.status, 302);
    assert!(answer.headers.contains(&("location".to_owned(), format!("{location}/").into_bytes())));
    assert!(other.asked.try_recv().is_err(), "the redirect was followed");
}

#[tokio::test]
async fn an_answer_is_no_larger_than_granted() {
    let check = async |answer: &str, fits: bool| {
        let server = Server::plain(answer).await;
        match get(&loopback(), rule(&format!("http://api.test:{}", server.port))).await {
            Ok(answer) => assert!(fits && answer.body.len() == 1000),
            Err(refused) => {
                assert!(!fits && matches!(refused, Refused::TooLarge { what: "answer", .. }), "{refused}");
            }
        }
    };
    let (whole, more) = ("x".repeat(1000), "x".repeat(1001));
    check(&format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{whole}"), true).await;
    check(&format!("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n{more}"), false).await;
    // It is refused by what it says, before it comes.
    check("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", false).await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(&format!("{chunked}3e8\r\n{whole}\r\n0\r\n\r\n"), true).await;
    check(&format!("{chunked}3e8\r\n{whole}\r\n1\r\nx\r\n"), false).await;
    check(&format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{whole}"), true).await;
    check(&format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{more}"), false).await;
}

#[tokio::test]
async fn a_broken_answer_is_none() {
    for answer in [
        "hello",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        &format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(400 << 10)),
        &format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: x\r\n".repeat(200)),
        "",
    ] {
        let server = Server::plain(answer).await;
        let got = get(&loopback(), rule(&format!("http://api.test:{}", server.port))).await;
        let start: String = answer.chars().take(40).collect();
        assert!(matches!(got, Err(Refused::Unavailable { .. })), "{start:?}: {got:?}");
    }
}

/// Each is silent at another place: before the head, within it, in the body.
#[tokio::test]
async fn whoever_is_silent_is_given_up_in_time() {
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"] {
        let server = Server::hanging(answer).await;
        let timeout = Duration::from_millis(300);
        let rule = Rule { timeout, ..rule(&format!("http://api.test:{}", server.port)) };
        let refused = get(&loopback(), rule).await.unwrap_err();
        assert!(matches!(refused, Refused::Late { .. }), "{refused}");
        assert!(refused.to_string().contains("has not answered within 300 ms"), "{refused}");
    }
}

/// A resolver that hangs takes no more threads than there may be requests.
#[tokio::test]
async fn a_stuck_resolver_costs_no_more_threads_than_requests_are_allowed() {
    struct Stuck {
        asked: AtomicUsize,
        release: Mutex<mpsc::Receiver<()>>,
    }
    impl Resolve for Stuck {
        fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let _ = self.release.lock().unwrap().recv();
            Ok(vec!["127.0.0.1".parse().unwrap()])
        }
    }
    let server = Server::plain(OK).await;
    let (release, held) = mpsc::channel();
    let stuck = Arc::new(Stuck { asked: AtomicUsize::new(0), release: Mutex::new(held) });
    let outgoing = Outgoing::new(Settings { at_once: 1, resolver: stuck.clone() });
    let rule = rule(&format!("http://api.test:{}", server.port));
    for _ in 0..5 {
        let rule = Rule { timeout: Duration::from_millis(100), ..rule.clone() };
        assert!(matches!(get(&outgoing, rule).await, Err(Refused::Late { .. })));
    }
    assert_eq!(stuck.asked.load(Ordering::SeqCst), 1);
    drop(release);
    get(&outgoing, rule).await.unwrap();
}

#[tokio::test]
async fn the_next_address_is_tried_and_failures_say_why() {
    let server = Server::plain(OK).await;
    let rule = rule(&format!("http://api.test:{}", server.port));
    get(&outgoing(Names::new(&[&["127.0.0.3", "127.0.0.1"]])), rule.clone()).await.unwrap();
    let check = async |resolver: Arc<dyn Resolve>, rule: Rule, expected: &str| {
        let refused = get(&outgoing(resolver), rule).await.unwrap_err();
        assert!(matches!(refused, Refused::Unavailable { .. }), "{refused}");
        assert!(refused.to_string().contains(expected), "{refused}");
    };
    check(Names::new(&[&["127.0.0.3"]]), rule.clone(), "does not answer: Connection refused").await;
    check(Names::new(&[&[]]), rule.clone(), "its name has no address").await;
    let invalid = Rule { origin: Origin::parse("http://api.invalid").unwrap(), ..rule };
    check(Arc::new(SystemResolver), invalid, "its name does not resolve").await;
}

#[tokio::test]
async fn a_server_is_believed_by_its_ca_and_name() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (ours, theirs) = (file("ours.pem", authority.pem()), file("theirs.pem", other.pem()));
    let server = Server::tls(&authority, "api.test", OK).await;
    let plain = Server::plain(OK).await;
    let check = async |host: &str, port: u16, ca_file: Option<PathBuf>, expected: &str| {
        let rule = Rule { ca_file, ..rule(&format!("https://{host}:{port}")) };
        let got = get(&loopback(), rule).await;
        let told = got.map_or_else(|refused| refused.to_string(), |answer| answer.status.to_string());
        assert!(told.contains(expected), "{told}");
    };
    check("api.test", server.port, Some(ours.clone()), "200").await;
    check("other.test", server.port, Some(ours.clone()), "not valid for name").await;
    check("127.0.0.1", server.port, Some(ours.clone()), "not valid for name").await;
    check("api.test", server.port, Some(theirs), "invalid peer certificate").await;
    // The machine's own CAs, if it has any, have not signed it.
    check("api.test", server.port, None, "https://api.test").await;
    check("api.test", plain.port, Some(ours), "does not answer").await;
    check("api.test", server.port, Some(folder.path().join("none.pem")), "`ca_file` cannot be read").await;
    check("api.test", server.port, Some(file("empty.pem", "")), "has no certificate").await;
    check("api.test", server.port, Some(file("large.pem", &"x".repeat(2 << 20))), "is too large").await;
}

#[tokio::test]
async fn a_request_without_its_credential_is_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::plain(OK).await;
    let rule = rule(&format!("http://api.test:{}", server.port));
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        From::File(path)
    };
    let check = async |from: From, expected: &str| {
        let credentials = vec![Credential { header: "x-key".parse().unwrap(), from }];
        let refused = get(&loopback(), Rule { credentials, ..rule.clone() }).await.unwrap_err();
        assert!(matches!(refused, Refused::Credential { .. }), "{refused}");
        let told = refused.to_string();
        assert!(told.contains("for the header `x-key` of http://api.test"), "{told}");
        assert!(told.contains(expected), "{told}");
        assert!(!format!("{told}{refused:?}").contains("s3cret"), "{told}");
    };
    check(From::Env("BUNRAKU_TEST_NOT_SET".into()), "variable BUNRAKU_TEST_NOT_SET is not set").await;
    check(From::File(folder.path().join("none")), "cannot be read").await;
    check(file("empty", "\n"), "is empty").await;
    check(file("lines", "s3cret\ns3cret\n"), "more than one line").await;
    check(file("long", &"s3cret".repeat(4 << 10)), "is too large").await;
    assert!(server.asked.try_recv().is_err(), "something was sent");
}

#[test]
fn nothing_secret_is_in_debug() {
    let headers = vec![("x".into(), b"s3cret".to_vec())];
    let (body, url) = (b"s3cret".to_vec(), "https://api.test/?s3cret");
    let request = Request { headers: headers.clone(), body: body.clone(), ..request("GET", url) };
    let response = Response { status: 200, headers, body };
    assert_eq!(format!("{request:?} {response:?}"), "Request(\"GET\", 6 bytes) Response(200, 6 bytes)");
}
