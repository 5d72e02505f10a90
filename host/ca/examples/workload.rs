//! A small life of a CA, for tests that put faults under it (`tests/faults`): `workload FOLDER RUN`.
//!
//! Each fact that was acknowledged is one line and one `write(1)`. Whatever fails is tried again, up to
//! three times in all, and told on standard error. The exit code is 0 if in the end everything was
//! done, 3 if something was not, and 1 if the CA could not be opened. It never panics.

#[path = "../tests/faults/settings.rs"]
mod settings;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bunraku_ca::{Authority, Grant, Occasion, archive};
use pki::crl::Reason;
use pki::{Certificate, Certname};
use settings::{bucket, database, request, settings};
use sha2::{Digest, Sha256};
use store::{Filebucket, RequestKey, RequestRow, Store};
use time::OffsetDateTime;

/// How often something is tried.
const TRIES: u32 = 3;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), Some(run)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: workload FOLDER RUN");
        return ExitCode::from(2);
    };
    // One thread and no I/O driver: as few system calls as can be that are not the CA's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let Ok(runtime) = runtime else { return ExitCode::from(2) };
    let work = Work { folder: folder.into(), run: run.to_string_lossy().into_owned() };
    match runtime.block_on(work.all()) {
        Ok(0) => {
            say("end");
            ExitCode::SUCCESS
        }
        Ok(_) => ExitCode::from(3),
        Err(()) => ExitCode::from(1),
    }
}

/// One fact, one write.
fn say(fact: impl Display) {
    // A fact that cannot be told was not acknowledged.
    let _ = rustix::io::write(std::io::stdout(), format!("{fact}\n").as_bytes());
}

/// Tries it; `None` if it came to nothing.
async fn attempt<T, E: Display>(what: &str, mut work: impl AsyncFnMut() -> Result<T, E>) -> Option<T> {
    for _ in 0..TRIES {
        match work().await {
            Ok(done) => return Some(done),
            Err(error) => {
                let _ = rustix::io::write(std::io::stderr(), format!("{what}: {error}\n").as_bytes());
            }
        }
    }
    None
}

struct Work {
    folder: PathBuf,
    run: String,
}

impl Work {
    /// How many steps came to nothing.
    async fn all(&self) -> Result<u32, ()> {
        let mut failed = 0;
        let (store, authority) = self.open().await?;
        failed += self.server(&authority).await;
        failed += self.keep(b"a file that an agent replaced").await;
        let mut issued = Vec::new();
        for number in 0..3 {
            match self.enrol(&store, &authority, &self.name(number)).await {
                Some(certificate) => issued.push(certificate),
                None => failed += 1,
            }
        }
        failed += self.renew(&authority, issued.first()).await;
        failed += self.revoke(&authority, issued.get(1)).await;
        failed += self.publish(&authority).await;
        failed += self.clean(&authority, issued.first()).await;
        failed += self.declare(&authority).await;
        failed += self.back_up(&store).await;
        drop(authority);
        // The write-ahead log is folded into the database.
        store.close().await;
        drop(store);

        let (store, authority) = self.open().await?;
        failed += u32::from(self.enrol(&store, &authority, &self.name(3)).await.is_none());
        failed += self.revoke(&authority, issued.get(2)).await;
        failed += self.publish(&authority).await;
        drop(authority);
        store.close().await;
        Ok(failed)
    }

    fn name(&self, number: u32) -> String {
        format!("node{number}-{}.example", self.run)
    }

    async fn open(&self) -> Result<(Arc<Store>, Authority), ()> {
        let opened = attempt("open", async || {
            let store = Store::open(&database(&self.folder)).await.map_err(|error| error.to_string())?;
            let store = Arc::new(store);
            match Authority::open(settings(&self.folder), store.clone(), now()).await {
                Ok(authority) => Ok((store, authority)),
                Err(error) => {
                    store.close().await;
                    Err(error.to_string())
                }
            }
        });
        let (store, authority) = opened.await.ok_or(())?;
        say(format!("ca {}", authority.fingerprint().to_hex()));
        say(format!("crl {}", authority.trust().number));
        Ok((store, authority))
    }

