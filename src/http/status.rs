//! `GET /api/v1/admin/status` shows the state of the node on one page.

use std::sync::Arc;

use http::StatusCode;

use crate::clock::rfc3339;
use crate::event::Outcome;

use super::answers::{self, Answer};
use super::call::UserCall;
use super::edge::Edge;
use super::limit::Class;
use super::query::flag;
use super::shapes::{
    BackupTold, ClassState, CountsTold, DeadTold, DiskTold, MemoryTold, NodeStatus, OutboxTold, ReasonTold,
    RecordsTold, SourceTold,
};
use super::{admin, commands, lag, metrics, ready};

pub(super) async fn status(edge: &Edge, call: UserCall<'_>) -> Answer {
    let letters = flag(call.call.query, "letters", true)?;
    let (dead, halted) = admin::read(&edge.control, move |store| {
        let dead = if letters { store.dead_reasons()? } else { Vec::new() };
        Ok((dead, store.tables()?))
    })
    .await?;
    let halted = halted.into_iter().filter(|table| table.halted.is_some()).collect();
    let dead_letters = DeadTold {
        waiting: edge.watch.shared.dead_letters(),
        counted: dead.iter().map(|reason| reason.letters).sum(),
        by_reason: dead,
    };
    let (reasons, control) = (ready::reasons(edge), Arc::clone(&edge.control));
    let (now_ms, started_ms) = (edge.control.clock.now_ms(), edge.control.started_ms);
    let reads = &control.reads;
    let status = NodeStatus {
        version: env!("CARGO_PKG_VERSION"),
        store_format: reads.store_format(),
        started_at: time(started_ms),
        uptime_s: (now_ms - started_ms).max(0) / 1_000,
        status: if reasons.is_empty() { "ready" } else { "not-ready" },
        reasons: told(reasons),
        warnings: told(ready::warnings(edge)),
        source: source(edge),
        halted,
        dead_letters,
        outbox: outbox(edge, now_ms),
        disk: DiskTold { store_bytes: reads.store_checked().bytes, free_bytes: reads.disk_free_bytes() },
        backup: backup(edge),
        store_check: reads.store_check(),
        memory: metrics::memory(edge).map(|(structure, bytes)| MemoryTold { structure, bytes }).collect(),
        counts: counts(edge),
    };
    Ok(answers::object(StatusCode::OK, &status))
}

fn time(ms: i64) -> String {
    rfc3339(ms.saturating_mul(1_000))
}

/// The latest backup of the store.
pub(super) fn backup(edge: &Edge) -> Option<BackupTold> {
    edge.control.reads.backup_times().map(|times| BackupTold {
        made_at: time(times.made_at_ms),
        verified_at: time(times.verified_at_ms),
        verify_failed: times.verify_failed,
    })
}

fn told(reasons: Vec<String>) -> Vec<ReasonTold> {
    reasons.into_iter().map(|reason| ReasonTold { commands: commands::of(&reason), reason }).collect()
}

pub(super) fn source(edge: &Edge) -> SourceTold {
    let lag_s = lag::oldest_ms(&edge.watch) / 1_000;
    if let Some(postgres) = &edge.watch.postgres {
        let view = postgres.view();
        return SourceTold { kind: "postgres", state: view.state.name(), detail: view.reason(), lag_s };
    }
    let Some(kafka) = &edge.watch.kafka else {
        return SourceTold { kind: "local", state: "reading", detail: None, lag_s };
    };
    let detail = Some(format!("{} of {} partitions", kafka.assigned(), kafka.assignment().existing));
    SourceTold { kind: "kafka", state: if kafka.up() { "reading" } else { "away" }, detail, lag_s }
}

pub(super) fn outbox(edge: &Edge, now_ms: i64) -> Option<OutboxTold> {
    let warehouse = edge.watch.warehouse.as_ref()?;
    let oldest = warehouse.targets().iter().filter_map(|target| target.oldest_ms).min();
    Some(OutboxTold {
        rows: warehouse.waiting_rows(),
        bytes: warehouse.waiting_bytes(),
        oldest_s: oldest.map(|oldest_ms| (now_ms - oldest_ms).max(0) / 1_000),
        full: edge.watch.shared.over_quota(),
    })
}

fn counts(edge: &Edge) -> CountsTold {
    let mut records = std::collections::BTreeMap::<(String, usize), u64>::new();
    for status in edge.watch.shared.partitions() {
        for outcome in Outcome::ALL {
            let count = status.row.outcomes[outcome as usize];
            *records.entry((status.name.topic.to_string(), outcome as usize)).or_default() += count;
        }
    }
    let records = records.into_iter().filter(|(_, count)| *count > 0).map(|((topic, outcome), count)| RecordsTold {
        topic,
        outcome: Outcome::ALL[outcome].name(),
        count,
    });
    CountsTold { commits: edge.watch.observed.commits(), records: records.collect(), requests: requests(edge) }
}

/// The numbers of granted and refused requests by class.
pub(super) fn requests(edge: &Edge) -> Vec<ClassState> {
    let limiter = &edge.gate.limiter;
    let requests = Class::ALL.map(|class| {
        let [granted, over_quota, shed] = limiter.decisions.of(class);
        ClassState { class: class.name(), per_s: limiter.settings().per_s(class), granted, over_quota, shed }
    });
    requests.into()
}
