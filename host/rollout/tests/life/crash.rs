//! `kill -9` at any instant, and a disk that takes no more.

use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use bunraku_rollout::{PluginSpec, Source};

use crate::support::*;

const PLACE: &str = "BUNRAKU_ROLLOUT_CRASH";

/// Runs a test of this file in a process of its own, by way of another program if need be.
fn child(name: &str, place: &Place, through: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let test = std::env::current_exe().unwrap();
    let words = through.iter().map(PathBuf::from).chain([test]);
    let mut words = words.chain(["--ignored", "--exact", name, "--nocapture"].map(PathBuf::from));
    let mut command = Command::new(words.next().unwrap());
    let mut child = command.args(words).env(PLACE, &place.dir).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

fn handed_over() -> Place {
    Place::at(PathBuf::from(std::env::var_os(PLACE).unwrap()))
}

fn say(words: &str) {
    println!("\n{words}");
}

/// Stages a component that is new each time, swaps it in, takes every third back, and says what it does.
#[tokio::test]
#[ignore = "the child that the test below kills"]
async fn swaps_without_end() {
    let place = handed_over();
    let open = place.open(set([])).await;
    let life = std::process::id();
    for n in 0.. {
        let bytes = padded("base", format!("{life} {n}").as_bytes());
        let digest = open.rollout.put_component(bytes, None).await.unwrap();
        let plugin = PluginSpec::new("base", Source::Digest(digest));
        let staged = open.rollout.stage(set([plugin]), me()).await.unwrap();
        say(&format!("trying {}", staged.id()));
        open.rollout.swap(staged.id(), me()).await.unwrap();
        say(&format!("live {}", staged.id()));
        if n % 3 == 2 {
            let previous = open.rollout.kept()[0].id().to_owned();
            say(&format!("trying {previous}"));
            let swapped = open.rollout.rollback(None, me(), "").await.unwrap();
            say(&format!("live {}", swapped.to));
        }
    }
}

// faults row 21, invariant 10
#[tokio::test]
async fn a_killed_daemon_comes_up_with_the_set_that_it_said_was_live() {
    let place = Place::new();
    let first = place.start(set([])).await;
    let mut live = first.live();
    first.close().await;
    let mut swaps = 0;
    for _ in 0..5 {
        let (mut running, lines) = child("crash::swaps_without_end", &place, &[]);
        let kill_after = RandomState::new().hash_one(running.id()) % 60;
        let mut trying = None;
        let mut said = lines.map_while(Result::ok);
        let mut hear = |line: String| match line.split_once(' ') {
            Some(("trying", id)) => trying = Some(id.to_owned()),
            Some(("live", id)) => {
                (live, trying) = (id.to_owned(), None);
                swaps += 1;
            }
            _ => {}
        };
        said.by_ref().take(usize::try_from(kill_after).unwrap() + 20).for_each(&mut hear);
        running.kill().unwrap();
        // What it had still said before the end counts too.
        said.for_each(&mut hear);
        running.wait().unwrap();
        let open = place.open(set([])).await;
        let found = open.live();
        assert!(found == live || Some(&found) == trying.as_ref(), "{found} is live, {live} was said");
        let last = open.events().await.into_iter().rfind(|event| event.event != "staged").unwrap();
        assert_eq!(last.set.as_ref(), Some(&found), "the history ends with what is live");
        let left = std::fs::read_dir(place.path("plugins")).unwrap();
        let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(left.filter(|name| name.starts_with("new-")).count(), 0);
        live = found;
        open.close().await;
    }
    println!("{swaps} swaps, five kills");
    assert!(swaps >= 5);
}

#[tokio::test]
#[ignore = "the child that the test below gives little room"]
async fn stages_what_is_too_large_for_the_disk() {
    let place = handed_over();
    let open = place.open(set([])).await;
    let live = open.live();
    let large = place.path("large.wasm");
    let refused = open.rollout.stage(set([base(&large)]), me()).await.unwrap_err();
    assert!(refused[0].to_string().contains("can't be kept"), "{refused:?}");
    let refused = open.rollout.put_component(std::fs::read(&large).unwrap(), None).await.unwrap_err();
    assert!(refused.to_string().contains("can't be kept"), "{refused}");
    assert_eq!(open.live(), live);
    let left = std::fs::read_dir(place.path("plugins")).unwrap().count();
    assert_eq!(left, 0, "nothing is left of what did not fit");
    // What fits goes on.
    open.go(set([base(built("base"))])).await;
    say("all of it");
}

/// The shell's limit stands in for a disk: a write beyond it fails as one on a full disk does.
#[tokio::test]
async fn a_full_disk_refuses_the_set_and_leaves_the_live_one() {
    let place = Place::new();
    place.start(set([])).await.close().await;
    place.write("large.wasm", &padded("base", &vec![7; 12 << 20]));
    // In blocks of 512 bytes: 8 MiB. What is compiled and cached has less.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 16384; exec \"$0\" \"$@\""];
    let (mut limited, lines) = child("crash::stages_what_is_too_large_for_the_disk", &place, &limited);
    let said: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(limited.wait().unwrap().success() && said.iter().any(|line| line == "all of it"), "{said:#?}");
}
