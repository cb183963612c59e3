//! The text of all metrics. This file also has the groups of metrics without a file of their own.

use std::fmt;
use std::sync::atomic::Ordering;

use prometheus_client::registry::Registry;

use crate::event::Outcome;
use crate::http::edge::{Edge, Serving, Watch};
use crate::state::histogram::Histogram as Counts;

use super::family::{Real, Seconds, SecondsOf, counters, gauges, labels, one, total, whole};
use super::memory::memory;
use super::{port, postgres, process, source, store, warehouse};

/// The OpenMetrics text of all metrics.
pub(super) fn render(edge: &Edge) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let to = &mut registry;
    pipeline(edge, to);
    source::source(&edge.watch, &edge.intake.log, to);
    postgres::postgres(&edge.watch, to);
    store::store(&edge.control, to);
    edge_counts(edge, to);
    feeds(&edge.serving, to);
    jobs(&edge.watch, to);
    shared_cache(&edge.serving, to);
    port::port(&edge.watch, to);
    warehouse::warehouse(&edge.watch, to);
    warehouse::breakers(edge, to);
    process::process(to);
    ranking(&edge.serving, to);
    let mut out = String::new();
    prometheus_client::encoding::text::encode(&mut out, &registry)?;
    Ok(out)
}

/// Nodes with the same fingerprint make the same lists from the same state.
fn ranking(serving: &Serving, to: &mut Registry) {
    let fingerprint = format!("{:016x}", serving.state.read().ranking().fingerprint());
    let value = (labels([("fingerprint", &fingerprint)]), 1.0);
    gauges(to, "nova_ranking_info", "1, with the fingerprint of the numbers that lists are made by", [value]);
}

fn pipeline(edge: &Edge, to: &mut Registry) {
    let (observed, partitions) = (&edge.watch.observed, edge.watch.shared.partitions());
    let by_outcome = partitions.iter().flat_map(|status| {
        let topic = &*status.name.topic;
        Outcome::ALL.map(|outcome| {
            (labels([("topic", topic), ("outcome", outcome.name())]), status.row.outcomes[outcome as usize])
        })
    });
    counters(to, "nova_records", "Records consumed, by topic and outcome", by_outcome);
    let imbalance = partitions.iter().filter(|status| !status.row.balanced()).count();
    whole(to, "nova_accounting_imbalance", "Partitions whose outcomes do not add up, always 0", imbalance);
    let held = partitions.iter().filter(|status| status.hold.is_some()).count();
    whole(to, "nova_partitions_held", "Partitions that wait for a person", held);
    let help = "Partitions whose next record waits for the registry, or for a schema that fits";
    whole(to, "nova_partitions_waiting", help, edge.watch.shared.waits().len());
    one(to, "nova_commit_seconds", "Time of durable commits", observed.commit_seconds.clone());
    let help = "Time from a batch's begin in the writer until readers see it";
    one(to, "event_processing_duration_seconds", help, observed.processing_seconds.clone());
    let help = "Time from a commit of records until no reader sees what was before it, milliseconds";
    one(to, "cache_invalidation_lag_ms", help, observed.publish_ms.clone());
    one(to, "nova_dlq_depth", "Dead letters that wait", observed.dead_letters.clone());
    one(to, "nova_dedup_keys", "Event ids that are remembered", observed.dedup_keys.clone());
    one(to, "nova_rows_bytes", "Stored rows, without what the store adds", observed.rows_bytes.clone());
    one(to, "nova_rows_runs", "Sorted runs in which stored rows stand", observed.rows_runs.clone());
    let help = "Unchanged values that no stored row could fill, since the start";
    one(to, "nova_toast_unfilled", help, observed.toast_unfilled.clone());
    one(to, "nova_recovery_seconds", "Time that the last start took to recover", observed.recovery_seconds.clone());
    let mem = memory(edge).map(|(name, bytes)| (labels([("structure", name)]), bytes as f64));
    gauges(to, "nova_mem_bytes", "Memory of each structure", mem);
    let free = edge.control.reads.disk_free_bytes().unwrap_or(0);
    whole(to, "nova_disk_free_bytes", "Room on the store's disk", usize::try_from(free).unwrap_or(usize::MAX));
}

