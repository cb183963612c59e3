//! The metrics of the memory of each structure.

use crate::cache::Cache as _;
use crate::http::edge::Edge;
use crate::state::STRUCTURES;

/// The bytes that each structure of nova takes in memory.
pub(in crate::http) fn memory(edge: &Edge) -> impl Iterator<Item = (&'static str, usize)> {
    let observed = &edge.watch.observed;
    let mem = STRUCTURES.iter().map(|(name, bytes)| (*name, bytes(&edge.serving.state.read())));
    let mem = mem.chain([("snapshots", edge.serving.feeds.mem_bytes())]);
    let mem = mem.chain(edge.watch.port.iter().map(|port| ("cache", port.cache.stats().bytes as usize)));
    let of_writer = [("rows", &observed.rows_mem_bytes), ("dedup", &observed.dedup_mem_bytes)];
    mem.chain(of_writer.map(|(name, gauge)| (name, gauge.get().max(0) as usize)))
}
