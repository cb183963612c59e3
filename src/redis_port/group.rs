//! The groups of commands of the Redis port.

/// The groups by which the metrics count commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Connection,
    Keys,
    Strings,
    Hashes,
    Sets,
    SortedSets,
    Server,
}

pub(super) const GROUPS: usize = crate::http::PORT_GROUPS.len();
