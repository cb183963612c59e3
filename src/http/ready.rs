//! Readiness: whether a load balancer should send traffic to this node. A ready node has recovered, has its partitions,
//! is not too far behind, has enough free space on the disk, and waits for no person.

use std::collections::BTreeMap;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

use crate::breaker::BreakerState;

use super::answers::{self, Answer};
use super::edge::Edge;
use super::error::RETRY_AFTER_S;
use super::lag;
use super::metrics::breaker_states;
use super::shapes::{CheckState, Liveness, Readiness};

/// If the latest backup is older than this, nova warns and the alert `NovaBackupOld` fires.
const BACKUP_OLD_MS: i64 = 36 * 3_600_000;
/// If the store's disk has less free space than this, nova warns and the alert `NovaDiskLow` fires, even if the node is
/// still ready.
const DISK_LOW_MIB: u64 = 1_024;

/// Every reason why the node is not ready, or an empty list if the node is ready.
pub(super) fn reasons(edge: &Edge) -> Vec<String> {
    let held = edge.watch.shared.partitions().into_iter().filter_map(|status| Some((status.name, status.hold?)));
    let mut reasons: Vec<_> = held.map(|(name, reason)| format!("{name}: {reason}")).collect();
    reasons.extend(edge.watch.shared.waits().into_iter().map(|(name, reason)| format!("{name}: waits: {reason}")));
    if !edge.auth.ready() {
        reasons.push("auth: no key set yet".to_owned());
    }
    if edge.watch.shared.stopping() {
        reasons.push("stopping".to_owned());
    }
    if edge.watch.shared.over_quota() {
        reasons.push("the outbox is full: consumption waits for ClickHouse".to_owned());
    }
    if let Some(kafka) = &edge.watch.kafka {
        match (kafka.up(), kafka.assigned()) {
            (false, _) => reasons.push("kafka: no broker of kafka.brokers is connected; nova check".to_owned()),
            (true, 0) => reasons.push("kafka: no partition is assigned yet".to_owned()),
            (true, assigned) if assigned < kafka.assignment().existing => reasons.push(format!(
                "kafka: {assigned} of {} partitions are read here, the others by another member of the group",
                kafka.assignment().existing
            )),
            _ => {}
        }
        reasons.extend(kafka.stopped().iter().map(|(name, stop)| stop.reason(name)));
        reasons.extend(kafka.stalled().into_values());
    }
    reasons.extend(of_connector(edge, true));
    if let Some(postgres) = &edge.watch.postgres {
        reasons.extend(postgres.view().reason());
        if edge.watch.shared.sweeping() {
            reasons.push("postgres: rows that the snapshot did not read are being deleted".to_owned());
        }
    }
    if edge.control.reads.store_check() == CheckState::Damaged {
        reasons.push("store: damaged: the process ends; restore a backup".to_owned());
    }
    let (limits, lag_s) = (edge.gate.limiter.settings(), lag::oldest_ms(&edge.watch) / 1_000);
    if lag_s > i64::from(limits.lag_max_s) {
        reasons.push(format!("{lag_s} s behind the source: it reads on (limits.lag_max_s {})", limits.lag_max_s));
    }
    reasons.extend(of_disk(edge, true));
    reasons
}

/// Says that the store's disk has little free space. If `stops` is true, the function reports only space that is too
/// little for a ready node. If `stops` is false, the function reports only low space that is still enough for a ready
/// node.
fn of_disk(edge: &Edge, stops: bool) -> Option<String> {
    let free_mib = edge.control.reads.disk_free_bytes()? >> 20;
    let least_mib = edge.gate.limiter.settings().disk_min_mib;
    let low = if free_mib < u64::from(least_mib) { stops } else { !stops && free_mib < DISK_LOW_MIB };
    low.then(|| format!("{free_mib} MiB are free on the store's disk: make room (limits.disk_min_mib {least_mib})"))
}

/// The problem of the latest backup, or `None` if the backup is good or nova has made no backup yet.
fn of_backup(edge: &Edge) -> Option<String> {
    let times = edge.control.reads.backup_times()?;
    if times.verify_failed {
        return Some("backup: a file is not the backup that was made: make another one; nova backup FILE".to_owned());
    }
    let age_ms = edge.control.clock.now_ms() - times.made_at_ms;
    let old = || format!("backup: the latest one is {} hours old; nova backup FILE", age_ms / 3_600_000);
    (age_ms > BACKUP_OLD_MS).then(old)
}

