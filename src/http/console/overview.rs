//! `GET /api/v1/overview` shows the pipeline stage by stage to everybody who may read the metrics. The answer contains
//! no personal data.

use std::collections::BTreeMap;

use http::StatusCode;

use crate::breaker::BreakerState;
use crate::clock::rfc3339;
use crate::console::history::{Gauge, Point};
use crate::event::{Outcome, TopicPartition};
use crate::feed::trending::Window;
use crate::http::answers::{self, Answer};
use crate::http::call::Call;
use crate::http::edge::Edge;
use crate::http::error::Problem;
use crate::http::limit::Class;
use crate::http::settings::ConsoleMode;
use crate::http::shapes::{
    Accounting, BreakerTold, DiskTold, FindingTold, Health, JobTold, MemoryTold, OutboxTable, Overview, PartitionState,
    RunsOut, SlotTold, SnapshotTold, Stage, StageTold,
};
use crate::http::{commands, lag, metrics, ready, status};
use crate::pipeline::progress::PartitionStatus;
use crate::source::postgres::status::{State, View};
use crate::warehouse::Target;

/// The most partitions that the overview shows individually.
const PARTITIONS_MAX: usize = 64;
/// nova measures the growth of the held-back write-ahead log over this number of points.
const WAL_POINTS: usize = 60;

pub(super) fn here(edge: &Edge) -> Result<(), Problem> {
    if edge.gate.settings.console == ConsoleMode::Off { Err(Problem::NotFound) } else { Ok(()) }
}

/// Answers `GET /api/v1/overview`.
pub(in crate::http) fn now(call: &Call<'_>) -> Answer {
    here(call.edge())?;
    let frame = call.edge().console.newest();
    if frame.is_empty() {
        return Err(Problem::Unavailable("nothing was measured yet"));
    }
    Ok(answers::json(StatusCode::OK, frame.whole.to_string()))
}

/// Answers `GET /api/v1/overview/history`.
pub(in crate::http) fn history(call: &Call<'_>) -> Answer {
    here(call.edge())?;
    Ok(answers::json(StatusCode::OK, call.edge().console.history().to_string()))
}

/// The values, at one moment, of the counters from which the console computes rates.
#[derive(Clone, Copy, Default)]
pub(super) struct Counted {
    pub records: u64,
    pub commits: u64,
    pub acknowledged: u64,
    pub requests: u64,
    pub refused: u64,
    pub feeds: u64,
}

/// The data that nova reads once for a frame of the console.
pub(super) struct Seen {
    partitions: Vec<PartitionStatus>,
    waits: Vec<(TopicPartition, std::sync::Arc<str>)>,
    lags: Vec<(TopicPartition, Option<lag::Lag>)>,
    view: Option<View>,
    reasons: Vec<String>,
    warnings: Vec<String>,
    pub counted: Counted,
    pub lag_s: f64,
    feed_hit_rate: f64,
}

impl Seen {
    pub fn of(edge: &Edge) -> Seen {
        let partitions = edge.watch.shared.partitions();
        let served = edge.serving.feeds.served.total();
        let warehouse = edge.watch.warehouse.as_ref();
        let decisions = Class::ALL.map(|class| edge.gate.limiter.decisions.of(class));
        let counted = Counted {
            records: partitions.iter().map(|status| status.row.consumed).sum(),
            commits: edge.watch.observed.commits(),
            acknowledged: warehouse.map_or(0, |status| status.targets().iter().map(|one| one.acknowledged).sum()),
            requests: decisions.iter().flatten().sum(),
            refused: decisions.iter().map(|[_, over_quota, shed]| over_quota + shed).sum(),
            feeds: served.feeds,
        };
        Seen {
            waits: edge.watch.shared.waits(),
            lags: lag::of(&edge.watch),
            view: edge.watch.postgres.as_ref().map(|postgres| postgres.view()),
            reasons: ready::reasons(edge),
            warnings: ready::warnings(edge),
            lag_s: lag::oldest_ms(&edge.watch) as f64 / 1e3,
            feed_hit_rate: served.hit_rate(),
            partitions,
            counted,
        }
    }

