//! Faults that a test puts into nova, to see whether the simulation notices them. In a build without debug assertions
//! [`is`] is a constant, so such a build has none of the faults.

#[cfg(debug_assertions)]
use std::cell::Cell;

/// A fault at one place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Each attempt of an insert has a new token.
    SkipToken,
    /// Rows of an earlier process are sent without asking ClickHouse whether it has them.
    SkipLook,
    /// An insert without an answer counts as stored.
    BelieveSilence,
    /// An insert that may still be running is not ended before the next insert.
    LeaveRunning,
    /// A refusal because of an outage counts as a refusal of a row.
    BlameRows,
    /// The rows that ClickHouse has are not counted.
    SkipLedger,
    /// Offsets are committed to Kafka before the store has them.
    CommitEarly,
    /// Readers see the effects of a commit before it is durable.
    ShowEarly,
    /// The values of a deleted row are taken from the record, which may not have them.
    TrustBefore,
    /// The LSN of a read counts as the LSN of a streamed change.
    ReadsAreChanges,
    /// Only the time decides whether a change was seen before.
    TellByClock,
    /// Offsets of two different partitions are compared.
    CompareOffsets,
    /// The values that a record does not repeat are not filled in.
    KeepPlaceholders,
    /// Columns that a record leaves out become null.
    NullLeftOut,
    /// After a change of the key, nobody looks at the row under the old key.
    ForgetOldKey,
    /// A null value counts as a delete in every format.
    NullDeletes,
    /// The epoch is not raised when a person asks for it.
    KeepEpoch,
    /// Rows that only an interrupted first snapshot has read are not deleted.
    KeepUnread,
}

#[cfg(debug_assertions)]
thread_local! {
    static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Whether the mutant is switched on for this thread.
#[cfg(debug_assertions)]
pub fn is(mutant: Mutant) -> bool {
    ON.get() == Some(mutant)
}

/// Always false in a build that people run.
#[cfg(not(debug_assertions))]
pub const fn is(_: Mutant) -> bool {
    false
}

/// Switches a mutant on for this thread, or every mutant off. Only tests call it.
#[cfg(debug_assertions)]
pub fn switch(mutant: Option<Mutant>) {
    ON.set(mutant);
}
