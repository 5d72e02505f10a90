//! Reading what `strace -f -y -xx` wrote down.
//!
//! A call that is not understood ends the test: what it did to the disk would be missing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Calls that are written down: all that can change a file or a name, those that are not understood
/// included, and those that move a file's position.
pub const CALLS: &str = "open,openat,openat2,creat,read,lseek,write,writev,pwrite64,pwritev,pwritev2,\
    ftruncate,truncate,fallocate,fsync,fdatasync,sync_file_range,sync,syncfs,msync,rename,renameat,renameat2,\
    unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat,copy_file_range,sendfile,splice,mmap,\
    io_uring_setup,dup,dup2,dup3,fcntl";

/// What happened, in order. Paths are relative to the folder that is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A file was opened that may have been made by it.
    Create(PathBuf),
    Write(PathBuf, usize, Arc<[u8]>),
    Truncate(PathBuf, usize),
    /// Of a file or a folder.
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
    Mkdir(PathBuf),
    /// A line that the program wrote to its standard output.
    Fact(String),
}

/// A call as it was written down.
#[derive(Debug, Clone)]
pub struct Call {
    pub thread: u32,
    pub name: String,
    arguments: Vec<Argument>,
    result: i64,
    injected: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Argument {
    /// A descriptor's number (-100: the working directory) and what it is of.
    Descriptor(i64, PathBuf),
    Text(Vec<u8>),
    Other(String),
}

/// All finished calls, in the order in which they ended.
pub fn calls(text: &str) -> Vec<Call> {
    let mut unfinished: HashMap<&str, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let (thread, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no thread: {line:.200}"));
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        let whole = if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, begun.trim_end().to_owned());
            continue;
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let begun = unfinished.remove(thread).unwrap_or_else(|| panic!("nothing began: {line:.200}"));
            let (_, end) = resumed.split_once("resumed>").unwrap_or_else(|| panic!("{line:.200}"));
            begun + end
        } else {
            rest.to_owned()
        };
        calls.push(call(thread, &whole).unwrap_or_else(|| panic!("not understood: {line:.300}")));
    }
    calls
}

/// `name(argument, …) = result …`
fn call(thread: &str, text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let number = result.split([' ', '<']).next()?;
    let result_number = match number.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok()?,
        None => number.parse().ok()?,
    };
    Some(Call {
        thread: thread.parse().ok()?,
        name: name.to_owned(),
        arguments: split(arguments).into_iter().map(argument).collect::<Option<_>>()?,
        result: result_number,
        injected: result.contains("(INJECTED)"),
    })
}

