//! A plugin that asks a server over HTTP: it reaches what it was granted, with a credential that it
//! never sees.

use std::convert::Infallible;
use std::fs;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use bunraku_tests::loopback::Loopback;
use bunraku_tests::master::{Master, Settings};
use bunraku_tests::plugins::{component, from_file};
use bunraku_tests::request::{self, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use tempfile::TempDir;

const KNOWN: &str = "known.cluster.test";
const TOKEN: &str = "Bearer 5ecret-of-the-ticket-server";

/// A ticket server: knows one name, and answers only those who have its token.
struct Server {
    at: Loopback,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A request that it got.
#[derive(Clone, Debug)]
struct Asked {
    has_token: bool,
    body: Bytes,
}

impl Server {
    fn start() -> Result<Server> {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let log = Arc::clone(&asked);
        let at = Loopback::start(service_fn(move |request: hyper::Request<Incoming>| {
            let log = Arc::clone(&log);
            async move {
                let has_token = request.headers().get(AUTHORIZATION).is_some_and(|value| value == TOKEN);
                let body =
                    request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let known = has_token && body == KNOWN;
                if let Ok(mut log) = log.lock() {
                    log.push(Asked { has_token, body });
                }
                let mut answer =
                    Response::new(Full::new(Bytes::from(if known { "ticket 4711" } else { "" })));
                *answer.status_mut() = if known { StatusCode::OK } else { StatusCode::NOT_FOUND };
                Ok::<_, Infallible>(answer)
            }
        }))?;
        Ok(Server { at, asked })
    }

    fn origin(&self) -> String {
        format!("http://{}", self.at.address())
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }
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

    ensure!(submit(KNOWN)?, "the server knows it:\n{}", master.log());
    ensure!(!submit("unknown.cluster.test")?, "nobody knows it");
    let asked = server.asked();
    let about = asked.iter().find(|request| request.body == KNOWN).context("not asked")?;
    ensure!(about.has_token, "{asked:?}");
    let why = master.explain(KNOWN, &[])?;
    ensure!(why.contains("ticket 4711") && why.contains(&server.origin()), "{why}");
    let why = master.explain("unknown.cluster.test", &[])?;
    ensure!(why.contains("the server said 404"), "{why}");

    // To another port of the same address it has no grant: nobody there is asked.
    master.configure(&asks(&other))?;
    master.reload(&["the plugins were reloaded"])?;
    ensure!(!submit("other.cluster.test")?, "it reached a server that it was not granted");
    let why = master.explain("other.cluster.test", &[])?;
    ensure!(why.contains("HttpRequestDenied") && other.asked().is_empty(), "{why}");

    let told = master.explain(KNOWN, &["--json"])?;
    // Header values are never told, so the header itself must not be there.
    ensure!(told.contains("\"http\"") && !told.to_ascii_lowercase().contains("authorization"), "{told}");
    let everything = [master.explain(KNOWN, &[])?, told, master.log()].concat();
    ensure!(!everything.contains("5ecret"), "the credential is readable:\n{everything}");
    for file in fs::read_dir(master.state())?.flatten().filter(|file| file.path().is_file()) {
        let bytes = fs::read(file.path())?;
        let readable = bytes.windows(6).any(|window| window == b"5ecret");
        ensure!(!readable, "the credential is in {}", file.path().display());
    }
    Ok(())
}
