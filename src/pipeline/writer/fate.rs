//! What the writer made of a record.

use crate::event::Outcome;

/// What became of a record, or that it was not consumed.
pub(super) enum Fate {
    Outcome(Outcome),
    /// Also a duplicate; the id was known with another payload.
    Conflict,
    /// Not consumed: the partition is held.
    Held,
}
