//! What is known of the Redis port from outside of it, and what its threads count.

use std::sync::atomic::AtomicU64;

use crate::cache::Embedded;

/// What commands are counted by, in the order of [`PortCounts::commands`].
pub const PORT_GROUPS: [&str; 8] =
    ["connection", "keys", "strings", "hashes", "sets", "sorted_sets", "server", "unknown"];

/// What the port's threads count.
#[derive(Debug, Default)]
pub struct PortCounts {
    /// Connections that are open.
    pub open: AtomicU64,
    /// Connections that were taken.
    pub connections: AtomicU64,
    /// Connections for which there was no place.
    pub refused: AtomicU64,
    /// Commands by group.
    pub commands: [AtomicU64; PORT_GROUPS.len()],
    /// Commands that were answered with an error.
    pub errors: AtomicU64,
}

/// What is known of the port from outside of it.
pub struct PortWatch {
    pub cache: Embedded,
    pub counts: PortCounts,
}

impl PortWatch {
    pub fn new(cache: Embedded) -> PortWatch {
        PortWatch { cache, counts: PortCounts::default() }
    }
}
