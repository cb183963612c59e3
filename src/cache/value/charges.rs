//! What is charged for the members of collections.

use bytes::Bytes;

use crate::cache::command::Reply;

/// Upper bound of what a field or member takes beside its own bytes: its places in (half-full) B-tree nodes, twice for a
/// sorted set, and two allocations for each `Bytes`, a buffer and its count of references.
pub(super) const MEMBER_BYTES: usize = 320;
/// What a collection takes for its first members, however few: a leaf of 11 places, two for a sorted set.
pub(super) const COLLECTION_BYTES: usize = 960;

/// Counts and discharges what `remove` finds; it returns the bytes beside the name's.
pub(super) fn remove_each(
    names: &[Bytes],
    bytes: &mut usize,
    mut remove: impl FnMut(&Bytes) -> Option<usize>,
) -> Reply {
    let mut removed = 0;
    for name in names {
        if let Some(more) = remove(name) {
            *bytes = bytes.saturating_sub(name.len() + more + MEMBER_BYTES);
            removed += 1;
        }
    }
    Reply::Int(removed)
}
