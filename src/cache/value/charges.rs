//! The bytes that nova charges for the members of collections.

use bytes::Bytes;

use crate::cache::command::Reply;

/// An upper bound of the bytes that a field or member takes in addition to its own bytes. The bound includes places in
/// half-full B-tree nodes (twice for a sorted set), and two allocations for each `Bytes`: a buffer and a reference
/// count.
pub(super) const MEMBER_BYTES: usize = 320;
/// The number of bytes that a collection takes even with a single member: one leaf of 11 places, or two leaves for a
/// sorted set.
pub(super) const COLLECTION_BYTES: usize = 960;

/// Counts the names that `remove` removes, and subtracts the bytes of the removed members from `bytes`. `remove`
/// returns the bytes of the removed member without its name, or `None` if the member does not exist.
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
