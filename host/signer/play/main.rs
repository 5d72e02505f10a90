//! Plays the daemon and its signer for the tests, honestly and otherwise. The first argument names the
//! part; tests tell their children apart by a second one, which nothing reads.

mod liar;

use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, ErrorKind};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{io, thread};

use bunraku_signer::{KeyHolder as _, Process, Settings, run_child};
use rustix::process::{Pid, PidfdFlags, Signal};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result {
    let mut arguments = std::env::args_os().skip(1);
    let part = arguments.next().and_then(|part| part.into_string().ok()).unwrap_or_default();
    let mut next = || arguments.next().map(PathBuf::from).ok_or("an argument is missing");
    match part.as_str() {
        // What `bunraku signer` does.
        "signer" => Ok(run_child()?),
        // Ends at once while that file is there.
        "flaky" if next()?.exists() => Err("not today".into()),
        "flaky" => Ok(run_child()?),
        // A signer that tries what it may not.
        "prober" => {
            let parent = rustix::process::getppid();
            thread::Builder::new().spawn(move || probe(parent))?;
            Ok(run_child()?)
        }
        // PART KEY [PASSPHRASE_FILE]: keeps a key in a signer of that part, and signs lines.
        "daemon" => daemon(&next()?, &next()?, next().ok()),
        lie => liar::run(lie),
    }
}

fn daemon(part: &Path, key: &Path, passphrase_file: Option<PathBuf>) -> Result {
    let arguments = vec![part.into(), OsString::from("daemon's")];
    let program = "/proc/self/exe".into();
    let holder = Process::new(Settings { program, arguments, passphrase_file, threads: 2 });
    let key = match holder.open(key, None) {
        Ok(key) => key,
        Err(error) => {
            println!("error: {error}");
            return Ok(());
        }
    };
    println!("ready");
    for line in io::stdin().lock().lines() {
        println!("signed {}", key.sign(line?.as_bytes())?.len());
    }
    drop(key);
    println!("done");
    Ok(())
}

/// Waits for the filter, then says of each thing that a signer never does how it went.
fn probe(parent: Option<Pid>) {
    let sealed = || File::open("/dev/null").is_err_and(|e| e.kind() == ErrorKind::PermissionDenied);
    while !sealed() {
        thread::yield_now();
    }
    fn tell<T>(what: &str, result: io::Result<T>) {
        let outcome = result.map_or_else(|e| e.raw_os_error().unwrap_or(-1), |_| 0);
        eprintln!("probe {what} {outcome}");
    }
    tell("open", File::open("/etc/hostname"));
    tell("create", File::create("/tmp/signer-probe"));
    tell("list", std::fs::read_dir("/"));
    tell("remove", std::fs::remove_file("/tmp/signer-probe"));
    tell("tcp", TcpStream::connect(("127.0.0.1", 1)));
    tell("udp", UdpSocket::bind(("127.0.0.1", 0)));
    tell("unix", UnixStream::connect("/run/signer-probe"));
    tell("pair", UnixStream::pair());
    tell("fork", Command::new("/bin/true").spawn());
    tell("exec", io::Result::<()>::Err(Command::new("/bin/true").exec()));
    tell("thread", thread::Builder::new().spawn(|| ()));
    if let Some(parent) = parent {
        tell("kill", rustix::process::kill_process(parent, Signal::TERM).map_err(Into::into));
        tell("watch", rustix::process::pidfd_open(parent, PidfdFlags::empty()).map_err(Into::into));
    }
    tell("dumpable", rustix::process::dumpable_behavior().map_err(Into::into));
    // What goes on: much memory, and a panic that is caught.
    drop(vec![1u8; 100 * 1024 * 1024]);
    #[expect(clippy::panic, reason = "to see it caught")]
    let caught = std::panic::catch_unwind(|| panic!("a panic")).is_err();
    eprintln!("probe end {}", i32::from(!caught));
}