    /// Fills in those values of a point that are not rates.
    pub fn gauges(&self, edge: &Edge, point: &mut Point) {
        point.set(Gauge::LagS, self.lag_s);
        point.set(Gauge::DeadLetters, edge.watch.shared.dead_letters() as f64);
        point.set(Gauge::HealthFactor, edge.gate.limiter.health.factor());
        if let Some(free) = edge.control.reads.disk_free_bytes() {
            point.set(Gauge::DiskFreeBytes, free as f64);
        }
        if let Some(outbox) = status::outbox(edge, edge.clock.now_ms()) {
            point.set(Gauge::OutboxRows, outbox.rows as f64);
            point.set(Gauge::OutboxOldestS, outbox.oldest_s.unwrap_or(0) as f64);
        }
        let slot = self.view.as_ref().and_then(|view| Some((view, view.seen.slot.as_ref()?)));
        if let Some((view, slot)) = slot {
            point.set(Gauge::HeldWalBytes, slot.held_bytes(view.seen.flush_lsn) as f64);
        }
    }

    fn partitions(&self) -> Vec<PartitionState> {
        let each = self.partitions.iter().map(|status| {
            let wait = self.waits.iter().find(|(name, _)| *name == status.name).map(|(_, reason)| reason.to_string());
            let lag = self.lags.iter().find(|(name, _)| *name == status.name).and_then(|(_, lag)| lag.as_ref());
            PartitionState {
                topic: status.name.topic.to_string(),
                partition: status.name.partition,
                next_offset: status.row.next,
                held: status.hold.as_ref().map(ToString::to_string).or(wait),
                lag_records: lag.and_then(|lag| lag.records),
                lag_s: lag.map(|lag| lag.age_ms / 1_000),
            }
        });
        let mut all: Vec<_> = each.collect();
        // The list begins with the partitions that wait for a person, so that the limit does not remove them.
        all.sort_by_key(|one| one.held.is_none());
        all.truncate(PARTITIONS_MAX);
        all.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        all
    }

    fn topics(&self) -> Vec<Accounting> {
        let mut topics = BTreeMap::<String, Accounting>::new();
        for status in &self.partitions {
            let topic = status.name.topic.to_string();
            let all = topics.entry(topic.clone()).or_insert_with(|| Accounting { topic, ..Accounting::default() });
            let of = |outcome: Outcome| status.row.outcomes[outcome as usize];
            all.consumed += status.row.consumed;
            all.applied += of(Outcome::Applied);
            all.duplicate += of(Outcome::Duplicate);
            all.stale += of(Outcome::Stale);
            all.ignored += of(Outcome::Ignored);
            all.late += of(Outcome::Late);
            all.dead += of(Outcome::Dead);
        }
        topics.into_values().collect()
    }

    fn findings(&self) -> Vec<FindingTold> {
        let told = |state| {
            move |reason: &String| FindingTold {
                stage: stage_of(reason),
                state,
                commands: commands::of(reason),
                reason: reason.clone(),
            }
        };
        self.reasons.iter().map(told(Health::Stops)).chain(self.warnings.iter().map(told(Health::Warns))).collect()
    }

    /// The time until Kafka's retention or the slot's limit removes data that nova has not read.
    fn runs_out(&self, edge: &Edge, point: &Point) -> Vec<RunsOut> {
        let read_per_s = point.get(Gauge::RecordsPerS).unwrap_or(0.0);
        let mut all: Vec<_> = self
            .lags
            .iter()
            .filter_map(|(name, lag)| {
                let lag = lag.as_ref().filter(|lag| lag.records.is_some_and(|records| records > 0))?;
                // nova takes the rate at which it reads records as an estimate of the rate at which Kafka deletes
                // records.
                let left = lag.headroom_records?;
                let left_s = (read_per_s >= 1.0 && left > 0).then(|| (left as f64 / read_per_s) as i64);
                Some(RunsOut { what: format!("retention of {name}"), left, unit: "records", left_s })
            })
            .collect();
        all.sort_by_key(|one| one.left);
        all.truncate(1);
        let slot = self.view.as_ref().and_then(|view| Some((view, view.seen.slot.as_ref()?)));
        if let Some((view, slot)) = slot
            && let Some(left) = slot.safe_wal_bytes
        {
            let held = slot.held_bytes(view.seen.flush_lsn) as f64;
            let before = edge.console.held_before(WAL_POINTS);
            let grows = before.map(|before| (held - before) / WAL_POINTS as f64).filter(|per_s| *per_s > 1.0);
            let left_s = grows.map(|per_s| (left.max(0) as f64 / per_s) as i64);
            all.push(RunsOut { what: "log that the slot may hold".to_owned(), left, unit: "bytes", left_s });
        }
        all
    }
}

