//! Requests against real TLS servers that answer a fixed text, and against ones that misbehave.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod authority;

use std::sync::Arc;
use std::time::Duration;

use bunraku_client::{Client, Deadlines, Error, Method, Roots, StatusCode, Target};
use bytes::Bytes;
use pki::Identity;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use authority::{Authority, now};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\n\
                  Content-Length: 5\r\n\r\nhello";

/// A server that answers each connection's first request with these bytes and then, unless it is to
/// hang, closes. It shows its leaf alone, as Puppet's do. What it was sent comes out of the channel.
struct Server {
    port: u16,
    asked: tokio::sync::mpsc::UnboundedReceiver<String>,
    _task: tokio_util::task::AbortOnDropHandle<()>,
}

fn tls(identity: &Identity, clients: Option<(&Authority, &str)>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some((authority, lists)) => {
            let mut roots = RootCertStore::empty();
            for root in CertificateDer::pem_slice_iter(authority.bundle.as_bytes()) {
                roots.add(root.unwrap()).unwrap();
            }
            let lists = CertificateRevocationListDer::pem_slice_iter(lists.as_bytes()).map(Result::unwrap);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).with_crls(lists);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let own = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![own], key).unwrap()))
}

async fn serve(acceptor: TlsAcceptor, answer: impl Into<Vec<u8>>, hang: bool) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, asked) = tokio::sync::mpsc::unbounded_channel();
    let answer: Arc<[u8]> = answer.into().into();
    let task = tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (acceptor, answer, tell) = (acceptor.clone(), answer.clone(), tell.clone());
            tokio::spawn(async move {
                let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                let mut head = Vec::new();
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    if tls.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let _ = tell.send(String::from_utf8(head).unwrap());
                let _ = tls.write_all(&answer).await;
                let _ = tls.flush().await;
                if hang {
                    std::future::pending::<()>().await;
                }
                let _ = tls.shutdown().await;
            });
        }
    });
    Server { port, asked, _task: tokio_util::task::AbortOnDropHandle::new(task) }
}

fn client(port: u16, host: &str, roots: Roots, identity: Option<Identity>) -> Client {
    Client::new(Target::Https { host: host.to_owned(), port, roots, identity }).unwrap()
}

fn bundle(authority: &Authority) -> Roots {
    Roots::Bundle(authority.bundle.as_str().into())
}

fn with_lists(authority: &Authority, lists: String) -> Roots {
    Roots::BundleWithCrls { bundle: authority.bundle.as_str().into(), crls: lists.into() }
}

