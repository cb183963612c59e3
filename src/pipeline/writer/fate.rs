//! The fate of a record in the writer.

use crate::event::Outcome;

/// The outcome of a record, or that it was not consumed.
pub(super) enum Fate {
    Outcome(Outcome),
    /// The event counts as a duplicate, and its id was known with another payload.
    Conflict,
    /// The record was not consumed, because the partition is held.
    Held,
}
