//! The power goes: at every moment of the workload, with everything a disk might have kept.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::disk::{Disk, Kept, Tree};
use crate::trace::{CALLS, Event, calls, events};
use crate::verdict::{Facts, check};
use crate::workload::{folder, traced};

/// Runs the workload so often in one folder, and tells what that did to it.
fn record(runs: &[&str], more: &[&str]) -> Vec<Event> {
    let folder = folder();
    let mut options = vec!["-e".to_owned(), format!("trace={CALLS}")];
    options.extend(more.iter().map(|option| (*option).to_owned()));
    let mut all = Vec::new();
    for run in runs {
        let ran = traced(folder.path(), run, &options);
        let end = (ran.code, ran.facts.last().map(String::as_str));
        assert_eq!(end, (Some(0), Some("end")), "{}", ran.errors);
        let events = events(&calls(&ran.trace), folder.path());
        let told: Vec<_> = events.iter().filter_map(fact).cloned().collect();
        assert_eq!(told, ran.facts, "the trace has all that was said");
        all.extend(events);
    }
    all
}

fn fact(event: &Event) -> Option<&String> {
    match event {
        Event::Fact(fact) => Some(fact),
        _ => None,
    }
}

/// A folder after a power cut, and what had been acknowledged.
struct State {
    tree: Tree,
    facts: Facts,
    /// How many they are.
    told: usize,
    /// After which event, and what the disk kept.
    cut: String,
}

/// All different states. Of `step` moments, one tries what changes with every write.
fn states(events: &[Event], step: usize) -> Vec<State> {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let (mut disk, mut lines, mut states) = (Disk::new(), Vec::new(), Vec::new());
    let mut last: HashMap<Kept, (u64, State)> = HashMap::new();
    let mut seen = HashSet::new();
    for (place, event) in events.iter().enumerate() {
        disk.take(event);
        lines.extend(fact(event));
        let facts = Facts::of(lines.iter().copied());
        let mut kinds = vec![Kept::Nothing, Kept::Names];
        if place % step == 0 {
            let seed = u64::try_from(place).unwrap();
            kinds.extend([Kept::Content, Kept::All, Kept::Torn, Kept::Some(seed), Kept::Some(!seed)]);
        }
        for kept in kinds {
            let mut tree = disk.left(kept, Some(event));
            index(&mut tree, place);
            let print = hasher.hash_one(&tree);
            let cut = format!("{place} ({kept:?}) after {}", short(event));
            let state = State { tree, facts: facts.clone(), told: lines.len(), cut };
            // The same folder is looked at once, with the last and most facts it has to bear out.
            let kind = if matches!(kept, Kept::Some(_)) { Kept::Some(0) } else { kept };
            if let Some((before, state)) = last.insert(kind, (print, state))
                && before != print
                && seen.insert((before, state.told))
            {
                states.push(state);
            }
        }
    }
    states.extend(last.into_values().map(|(_, state)| state));
    states
}

/// SQLite's index of its log is written through memory: after a power cut it is lost, old or noise.
fn index(tree: &mut Tree, place: usize) {
    let shm = PathBuf::from("state.db-shm");
    match place % 3 {
        0 => _ = tree.files.remove(&shm),
        1 => {
            if let Some(content) = tree.files.get_mut(&shm) {
                content.iter_mut().enumerate().for_each(|(at, byte)| *byte = u8::try_from(at % 251).unwrap());
            }
        }
        _ => {}
    }
}

fn short(event: &Event) -> String {
    let mut text = match event {
        Event::Write(path, offset, content) => format!("Write({path:?}, {offset}, {} bytes)", content.len()),
        other => format!("{other:?}"),
    };
    text.truncate(120);
    text
}

/// What does not hold, of each state; on as many threads as there are processors.
/// With `enough` found it is over.
fn judge(states: &[State], enough: usize) -> Vec<String> {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(state) = states.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if wrong.lock().unwrap().len() >= enough {
                        return;
                    }
                    let folder = folder();
                    state.tree.write(folder.path());
                    if let Err(what) = check(folder.path(), &state.facts) {
                        wrong.lock().unwrap().push(format!("{}: {what}", state.cut));
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}

// Faults rows 21 and 22; invariants 1, 2 and 10.
#[test]
fn the_power_goes_and_nothing_acknowledged_is_lost() {
    let all = std::env::var_os("BUNRAKU_FAULTS").is_some_and(|value| value == "all");
    let events = record(if all { &["one", "two"] } else { &["one"] }, &[]);
    let started = std::time::Instant::now();
    let states = states(&events, if all { 1 } else { 8 });
    let wrong = judge(&states, usize::MAX);
    println!(
        "{} events, {} states after a power cut, {} wrong, {:?}",
        events.len(),
        states.len(),
        wrong.len(),
        started.elapsed()
    );
    assert!(events.len() > 300 && states.len() > 200, "too little was tried");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with the states that only what was synced makes: a few of them, the latest first.
fn strict(events: &[Event]) -> Vec<String> {
    let mut states = states(events, usize::MAX);
    states.reverse();
    judge(&states, 3)
}

#[test]
fn a_sync_left_out_anywhere_is_found_out() {
    let events = record(&["one"], &[]);
    type Left = fn(&Path) -> bool;
    let kinds: [(&str, Left, &str); 6] = [
        ("the log", |path| path == Path::new("state.db-wal"), "lost"),
        ("the database", |path| path == Path::new("state.db"), ""),
        ("the state's folder", |path| path == Path::new(""), ""),
        ("the CA's folder", |path| path == Path::new("ca"), ""),
        ("the CA's files", |path| path.starts_with("ca") && path != Path::new("ca"), ""),
        ("the bucket", |path| path.starts_with("bucket"), "was kept and is"),
    ];
    for (what, left_out, said) in kinds {
        let careless: Vec<_> = events
            .iter()
            .filter(|event| !matches!(event, Event::Sync(path) if left_out(path)))
            .cloned()
            .collect();
        assert!(careless.len() < events.len(), "{what} is synced at all");
        let wrong = strict(&careless);
        println!("without a sync of {what}: {} states are wrong, such as {:?}", wrong.len(), wrong.first());
        assert!(wrong.iter().any(|wrong| wrong.contains(said)), "{what}: {wrong:?}");
    }
}

// The same with a program whose every fsync really does nothing.
#[test]
fn a_program_that_never_syncs_is_found_out() {
    let events = record(&["one"], &["-e", "inject=fsync,fdatasync:retval=0"]);
    assert!(!events.iter().any(|event| matches!(event, Event::Sync(_))));
    let wrong = strict(&events);
    assert!(!wrong.is_empty());
}
