//! One line for each request, in Common Log Format, with two fields after it:
//!
//! ```text
//! 192.0.2.7 - web1.example.test [22/Nov/2026:16:38:11 +0000] "GET /puppet/v3/node/… HTTP/1.1" 200 213 0.004 4fd1…
//! address     certname or -      when the answer was ready     request line                status bytes seconds request id
//! ```
//!
//! A request over the control socket has `local` for its address. Whoever only knows the format stops at the bytes. What a client sent is escaped, so no line can
//! fake another one or move a terminal's cursor. Facts in a query are left out: they may be secret.
//!
//! A thread writes. It never holds a request up: when it does not keep up, lines are dropped and
//! counted, and the log says how many.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::connection::Origin;
use crate::server::Gauges;

/// Lines that wait for the thread.
const WAITING_LINES: usize = 8192;
/// Characters of a request's target that are shown.
const TARGET_CHARS: usize = 1024;
const WHEN: &[BorrowedFormatItem<'_>] =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");

/// Where the access log goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AccessLogTo {
    /// Nowhere.
    #[default]
    Off,
    /// The standard output.
    Stdout,
    /// A file (made 0640), appended to.
    File(PathBuf),
}

/// A request and its answer, for the log.
#[derive(Debug)]
pub struct Line<'a> {
    /// Where the connection comes from.
    pub origin: Origin,
    /// The name it proved.
    pub certname: Option<&'a str>,
    /// When the answer was ready.
    pub at: OffsetDateTime,
    /// The request's method.
    pub method: &'a str,
    /// Path and query as they were sent.
    pub target: &'a str,
    /// `HTTP/1.1`.
    pub version: &'a str,
    /// The answer's status.
    pub status: u16,
    /// Bytes of the answer's body on the wire.
    pub bytes: u64,
    /// From the request's head to the answer.
    pub took: Duration,
    /// The request's id.
    pub request_id: &'a str,
}

/// The log's writing end. The thread ends when it is dropped, after the last line.
#[derive(Debug)]
pub struct AccessLog {
    lines: Option<SyncSender<String>>,
    gauges: Arc<Gauges>,
    thread: Option<JoinHandle<()>>,
}

impl AccessLog {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(to: &AccessLogTo, gauges: Arc<Gauges>) -> io::Result<AccessLog> {
        match to {
            AccessLogTo::Off => Ok(AccessLog { lines: None, gauges, thread: None }),
            AccessLogTo::Stdout => AccessLog::start(Box::new(io::stdout()), gauges),
            AccessLogTo::File(path) => {
                let file: File = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
                AccessLog::start(Box::new(file), gauges)
            }
        }
    }

    fn start(to: Box<dyn Write + Send>, gauges: Arc<Gauges>) -> io::Result<AccessLog> {
        let (lines, waiting) = sync_channel(WAITING_LINES);
        let counter = gauges.clone();
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&waiting, BufWriter::new(to), &counter.dropped_lines))?;
        Ok(AccessLog { lines: Some(lines), gauges, thread: Some(thread) })
    }

    /// Hands a line to the thread, or drops it.
    pub fn write(&self, line: &Line<'_>) {
        let Some(lines) = &self.lines else { return };
        if lines.try_send(line.to_text()).is_err() {
            self.gauges.dropped_lines.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

fn write_all(waiting: &Receiver<String>, mut to: BufWriter<Box<dyn Write + Send>>, dropped: &AtomicU64) {
    let (mut told, mut failing) = (0, false);
    while let Ok(first) = waiting.recv() {
        let mut result = to.write_all(first.as_bytes());
        for line in waiting.try_iter().take(WAITING_LINES) {
            result = result.and_then(|()| to.write_all(line.as_bytes()));
        }
        result = result.and_then(|()| to.flush());
        if let (Err(error), false) = (&result, failing) {
            tracing::error!(%error, "the access log cannot be written; lines are lost");
        }
        failing = result.is_err();
        let lost = dropped.load(Ordering::Relaxed);
        if lost > told {
            tracing::warn!(lines = lost - told, "the access log did not keep up and dropped lines");
            told = lost;
        }
    }
}

impl Line<'_> {
    fn to_text(&self) -> String {
        let mut text = String::with_capacity(192);
        let when = self.at.to_offset(time::UtcOffset::UTC).format(&WHEN).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(text, "{} - {} [{when}] \"", self.origin, self.certname.unwrap_or("-"));
        escape(self.method, &mut text);
        text.push(' ');
        escape(&shown(self.target), &mut text);
        let _ = writeln!(
            text,
            " {}\" {} {} {:.3} {}",
            self.version,
            self.status,
            self.bytes,
            self.took.as_secs_f64(),
            self.request_id
        );
        text
    }
}

fn shown(target: &str) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut text = path.to_owned();
    for (at, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        text.push_str(if pair.starts_with("facts=") { "facts=..." } else { pair });
    }
    if text.chars().count() > TARGET_CHARS {
        text = text.chars().take(TARGET_CHARS).chain("...".chars()).collect();
    }
    text
}

