//! Components as files: where they come from, what is wrong with them, how long they stay.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bunraku_rollout::{BoxFuture, Component, Error, Fetch, PluginSpec, Source};
use sha2::{Digest, Sha256};

use crate::support::*;

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Gives one component, however it is asked for.
struct One {
    bytes: &'static [u8],
    given: AtomicUsize,
}

impl One {
    fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(One { bytes: bytes.leak(), given: AtomicUsize::new(0) })
    }
}

impl Fetch for One {
    fn embedded(&self, name: &str) -> Option<&'static [u8]> {
        (name == "inside").then_some(self.bytes)
    }

    fn object<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            match url {
                "s3://bucket/base.wasm" => Ok(self.bytes.to_vec()),
                _ => Err(format!("{url}: not found")),
            }
        })
    }

    fn component<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Component>, String>> {
        self.given.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(Some(Component { bytes: self.bytes.to_vec(), signature: None })) })
    }
}

// faults row 57
#[tokio::test]
async fn whatever_becomes_of_a_file_the_live_set_stays() {
    let place = Place::new();
    let good = padded("base", b"1");
    let file = place.write("base.wasm", &good);
    let pinned = || set([PluginSpec { digest: Some(sha256(&good)), ..base(&file) }]);
    let open = place.start(pinned()).await;
    let live = open.live();
    let other = place.write("other.wasm", &padded("base", b"2"));
    let half = place.write("half", &good[..good.len() / 2]);
    let put = |from: &std::path::Path| {
        fs::remove_file(&file).unwrap();
        symlink(from, &file).unwrap();
    };
    // Another component, complete, behind a symbolic link.
    put(&other);
    let refused = open.rollout.stage(pinned(), me()).await.unwrap_err();
    assert!(refused[0].to_string().contains("is pinned"), "{refused:?}");
    // Half written, where nothing is pinned either.
    put(&half);
    assert!(open.rollout.stage(set([base(&file)]), me()).await.is_err());
    // What is there and is no file: a folder, a pipe that nobody writes into, a device without an end.
    put(&place.dir);
    assert!(open.rollout.stage(pinned(), me()).await.is_err());
    let pipe = place.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    put(&pipe);
    let refused = open.rollout.stage(pinned(), me()).await.unwrap_err();
    assert!(refused[0].to_string().contains("not a plain file"), "{refused:?}");
    put(std::path::Path::new("/dev/zero"));
    assert!(open.rollout.stage(pinned(), me()).await.is_err());
    // Nowhere.
    put(&place.path("nowhere"));
    let refused = open.rollout.stage(pinned(), me()).await.unwrap_err();
    assert!(refused[0].to_string().contains("cannot read"), "{refused:?}");
    assert_eq!(open.live(), live);
    // A link to the right one is as good as the file.
    put(&place.write("good.wasm", &good));
    assert_eq!(open.rollout.stage(pinned(), me()).await.unwrap().id(), live);
    open.close().await;
}

#[tokio::test]
async fn a_component_is_found_wherever_it_is() {
    let bytes = padded("base", b"here");
    let digest = sha256(&bytes);
    let one = One::new(bytes.clone());
    let place = Place { fetch: one.clone(), ..Place::new() };
    let open = place.start(set([])).await;
    let file = place.write("base.wasm", &bytes);
    let mut ids = Vec::new();
    let sources = [
        (Source::Embedded("inside".into()), "embedded inside"),
        (Source::File(file.clone()), file.to_str().unwrap()),
        (Source::Object("s3://bucket/base.wasm".into()), "s3://bucket/base.wasm"),
        (Source::Digest(digest.clone()), &format!("sha256:{digest}")),
    ];
    for (source, told) in sources {
        // A set of its own each time, for one that is known already keeps its first origin.
        let elsewhere = Place { fetch: one.clone(), ..Place::new() };
        let open = elsewhere.start(set([PluginSpec::new("base", source)])).await;
        assert_eq!(open.rollout.current().plugins()[0].source, told);
        ids.push(open.live());
        assert_eq!(open.rollout.component(&digest).await.unwrap().bytes, bytes);
        open.close().await;
    }
    assert_eq!(one.given.load(Ordering::SeqCst), 1);
    ids.dedup();
    assert_eq!(ids.len(), 1, "where it came from is no part of a set");
    // What the CA gives is held against what was asked for.
    let asked = PluginSpec::new("base", Source::Digest("0".repeat(64)));
    let refused = open.rollout.stage(set([asked]), me()).await.unwrap_err();
    assert!(refused[0].to_string().contains("the CA gave"), "{refused:?}");
    for nonsense in ["../../etc/passwd", "", &digest.to_uppercase()] {
        let asked = PluginSpec::new("base", Source::Digest(nonsense.into()));
        let refused = open.rollout.stage(set([asked]), me()).await.unwrap_err();
        assert!(refused[0].to_string().contains("no SHA-256"), "{refused:?}");
        assert!(open.rollout.component(nonsense).await.is_none());
    }
    open.close().await;
}

