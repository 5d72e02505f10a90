//! Staying in step with the CA: the stream, the poll beside it, and the report of what is enforced.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use client::{Client, Method, StatusCode};
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::contact::{BUNDLE, LISTS};
use crate::follower::{Inner, Taken, UNWRITTEN};
use crate::judge::Offer;
use crate::wait::{Backoff, Said};
use crate::{Error, PushedSet};

/// A CA says that it lives every 2 s.
const SILENCE: Duration = Duration::from_secs(10);
/// How often the CA is told what is enforced, if nothing changes.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(5);

const STREAM: &str = "/bunraku/v1/ca/stream";
const ENFORCING: &str = "/bunraku/v1/ca/enforcing";

/// A line of the stream: a bundle with its lists, the plugins that decide at the CA, or a sign of life.
/// More fields may come.
#[derive(Deserialize)]
struct Line {
    plugin_set: Option<PushedSet>,
    bundle: Option<String>,
    crls: Option<String>,
    agents_crls: Option<String>,
    number: Option<u64>,
}

/// Why a stream is over.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The CA has none, or not for us.
    None(String),
    /// It broke.
    Broken(String),
}

/// What a poll asks `If-Modified-Since` with: the CA's own clock, a second before its last answer, for
/// what was written within that second may have come after it.
#[derive(Debug, Default)]
struct Polled {
    bundle: Option<SystemTime>,
    lists: Option<SystemTime>,
    at: Option<Instant>,
}

