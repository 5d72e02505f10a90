//! The registry against a real S3 server, on good days and bad ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use bunraku_registry::{Error, Registry, Settings};
use tempfile::TempDir;
use url::Url;

#[path = "../examples/s3_server/server.rs"]
mod server;

use server::{Fault, Server};

const SLOW_DOWN: Fault = Fault::Status(503, "SlowDown");

struct Place {
    server: Server,
    folder: TempDir,
    settings: Settings,
}

impl Place {
    /// A bucket `nodes`, and settings whose prefix is `site/`.
    async fn new() -> Place {
        static CREDENTIALS: Once = Once::new();
        CREDENTIALS.call_once(|| {
            // SAFETY: every test passes here before it starts anything that reads the environment, and
            // waits for the first one through.
            unsafe {
                std::env::set_var("AWS_ACCESS_KEY_ID", server::ACCESS_KEY);
                std::env::set_var("AWS_SECRET_ACCESS_KEY", server::SECRET_KEY);
                std::env::set_var("AWS_CONFIG_FILE", "/nonexistent");
                std::env::set_var("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
            }
        });
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("nodes")).unwrap();
        let server = Server::start(folder.path(), 0).await.unwrap();
        let settings = Settings {
            endpoint: Some(server.endpoint()),
            path_style: true,
            ..Settings::new(Url::parse("s3://nodes/site/").unwrap())
        };
        Place { server, folder, settings }
    }

    async fn registry(&self) -> Registry {
        Registry::open(&self.settings).await.unwrap()
    }

    /// Puts `host1` there and forgets the answer's status.
    async fn with_host1(&self) -> Registry {
        let registry = self.registry().await;
        registry.put("host1", b"classes: [hadoop::worker]\n", false).await.unwrap();
        self.server.statuses();
        registry
    }
}

#[tokio::test]
async fn an_object_goes_in_and_comes_out() {
    let place = Place::new().await;
    let registry = place.registry().await;
    let etag = registry.put("host1", b"classes: []\n", false).await.unwrap();
    assert_eq!(fs::read(place.folder.path().join("nodes/site/host1")).unwrap(), b"classes: []\n");
    let object = registry.get("host1").await.unwrap();
    assert_eq!(object.body, b"classes: []\n");
    assert_eq!(object.url, "s3://nodes/site/host1");
    assert_eq!(object.content_type.as_deref(), Some("application/yaml"));
    assert!(object.modified.is_some());
    assert_eq!(object.etag, etag);
    let info = registry.head("host1").await.unwrap();
    assert_eq!((info.size, info.key.as_str(), &info.etag), (12, "host1", &etag));
    assert_eq!(registry.version("host1").await.unwrap(), etag);
    registry.put("host1", b"classes: [a]\n", false).await.unwrap();
    assert_ne!(registry.version("host1").await.unwrap(), etag);
    registry.delete("host1").await.unwrap();
    registry.delete("host1").await.unwrap();
    assert_eq!(registry.version("host1").await.unwrap(), None);
    assert_eq!(registry.describe(), "s3://nodes/site/");
    registry.check().await.unwrap();
}

#[tokio::test]
async fn of_racing_claims_one_wins() {
    let place = Place::new().await;
    let registry = Arc::new(place.registry().await);
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..16 {
        let registry = Arc::clone(&registry);
        racers.spawn(async move { registry.put("claim", format!("{racer}").as_bytes(), true).await });
    }
    let outcomes = racers.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let lost = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::Exists { .. }))).count();
    assert_eq!(lost, 15, "{outcomes:?}");
}

