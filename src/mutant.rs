//! Faults that a test puts into nova, to see whether the simulation notices them. A build without debug assertions has none
//! of them: there [`is`] is a constant.

#[cfg(debug_assertions)]
use std::cell::Cell;

/// One fault, at one place of the code each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// An insert goes out with a token of its own each time.
    SkipToken,
    /// Rows of an earlier process are sent without a look whether they are there.
    SkipLook,
    /// An insert without an answer counts as stored.
    BelieveSilence,
    /// An insert that may still run is not ended before the next one.
    LeaveRunning,
    /// A refusal that is an outage counts as one of a row.
    BlameRows,
    /// Rows that ClickHouse has are not counted.
    SkipLedger,
    /// Kafka is told of offsets before the store has them.
    CommitEarly,
    /// Readers see the effects of a commit before it is durable.
    ShowEarly,
    /// What a deleted row was is taken from the record, which does not know.
    TrustBefore,
    /// A read's LSN counts as that of a streamed change.
    ReadsAreChanges,
    /// Whether a change was seen before is told by its time alone.
    TellByClock,
    /// Offsets of two partitions are compared.
    CompareOffsets,
    /// Values that a record does not repeat are not filled.
    KeepPlaceholders,
    /// Columns that a record leaves out are lost.
    NullLeftOut,
    /// After a change of the key nobody looks at the row that had it.
    ForgetOldKey,
    /// A null value deletes in every format.
    NullDeletes,
    /// The epoch is not raised when a person asks for it.
    KeepEpoch,
    /// Rows that only an interrupted first snapshot has read stay.
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

/// Never, in a build that people run.
#[cfg(not(debug_assertions))]
pub const fn is(_: Mutant) -> bool {
    false
}

/// Switches a mutant on for this thread, or every mutant off. Only tests call it.
#[cfg(debug_assertions)]
pub fn switch(mutant: Option<Mutant>) {
    ON.set(mutant);
}
