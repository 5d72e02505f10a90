//! Watches a set that has just gone live, and says when it must go.
//!
//! Pure: it is told what was observed and when. Who is told what it says is [`Rollout`](crate::Rollout)'s
//! business.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Observations of one kind before a share of them means anything.
const ENOUGH: u64 = 20;
/// Faults of one kind, one after another, that need no share.
const IN_A_ROW: u64 = 5;
/// Approvals that are remembered; beyond, older ones weigh half.
const REMEMBERED: u64 = 1000;

/// What plugins are asked to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Whether a certificate request is signed.
    Approval,
    /// What a node is.
    Classification,
    /// Which resources it gets.
    Provision,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Approval => "approval",
            Kind::Classification => "classification",
            Kind::Provision => "provision",
        })
    }
}

/// How a decision ended. What is not the plugins' doing, such as a sandbox without a free slot, is no
/// observation at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer, be it a no, or a failure that the plugin told of itself.
    Answered,
    /// A trap, a limit, nonsense.
    Fault,
    /// No answer in time.
    Timeout,
}

/// One decision, for the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What was asked.
    pub kind: Kind,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether a request was approved that was looked at for the first time; none for all else.
    pub approval: Option<bool>,
}

/// Requests looked at for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many there were.
    pub asked: u64,
    /// How many of them were approved.
    pub approved: u64,
}

impl Tally {
    fn count(&mut self, approved: bool) {
        if self.asked >= REMEMBERED {
            (self.asked, self.approved) = (self.asked / 2, self.approved / 2);
        }
        self.asked = self.asked.saturating_add(1);
        self.approved = self.approved.saturating_add(u64::from(approved));
    }

    /// At least nine of ten, and more than twice the share of `before`.
    fn jumped(self, before: Tally) -> bool {
        let enough = self.asked >= ENOUGH && before.asked >= ENOUGH;
        let most = self.approved.saturating_mul(10) >= self.asked.saturating_mul(9);
        let doubled = self.approved.saturating_mul(before.asked)
            > before.approved.saturating_mul(self.asked).saturating_mul(2);
        enough && most && doubled
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    asked: u64,
    faults: u64,
    in_a_row: u64,
}

/// What was observed of the live set.
#[derive(Debug)]
pub(crate) struct Guard {
    set: String,
    /// When it stops to say anything.
    until: Option<Instant>,
    before: Tally,
    approvals: Tally,
    faults: [Faults; 3],
    trip: Option<String>,
}

impl Guard {
    /// Only counts: for a set that nobody has just swapped in. `before` is what the set before it approved.
    pub(crate) fn idle(set: &str, before: Tally) -> Self {
        Guard {
            set: set.to_owned(),
            until: None,
            before,
            approvals: Tally::default(),
            faults: [Faults::default(); 3],
            trip: None,
        }
    }

    /// Watches a set for as long as `window`.
    pub(crate) fn armed(set: &str, before: Tally, now: Instant, window: Duration) -> Self {
        Guard { until: now.checked_add(window), ..Self::idle(set, before) }
    }

    /// What the set approved so far.
    pub(crate) fn approvals(&self) -> Tally {
        self.approvals
    }

    /// What the set before it approved.
    pub(crate) fn before(&self) -> Tally {
        self.before
    }

    /// What a set that comes after this one is held against: what was observed of this one where that is
    /// enough, else of the one before it.
    pub(crate) fn baseline(&self) -> Tally {
        if self.approvals.asked >= ENOUGH { self.approvals } else { self.before }
    }

    /// Takes a decision of `set`. Whether it is the one after which the set must go: that is said once.
    pub(crate) fn observe(&mut self, set: &str, observation: Observation, now: Instant) -> bool {
        // What began before a swap ends after it, and says nothing of the set that is watched.
        if set != self.set {
            return false;
        }
        if let Some(approved) = observation.approval {
            self.approvals.count(approved);
        }
        if self.until.is_none_or(|until| now >= until) || self.trip.is_some() {
            return false;
        }
        let [approval, classification, provision] = &mut self.faults;
        let faults = match observation.kind {
            Kind::Approval => approval,
            Kind::Classification => classification,
            Kind::Provision => provision,
        };
        faults.asked = faults.asked.saturating_add(1);
        match observation.outcome {
            Outcome::Answered => faults.in_a_row = 0,
            Outcome::Fault | Outcome::Timeout => {
                faults.faults = faults.faults.saturating_add(1);
                faults.in_a_row = faults.in_a_row.saturating_add(1);
            }
        }
        let (kind, Faults { asked, faults, in_a_row }) = (observation.kind, *faults);
        let (Tally { asked: first, approved }, before) = (self.approvals, self.before);
        if in_a_row >= IN_A_ROW {
            self.trip =
                Some(format!("{in_a_row} decisions of kind {kind} ended in faults, one after another"));
        } else if asked >= ENOUGH && faults.saturating_mul(5) > asked {
            self.trip = Some(format!("{faults} of {asked} decisions of kind {kind} ended in faults"));
        } else if self.approvals.jumped(before) {
            self.trip = Some(format!(
                "{approved} of {first} new requests were approved; before the swap it was {} of {}",
                before.approved, before.asked
            ));
        }
        self.trip.is_some()
    }

    /// The set that must go, and why.
    pub(crate) fn tripped(&self) -> Option<(&str, &str)> {
        self.trip.as_deref().map(|reason| (self.set.as_str(), reason))
    }

    /// Says nothing more, but goes on counting.
    pub(crate) fn disarm(&mut self) {
        (self.until, self.trip) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);