#[tokio::test]
async fn a_listing_comes_in_pages_and_in_order() {
    let place = Place::new().await;
    let site = place.folder.path().join("nodes/site");
    fs::create_dir_all(site.join("deeper")).unwrap();
    fs::write(site.join("deeper/x"), "").unwrap();
    fs::write(place.folder.path().join("nodes/elsewhere"), "").unwrap();
    for n in 0..1100 {
        fs::write(site.join(format!("node{n:04}")), "x").unwrap();
    }
    let registry = place.registry().await;
    let (mut keys, mut prefixes, mut cursor, mut pages) = (vec![], vec![], None, 0);
    loop {
        let page = registry.list("", cursor.as_deref()).await.unwrap();
        keys.extend(page.objects.into_iter().map(|object| object.key));
        prefixes.extend(page.prefixes);
        pages += 1;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (0..1100).map(|n| format!("node{n:04}")).collect();
    assert_eq!(keys, expected);
    assert_eq!(prefixes, ["deeper/"]);
    assert_eq!(pages, 2);
    let some = registry.list("node109", None).await.unwrap();
    assert_eq!(some.objects.len(), 10);
    assert_eq!(some.objects.first().unwrap().url, "s3://nodes/site/node1090");
}

#[tokio::test]
async fn a_cached_object_is_confirmed_before_it_is_served() {
    let place = Place::new().await;
    for (with_304, second) in [(true, 304), (false, 200)] {
        place.server.answer_304(with_304);
        let registry = place.with_host1().await;
        let first = registry.get("host1").await.unwrap();
        let again = registry.get("host1").await.unwrap();
        assert_eq!(first, again);
        assert_eq!(Arc::ptr_eq(&first, &again), with_304);
        assert_eq!(place.server.statuses(), [200, second]);
        // Somebody else writes.
        place.registry().await.put("host1", b"changed", false).await.unwrap();
        assert_eq!(registry.get("host1").await.unwrap().body, b"changed");
        place.server.statuses();
    }
}

#[tokio::test]
async fn the_cache_is_bounded() {
    let mut place = Place::new().await;
    place.settings.cache_entries = 2;
    let registry = place.registry().await;
    for key in ["a", "b", "c"] {
        registry.put(key, key.as_bytes(), false).await.unwrap();
        registry.get(key).await.unwrap();
    }
    place.server.answer_304(true);
    place.server.statuses();
    for key in ["c", "b", "a"] {
        assert_eq!(registry.get(key).await.unwrap().body, key.as_bytes());
    }
    assert_eq!(place.server.statuses(), [304, 304, 200], "the oldest made room");
}

// faults row 33
#[tokio::test]
async fn a_missing_object_is_not_found_at_once() {
    let place = Place::new().await;
    let registry = place.registry().await;
    let error = registry.get("nobody").await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert_eq!(error.to_string(), "s3://nodes/site/nobody: not found");
    assert!(matches!(registry.head("nobody").await, Err(Error::NotFound { .. })));
    assert_eq!(place.server.statuses(), [404, 404], "asked once each");
}

// faults row 34
#[tokio::test]
async fn a_403_is_neither_missing_nor_there() {
    let place = Place::new().await;
    let registry = place.with_host1().await;
    registry.get("host1").await.unwrap();
    place.server.statuses();
    place.server.fail([Fault::Status(403, "AccessDenied"), Fault::Status(403, "AccessDenied")]);
    let error = registry.get("host1").await.unwrap_err();
    assert!(matches!(error, Error::DeniedOrMissing { .. }), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("s3://nodes/site/host1: denied-or-missing (403 AccessDenied)"), "{text}");
    assert!(text.contains("grant read and list on the prefix"), "{text}");
    assert!(matches!(registry.version("host1").await, Err(Error::DeniedOrMissing { .. })));
    assert_eq!(place.server.statuses(), [403, 403], "asked once each");
}

#[tokio::test]
async fn a_missing_bucket_is_not_a_missing_node() {
    let mut place = Place::new().await;
    place.settings.url = Url::parse("s3://no-such-bucket/").unwrap();
    let registry = place.registry().await;
    assert!(matches!(registry.check().await, Err(Error::Config(_))));
    // s3s-fs says NoSuchKey here, AWS says this.
    place.server.fail([Fault::Status(404, "NoSuchBucket")]);
    let error = registry.get("host1").await.unwrap_err();
    assert!(matches!(error, Error::Config(_)), "{error}");
}

// faults row 35
#[tokio::test]
async fn passing_trouble_is_ridden_out() {
    let place = Place::new().await;
    let registry = place.with_host1().await;
    for faults in [
        vec![SLOW_DOWN],
        vec![Fault::Status(500, "InternalError")],
        vec![Fault::Status(502, "")],
        vec![Fault::Status(429, "TooManyRequests")],
        vec![Fault::HalfBody],
        vec![SLOW_DOWN, Fault::HalfBody, Fault::Status(500, "InternalError")],
    ] {
        let shown = format!("{faults:?}");
        let tries = faults.len() + 1;
        place.server.fail(faults);
        let object = registry.get("host1").await.unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(object.body, b"classes: [hadoop::worker]\n", "{shown}");
        assert_eq!(place.server.statuses().len(), tries, "{shown}");
    }
}

// faults row 35
#[tokio::test]
async fn an_answer_that_does_not_come_leaves_time_for_another_try() {
    let mut place = Place::new().await;
    place.settings.deadline = Duration::from_secs(2);
    let registry = place.with_host1().await;
    for fault in [Fault::Silence, Fault::StalledBody] {
        place.server.fail([fault.clone()]);
        let object = registry.get("host1").await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(object.body, b"classes: [hadoop::worker]\n");
    }
}

// faults row 35
#[tokio::test]
async fn lasting_trouble_is_unavailable_within_the_deadline() {
    let mut place = Place::new().await;
    place.settings.deadline = Duration::from_millis(400);
    place.settings.attempts = 3;
    let registry = place.with_host1().await;
    registry.get("host1").await.unwrap();
    for (faults, cause) in [
        (vec![Fault::Silence; 9], "no answer within"),
        (vec![Fault::StalledBody; 9], "no answer within"),
        (vec![SLOW_DOWN; 9], "503 SlowDown"),
        (vec![Fault::HalfBody; 9], "error"),
    ] {
        place.server.fail(faults);
        let start = Instant::now();
        let error = registry.get("host1").await.unwrap_err();
        // The deadline, and room for a busy machine.
        assert!(
            start.elapsed() < Duration::from_millis(400) + Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
        let Error::Unavailable { timed_out, .. } = error else { panic!("{error}") };
        assert!(timed_out || !cause.contains("no answer"), "{error}");
        let text = error.to_string();
        assert!(text.contains(cause), "{text}");
        assert!(!text.contains('\n'), "{text}");
        place.server.recover();
    }
}

// faults row 35
#[tokio::test]
async fn a_server_that_is_down_is_unavailable() {
    let mut place = Place::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    place.settings.endpoint = Some(format!("http://{address}"));
    let error = place.registry().await.get("host1").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { attempts: 4, timed_out: false, .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

// faults row 38
#[tokio::test]
async fn a_deleted_object_is_not_served_from_the_cache() {
    let place = Place::new().await;
    place.server.answer_304(true);
    let registry = place.with_host1().await;
    registry.get("host1").await.unwrap();
    place.registry().await.delete("host1").await.unwrap();
    assert!(matches!(registry.get("host1").await, Err(Error::NotFound { .. })));
    // Nor is an object that nobody can confirm.
    place.registry().await.put("host1", b"x", false).await.unwrap();
    registry.get("host1").await.unwrap();
    place.server.fail(vec![SLOW_DOWN; 4]);
    assert!(matches!(registry.get("host1").await, Err(Error::Unavailable { .. })));
}

// faults row 39
#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let place = Place::new().await;
    let registry = place.with_host1().await;
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let target = format!("http://{}/nodes/site/host1", elsewhere.local_addr().unwrap());
    place.server.fail(vec![Fault::Redirect(target); 3]);
    for outcome in [
        registry.get("host1").await.map(|_| ()),
        registry.head("host1").await.map(|_| ()),
        registry.put("host1", b"", false).await.map(|_| ()),
    ] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(error.to_string().contains("307"), "{error}");
    }
    assert_eq!(elsewhere.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody came");
    assert_eq!(place.server.statuses(), [307, 307, 307], "asked once each");
}

#[tokio::test]
async fn an_object_over_the_limit_is_not_read() {
    let mut place = Place::new().await;
    place.settings.max_object_bytes = 1000;
    let registry = place.registry().await;
    registry.put("small", &[b'x'; 1000], false).await.unwrap();
    registry.put("large", &[b'x'; 1001], false).await.unwrap();
    place.server.statuses();
    assert_eq!(registry.get("small").await.unwrap().body.len(), 1000);
    assert!(matches!(registry.get("large").await, Err(Error::TooLarge { limit: 1000, .. })));
    // Nor where the server does not say how long it is.
    place.server.fail([Fault::NoLength, Fault::NoLength]);
    assert_eq!(registry.get("small").await.unwrap().body.len(), 1000);
    assert!(matches!(registry.get("large").await, Err(Error::TooLarge { limit: 1000, .. })));
    assert_eq!(place.server.statuses(), [200; 4], "asked once each");
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let place = Place::new().await;
    for (url, problem) in [
        ("http://bucket/", "\"http:\" is unknown"),
        ("s3:///prefix", "must be s3://bucket/prefix"),
        ("s3://bucket/?versions", "must be s3://bucket/prefix"),
        ("s3://bucket/a//b", "contains \"//\""),
        ("s3://key:hush@bucket/", "credentials do not belong here"),
        ("dir:relative", "absolute path"),
    ] {
        let settings = Settings { url: Url::parse(url).unwrap(), ..place.settings.clone() };
        let text = Registry::open(&settings).await.unwrap_err().to_string();
        assert!(text.contains(problem), "{url}: {text}");
        assert!(!text.contains("hush"), "{text}");
    }
    let settings = Settings { attempts: 0, ..place.settings.clone() };
    assert!(matches!(Registry::open(&settings).await, Err(Error::Config(_))));
}