/// The warnings about waiting dead letters, or an empty list if no dead letter waits.
fn dead_letters(edge: &Edge) -> Vec<String> {
    let waiting = edge.watch.shared.dead_letters();
    if waiting == 0 {
        return Vec::new();
    }
    let last = edge.watch.shared.partitions().into_iter();
    let last = last.filter_map(|status| Some(format!("{}: {}", status.name, status.last_dead?)));
    std::iter::once(format!("dead letters that wait: {waiting}; nova dlq list")).chain(last).collect()
}

/// The problem of the connector: only a lasting problem if `lasting` is true, otherwise only a temporary problem.
fn of_connector(edge: &Edge, lasting: bool) -> Option<String> {
    let wrong = edge.watch.connector.as_ref()?.wrong(edge.watch.clock.now_ms());
    wrong.filter(|(_, lasts)| *lasts == lasting).map(|(words, _)| format!("connector: {words}"))
}

/// The problems of PostgreSQL that do not keep nova from reading.
fn of_postgres(edge: &Edge) -> Vec<String> {
    let view = edge.watch.postgres.as_ref().map(|postgres| postgres.view());
    view.iter().flat_map(|view| &view.warnings).map(ToString::to_string).collect()
}

/// The problems of ClickHouse.
fn of_clickhouse(edge: &Edge) -> Vec<String> {
    edge.watch.warehouse.as_ref().map(|status| status.complaints()).unwrap_or_default()
}

/// The servers that do not answer, except ClickHouse, which has its own list of problems.
fn away(edge: &Edge) -> Vec<String> {
    let silent = breaker_states(edge).filter(|(_, state)| *state != BreakerState::Closed);
    let words = silent.filter_map(|(server, _)| match server {
        "redis" => Some("redis: cache.redis_url does not answer; what others read there is old until it does"),
        "registry" => Some("registry: registry.url does not answer; records whose schema is not known yet wait for it"),
        "jwks" => {
            Some("jwks: auth.jwks_url does not answer; tokens that are signed by a new key are refused until it does")
        }
        _ => None,
    });
    words.map(|words| format!("{words}; nova check")).collect()
}

/// The jobs that keep failing, each with its last error.
fn parked_jobs(edge: &Edge) -> BTreeMap<String, String> {
    let jobs = edge.watch.jobs.runner.statuses().into_iter();
    jobs.filter_map(|(job, status)| Some((job.to_owned(), status.parked?))).collect()
}

/// Warnings that a person should look at although the node is ready.
pub(super) fn warnings(edge: &Edge) -> Vec<String> {
    let jobs = parked_jobs(edge).into_iter().map(|(job, error)| format!("the job {job} keeps failing: {error}"));
    let mut all: Vec<_> = dead_letters(edge).into_iter().chain(jobs).collect();
    all.extend(of_connector(edge, false));
    all.extend(of_clickhouse(edge).into_iter().map(|complaint| format!("clickhouse: {complaint}")));
    all.extend(away(edge));
    all.extend(of_postgres(edge).into_iter().map(|warning| format!("postgres: {warning}")));
    all.extend(of_disk(edge, false));
    all.extend(of_backup(edge));
    all
}

/// Answers `GET /health/live`.
pub(super) fn live() -> Answer {
    Ok(answers::object(StatusCode::OK, &Liveness { status: "live" }))
}

/// Answers `GET /health/ready`.
pub(super) fn answer(edge: &Edge) -> Answer {
    let reasons = reasons(edge);
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Failing jobs and problems of ClickHouse do not make the node unready: a request makes a list that is missing, and
    // rows wait for ClickHouse in the outbox.
    let readiness = Readiness {
        status: if reasons.is_empty() { "ready" } else { "not-ready" },
        reasons,
        parked_jobs: parked_jobs(edge),
        dead_letters: dead_letters(edge),
        clickhouse: of_clickhouse(edge),
        postgres: of_postgres(edge),
        away: away(edge),
        store_check: edge.control.reads.store_check(),
    };
    let mut response = answers::object(status, &readiness);
    if status != StatusCode::OK {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    }
    Ok(response)
}