    async fn server(&self, authority: &Authority) -> u32 {
        let Ok(name) = Certname::parse("puppet.example") else { return 1 };
        let made =
            attempt("server", async || authority.server_identity(&name, &["puppet"], now()).await).await;
        match made {
            Some(identity) => {
                say(format!("server {} {name}", identity.certificate.serial.to_hex()));
                0
            }
            None => 1,
        }
    }

    async fn keep(&self, content: &[u8]) -> u32 {
        let content = [content, self.run.as_bytes()].concat();
        let sum = hex::encode(Sha256::digest(&content));
        let kept =
            attempt("keep", async || Filebucket::open(&bucket(&self.folder))?.put(&sum, &content).await);
        kept.await.map_or(1, |()| {
            say(format!("kept {sum}"));
            0
        })
    }

    async fn enrol(&self, store: &Store, authority: &Authority, name: &str) -> Option<Certificate> {
        let (request, pem) = request(name)?;
        let key = RequestKey { certname: name.to_owned(), key_digest: request.key_digest.to_hex() };
        let row = RequestRow {
            key,
            pem,
            fingerprint: request.fingerprint.to_hex(),
            submitted_at: now().unix_timestamp(),
            peer: None,
            decision: None,
        };
        attempt("wait", async || store.add_request(&row, 1000, 10).await).await?;
        say(format!("waiting {name}"));
        let grant = Grant { lifetime: None, occasion: Occasion::First, waits: false };
        let certificate =
            attempt("issue", async || authority.issue(&request, grant.clone(), now()).await).await?;
        say(format!("issued {} {name}", certificate.serial.to_hex()));
        Some(certificate)
    }

    async fn renew(&self, authority: &Authority, old: Option<&Certificate>) -> u32 {
        let Some(old) = old else { return 1 };
        let Some(new) = attempt("renew", async || authority.renew(old, now()).await).await else { return 1 };
        say(format!("issued {} {}", new.serial.to_hex(), new.subject_cn));
        0
    }

    async fn revoke(&self, authority: &Authority, certificate: Option<&Certificate>) -> u32 {
        let Some(serial) = certificate.map(|certificate| &certificate.serial) else { return 1 };
        let revoked =
            attempt("revoke", async || authority.revoke(serial, Reason::KeyCompromise, now()).await);
        revoked.await.map_or(1, |_| {
            say(format!("revoked {}", serial.to_hex()));
            0
        })
    }

    async fn publish(&self, authority: &Authority) -> u32 {
        let published = attempt("publish", async || authority.publish_now(now()).await);
        published.await.map_or(1, |trust| {
            say(format!("crl {}", trust.number));
            0
        })
    }

    async fn clean(&self, authority: &Authority, certificate: Option<&Certificate>) -> u32 {
        let Some(name) = certificate.and_then(|certificate| certificate.certname.clone()) else { return 1 };
        let cleaned =
            attempt("clean", async || authority.clean(&name, Reason::CessationOfOperation, now()).await);
        let Some(cleaned) = cleaned.await else { return 1 };
        for serial in cleaned.revoked {
            say(format!("revoked {}", serial.to_hex()));
        }
        say(format!("cleaned {name}"));
        0
    }

    async fn declare(&self, authority: &Authority) -> u32 {
        let Ok(name) = Certname::parse(&format!("master-{}.example", self.run)) else { return 1 };
        let names = [format!("alias-{}.example", self.run)];
        let declared = attempt("declare", async || authority.add_master(&name, &names, now()).await);
        declared.await.map_or(1, |()| {
            say(format!("master {name}"));
            0
        })
    }

    async fn back_up(&self, store: &Store) -> u32 {
        let path = |kind: &str| self.folder.join(format!("backup-{}.{kind}", self.run));
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let (copy, tar) = (path("db"), path("tar"));
        let copied = attempt("copy", async || store.backup_to(&copy).await).await;
        if copied.is_some() {
            say(format!("copy {}", name(&copy).unwrap_or_default()));
        }
        let settings = settings(&self.folder);
        let packed = attempt("archive", async || archive::backup(&settings, store, &tar, now()).await).await;
        if packed.is_some() {
            say(format!("archive {}", name(&tar).unwrap_or_default()));
        }
        u32::from(copied.is_none()) + u32::from(packed.is_none())
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