async fn get(client: &Client) -> Result<String, Error> {
    let answer = client.request(Method::GET, "/puppet-ca/v1/certificate/ca", None).await?;
    assert_eq!(answer.status, StatusCode::OK);
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_request_is_sent_and_its_answer_read() {
    let authority = Authority::root("Test CA");
    let mut server = serve(tls(&authority.identity("localhost", &[]), None), OK, false).await;
    let client = client(server.port, "localhost", bundle(&authority), None);
    let body = Some(("application/json", Bytes::from_static(b"{}")));
    let answer = client.request(Method::PUT, "/x/y?z=1", body).await.unwrap();
    assert_eq!((answer.status, answer.body.as_ref()), (StatusCode::OK, b"hello".as_slice()));
    assert_eq!(answer.content_type.as_deref(), Some("text/plain"));
    assert!(answer.date.is_some());
    let asked = server.asked.recv().await.unwrap();
    assert!(asked.starts_with("PUT /x/y?z=1 HTTP/1.1\r\n"), "{asked}");
    let port = server.port;
    for header in ["content-type: application/json", "content-length: 2", "host: localhost:", "accept: "] {
        assert!(asked.contains(header), "{asked}");
    }
    assert!(asked.contains(&format!("localhost:{port}\r\n")), "{asked}");
    let since = Some(answer.date.unwrap());
    client.get_since("/x", since).await.unwrap();
    let asked = server.asked.recv().await.unwrap();
    assert!(asked.contains("if-modified-since: Sun, 22 Nov 2026 10:00:00 GMT"), "{asked}");
}

/// Under an intermediate CA the server shows its leaf alone, and the bundle has to be enough.
#[tokio::test]
async fn a_servers_certificate_is_checked_by_chain_name_and_lists() {
    let root = Authority::root("Test Root");
    let (authority, other) = (root.below("Test CA"), root.below("Other CA"));
    let identity = authority.identity("ca.test", &["localhost", "127.0.0.1"]);
    let serial = identity.certificate.serial.clone();
    let server = serve(tls(&identity, None), OK, false).await;
    let check = async |host: &str, roots: Roots, expected: Option<&str>| {
        let got = get(&client(server.port, host, roots, None)).await;
        match (got, expected) {
            (Ok(text), None) => assert_eq!(text, "hello"),
            (Err(Error::Untrusted { at, reason }), Some(expected)) => {
                assert!(reason.contains(expected), "{reason}");
                assert_eq!(at, format!("{host}:{}", server.port));
            }
            (got, expected) => panic!("{got:?}, and {expected:?} was expected"),
        }
    };
    check("localhost", bundle(&authority), None).await;
    check("127.0.0.1", bundle(&authority), None).await;
    check("localhost", bundle(&other), Some("no CA of the bundle")).await;
    check("localhost", bundle(&Authority::root("Test Root")), Some("no CA of the bundle")).await;
    check("localhost", with_lists(&authority, authority.lists(1, &[])), None).await;
    check("localhost", with_lists(&authority, authority.lists(1, &[&serial])), Some("revoked")).await;
    let expired = authority.lists_until(1, &[], now() - time::Duration::days(9));
    check("localhost", with_lists(&authority, expired), None).await;
    let expired = authority.lists_until(1, &[&serial], now() - time::Duration::days(9));
    check("localhost", with_lists(&authority, expired), Some("revoked")).await;
    let others = other.own_list(1, &[], now() + time::Duration::days(1)).to_pem();
    check("localhost", with_lists(&authority, others), Some("no revocation list of the CA")).await;
    check("localhost", Roots::AnyOnce, None).await;

    let stranger = serve(tls(&authority.identity("elsewhere.test", &[]), None), OK, false).await;
    let error = get(&client(stranger.port, "localhost", bundle(&authority), None)).await.unwrap_err();
    assert!(error.to_string().contains("it is not for this name"), "{error}");
}

#[tokio::test]
async fn nothing_but_the_bundle_is_asked_of_a_server_that_nobody_vouches_for() {
    let authority = Authority::root("Test CA");
    let mut server = serve(tls(&authority.identity("localhost", &[]), None), OK, false).await;
    let first = client(server.port, "localhost", Roots::AnyOnce, None);
    for (method, path) in [
        (Method::GET, "/puppet-ca/v1/certificate_revocation_list/ca"),
        (Method::PUT, "/puppet-ca/v1/certificate/ca"),
        (Method::GET, "/puppet-ca/v1/certificate/ca/"),
    ] {
        let error = first.request(method, path, None).await.unwrap_err();
        assert!(matches!(error, Error::Unverified { .. }), "{error}");
    }
    assert!(matches!(first.lines("/x", Duration::from_secs(1)).await, Err(Error::Unverified { .. })));
    assert!(server.asked.try_recv().is_err());
    let target = Target::Https {
        host: "localhost".to_owned(),
        port: server.port,
        roots: Roots::AnyOnce,
        identity: Some(authority.identity("node", &[])),
    };
    assert!(matches!(Client::new(target), Err(Error::Target { .. })));
}

#[tokio::test]
async fn a_revoked_or_foreign_client_certificate_is_reported_as_such() {
    let (authority, other) = (Authority::root("Test CA"), Authority::root("Other CA"));
    let (good, bad) = (authority.identity("good", &[]), authority.identity("bad", &[]));
    let lists = authority.lists(2, &[&bad.certificate.serial]);
    let server =
        serve(tls(&authority.identity("localhost", &[]), Some((&authority, &lists))), OK, false).await;
    let check = async |identity: Option<Identity>, expected: Option<&str>| {
        let got = get(&client(server.port, "localhost", bundle(&authority), identity)).await;
        match (got, expected) {
            (Ok(_), None) => {}
            (Err(Error::Refused { reason, .. }), Some(expected)) => {
                assert!(reason.contains(expected), "{reason}")
            }
            (got, expected) => panic!("{got:?}, and {expected:?} was expected"),
        }
    };
    check(Some(good), None).await;
    check(Some(bad), Some("revoked")).await;
    check(Some(other.identity("good", &[])), Some("another CA")).await;
    check(None, Some("wants one")).await;
}

#[tokio::test]
async fn redirects_are_answers() {
    let authority = Authority::root("Test CA");
    let answer = "HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let server = serve(tls(&authority.identity("localhost", &[]), None), answer, false).await;
    let client = client(server.port, "localhost", bundle(&authority), None);
    let answer = client.request(Method::GET, "/", None).await.unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
}

#[tokio::test]
async fn what_a_server_does_wrong_is_bounded_and_named() {
    let authority = Authority::root("Test CA");
    let acceptor = tls(&authority.identity("localhost", &[]), None);
    let deadlines = Deadlines {
        connect: Duration::from_secs(5),
        head: Duration::from_millis(300),
        body: Duration::from_millis(300),
    };
    let check = async |answer: &str, hang: bool, expected: fn(&Error) -> bool| {
        let server = serve(acceptor.clone(), answer, hang).await;
        let client = client(server.port, "localhost", bundle(&authority), None).with_deadlines(deadlines);
        let error = client.request(Method::GET, "/", None).await.expect_err(answer);
        assert!(expected(&error), "{answer:?}: {error:?}");
        assert!(error.to_string().contains(&format!("localhost:{}", server.port)), "{error}");
    };
    use Error as E;
    check("", true, |e| matches!(e, E::Deadline { what: "answer", .. })).await;
    check("", false, |e| matches!(e, E::Broken { .. })).await;
    check("SSH-2.0-OpenSSH_9.2\r\n\r\n", false, |e| matches!(e, E::Broken { .. })).await;
    check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", false, |e| matches!(e, E::Broken { .. })).await;
    check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", true, |e| {
        matches!(e, E::Deadline { what: "finish its answer", .. })
    })
    .await;
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1 << 20));
    check(&endless, true, |e| matches!(e, E::Broken { .. })).await;
}

