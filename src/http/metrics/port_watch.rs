//! The state of the Redis port for the metrics, and the counts of its threads.

use std::sync::atomic::AtomicU64;

use crate::cache::Embedded;

/// The groups by which commands are counted, in the order of [`PortCounts::commands`].
pub const PORT_GROUPS: [&str; 8] =
    ["connection", "keys", "strings", "hashes", "sets", "sorted_sets", "server", "unknown"];

/// The counts of the port's threads.
#[derive(Debug, Default)]
pub struct PortCounts {
    /// The number of open connections.
    pub open: AtomicU64,
    /// The number of accepted connections.
    pub connections: AtomicU64,
    /// The number of connections that were refused because there was no place.
    pub refused: AtomicU64,
    /// The number of commands by group.
    pub commands: [AtomicU64; PORT_GROUPS.len()],
    /// The number of commands that were answered with an error.
    pub errors: AtomicU64,
}

/// The state of the port for the metrics.
pub struct PortWatch {
    pub cache: Embedded,
    pub counts: PortCounts,
}

impl PortWatch {
    pub fn new(cache: Embedded) -> PortWatch {
        PortWatch { cache, counts: PortCounts::default() }
    }
}