impl Inner {
    /// Holds the stream, again and again, and polls where there is none.
    pub(crate) async fn keep_in_step(self: &Arc<Self>) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let (mut said, mut polled) = (Said::default(), Polled::default());
        loop {
            let began = Instant::now();
            let ended = self.hold_stream(false).await;
            self.reconnects.fetch_add(1, Ordering::Relaxed);
            if began.elapsed() > SILENCE {
                // It was there for a while: come back soon, and complain anew.
                backoff.reset();
                said.clear();
            }
            let (reason, pause) = match ended {
                Ok(()) => ("the CA has ended it".to_owned(), backoff.pause()),
                Err(Ended::Broken(reason)) => (reason, backoff.pause()),
                Err(Ended::None(reason)) => (reason, self.settings.poll),
            };
            if said.is_due(&reason) {
                tracing::warn!(
                    reason,
                    "the stream of the CA is not held; its revocation lists are polled until it is"
                );
            }
            // A stream that cannot be held for longer is polled beside.
            if polled.at.is_none_or(|at| at.elapsed() >= self.settings.poll)
                && began.elapsed() <= self.settings.poll
            {
                polled.at = Some(Instant::now());
                if let Err(error) = self.poll(&mut polled).await {
                    tracing::debug!(%error, "the poll failed too");
                }
            }
            sleep(pause).await;
        }
    }

    /// Reads the stream to its end, or to its first word.
    pub(crate) async fn hold_stream(self: &Arc<Self>, once: bool) -> Result<(), Ended> {
        let broken = |error: &dyn std::fmt::Display| Ended::Broken(error.to_string());
        let client = self.client().await.map_err(|error| broken(&error))?;
        let mut lines = client.lines(STREAM, SILENCE).await.map_err(|error| match error {
            client::Error::Status { .. } => Ended::None(error.to_string()),
            error => broken(&error),
        })?;
        let mut reported = None;
        while let Some(line) = lines.next().await.map_err(|error| broken(&error))? {
            if reported.is_none() {
                tracing::info!(ca = client.at(), "holding the stream of the CA");
            }
            let now = OffsetDateTime::now_utc();
            self.heard(now);
            let inner = self.clone();
            let read = tokio::task::spawn_blocking(move || inner.read(&line, now)).await;
            match read.map_err(|error| broken(&error))? {
                Some(Taken::Unwritten(error)) => return Err(broken(&error)),
                Some(_) if once => return Ok(()),
                _ => {}
            }
            if reported.is_none_or(|at: Instant| at.elapsed() >= REPORT_EVERY) {
                reported = Some(Instant::now());
                self.report.notify_one();
            }
        }
        Ok(())
    }

    /// Reads a line: `None` for a sign of life.
    fn read(&self, line: &[u8], now: OffsetDateTime) -> Option<Taken> {
        let line: Line = match serde_json::from_slice(line) {
            Ok(line) => line,
            Err(error) => {
                self.refuse(&format!("a line of the stream is not what it should be: {error}"));
                return Some(Taken::Refused);
            }
        };
        if let Some(pushed) = line.plugin_set {
            self.plugin_set.send_replace(Some(Arc::new(pushed)));
        }
        let held = self.held();
        let offer = Offer {
            crls: line.crls?,
            bundle: line.bundle.unwrap_or_else(|| held.trust.bundle.pem().to_string()),
            agents_crls: line.agents_crls,
            number: line.number,
        };
        Some(self.take(&offer, now))
    }

    /// Asks for bundle and lists, as agents do.
    async fn poll(self: &Arc<Self>, polled: &mut Polled) -> Result<(), Error> {
        let client = self.client().await?;
        let bundle = changed(&client, BUNDLE, polled.bundle).await?;
        let lists = changed(&client, LISTS, polled.lists).await?;
        let now = OffsetDateTime::now_utc();
        self.heard(now);
        if bundle.is_none() && lists.is_none() {
            return Ok(());
        }
        let dates = (bundle.as_ref().and_then(|b| b.1), lists.as_ref().and_then(|l| l.1));
        let inner = self.clone();
        let taken = tokio::task::spawn_blocking(move || {
            let text =
                |part: Option<(Bytes, _)>| part.map(|(body, _)| String::from_utf8_lossy(&body).into_owned());
            let offer = inner.held().polled(text(bundle), text(lists));
            inner.take(&offer, now)
        });
        match taken.await.map_err(|_| Error::Interrupted)? {
            Taken::New | Taken::Known => {
                polled.bundle = dates.0.or(polled.bundle);
                polled.lists = dates.1.or(polled.lists);
            }
            // It is asked for again until it is good.
            Taken::Refused => {}
            Taken::Unwritten(error) => return Err(error),
        }
        Ok(())
    }

    /// Tells the CA what is enforced, whenever there is something to tell.
    pub(crate) async fn keep_reporting(self: &Arc<Self>) {
        let mut said = Said::default();
        loop {
            self.report.notified().await;
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
            while let Err(error) = self.tell().await {
                if said.is_due(&error.to_string()) {
                    tracing::warn!(%error, "the CA could not be told which list this master enforces");
                }
                // Something newer to tell does not wait for the old.
                let _ = timeout(backoff.pause(), self.report.notified()).await;
            }
        }
    }

    async fn tell(self: &Arc<Self>) -> Result<(), Error> {
        let number = self.written.load(Ordering::Acquire);
        if number == UNWRITTEN {
            // The next one that is written will be told.
            return Ok(());
        }
        let client = self.client().await?;
        let body = Bytes::from(serde_json::json!({ "crl_number": number }).to_string());
        let answer = client.request(Method::PUT, ENFORCING, Some(("application/json", body))).await?;
        // A Puppet CA has no such path. Asking again would not change what is answered; the next list or
        // connection will be told.
        if !answer.status.is_success() && answer.status != StatusCode::NOT_FOUND {
            let (status, text) = (answer.status, answer.text());
            tracing::warn!(%status, text, "the CA does not want to know which list this master enforces");
        }
        Ok(())
    }

    /// Looks at the clock: freshness, and the master's own certificate.
    pub(crate) async fn keep_time(self: &Arc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = OffsetDateTime::now_utc();
            self.note_freshness(now);
            self.renew_if_due(now).await;
        }
    }
}

/// A text if it has changed since, and what to ask with the next time.
async fn changed(
    client: &Client,
    path: &str,
    since: Option<SystemTime>,
) -> Result<Option<(Bytes, Option<SystemTime>)>, Error> {
    let answer = client.get_since(path, since).await?;
    match answer.status {
        StatusCode::NOT_MODIFIED => Ok(None),
        StatusCode::OK => {
            let since = answer.date.and_then(|date| date.checked_sub(Duration::from_secs(1)));
            Ok(Some((answer.body, since)))
        }
        status => Err(Error::Client(client::Error::Status {
            at: client.at().to_owned(),
            path: path.to_owned(),
            status,
            text: answer.text(),
        })),
    }
}
