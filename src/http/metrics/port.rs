//! The metrics of the Redis port and of its embedded cache.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::registry::Registry;

use crate::cache::Cache as _;
use crate::http::edge::Watch;

use super::family::{counters, labels, total, whole};
use super::port_watch::PORT_GROUPS;

pub(super) fn port(watch: &Watch, to: &mut Registry) {
    let Some(port) = &watch.port else { return };
    let (counts, stats) = (&port.counts, port.cache.stats());
    let count = |value: &AtomicU64| value.load(Ordering::Relaxed);
    whole(to, "nova_redis_connections", "Connections of Redis clients that are open", count(&counts.open) as usize);
    let help = "Connections of Redis clients that were taken";
    total(to, "nova_redis_connections_taken", help, count(&counts.connections));
    let help = "Connections of Redis clients for which there was no place";
    total(to, "nova_redis_connections_refused", help, count(&counts.refused));
    let commands = PORT_GROUPS.iter().zip(&counts.commands);
    let commands = commands.map(|(group, done)| (labels([("group", group)]), count(done)));
    counters(to, "nova_redis_commands", "Commands of Redis clients, by group", commands);
    let help = "Commands of Redis clients that were answered with an error";
    total(to, "nova_redis_errors", help, count(&counts.errors));
    whole(to, "nova_cache_entries", "Entries of the embedded cache", stats.entries as usize);
    let keys =
        [("found", stats.hits), ("missed", stats.misses)].map(|(result, keys)| (labels([("result", result)]), keys));
    counters(to, "nova_cache_reads", "Keys that were read in the embedded cache, by whether they were there", keys);
    total(to, "nova_cache_evictions", "Entries of the embedded cache that made room for others", stats.evictions);
}
