//! The state of the Redis port for the metrics, and the counts that the port's threads keep.

use std::sync::atomic::AtomicU64;

use crate::cache::Embedded;

/// The groups of Redis commands that have a count each, in the order of [`PortCounts::commands`].
pub const PORT_GROUPS: [&str; 8] =
    ["connection", "keys", "strings", "hashes", "sets", "sorted_sets", "server", "unknown"];

/// The counts that the threads of the Redis port keep.
#[derive(Debug, Default)]
pub struct PortCounts {
    /// The number of open connections.
    pub open: AtomicU64,
    /// The number of accepted connections.
    pub connections: AtomicU64,
    /// The number of connections that the Redis port refused because it had its maximum number of connections.
    pub refused: AtomicU64,
    /// The number of Redis commands by group.
    pub commands: [AtomicU64; PORT_GROUPS.len()],
    /// The number of Redis commands that nova answered with an error.
    pub errors: AtomicU64,
}

/// The state of the Redis port for the metrics.
pub struct PortWatch {
    pub cache: Embedded,
    pub counts: PortCounts,
}

impl PortWatch {
    pub fn new(cache: Embedded) -> PortWatch {
        PortWatch { cache, counts: PortCounts::default() }
    }
}