/// At commas outside of strings and brackets.
fn split(arguments: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0, false);
    for (at, byte) in arguments.bytes().enumerate() {
        match byte {
            // With -xx a string holds nothing but \x.. escapes.
            b'"' => quoted = !quoted,
            b'[' | b'{' | b'(' if !quoted => depth += 1,
            b']' | b'}' | b')' if !quoted => depth -= 1,
            b',' if !quoted && depth == 0 => {
                parts.push(arguments[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if !arguments.trim().is_empty() {
        parts.push(arguments[start..].trim());
    }
    parts
}

fn argument(text: &str) -> Option<Argument> {
    if let Some(quoted) = text.strip_prefix('"') {
        // `"…"...` is a string that was cut short.
        return Some(Argument::Text(unescape(quoted.strip_suffix('"')?)?));
    }
    if let Some((number, path)) = text.split_once('<') {
        let number = if number == "AT_FDCWD" { -100 } else { number.parse().ok()? };
        let path = match path.strip_suffix(">(deleted)") {
            Some(_) => PathBuf::from("(deleted)"),
            None => {
                let path = path.strip_suffix('>')?;
                // Pipes and sockets are named in plain text.
                let path = if path.starts_with("\\x") { unescape(path)? } else { path.into() };
                PathBuf::from(String::from_utf8(path).ok()?)
            }
        };
        return Some(Argument::Descriptor(number, path));
    }
    Some(Argument::Other(text.to_owned()))
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let hex = text.split("\\x").skip(1).map(|hex| match hex.len() {
        2 => u8::from_str_radix(hex, 16).ok(),
        _ => None,
    });
    let bytes: Vec<u8> = hex.collect::<Option<_>>()?;
    (bytes.len() * 4 == text.len()).then_some(bytes)
}

impl Call {
    /// Whether it is about something in the folder.
    pub fn concerns(&self, folder: &Path) -> bool {
        self.arguments.iter().any(|argument| match argument {
            Argument::Descriptor(_, path) => path.starts_with(folder),
            Argument::Text(text) => Path::new(&*String::from_utf8_lossy(text)).starts_with(folder),
            Argument::Other(_) => false,
        })
    }

    fn not_understood(&self) -> ! {
        let mut shown = format!("{self:?}");
        shown.truncate(500);
        panic!("what does this do to the disk? {shown}")
    }

    fn descriptor(&self) -> (i64, &Path) {
        match self.arguments.first() {
            Some(Argument::Descriptor(number, path)) => (*number, path),
            _ => self.not_understood(),
        }
    }

    fn text(&self, place: usize) -> &[u8] {
        match self.arguments.get(place) {
            Some(Argument::Text(text)) => text,
            _ => self.not_understood(),
        }
    }

    fn other(&self, place: usize) -> &str {
        match self.arguments.get(place) {
            Some(Argument::Other(text)) => text,
            _ => self.not_understood(),
        }
    }

    fn number(&self, place: usize) -> usize {
        self.other(place).parse().unwrap_or_else(|_| self.not_understood())
    }

    /// A path, which has to be a whole one: the descriptor of a folder before it says nothing then.
    fn path(&self, place: usize) -> PathBuf {
        let path = PathBuf::from(String::from_utf8(self.text(place).to_vec()).unwrap());
        if path.is_relative() {
            self.not_understood();
        }
        path
    }
}

/// What the calls did to the folder, and what was said meanwhile.
pub fn events(calls: &[Call], folder: &Path) -> Vec<Event> {
    let mut reader = Reader { folder, positions: HashMap::new(), events: Vec::new() };
    for call in calls {
        // A call that failed did nothing, and one that strace answered itself neither.
        if call.result >= 0 && !call.injected {
            reader.take(call);
        }
    }
    reader.events
}

struct Reader<'a> {
    folder: &'a Path,
    /// Of descriptors, for calls that say no offset.
    positions: HashMap<i64, usize>,
    events: Vec<Event>,
}

impl Reader<'_> {
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(self.folder).ok().map(Path::to_owned)
    }

    fn take(&mut self, call: &Call) {
        match call.name.as_str() {
            "open" => self.open(call, call.path(0), call.other(1)),
            "openat" => self.open(call, call.path(1), call.other(2)),
            "read" | "lseek" => {
                let (number, path) = call.descriptor();
                if self.inside(path).is_some() {
                    let result = usize::try_from(call.result).unwrap();
                    let position = self.positions.entry(number).or_default();
                    *position = if call.name == "read" { *position + result } else { result };
                }
            }
            "write" => {
                let (number, path) = call.descriptor();
                let written = usize::try_from(call.result).unwrap();
                if number == 1 {
                    let text = String::from_utf8(call.text(1).to_vec()).unwrap();
                    self.events.push(Event::Fact(text.trim_end().to_owned()));
                } else if let Some(path) = self.inside(path) {
                    let position = self.positions.entry(number).or_default();
                    let content = call.text(1)[..written].into();
                    self.events.push(Event::Write(path, *position, content));
                    *position += written;
                }
            }
            "pwrite64" => {
                if let Some(path) = self.inside(call.descriptor().1) {
                    let written = usize::try_from(call.result).unwrap();
                    self.events.push(Event::Write(path, call.number(3), call.text(1)[..written].into()));
                }
            }
            "ftruncate" => {
                if let Some(path) = self.inside(call.descriptor().1) {
                    self.events.push(Event::Truncate(path, call.number(1)));
                }
            }
            "fsync" | "fdatasync" => {
                if let Some(path) = self.inside(call.descriptor().1) {
                    self.events.push(Event::Sync(path));
                }
            }
            "rename" => match (self.inside(&call.path(0)), self.inside(&call.path(1))) {
                (Some(from), Some(to)) => self.events.push(Event::Rename(from, to)),
                (None, None) => {}
                _ => call.not_understood(),
            },
            "unlink" => {
                if let Some(path) = self.inside(&call.path(0)) {
                    self.events.push(Event::Unlink(path));
                }
            }
            "mkdir" => {
                if let Some(path) = self.inside(&call.path(0)) {
                    self.events.push(Event::Mkdir(path));
                }
            }
            "mmap" => self.mmap(call),
            "fcntl" if !call.other(1).starts_with("F_DUPFD") => {}
            _ if !call.concerns(self.folder) && call.name != "sync" => {}
            _ => call.not_understood(),
        }
    }

    fn open(&mut self, call: &Call, path: PathBuf, flags: &str) {
        let Some(path) = self.inside(&path) else { return };
        if ["O_APPEND", "O_SYNC", "O_DSYNC", "O_TMPFILE", "O_DIRECT"].iter().any(|flag| flags.contains(flag))
        {
            call.not_understood();
        }
        self.positions.insert(call.result, 0);
        if flags.contains("O_CREAT") {
            self.events.push(Event::Create(path.clone()));
        }
        if flags.contains("O_TRUNC") {
            self.events.push(Event::Truncate(path, 0));
        }
    }

    /// Of the files that are written through memory, SQLite's index of its log alone is known to be
    /// worth nothing after a power cut.
    fn mmap(&self, call: &Call) {
        let writes = call.other(2).contains("PROT_WRITE") && call.other(3).contains("MAP_SHARED");
        if let Some(Argument::Descriptor(_, path)) = call.arguments.get(4)
            && writes
            && path.starts_with(self.folder)
            && !path.to_string_lossy().ends_with("-shm")
        {
            call.not_understood();
        }
    }
}

#[test]
fn a_trace_is_read_to_the_letter() {
    // `strace -xx -y` writes paths and content in hexadecimal.
    let hex = |text: &str| text.bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let (file, folder) = (hex("/f/a"), hex("/f"));
    let text = format!(
        "7  openat(AT_FDCWD<{folder}>, \"{file}\", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0600) = 3<{file}>\n\
         7  write(3<{file}>, \"\\x2c\\x29\", 2) = 2\n\
         8  write(3<{file}>, \"\\x41\" <unfinished ...>\n\
         7  pwrite64(3<{file}>, \"\\x42\\x43\", 2, 9) = 1\n\
         8  <... write resumed>, 1) = 1\n\
         7  fsync(3<{file}>) = 0 (INJECTED)\n\
         7  fsync(3<{file}>) = -1 EIO (Input/output error) (INJECTED)\n\
         7  fdatasync(3<{file}>) = 0\n\
         7  write(1<pipe:[9]>, \"{}\", 9) = 9\n\
         7  write(4<{}>, \"\\x41\", 1) = 1\n\
         7  mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000\n\
         7  +++ exited with 0 +++\n",
        hex("issued A\n"),
        hex("/elsewhere"),
    );
    let path = || PathBuf::from("a");
    let expected = [
        Event::Create(path()),
        Event::Truncate(path(), 0),
        Event::Write(path(), 0, b",)"[..].into()),
        Event::Write(path(), 9, b"B"[..].into()),
        Event::Write(path(), 2, b"A"[..].into()),
        Event::Sync(path()),
        Event::Fact("issued A".into()),
    ];
    assert_eq!(events(&calls(&text), Path::new("/f")), expected);
    for (what, line) in [
        ("a call nobody knows", format!("7  fallocate(3<{file}>, 0, 0, 10) = 0")),
        ("a string cut short", format!("7  write(3<{file}>, \"\\x41\"..., 9) = 9")),
        ("a file in memory", format!("7  mmap(NULL, 9, PROT_WRITE, MAP_SHARED, 3<{file}>, 0) = 0x7f00")),
        ("a copied descriptor", format!("7  dup(3<{file}>) = 5<{file}>")),
        ("sync", "7  sync() = 0".to_owned()),
        ("a relative name", "7  unlink(\"\\x61\") = 0".to_owned()),
        ("no call", "7  what is this".to_owned()),
    ] {
        let read = std::panic::catch_unwind(|| events(&calls(&line), Path::new("/f")));
        assert!(read.is_err(), "{what}");
    }
}