/// The stage of the pipeline that a reason is about. A reason's text begins with its subject.
fn stage_of(reason: &str) -> Stage {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| reason.starts_with(prefix));
    if starts(&["kafka:", "postgres:", "connector:"]) || reason.contains(" s behind the source") {
        return Stage::Source;
    }
    if starts(&["clickhouse:"]) {
        return Stage::Clickhouse;
    }
    if starts(&["the outbox"]) {
        return Stage::Outbox;
    }
    if starts(&["store:", "backup:", "stopping"]) || reason.contains("store's disk") {
        return Stage::Writer;
    }
    if starts(&["the job", "auth:", "jwks:", "redis:"]) {
        return Stage::Memory;
    }
    // All other reasons why a node is not ready are about partitions or dead letters.
    Stage::Decode
}

fn stages(edge: &Edge, findings: &[FindingTold], seen: &Seen, point: &Point) -> Vec<StageTold> {
    let rate = |gauge| point.get(gauge).map_or("–".to_owned(), |value| format!("{value:.0}"));
    let worst = |stage| findings.iter().filter(|one| one.stage == stage).map(|one| one.state).max();
    let told = |stage, on: bool, figure: String| StageTold {
        stage,
        state: if on { worst(stage).unwrap_or(Health::Ok) } else { Health::Off },
        figure,
    };
    let source = status::source(edge);
    let memory = point.get(Gauge::MemoryBytes).unwrap_or(0.0) / f64::from(1 << 20);
    let p99 = point.get(Gauge::CommitP99Ms).map_or("idle".to_owned(), |ms| format!("p99 {ms:.1} ms"));
    let outbox = status::outbox(edge, edge.clock.now_ms());
    let on = outbox.is_some();
    let waiting = outbox.map_or("not configured".to_owned(), |outbox| {
        let age = outbox.oldest_s.map_or(String::new(), |s| format!(", oldest {s} s"));
        format!("{} rows wait{age}", outbox.rows)
    });
    let sent = if on { format!("{} rows/s", rate(Gauge::AcknowledgedPerS)) } else { "not configured".to_owned() };
    let dead = edge.watch.shared.dead_letters();
    vec![
        told(Stage::Source, true, format!("{}, lag {:.0} s", source.kind, seen.lag_s)),
        told(Stage::Decode, true, format!("{} records/s, {dead} dead", rate(Gauge::RecordsPerS))),
        told(Stage::Writer, true, format!("{} commits/s, {p99}", rate(Gauge::CommitsPerS))),
        told(Stage::Memory, true, format!("{memory:.1} MiB, {} feeds/s", rate(Gauge::FeedsPerS))),
        told(Stage::Outbox, on, waiting),
        told(Stage::Clickhouse, on, sent),
    ]
}

fn snapshot(view: Option<&View>) -> Option<SnapshotTold> {
    let State::Snapshot(snapshot) = &view?.state else { return None };
    Some(SnapshotTold {
        table: snapshot.table,
        rows: snapshot.rows,
        estimated_rows: snapshot.estimated_rows,
        rows_per_s: snapshot.rows_per_s,
        left_s: snapshot.left_s,
    })
}

fn tables(edge: &Edge, now_ms: i64) -> Vec<OutboxTable> {
    let Some(warehouse) = &edge.watch.warehouse else { return Vec::new() };
    let each = Target::ALL.iter().zip(warehouse.targets()).map(|(target, one)| OutboxTable {
        table: target.name(),
        emitted: one.emitted,
        acknowledged: one.acknowledged,
        dead: one.dead,
        waiting_rows: one.waiting_rows,
        waiting_bytes: one.waiting_bytes,
        oldest_s: one.oldest_ms.map(|oldest_ms| (now_ms - oldest_ms).max(0) / 1_000),
        stalled: one.stalled.is_some(),
    });
    each.collect()
}