/// A kept component that is damaged, half there or gone is noticed at the next start, and replaced from
/// wherever the same one still is.
#[tokio::test]
async fn a_kept_component_that_is_spoilt_is_fetched_again_or_refused() {
    let bytes = padded("base", b"1");
    let spoil: [fn(&std::path::Path); 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        },
        |path| {
            let mut bytes = fs::read(path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        |path| {
            fs::remove_file(path).unwrap();
            symlink("/dev/zero", path).unwrap();
        },
    ];
    let same = |path: &std::path::Path| fs::read(path).is_ok_and(|found| found == bytes);
    for spoil in spoil {
        // The file that it was staged from still has it.
        let place = Place::new();
        let configured = || set([base(place.path("base.wasm"))]);
        place.write("base.wasm", &bytes);
        let open = place.start(configured()).await;
        let (live, kept) = (open.live(), place.kept(&open.rollout.current()));
        assert!(same(&kept));
        open.close().await;
        spoil(&kept);
        let open = place.start(configured()).await;
        assert!(open.live() == live && same(&kept));
        open.close().await;
        // It has another one: a new configuration, which takes over, and that is told.
        spoil(&kept);
        place.write("base.wasm", &padded("base", b"2"));
        let open = place.open(configured()).await;
        assert!(open.live() != live);
        let told: Vec<_> = open.problems.iter().map(ToString::to_string).collect();
        assert!(told[0].contains("takes its place") && told[1].contains("plugin base: "), "{told:?}");
        open.close().await;

        // Uploaded and swapped in over a configuration that says something else: nobody has it, and no
        // older configuration quietly takes its place.
        let mut place = Place::new();
        let file = place.write("base.wasm", &bytes);
        let open = place.start(set([])).await;
        let live = open.go(set([base(&file)])).await;
        let kept = place.kept(&open.rollout.current());
        open.close().await;
        spoil(&kept);
        let error = place.try_open(set([])).await.err().expect("there is no such component");
        let Error::Plugins(problems) = error else { panic!("{error}") };
        assert!(problems[0].to_string().contains("plugin base: "), "{problems:?}");
        // The CA has it.
        place.fetch = One::new(bytes.clone());
        let open = place.open(set([])).await;
        assert!(open.live() == live && same(&kept));
        open.close().await;
    }
}

#[tokio::test]
async fn components_that_nothing_needs_go_and_others_stay() {
    let place = Place::new();
    let open = place.start(set([base(place.write("base.wasm", &padded("base", b"live")))])).await;
    let live = place.kept(&open.rollout.current());
    for number in 0..60_u8 {
        open.rollout.put_component(vec![number; 10], Some(vec![number])).await.unwrap();
    }
    let names = |suffix: &str| {
        let entries = fs::read_dir(place.path("plugins")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(suffix)).count()
    };
    assert_eq!((names(".wasm"), names(".sig")), (33, 32));
    assert!(live.exists());
    let last = open.rollout.component(&sha256(&[59; 10])).await.unwrap();
    assert_eq!((last.bytes, last.signature), (vec![59; 10], Some(vec![59])));
    assert!(open.rollout.component(&sha256(&[0; 10])).await.is_none());
    // What a crash left half-written goes at the next start.
    place.write("plugins/new-1-1", b"half");
    open.close().await;
    let open = place.start(set([base(place.path("base.wasm"))])).await;
    assert!(!place.path("plugins/new-1-1").exists());
    open.close().await;
}

#[tokio::test]
async fn the_daemons_folder_is_for_nobody_else_to_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let open = place.start(set([base(place.write("base.wasm", &padded("base", b"1")))])).await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.path("plugins")), 0o700);
    assert_eq!(mode(&place.kept(&open.rollout.current())), 0o600);
    open.close().await;
}
