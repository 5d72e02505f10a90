//! A plugin that asks a server over HTTP: it reaches what it was granted, with a credential that it
//! never sees.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bunraku_tests::master::{Master, Settings};
use bunraku_tests::plugins::{component, from_file};
use bunraku_tests::request::{self, Request};
use tempfile::TempDir;

const KNOWN: &str = "known.cluster.test";
/// How long the journal may take.
const PATIENCE: Duration = Duration::from_secs(10);
const TOKEN: &str = "Bearer 5ecret-of-the-ticket-server";

/// A ticket server: knows one name, and answers only those who have its token.
struct Server {
    port: u16,
    /// The heads and bodies of all requests.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Result<Server> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (port, asked) = (listener.local_addr()?.port(), Arc::default());
        let requests = Arc::clone(&asked);
        // Until the test's process ends.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, &requests);
            }
        });
        Ok(Server { port, asked })
    }

    fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }
}

fn answer(stream: TcpStream, asked: &Mutex<Vec<String>>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        ensure!(reader.read_line(&mut request)? > 0, "cut short");
    }
    let mut body = Vec::new();
    if request.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        loop {
            let mut length = String::new();
            reader.read_line(&mut length)?;
            let length = u64::from_str_radix(length.trim(), 16)?;
            reader.by_ref().take(length).read_to_end(&mut body)?;
            reader.read_line(&mut String::new())?;
            if length == 0 {
                break;
            }
        }
    } else {
        let length = request.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        reader.by_ref().take(length.unwrap_or(0)).read_to_end(&mut body)?;
    }
    let known = request.contains(TOKEN) && body == KNOWN.as_bytes();
    request.push_str(&String::from_utf8_lossy(&body));
    asked.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.push(request);
    let (status, text) = if known { ("200 OK", "ticket 4711") } else { ("404 Not Found", "") };
    let length = text.len();
    write!(
        reader.get_mut(),
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )?;
    Ok(())
}

#[test]
fn a_policy_asks_the_server_that_it_was_granted_with_a_credential_that_it_never_sees() -> Result<()> {
    let (server, other, folder) = (Server::start()?, Server::start()?, TempDir::new()?);
    let token = folder.path().join("token");
    fs::write(&token, format!("{TOKEN}\n"))?;
    let policy = from_file("tickets", &component("hostile/asks_elsewhere")?);
    let asks = |at: &Server| {
        format!(
            "{policy}settings = {{ at = {:?} }}\n[plugins.grants]\nhttp = [{{ origin = {:?}, methods = [\"POST\"], \
             private = true, header = \"Authorization\", value_file = {token:?} }}]\n",
            at.origin(),
            server.origin()
        )
    };
    let master = Master::start_with(&Settings { config: &asks(&server), ..Settings::default() })?;
    let stranger = master.stranger()?;
    let submit = |name: &str| -> Result<bool> {
        ensure!(Request::named(name)?.submit(&stranger, name)?.status == 200, "{name} was not taken");
        Ok(request::certificate(&stranger, name)?.is_some())
    };
    let explain = |name: &str, more: &[&str]| -> Result<String> {
        let began = Instant::now();
        loop {
            let said = master.command(&[&["explain", name][..], more].concat())?;
            // A decision that signs nobody is journalled a moment after its answer.
            if said.status.success() || began.elapsed() > PATIENCE {
                return Ok(String::from_utf8(said.stdout)? + &String::from_utf8(said.stderr)?);
            }
            thread::sleep(Duration::from_millis(20));
        }
    };

    ensure!(submit(KNOWN)?, "the server knows it:\n{}", master.log());
    ensure!(!submit("unknown.cluster.test")?, "nobody knows it");
    let asked = server.asked();
    let about = |name: &str| asked.iter().find(|request| request.ends_with(name));
    ensure!(about(KNOWN).context("not asked")?.contains(TOKEN), "{asked:?}");
    let why = explain(KNOWN, &[])?;
    ensure!(why.contains("ticket 4711") && why.contains(&server.origin()), "{why}");
    let why = explain("unknown.cluster.test", &[])?;
    ensure!(why.contains("the server said 404"), "{why}");

    // To another port of the same address it has no grant: nobody there is asked.
    master.configure(&asks(&other))?;
    master.reload(&["the plugins were reloaded"])?;
    ensure!(!submit("other.cluster.test")?, "it reached a server that it was not granted");
    let why = explain("other.cluster.test", &[])?;
    ensure!(why.contains("HttpRequestDenied") && other.asked().is_empty(), "{why}");

    let everything = [explain(KNOWN, &[])?, explain(KNOWN, &["--json"])?, master.log()].concat();
    ensure!(!everything.contains("5ecret"), "the credential is readable:\n{everything}");
    for file in fs::read_dir(master.state())?.flatten().filter(|file| file.path().is_file()) {
        let bytes = fs::read(file.path())?;
        let readable = bytes.windows(6).any(|window| window == b"5ecret");
        ensure!(!readable, "the credential is in {}", file.path().display());
    }
    Ok(())
}
