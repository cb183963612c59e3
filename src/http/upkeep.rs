//! The periodic work of the edge: the edge measures the node's health, keeps the keys for tokens up to date, and
//! forgets expired entries.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::monotonic_now;
use crate::pipeline::writer::EdgeEntry;

use super::auth::revocation;
use super::console::sample;
use super::edge::Edge;
use super::lag;
use super::sites::Sites;

/// The interval between two measurements of the node's health.
const TICK: Duration = Duration::from_secs(1);
/// The number of ticks between two sweeps.
const SWEEP_TICKS: u32 = 60;
/// The maximum number of expired entries that one sweep removes from the store.
const SWEEP_MAX: usize = 1_000;

/// Does the periodic work of the edge until the future is dropped.
pub(super) async fn run(sites: Sites) {
    match &sites {
        Sites::One(site) => {
            tokio::join!(site.edge.auth.keep_keys(), beat(&sites), sample::run(&sites));
        }
        // The edge of a server for tests has only the development key, which never changes.
        Sites::Replaced(_) => {
            tokio::join!(beat(&sites), sample::run(&sites));
        }
    }
}

async fn beat(sites: &Sites) {
    let mut ticks = 0u32;
    loop {
        let asleep = monotonic_now();
        tokio::time::sleep(TICK).await;
        let delay = asleep.elapsed().saturating_sub(TICK);
        let site = sites.now();
        let edge = &site.edge;
        let queue = edge.control.durable.filled();
        let lag_s = lag::oldest_ms(&edge.watch) as f64 / 1e3;
        edge.gate.limiter.health.tick(queue, delay.as_secs_f64() * 1e3, lag_s);
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(SWEEP_TICKS) {
            sweep(edge).await;
        }
    }
}

/// Forgets expired callers of the limits, rules of revocation and answers to idempotency keys.
pub async fn sweep(edge: &Arc<Edge>) {
    edge.gate.limiter.sweep(edge.gate.limiter.now_us());
    let changing = Arc::clone(&edge.control.changes).lock_owned().await;
    let rules = edge.auth.revocations.expired(edge.clock.day_ms(), SWEEP_MAX);
    let removed = |kind: &'static str, name| EdgeEntry { kind, name, value: None };
    let mut entries: Vec<_> = rules.iter().map(|rule| removed(revocation::KIND, rule.name())).collect();
    entries.extend(edge.intake.answers.expire(edge.clock.now_ms(), SWEEP_MAX));
    if entries.is_empty() {
        return;
    }
    let revocations = Arc::clone(&edge.auth.revocations);
    let forgotten = edge.control.durable.put(entries, None, move || {
        for rule in &rules {
            revocations.remove(rule);
        }
        drop(changing);
    });
    if let Err(problem) = forgotten.await {
        tracing::warn!(?problem, "what has expired could not be removed; it will be after the next start");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{self, Node, Setup};
    use crate::clock::Clock;
    use crate::decode::{NoSchemas, Topics};
    use crate::event::Id;
    use crate::http::auth::revocation::{Rule, Target};

    fn node(dir: &std::path::Path, clock: &Clock) -> Node {
        let mut setup = Setup::new(dir, Topics::default(), Arc::new(NoSchemas));
        setup.clock = clock.clone();
        let opened = app::open(&setup).unwrap();
        app::start_node(&setup, opened, Duration::ZERO).unwrap()
    }

    fn stop(node: Node) {
        node.running.shared.stop();
        drop(node.edge);
        node.running.finish(|_| {}).unwrap();
    }

    #[test]
    fn expired_rules_are_gone_from_memory_and_store_and_others_stay() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(1_000));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let first = node(dir.path(), &clock);
        let rules = [(1, 2_000), (2, 5_000), (3, i64::MAX)];
        runtime.block_on(async {
            for (number, expires_ms) in rules {
                let (target, rule) = (Target::User(Id::from_u128(number)), Rule { before_ms: 1, expires_ms });
                let (name, value) = (target.name(), Some(rule.encode()));
                let entry = EdgeEntry { kind: revocation::KIND, name, value };
                let revocations = Arc::clone(&first.edge.auth.revocations);
                first.edge.control.durable.put(vec![entry], None, move || revocations.put(target, rule)).await.unwrap();
            }
            clock.set(3_000);
            sweep(&first.edge).await;
        });
        let users = |node: &Node| node.edge.auth.revocations.all().into_iter().map(|(target, _)| target).collect();
        let left: Vec<Target> = users(&first);
        assert_eq!(left, [2, 3].map(|number| Target::User(Id::from_u128(number))));
        stop(first);
        let again = node(dir.path(), &clock);
        let stored: Vec<Target> = users(&again);
        assert_eq!(stored, left);
        stop(again);
    }
}