fn edge_counts(edge: &Edge, to: &mut Registry) {
    let observed = &edge.watch.observed;
    one(to, "events_ingested", "Client events accepted over HTTP", observed.events_ingested.clone());
    one(to, "events_deduped", "Client events over HTTP whose id was known", observed.events_deduped.clone());
    let decisions = edge.gate.limiter.decisions.all();
    let decisions =
        decisions.map(|(class, decision, count)| (labels([("class", class), ("decision", decision)]), count));
    counters(to, "rate_limit", "Requests by class: granted, over the caller's quota, or shed", decisions);
    if let Some(tracer) = &edge.tracer {
        let results = [("sent", &tracer.counts.sent), ("dropped", &tracer.counts.dropped)];
        let spans = results.map(|(result, count)| (labels([("result", result)]), count.load(Ordering::Relaxed)));
        counters(to, "nova_otlp_spans", "Spans for the collector, by what became of them", spans);
    }
    let refused = edge.auth.refused.all().map(|(reason, count)| (labels([("reason", reason.name())]), count));
    counters(to, "nova_auth_refused", "Requests whose token was refused, by reason", refused);
    one(to, "nova_events_rejected", "Client events over HTTP that were refused", observed.events_rejected.clone());
}

fn feeds(serving: &Serving, to: &mut Registry) {
    let counts = serving.feeds.served.total();
    total(to, "feed_requests", "Feed pages that were answered", counts.feeds);
    let ratio = Real::default();
    ratio.set(counts.hit_rate());
    one(to, "cache_hit_ratio", "Feed pages from a snapshot that was there", ratio);
    total(to, "nova_feed_cut", "Feed pages made in haste", counts.feeds_cut);
    let help = "Places of feeds filled against the rules of spacing";
    total(to, "nova_feed_relaxed", help, counts.relaxed);
    one(to, "feed_latency_seconds", "Time of feed pages", Seconds { counts: counts.feed_us, unit: 1e-6 });
    let help = "From the arrival of an event until readers see it";
    one(to, "nova_event_visible_seconds", help, Seconds { counts: counts.visible_ms, unit: 1e-3 });
}

fn jobs(watch: &Watch, to: &mut Registry) {
    let statuses = watch.jobs.runner.statuses();
    let results = statuses.iter().flat_map(|(job, status)| {
        status.results().map(|(result, count)| (labels([("job", job), ("result", result)]), count))
    });
    counters(to, "job_refresh", "Refreshes of jobs, by how they ended", results.collect::<Vec<_>>());
    let seconds = |counts: &Counts| Seconds { counts: counts.clone(), unit: 1e-6 };
    let took = statuses.iter().map(|(job, status)| (labels([("job", job)]), seconds(&status.took_us)));
    one(to, "job_refresh_duration_seconds", "Time of refreshes of jobs", SecondsOf(took.collect()));
    let parked =
        statuses.iter().map(|(job, status)| (labels([("job", job)]), f64::from(u8::from(status.parked.is_some()))));
    gauges(to, "nova_job_parked", "1 while a job keeps failing and is tried rarely", parked);
    let retries = &watch.retries;
    let results = [("healed", &retries.healed), ("kept", &retries.kept), ("waiting", &retries.waiting)];
    let results = results.map(|(result, count)| (labels([("result", result)]), count.load(Ordering::Relaxed)));
    let help = "Dead letters tried again by themselves: applied, dead as before, or not finished yet";
    counters(to, "nova_dlq_retries", help, results);
}

fn shared_cache(serving: &Serving, to: &mut Registry) {
    let Some(shared) = &serving.shared_cache else { return };
    let (counts, stats) = (shared.copies.counts(), shared.cache.stats());
    whole(to, "nova_shared_copies", "Copies that the shared cache may hold, or that wait", counts.entries);
    whole(to, "nova_shared_copies_waiting", "Copies to be made or deleted in the shared cache", counts.waiting);
    let help = "Copies not made or deleted because too many are watched";
    total(to, "nova_shared_copies_dropped", help, counts.dropped);
    total(to, "nova_shared_cache_failures", "Times that the shared cache gave no answer", stats.server_failures);
}
