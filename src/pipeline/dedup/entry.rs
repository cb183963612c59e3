//! An entry of the dedup set for one event, and the result of a look-up.

/// The entry of one accepted event: the hash of its identity is in the high bits, and the hash of its payload is in the
/// low bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry(pub(super) u128);

impl Entry {
    /// Makes an entry from `identity`, a 128-bit hash of user and event id, and `payload`, a 64-bit hash of the event's
    /// other members.
    pub fn new(identity: u128, payload: u64) -> Entry {
        Entry(identity & !u128::from(u32::MAX) | u128::from(payload as u32))
    }

    pub(super) fn same_event(self, other: Entry) -> bool {
        (self.0 ^ other.0) >> 32 == 0
    }

    pub(super) fn hash(self) -> u64 {
        (self.0 >> 64) as u64
    }

    /// The smallest possible entry for the same event.
    pub(super) fn floor(self) -> Entry {
        Entry(self.0 & !u128::from(u32::MAX))
    }
}

/// The result of a look-up in the dedup set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    New,
    /// The dedup set has the same event with the same payload.
    Duplicate,
    /// The dedup set has the same event with a different payload. The payload that came first stays in the dedup set.
    Conflict,
}