/// Printable ASCII stays; quotes and backslashes get a backslash, all other bytes become `\xHH`.
fn escape(raw: &str, into: &mut String) {
    for byte in raw.bytes() {
        match byte {
            b'"' | b'\\' => into.extend(['\\', char::from(byte)]),
            b' '..=b'~' => into.push(char::from(byte)),
            _ => {
                let _ = write!(into, "\\x{byte:02x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use time::macros::datetime;

    fn line(target: &str) -> Line<'_> {
        Line {
            origin: Origin::Network("192.0.2.7".parse().unwrap()),
            certname: Some("web1.example.test"),
            at: datetime!(2026-11-02 16:38:11 UTC),
            method: "GET",
            target,
            version: "HTTP/1.1",
            status: 200,
            bytes: 213,
            took: Duration::from_micros(4321),
            request_id: "r-1",
        }
    }

    #[test]
    fn a_line_is_common_log_format_and_cannot_be_forged() {
        let check = |target: &str, expected: &str| {
            let expected = format!(
                "192.0.2.7 - web1.example.test [02/Nov/2026:16:38:11 +0000] \"GET {expected} HTTP/1.1\" 200 213 0.004 r-1\n"
            );
            assert_eq!(line(target).to_text(), expected);
        };
        check("/a?b=c", "/a?b=c");
        check("/a\" 200 1\n::1 - root", "/a\\\" 200 1\\x0a::1 - root");
        check("/\u{1b}[2Jé\\", "/\\x1b[2J\\xc3\\xa9\\\\");
        check("/c?x=1&facts=%7B%22secret&y=2", "/c?x=1&facts=...&y=2");
        let nobody = Line { certname: None, ..line("/") };
        assert!(nobody.to_text().starts_with("192.0.2.7 - - ["));
        let local = Line { origin: Origin::Local { uid: 0 }, certname: None, ..line("/") };
        assert!(local.to_text().starts_with("local - - ["));
        assert!(line(&"a".repeat(5000)).to_text().len() < 1200);
    }

    /// Blocks every write until it may go on.
    struct Stuck(std::sync::mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_log_drops_lines_and_counts_them_but_holds_nobody_up() {
        let (go, wait) = std::sync::mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let gauges = Arc::new(Gauges::default());
        let log = AccessLog::start(Box::new(Stuck(wait, written.clone())), gauges.clone()).unwrap();
        let sent = WAITING_LINES * 3;
        for _ in 0..sent {
            log.write(&line("/a"));
        }
        let dropped = gauges.dropped_lines.load(Ordering::Relaxed);
        assert!(dropped > 0, "nothing was dropped");
        drop(go);
        drop(log);
        let lines = written.lock().unwrap().iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines + usize::try_from(dropped).unwrap(), sent);
    }
}
