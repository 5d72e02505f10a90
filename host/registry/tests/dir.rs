//! The registry as a folder.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use bunraku_registry::{Error, Registry, Settings};
use tempfile::TempDir;
use url::Url;

async fn open(folder: &Path) -> Registry {
    let url = Url::parse(&format!("dir:{}", folder.display())).unwrap();
    Registry::open(&Settings { max_object_bytes: 1000, ..Settings::new(url) }).await.unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn an_object_goes_in_and_comes_out() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("state/my registry");
    let url = Url::parse(&format!("dir:{}", folder.display())).unwrap();
    let registry = Registry::open(&Settings::new(url)).await.unwrap();
    assert_eq!(mode(&folder), 0o700, "made where there was none, and private");
    let etag = registry.put("host1", b"classes: []\n", false).await.unwrap();
    assert_eq!(mode(&folder.join("host1")), 0o600);
    let object = registry.get("host1").await.unwrap();
    assert_eq!(object.body, b"classes: []\n");
    assert_eq!(object.url, format!("dir:{}/host1", folder.display()));
    assert!(object.modified.is_some());
    assert_eq!(registry.version("host1").await.unwrap(), etag);
    assert!(Arc::ptr_eq(&object, &registry.get("host1").await.unwrap()), "unchanged, from the cache");
    // An editor changes it, to the same length and within the same tick.
    fs::write(folder.join("host1"), "classes: {}\n").unwrap();
    assert_ne!(registry.version("host1").await.unwrap(), etag);
    assert_eq!(registry.get("host1").await.unwrap().body, b"classes: {}\n");
    registry.delete("host1").await.unwrap();
    registry.delete("host1").await.unwrap();
    assert_eq!(registry.version("host1").await.unwrap(), None);
    assert_eq!(registry.describe(), format!("dir:{}", folder.display()));
}

// faults row 33
#[tokio::test]
async fn what_is_no_object_is_not_found() {
    let temp = TempDir::new().unwrap();
    let registry = open(temp.path()).await;
    fs::create_dir(temp.path().join("folder")).unwrap();
    fs::write(temp.path().join("file"), "").unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(temp.path().join("pipe")).status().unwrap();
    assert!(pipe.success());
    for key in ["nobody", "folder", "file/below", "pipe"] {
        let outcome = registry.get(key).await;
        assert!(matches!(outcome, Err(Error::NotFound { .. })), "{key}: {outcome:?}");
    }
}

#[tokio::test]
async fn no_key_leads_out_of_the_folder() {
    let temp = TempDir::new().unwrap();
    fs::write(temp.path().join("secret"), "x").unwrap();
    let registry = open(&temp.path().join("nodes")).await;
    for key in ["../secret", "/etc/passwd", "a/../../secret", "", ".", "..", "a/", "..%2fsecret", "a\0b"] {
        assert!(matches!(registry.get(key).await, Err(Error::BadKey { .. })), "{key:?}");
        assert!(matches!(registry.put(key, b"", false).await, Err(Error::BadKey { .. })), "{key:?}");
        assert!(matches!(registry.delete(key).await, Err(Error::BadKey { .. })), "{key:?}");
    }
    assert!(matches!(registry.list("../", None).await, Err(Error::BadKey { .. })));
    assert_eq!(fs::read(temp.path().join("secret")).unwrap(), b"x");
}

#[tokio::test]
async fn of_racing_claims_one_wins_whole() {
    let temp = TempDir::new().unwrap();
    let registry = Arc::new(open(temp.path()).await);
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..16u8 {
        let registry = Arc::clone(&registry);
        racers.spawn(async move { registry.put("claims/one", &[racer; 900], true).await.map(|_| racer) });
    }
    let outcomes = racers.join_all().await;
    let winners: Vec<u8> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok().copied()).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|o| matches!(o, Ok(_) | Err(Error::Exists { .. }))), "{outcomes:?}");
    assert_eq!(registry.get("claims/one").await.unwrap().body, [winners[0]; 900]);
    let left: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["claims"], "no temporary file stays");
}

#[tokio::test]
async fn an_object_over_the_limit_is_not_read() {
    let temp = TempDir::new().unwrap();
    let registry = open(temp.path()).await;
    fs::write(temp.path().join("small"), [b'x'; 1000]).unwrap();
    fs::write(temp.path().join("large"), [b'x'; 1001]).unwrap();
    assert_eq!(registry.get("small").await.unwrap().body.len(), 1000);
    assert!(matches!(registry.get("large").await, Err(Error::TooLarge { limit: 1000, .. })));
}

#[tokio::test]
async fn a_listing_comes_in_pages_and_in_order() {
    let temp = TempDir::new().unwrap();
    let registry = open(temp.path()).await;
    fs::create_dir(temp.path().join("deeper")).unwrap();
    fs::write(temp.path().join("deeper/x"), "").unwrap();
    fs::write(temp.path().join(".hidden"), "").unwrap();
    for n in 0..1100 {
        fs::write(temp.path().join(format!("node{n:04}")), "x").unwrap();
    }
    let first = registry.list("", None).await.unwrap();
    assert_eq!((first.objects.len(), first.prefixes.as_slice()), (999, &["deeper/".to_owned()][..]));
    let second = registry.list("", first.next.as_deref()).await.unwrap();
    assert_eq!((second.objects.len(), second.prefixes.len(), &second.next), (101, 0, &None));
    let keys: Vec<_> = first.objects.iter().chain(&second.objects).map(|object| object.key.clone()).collect();
    assert_eq!(keys, (0..1100).map(|n| format!("node{n:04}")).collect::<Vec<_>>());
    let deeper = registry.list("deeper/", None).await.unwrap();
    assert_eq!(deeper.objects.first().unwrap().key, "deeper/x");
    assert_eq!(deeper.objects.first().unwrap().url, registry.url_of("deeper/x"));
    assert_eq!(registry.list("nowhere/", None).await.unwrap().objects, []);
}

#[tokio::test]
async fn a_registry_that_went_away_is_not_an_empty_one() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("mount");
    let registry = open(&folder).await;
    registry.check().await.unwrap();
    fs::remove_dir(&folder).unwrap();
    let outcomes = [registry.check().await.err(), registry.get("host1").await.err()];
    for outcome in outcomes {
        assert!(matches!(outcome, Some(Error::Unavailable { .. })), "{outcome:?}");
    }
}