#[tokio::test]
async fn an_answer_beyond_the_cap_is_given_up() {
    let authority = Authority::root("Test CA");
    let body = vec![b'x'; bunraku_client::MAX_BODY_BYTES + 1];
    let answer =
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes(), body].concat();
    let server = serve(tls(&authority.identity("localhost", &[]), None), answer, false).await;
    let client = client(server.port, "localhost", bundle(&authority), None);
    let error = client.request(Method::GET, "/", None).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    let mut lines = client.lines("/", Duration::from_secs(10)).await.unwrap();
    assert!(matches!(lines.next().await, Err(Error::TooLarge { .. })));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_with_what_to_look_at() {
    let authority = Authority::root("Test CA");
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = get(&client(free, "127.0.0.1", bundle(&authority), None)).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot connect to 127.0.0.1:{free}: ")), "{error}");
    assert!(error.contains("refused") && error.contains("check that the server runs"), "{error}");
    let error = get(&client(free, "no-such-host.invalid", bundle(&authority), None)).await.unwrap_err();
    assert!(error.to_string().contains("does not resolve"), "{error}");
    for host in ["", "two words", "a/b"] {
        let target =
            Target::Https { host: host.to_owned(), port: 1, roots: bundle(&authority), identity: None };
        assert!(matches!(Client::new(target), Err(Error::Target { .. })), "{host}");
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let authority = Authority::root("Test CA");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let deadlines = Deadlines { connect: Duration::from_millis(200), ..Deadlines::default() };
    let client = client(port, "localhost", bundle(&authority), None).with_deadlines(deadlines);
    let error = get(&client).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { what: "accept a connection", .. }), "{error}");
    drop(listener);
}