fn jobs(edge: &Edge) -> Vec<JobTold> {
    let statuses = edge.watch.jobs.runner.statuses().into_iter();
    let ms = |us: Option<u32>| us.map(|us| f64::from(us) / 1e3);
    statuses
        .map(|(job, status)| JobTold {
            job,
            results: status.results().into_iter().collect(),
            p50_ms: ms(status.took_us.percentile(50).filter(|_| status.took_us.count() > 0)),
            p99_ms: ms(status.took_us.percentile(99).filter(|_| status.took_us.count() > 0)),
            parked: status.parked,
        })
        .collect()
}

fn breakers(edge: &Edge) -> Vec<BreakerTold> {
    let name = |state| match state {
        BreakerState::Closed => "closed",
        BreakerState::HalfOpen => "half-open",
        BreakerState::Open => "open",
    };
    // The metrics have the circuit breaker for ClickHouse even if ClickHouse is not configured.
    let here = |target: &str| target != "clickhouse" || edge.watch.warehouse.is_some();
    let states = metrics::breaker_states(edge).filter(|(target, _)| here(target));
    states.map(|(target, state)| BreakerTold { target, state: name(state) }).collect()
}

/// The generation of the trending list of each window. A viewer of a list fetches the list again when the generation
/// changes.
fn generations(edge: &Edge) -> BTreeMap<&'static str, String> {
    let board = &edge.serving.trending;
    let generation = |window: Window| format!("{:016x}", board.last(window).generation);
    board.windows().iter().map(|window| (window.name(), generation(*window))).collect()
}

pub(super) fn overview(edge: &Edge, seen: Seen, memory: &[(&'static str, usize)], point: &Point) -> Overview {
    let (now_ms, started_ms) = (edge.clock.now_ms(), edge.control.started_ms);
    let (findings, reads) = (seen.findings(), &edge.control.reads);
    let time = |ms: i64| rfc3339(ms.saturating_mul(1_000));
    let partitions = seen.partitions();
    Overview {
        version: env!("CARGO_PKG_VERSION"),
        now_ms,
        started_at: time(started_ms),
        uptime_s: (now_ms - started_ms).max(0) / 1_000,
        status: if seen.reasons.is_empty() { "ready" } else { "not-ready" },
        stages: stages(edge, &findings, &seen, point),
        findings,
        source: status::source(edge),
        snapshot: snapshot(seen.view.as_ref()),
        slot: seen.view.as_ref().map(SlotTold::of),
        runs_out: seen.runs_out(edge, point),
        partitions_left_out: seen.partitions.len() - partitions.len(),
        partitions,
        topics: seen.topics(),
        commits: seen.counted.commits,
        requests: status::requests(edge),
        memory: memory.iter().map(|(structure, bytes)| MemoryTold { structure, bytes: *bytes }).collect(),
        disk: DiskTold { store_bytes: reads.store_checked().bytes, free_bytes: reads.disk_free_bytes() },
        backup: status::backup(edge),
        store_check: reads.store_check(),
        dead_letters: edge.watch.shared.dead_letters(),
        outbox: status::outbox(edge, now_ms),
        tables: tables(edge, now_ms),
        jobs: jobs(edge),
        breakers: breakers(edge),
        feeds: seen.counted.feeds,
        feed_hit_rate: seen.feed_hit_rate,
        trending: generations(edge),
        gauges: Gauge::ALL.map(|gauge| (gauge.name(), point.get(gauge))).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_of_the_stage_that_it_is_about() {
        for (reason, stage) in [
            ("kafka: no broker is connected", Stage::Source),
            ("400 s behind the source: it reads on (limits.lag_max_s 300)", Stage::Source),
            ("cdc.likes/0: truncate: the source truncated likes", Stage::Decode),
            ("dead letters that wait: 3; nova dlq list", Stage::Decode),
            ("100 MiB are free on the store's disk: make room", Stage::Writer),
            ("the outbox is full: consumption waits for ClickHouse", Stage::Outbox),
            ("backup: the latest one is 40 hours old; nova backup FILE", Stage::Writer),
            ("redis: cache.redis_url does not answer", Stage::Memory),
            ("clickhouse: it does not answer since 3 s", Stage::Clickhouse),
            ("the job trending keeps failing: x", Stage::Memory),
        ] {
            assert_eq!(stage_of(reason), stage, "{reason}");
        }
    }
}
