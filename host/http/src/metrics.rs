//! Numbers for whoever watches, in the text form that Prometheus reads (OpenMetrics 1.0).
//!
//! They are read when they are asked for; nothing is kept in between but what the server and the CA
//! count themselves. `/metrics` is for administrators; on `metrics_listen`, a port of its own with no
//! other route, it is for anybody, and names no node but the CA's masters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use master::Metrics;
use pki::Freshness;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use store::Counts;
use time::OffsetDateTime;

use crate::answer::{self, Outcome, TEXT};
use crate::backend::Backend;
use crate::routes::authority::freshness;
use crate::server::Shared;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Pairs of a label's name and value.
type Labels = [(&'static str, String); 1];

/// The port of its own: this and nothing else.
pub fn router<B: Backend>(shared: Arc<Shared<B>>) -> Router {
    Router::new()
        .route("/metrics", get(alone::<B>))
        .fallback(|| async { (StatusCode::NOT_FOUND, answer::ok(TEXT, "Not Found")) })
        .with_state(shared)
}

/// GET `/metrics`.
pub async fn metrics<B: Backend>(State(shared): State<Arc<Shared<B>>>) -> Outcome {
    Ok(alone(State(shared)).await)
}

async fn alone<B: Backend>(State(shared): State<Arc<Shared<B>>>) -> Response {
    let ready = shared.backend.status().await.ready;
    let masters = shared.backend.metrics().await;
    let mut page = Page(Registry::with_prefix("bunraku"));
    page.server(&shared);
    page.gauge("ready", "Whether agents should come here (1) or not (0)", u64::from(ready));
    page.gauge("store_up", "Whether the store answers (1) or not (0)", u64::from(masters.is_ok()));
    if let Ok(masters) = &masters {
        page.trust(masters);
        page.authority(masters);
        page.follower(masters);
        page.plugins(masters);
    }
    let mut text = String::new();
    match encode(&mut text, &page.0) {
        Ok(()) => answer::ok(OPEN_METRICS, text),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, answer::ok(TEXT, "no metrics")).into_response(),
    }
}

/// What is being put together.
struct Page(Registry);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.0.register(name, help, ConstGauge::new(value));
    }

    /// A total since the start; `_total` is put after its name.
    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.0.register(name, help, ConstCounter::new(value));
    }

    /// A moment in unix seconds.
    fn moment(&mut self, name: &str, help: &str, at: OffsetDateTime) {
        self.0.register(name, help, ConstGauge::new(at.unix_timestamp()));
    }

    /// One value for each value of a label.
    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) {
        let family = Family::<Labels, Gauge<u64, AtomicU64>>::default();
        for (value, number) in values {
            family.get_or_create(&[(label, value)]).set(number);
        }
        self.0.register(name, help, family);
    }

    fn server<B>(&mut self, shared: &Shared<B>) {
        let gauges = &shared.gauges;
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let requests = Family::<Labels, Counter>::default();
        for (class, answers) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(&gauges.answers) {
            requests.get_or_create(&[("class", class.to_owned())]).inc_by(read(answers));
        }
        self.0.register("requests", "Requests answered, by the class of the status", requests);
        self.gauge("connections", "Connections of agents that are open", read(&gauges.connections));
        let help = "Connections closed because their address had too many open";
        self.counter("crowded_connections", help, read(&gauges.crowded_connections));
        let help = "Connections that TLS refused or that took too long to get there";
        self.counter("refused_handshakes", help, read(&gauges.refused_handshakes));
        let help = "Requests refused because the revocation lists had expired beyond the grace";
        self.counter("lapsed_requests", help, read(&gauges.lapsed));
        let help = "Lines that the access log dropped because it could not keep up";
        self.counter("access_log_dropped_lines", help, read(&gauges.dropped_lines));
        let help = "Certificate requests that wait for their address's turn";
        self.gauge("quota_waiting", help, count(shared.quota.waiting()));
        let help = "Certificate requests answered 429 because too many wait";
        self.counter("quota_refused", help, shared.quota.refused());
        self.gauge("body_memory_bytes", "Memory that request bodies take", count(shared.memory.used()));
        let help = "Most memory that request bodies may take";
        self.gauge("body_memory_limit_bytes", help, count(shared.settings.body_memory));
        self.gauge("master_streams", "Masters that follow the revocation lists", read(&gauges.streams));
    }

    fn trust(&mut self, metrics: &Metrics) {
        let trust = &metrics.trust;
        self.gauge("crl_number", "Number of the CA's revocation list that is enforced", trust.number);
        let help = "When that list was made, in unix seconds";
        self.moment("crl_this_update_timestamp_seconds", help, trust.this_update);
        let help = "When the first of the revocation lists ends, in unix seconds";
        self.moment("crl_next_update_timestamp_seconds", help, trust.next_update);
        let revoked = u64::try_from(trust.revoked.len()).unwrap_or(u64::MAX);
        self.gauge("crl_revoked", "Certificates on the list", revoked);
        let states = [Freshness::Fresh, Freshness::Stale, Freshness::Expired];
        let states = states.map(|state| (freshness(state).to_owned(), u64::from(state == metrics.freshness)));
        let help = "How old the revocation lists are: 1 for the state that holds";
        self.gauges("crl_freshness", help, "state", states);
        let ends = trust.bundle.certificates().iter().map(|ca| {
            // None of ours ended before 1970.
            (ca.subject_cn.clone(), u64::try_from(ca.not_after.unix_timestamp()).unwrap_or_default())
        });
        let help = "When the certificates of the CA and those above it end, in unix seconds";
        self.gauges("ca_certificate_not_after_timestamp_seconds", help, "ca", ends);
    }

    fn authority(&mut self, metrics: &Metrics) {
        if let Some(counts) = metrics.counts {
            self.counts(counts);
        }
        let Some(ca) = &metrics.ca else { return };
        self.counter("ca_certificates_issued", "Certificates issued", ca.signed_total);
        self.counter("ca_certificates_renewed", "Of those, renewals", ca.renewals_total);
        self.counter("ca_certificates_revoked", "Certificates revoked", ca.revoked_total);
        self.gauge("ca_crl_bytes", "Size of the CA's revocation list in DER", ca.crl_bytes);
        let help = "Seconds that the last revocation list took to make";
        self.0.register("ca_crl_sign_seconds", help, ConstGauge::new(ca.crl_sign_seconds));
        self.counter("ca_signer_restarts", "Times the signer was started again", ca.signer_restarts);
        if let Some(free) = ca.free_bytes {
            self.gauge("ca_store_free_bytes", "Bytes left on the store's disk", free);
        }
        self.gauge("ca_masters", "Declared catalog masters", ca.masters);
        let enforced =
            metrics.masters.iter().filter_map(|master| Some((master.certname.clone(), master.crl_number?)));
        let help = "Number of the revocation list that each master says it enforces";
        self.gauges("ca_master_crl_number", help, "master", enforced);
        let seen = metrics
            .masters
            .iter()
            .filter_map(|master| Some((master.certname.clone(), u64::try_from(master.seen_at?).ok()?)));
        let help = "When each master last said so, in unix seconds";
        self.gauges("ca_master_seen_timestamp_seconds", help, "master", seen);
    }

    fn counts(&mut self, counts: Counts) {
        let Counts { signed, revoked, superseded, .. } = counts;
        let states = [("signed", signed), ("revoked", revoked), ("superseded", superseded)];
        let states = states.map(|(state, number)| (state.to_owned(), number));
        self.gauges("ca_certificates", "Certificates that have not expired, by state", "state", states);
        let spans = [("7d", counts.expiring_7d), ("30d", counts.expiring_30d)];
        let spans = spans.map(|(within, number)| (within.to_owned(), number));
        let help = "Certificates in force that expire within so many days";
        self.gauges("ca_certificates_expiring", help, "within", spans);
        self.gauge("ca_requests_pending", "Certificate requests that wait", counts.requests);
    }

    fn follower(&mut self, metrics: &Metrics) {
        let Some(follow) = &metrics.follow else { return };
        if let Some(contact) = follow.contact {
            let help = "When the CA was last heard of, in unix seconds";
            self.moment("follow_contact_timestamp_seconds", help, contact);
        }
        let help = "Revocation lists and bundles of the CA that were refused";
        self.counter("follow_refused", help, follow.refused);
        self.counter("follow_reconnects", "Times the stream was opened again", follow.reconnects);
    }

    fn plugins(&mut self, metrics: &Metrics) {
        let counts = metrics.plugins;
        self.gauges(
            "plugin_set",
            "The set of plugins that decides",
            "set",
            [(metrics.plugin_set.clone(), 1)],
        );
        self.counter("plugin_sets_staged", "Sets of plugins staged", counts.staged);
        self.counter("plugin_sets_refused", "Sets of plugins that could not be staged", counts.refused);
        self.counter("plugin_sets_swapped", "Swaps to another set of plugins", counts.swapped);
        self.counter("plugin_sets_rolled_back", "Sets of plugins taken back", counts.rolled_back);
        self.counter("plugin_sets_tripped", "Of those, by the guard", counts.guarded);
        self.gauge("plugin_sets_alive", "Sets of plugins in memory", counts.alive);
        if let Some(shadow) = &metrics.shadow {
            let ends = [("same", shadow.same), ("differ", shadow.differ), ("dropped", shadow.dropped)];
            let ends = ends.map(|(end, number)| (end.to_owned(), number));
            let help = "Decisions that the set in shadow made the same, made otherwise, was not asked for";
            self.gauges("plugin_shadow_decisions", help, "outcome", ends);
        }
        let journal = metrics.journal;
        self.counter("journal_written", "Decisions written to the journal", journal.written);
        self.counter("journal_dropped", "Decisions that the journal had no room for", journal.dropped);
        self.counter("journal_failed", "Decisions lost to a disk that failed", journal.failed);
        let waiting = u64::try_from(journal.waiting).unwrap_or(u64::MAX);
        self.gauge("journal_waiting", "Decisions that wait to be written", waiting);
        self.gauge("journal_bytes", "Bytes of the journal", journal.bytes);
    }
}