#[tokio::test]
async fn keys_and_bundles_that_cannot_be_used_are_refused_without_being_shown() {
    let authority = Authority::root("Test CA");
    let mut identity = authority.identity("node", &[]);
    let check = |roots: Roots, identity: Option<Identity>, expected: &str| {
        let target = Target::Https { host: "ca.test".to_owned(), port: 8140, roots, identity };
        let error = Client::new(target).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("ca.test:8140"), "{error}");
        assert!(!error.contains("BEGIN") && !error.contains("MII"), "{error}");
    };
    check(Roots::Bundle("".into()), None, "no certificate in the CA bundle");
    check(with_lists(&authority, String::new()), None, "no certificate revocation list");
    let key = identity.key_pem.clone();
    identity.key_pem = key.replace("BEGIN PRIVATE", "BEGIN PUBLIC").replace("END PRIVATE", "END PUBLIC");
    check(bundle(&authority), Some(identity.clone()), "key cannot be read");
    identity.key_pem = authority.identity("node", &[]).key_pem;
    check(bundle(&authority), Some(identity.clone()), "cannot be used");
    let shown = format!("{:?} {:?}", bundle(&authority), client(1, "ca.test", bundle(&authority), None));
    assert!(!shown.contains("BEGIN"), "{shown}");
}

#[tokio::test]
async fn a_held_answer_is_read_line_by_line_until_it_is_silent() {
    let authority = Authority::root("Test CA");
    let acceptor = tls(&authority.identity("localhost", &[]), None);
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let long = "x".repeat(300_000);
    let answer = [head, &chunk("one\ntw"), &chunk("o\r\n\n"), &chunk(&format!("{long}\nhalf"))].concat();

    let server = serve(acceptor.clone(), answer.clone(), true).await;
    let client_of = |port| client(port, "localhost", bundle(&authority), None);
    let mut lines = client_of(server.port).lines("/stream", Duration::from_millis(500)).await.unwrap();
    for expected in ["one", "two", "", &long] {
        assert_eq!(lines.next().await.unwrap().unwrap(), expected.as_bytes());
    }
    assert!(matches!(lines.next().await, Err(Error::Silent { .. })));

    let cut = serve(acceptor.clone(), answer.clone(), false).await;
    let mut lines = client_of(cut.port).lines("/stream", Duration::from_secs(9)).await.unwrap();
    for _ in 0..4 {
        lines.next().await.unwrap().unwrap();
    }
    assert!(matches!(lines.next().await, Err(Error::Broken { .. })));

    let ended = serve(acceptor.clone(), answer + "0\r\n\r\n", false).await;
    let mut lines = client_of(ended.port).lines("/stream", Duration::from_secs(9)).await.unwrap();
    for _ in 0..4 {
        lines.next().await.unwrap().unwrap();
    }
    assert_eq!(lines.next().await.unwrap(), None);

    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nno\x1b[2Jyou";
    let refusing = serve(acceptor, refusal, false).await;
    match client_of(refusing.port).lines("/stream", Duration::from_secs(9)).await {
        Err(Error::Status { status: StatusCode::FORBIDDEN, text, .. }) => assert_eq!(text, "no\\u{1b}[2Jyou"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_control_socket_is_asked_without_tls() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("control.sock");
    let error = get(&Client::new(Target::Unix(path.clone())).unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("control.sock") && error.contains("is the daemon running?"), "{error}");
    let listener = UnixListener::bind(&path).unwrap();
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let read = stream.read(&mut head).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
        tell.send(String::from_utf8_lossy(&head[..read]).into_owned()).unwrap();
    });
    assert_eq!(get(&Client::new(Target::Unix(path)).unwrap()).await.unwrap(), "hello");
    assert!(told.await.unwrap().contains("host: localhost\r\n"));
}
