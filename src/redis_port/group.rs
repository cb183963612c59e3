//! The groups of commands.

/// What commands are counted by.
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
