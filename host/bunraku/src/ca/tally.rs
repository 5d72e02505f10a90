//! What became of each of several things, and the exit code that says so.

use serde_json::{Map, Value, json};

use crate::arguments::Output;
use crate::print::{out, printable};
use crate::setup::Failure;

/// The exit code where some of several failed, as `puppetserver ca` has it.
pub const SOME: u8 = 24;

/// Notes what became of each thing, says it as it happens, and ends with an
/// exit code: 0 all done, 1 none, 24 some.
pub struct Tally {
    key: &'static str,
    json: bool,
    rows: Vec<Value>,
    done: usize,
    failed: usize,
}

impl Tally {
    /// Of things that are named by `key` in JSON, such as `certname`.
    pub fn of(key: &'static str, output: Output) -> Tally {
        Tally { key, json: output.json, rows: Vec::new(), done: 0, failed: 0 }
    }

    /// It was done: a word for scripts, a sentence for people, and more for scripts.
    pub fn done(&mut self, name: &str, result: &str, sentence: &str, more: Map<String, Value>) {
        self.done += 1;
        if self.json {
            let mut row = more;
            row.insert(self.key.to_owned(), name.into());
            row.insert("result".to_owned(), result.into());
            self.rows.push(Value::Object(row));
        } else {
            out(&format!("{}\n", printable(sentence)));
        }
    }

    /// It was not done.
    pub fn failed(&mut self, name: &str, why: &str) {
        self.failed += 1;
        if self.json {
            self.rows.push(json!({self.key: name, "result": "failed", "error": why}));
        } else {
            eprintln!("bunraku: {}: {}", printable(name), printable(why));
        }
    }

    /// Prints what is left to print, and the exit code. `nothing` is said where
    /// there was nothing to do.
    pub fn finish(self, nothing: &str) -> Result<(), Failure> {
        if self.json {
            out(&format!("{}\n", Value::Array(self.rows)));
        } else if self.done + self.failed == 0 {
            out(&format!("{nothing}\n"));
        }
        match (self.done, self.failed) {
            (_, 0) => Ok(()),
            // Each has been said.
            (0, _) => Err(Failure::with_code(1, "")),
            (done, failed) => {
                Err(Failure::with_code(SOME, format_args!("{failed} of {} failed", done + failed)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_whether_all_some_or_none_were_done() {
        fn check(done: usize, failed: usize, code: u8) {
            let mut tally = Tally::of("certname", Output { json: true });
            for n in 0..done {
                tally.done(&n.to_string(), "signed", "", Map::new());
            }
            for n in 0..failed {
                tally.failed(&n.to_string(), "why");
            }
            let ended = tally.finish("nothing waits").map_err(|failure| failure.code);
            assert_eq!(ended, if code == 0 { Ok(()) } else { Err(code) }, "{done} {failed}");
        }
        check(0, 0, 0);
        check(3, 0, 0);
        check(0, 1, 1);
        check(0, 3, 1);
        check(1, 1, 24);
        check(9, 1, 24);
    }
}
