//! The result of a record in the writer.

use crate::event::Outcome;

/// The outcome of a record, or the fact that the record was not consumed.
pub(super) enum Fate {
    Outcome(Outcome),
    /// The event counts as a duplicate, but nova knew the event's id with a different payload.
    Conflict,
    /// The record was not consumed, because the partition is held.
    Held,
}
