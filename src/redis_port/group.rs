//! The groups of commands.

/// The groups by which commands are counted.
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
