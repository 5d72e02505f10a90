//! Which set is live and which were before it, as it is recorded with every change.

use serde::{Deserialize, Serialize};

use crate::guard::Tally;

/// What a restart must know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Standing {
    /// Sets that were live, the live one last. What is rolled back is taken off.
    pub(crate) line: Vec<String>,
    /// The set that the configuration last came to.
    pub(crate) configured: Option<String>,
    /// Sets that the guard took back; it never goes back to one of them.
    pub(crate) tripped: Vec<String>,
    /// When the live one was swapped in, in unix seconds; none where it was rolled back to.
    pub(crate) guarded_since: Option<i64>,
    /// What the set before it approved.
    pub(crate) before: Tally,
}

impl Standing {
    /// The live set, unless nothing ever was.
    pub(crate) fn live(&self) -> Option<&str> {
        self.line.last().map(String::as_str)
    }

    /// With `set` live; of the line, the last `keep` before it are kept.
    pub(crate) fn swapped(&self, set: &str, keep: usize, now: i64, before: Tally) -> Standing {
        let mut line = self.line.clone();
        line.push(set.to_owned());
        line.drain(..line.len().saturating_sub(keep.saturating_add(1)));
        // Whoever swaps it in again wants it.
        let tripped = self.tripped.iter().filter(|id| *id != set).cloned().collect();
        Standing { line, configured: self.configured.clone(), tripped, guarded_since: Some(now), before }
    }

    /// With `to` live, and what came after it forgotten.
    pub(crate) fn rolled_back(&self, to: &str, keep: usize) -> Standing {
        let mut line = self.line.clone();
        let before = line.len().saturating_sub(1);
        match line.iter().take(before).rposition(|id| id == to) {
            Some(place) => line.truncate(place.saturating_add(1)),
            None => {
                line.push(to.to_owned());
                line.drain(..line.len().saturating_sub(keep.saturating_add(1)));
            }
        }
        Standing { line, guarded_since: None, ..self.clone() }
    }

    /// With the live set marked as one that the guard took back.
    pub(crate) fn tripping(mut self, set: &str, keep: usize) -> Standing {
        if !self.tripped.iter().any(|id| id == set) {
            self.tripped.push(set.to_owned());
        }
        self.tripped.drain(..self.tripped.len().saturating_sub(keep.max(1)));
        self
    }

    /// The sets to go back to, the nearest first: those before the live one that are others, and for the
    /// guard also none that it took back.
    pub(crate) fn candidates(&self, guard: bool) -> impl Iterator<Item = &str> {
        let before = self.line.iter().rev().skip(1);
        let others = before.filter(|id| self.line.last() != Some(id));
        others.filter(move |id| !guard || !self.tripped.contains(id)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+x` swaps to x, `-x` rolls back to x, `-` to whatever is before, `!` is the guard.
    fn run(steps: &str) -> Standing {
        steps.split_whitespace().fold(Standing::default(), |standing, step| {
            let live = standing.live().map(str::to_owned);
            match step.split_at(1) {
                ("+", set) => standing.swapped(set, 3, 0, Tally::default()),
                ("-", "") => standing.rolled_back(standing.candidates(false).next().unwrap(), 3),
                ("-", set) => standing.rolled_back(set, 3),
                _ => match standing.candidates(true).next() {
                    Some(to) => standing.rolled_back(to, 3).tripping(&live.unwrap(), 3),
                    None => standing.clone().tripping(&live.unwrap(), 3),
                },
            }
        })
    }

    #[test]
    fn the_line_is_what_can_be_gone_back_to() {
        let check = |steps: &str, line: &str, previous: Option<&str>| {
            let standing = run(steps);
            assert_eq!(
                (standing.line.join(""), standing.candidates(false).next()),
                (line.into(), previous),
                "{steps}"
            );
        };
        check("", "", None);
        check("+a", "a", None);
        check("+a +b", "ab", Some("a"));
        check("+a +b +c -", "ab", Some("a"));
        check("+a +b +c - -", "a", None);
        check("+a +b +c -a", "a", None);
        check("+a +b -c", "abc", Some("b"));
        check("+a +b +a", "aba", Some("b"));
        check("+a +b +a -", "ab", Some("a"));
        check("+a +b +c +d +e", "bcde", Some("d"));
    }

    // faults row 59
    #[test]
    fn the_guard_never_goes_back_to_what_it_took_back() {
        let check = |steps: &str, live: &str, next: Option<&str>| {
            let standing = run(steps);
            assert_eq!((standing.live(), standing.candidates(true).next()), (Some(live), next), "{steps}");
        };
        check("+a +b !", "a", None);
        check("+a +b ! +c !", "a", None);
        check("+a +b ! +b", "b", Some("a")); // an operator wants it all the same
        check("+a +b +c -b +d", "d", Some("b"));
        check("+a +b ! -b +c", "c", Some("a")); // an operator went back to what the guard took back
        check("+a !", "a", None);
    }
}