    /// One letter for each decision: `.` answered, `f` fault, `t` timeout, `y` approved, `n` not approved,
    /// `c` and `C` answered and fault of a classifier. Gives the place of the one that trips, and why.
    fn run(before: (u64, u64), decisions: &str) -> Option<(usize, String)> {
        let now = Instant::now();
        let before = Tally { approved: before.0, asked: before.1 };
        let mut guard = Guard::armed("new", before, now, WINDOW);
        decisions.chars().enumerate().find_map(|(place, letter)| {
            let observation = Observation {
                kind: if "cC".contains(letter) { Kind::Classification } else { Kind::Approval },
                outcome: match letter {
                    'f' | 'C' => Outcome::Fault,
                    't' => Outcome::Timeout,
                    _ => Outcome::Answered,
                },
                approval: match letter {
                    'y' => Some(true),
                    'n' => Some(false),
                    _ => None,
                },
            };
            let tripped = guard.observe("new", observation, now);
            assert_eq!(tripped, guard.tripped().is_some(), "{decisions}");
            tripped.then(|| (place, guard.tripped().unwrap().1.to_owned()))
        })
    }

    fn check(before: (u64, u64), decisions: &str, expected: Option<(usize, &str)>) {
        let found = run(before, decisions);
        let found = found.as_ref().map(|(place, why)| (*place, why.as_str()));
        assert_eq!(found, expected, "{decisions}");
    }

    // faults row 59
    #[test]
    fn faults_in_a_row_or_too_many_of_them_trip() {
        check((0, 0), "ffff.ffff", None);
        check(
            (0, 0),
            "..fftff",
            Some((6, "5 decisions of kind approval ended in faults, one after another")),
        );
        let share = "5 of 20 decisions of kind approval ended in faults";
        check((0, 0), &"f...".repeat(5), Some((19, share)));
        // One in five is not more than one in five.
        check((0, 0), &"....f".repeat(20), None);
        // Nineteen are too few to say.
        check((0, 0), &"f...".repeat(5)[..19], None);
        // Another kind's answers do not make up for a broken one.
        let broken = "5 decisions of kind classification ended in faults, one after another";
        check((0, 0), "C.C...C.C.C", Some((10, broken)));
        check((0, 0), "CcCcC.cC", None);
    }

    // faults row 60
    #[test]
    fn a_jump_of_approvals_trips_where_it_is_known_what_was_before() {
        let all = "y".repeat(20);
        let jumped = "20 of 20 new requests were approved; before the swap it was 8 of 20";
        check((8, 20), &all, Some((19, jumped)));
        check((10, 20), &all, None); // twice as many is not more than twice
        check(
            (0, 20),
            &all,
            Some((19, "20 of 20 new requests were approved; before the swap it was 0 of 20")),
        );
        check((0, 19), &all, None); // too few before
        check((0, 0), &"y".repeat(100), None); // nothing is known
        check((8, 20), &all[..19], None); // too few since
        check(
            (0, 20),
            &"nnyyyyyyyyyyyyyyyyyy"[..20],
            Some((19, "18 of 20 new requests were approved; before the swap it was 0 of 20")),
        );
        check((0, 20), &("nnn".to_owned() + &"y".repeat(17)), None);
        check((0, 20), &".".repeat(100), None);
    }

    #[test]
    fn it_says_so_once_within_the_window_and_of_its_own_set() {
        let (now, fault) =
            (Instant::now(), Observation { kind: Kind::Provision, outcome: Outcome::Fault, approval: None });
        let mut guard = Guard::armed("new", Tally::default(), now, WINDOW);
        let tripped =
            |guard: &mut Guard, set: &str, now| (0..9).filter(|_| guard.observe(set, fault, now)).count();
        assert_eq!(tripped(&mut guard, "old", now), 0);
        assert_eq!(tripped(&mut guard, "new", now + WINDOW), 0, "the window has ended");
        assert_eq!(tripped(&mut guard, "new", now), 1);
        guard.disarm();
        assert_eq!((tripped(&mut guard, "new", now), guard.tripped()), (0, None));
        assert_eq!(tripped(&mut Guard::idle("new", Tally::default()), "new", now), 0);
    }

    /// Against the rules in the plainest words, over 2,000 random runs.
    #[test]
    fn it_trips_exactly_where_the_rules_say() {
        let mut seed: u64 = 7;
        let mut draw = |below: u64| {
            // Knuth's generator: the same runs each time.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..2000 {
            let (before_asked, bad, yes) = (draw(60), draw(50), draw(101));
            let before = (draw(before_asked + 1), before_asked);
            let letters: String = (0..100)
                .map(|_| match (draw(100) < bad, draw(100) < yes) {
                    (true, _) => 'f',
                    (false, true) => 'y',
                    (false, false) => 'n',
                })
                .collect();
            let must = |seen: &str| {
                let number = |n: u64| f64::from(u32::try_from(n).unwrap());
                let count = |letters: &[char]| number(seen.matches(letters).count().try_into().unwrap());
                let (asked, faults, yes) = (count(&['f', 'y', 'n']), count(&['f']), count(&['y']));
                let first = yes + count(&['n']);
                let share = number(before.0) / number(before.1);
                seen.ends_with("fffff")
                    || (asked >= 20.0 && faults / asked > 0.2)
                    || (first >= 20.0 && before.1 >= 20 && yes / first >= 0.9 && yes / first > 2.0 * share)
            };
            let expected = (1..=letters.len()).find(|&end| must(&letters[..end])).map(|end| end - 1);
            assert_eq!(run(before, &letters).map(|(place, _)| place), expected, "{before:?} {letters}");
        }
    }

    #[test]
    fn old_approvals_fade() {
        let mut tally = Tally::default();
        (0..5000).for_each(|_| tally.count(true));
        (0..1000).for_each(|_| tally.count(false));
        assert!(tally.asked <= REMEMBERED && tally.approved * 2 < tally.asked, "{tally:?}");
    }
}
