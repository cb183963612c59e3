//! What the edge does on its own: measures its health, keeps its keys fresh, forgets what has expired.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::pipeline::writer::EdgeEntry;

use super::auth::revocation;
use super::{Edge, durable};

/// How often health is measured.
const TICK: Duration = Duration::from_secs(1);
/// How many ticks lie between two sweeps.
const SWEEP_TICKS: u32 = 60;
/// Entries that one sweep takes out of the store.
const SWEEP_MAX: usize = 1_000;

/// Runs until it is dropped.
pub(super) async fn run(edge: Arc<Edge>) {
    tokio::join!(edge.auth.keep_keys(), beat(&edge));
}

async fn beat(edge: &Arc<Edge>) {
    let mut ticks = 0u32;
    loop {
        let asleep = Instant::now();
        tokio::time::sleep(TICK).await;
        let delay = asleep.elapsed().saturating_sub(TICK);
        let queue = edge.writer.len() as f64 / edge.writer.capacity().unwrap_or(usize::MAX) as f64;
        edge.gate.limiter.health.tick(queue, delay.as_secs_f64() * 1e3);
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(SWEEP_TICKS) {
            sweep(edge).await;
        }
    }
}

/// Forgets callers, rules and answers whose time is over.
pub(super) async fn sweep(edge: &Arc<Edge>) {
    edge.gate.limiter.sweep(edge.gate.limiter.now_us());
    let changing = Arc::clone(&edge.gate.changes).lock_owned().await;
    let rules = edge.auth.revocations.expired(edge.clock.day_ms(), SWEEP_MAX);
    let removed = |kind: &'static str, name| EdgeEntry { kind, name, value: None };
    let mut entries: Vec<_> = rules.iter().map(|rule| removed(revocation::KIND, rule.name())).collect();
    entries.extend(edge.gate.answers.expire(edge.clock.now_ms(), SWEEP_MAX));
    if entries.is_empty() {
        return;
    }
    let revocations = Arc::clone(&edge.auth.revocations);
    let forgotten = durable::put(edge, entries, None, move || {
        for rule in &rules {
            revocations.remove(rule);
        }
        drop(changing);
    });
    if let Err(problem) = forgotten.await {
        tracing::warn!(?problem, "what has expired could not be removed; it will be after the next start");
    }
}
