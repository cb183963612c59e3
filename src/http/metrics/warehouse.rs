//! The metrics about rows that wait for ClickHouse, problems with ClickHouse, and the circuit breakers of all remote
//! servers.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use prometheus_client::registry::Registry;

use crate::breaker::BreakerState;
use crate::event::Action;
use crate::http::edge::{Edge, Watch};
use crate::warehouse::Target;
use crate::warehouse::status::Status as WarehouseStatus;

use super::family::{counters, gauges, labels, one, total};

/// The code of a finding: ClickHouse answers, but nova cannot make or read its tables there and delivers no rows.
const NOT_PREPARED: &str = "not-prepared";

pub(super) fn warehouse(watch: &Watch, to: &mut Registry) {
    let off = WarehouseStatus::default();
    let status = watch.warehouse.as_deref().unwrap_or(&off);
    let (targets, now_ms) = (status.targets(), watch.clock.now_ms());
    let each = || Target::ALL.iter().zip(&targets).map(|(target, counts)| (labels([("table", target.name())]), counts));
    gauges(
        to,
        "nova_outbox_rows",
        "Rows that wait for ClickHouse",
        each().map(|(name, one)| (name, one.waiting_rows as f64)),
    );
    gauges(
        to,
        "nova_outbox_bytes",
        "Bytes that wait for ClickHouse",
        each().map(|(name, one)| (name, one.waiting_bytes as f64)),
    );
    let age = |oldest: Option<i64>| oldest.map_or(0.0, |oldest_ms| (now_ms - oldest_ms).max(0) as f64 / 1e3);
    let help = "Age of the oldest row that waits for ClickHouse";
    gauges(to, "nova_outbox_oldest_seconds", help, each().map(|(name, one)| (name, age(one.oldest_ms))));
    let stalled = each().map(|(name, one)| (name, f64::from(u8::from(one.stalled.is_some()))));
    gauges(to, "nova_outbox_stalled", "1 while a table takes no rows before a person acts", stalled);
    let mut findings = BTreeMap::<&str, f64>::new();
    status.findings().iter().for_each(|finding| *findings.entry(finding.code).or_default() += 1.0);
    // The circuit breaker already reports a server that does not answer at all.
    if status.unprepared().is_some() && matches!(status.breaker_state(), BreakerState::Closed) {
        findings.insert(NOT_PREPARED, 1.0);
    }
    let findings = findings.into_iter().map(|(code, count)| (labels([("code", code)]), count));
    let help = "What is wrong with ClickHouse's tables, as nova check tells it, by the hourly look";
    gauges(to, "nova_clickhouse_findings", help, findings);
    counters(
        to,
        "nova_outbox_acknowledged_rows",
        "Rows that ClickHouse has",
        each().map(|(name, one)| (name, one.acknowledged)),
    );
    one(to, "clickhouse_query_duration_seconds", "Time of inserts into ClickHouse", status.query_seconds.clone());
    one(to, "clickhouse_query_errors", "Inserts that ClickHouse did not acknowledge", status.query_errors.clone());
    let uncertain = status.uncertain_batches.load(Ordering::Relaxed);
    let help = "Batches found in a table without an acknowledgement: the views may lack them";
    total(to, "nova_uncertain_batches", help, uncertain);
    one(to, "mv_refresh_duration_seconds", "Time of the look at the materialised views", status.views_seconds.clone());
    one(
        to,
        "mv_staleness_seconds",
        "How far the views' newest minute is behind their table's",
        status.views_staleness.clone(),
    );
    if let Some(drift) = &watch.drift {
        let found = *drift.lock();
        let events =
            Action::ALL.map(|action| (labels([("action", action.name())]), found.events[action as usize] as f64));
        let help = "Events of two days that nova counted and the views did not; below 0 the other way";
        gauges(to, "nova_views_drift_events", help, events);
        let help = "Part of the views' 20 top posts of 24 h that nova's trending list lacks";
        gauges(to, "nova_trending_drift_ratio", help, [(labels([("window", "24h")]), found.trending)]);
    }
}

/// The state of the circuit breaker for each server that nova asks.
pub(in crate::http) fn breaker_states(edge: &Edge) -> impl Iterator<Item = (&'static str, BreakerState)> {
    let redis = edge.serving.shared_cache.as_ref().map(|shared| match shared.cache.stats().breaker_open {
        true => BreakerState::Open,
        false => BreakerState::Closed,
    });
    let clickhouse = edge.watch.warehouse.as_ref().map_or(BreakerState::Closed, |status| status.breaker_state());
    let states = [
        ("clickhouse", Some(clickhouse)),
        ("redis", redis),
        ("registry", edge.watch.schemas.breaker()),
        ("jwks", edge.auth.breaker()),
    ];
    states.into_iter().filter_map(|(target, state)| Some((target, state?)))
}

pub(super) fn breakers(edge: &Edge, to: &mut Registry) {
    let states = breaker_states(edge);
    let states = states.map(|(target, state)| (labels([("target", target)]), f64::from(state as u8)));
    gauges(to, "circuit_breaker_state", "0 closed, 1 half-open, 2 open", states);
}
