//! Faults that a test puts into nova, to check whether the simulation notices them. In a build without debug
//! assertions, [`is`] is a constant, so the build has none of the faults.

#[cfg(debug_assertions)]
use std::cell::Cell;

/// A fault at one place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Each attempt of an insert has a new token.
    SkipToken,
    /// nova sends rows of an earlier process without asking ClickHouse whether it has them.
    SkipLook,
    /// nova counts an insert without an answer as stored.
    BelieveSilence,
    /// nova does not end an insert that may still be running before it sends the next insert.
    LeaveRunning,
    /// nova treats a refusal because of an outage like a refusal of a row.
    BlameRows,
    /// The ledger does not count the rows that ClickHouse has acknowledged.
    SkipLedger,
    /// nova commits offsets to Kafka before the store has them.
    CommitEarly,
    /// Readers see the effects of a commit before it is durable.
    ShowEarly,
    /// nova takes the values of a deleted row from the record, although the record may lack the values.
    TrustBefore,
    /// nova compares the LSN of a read like the LSN of a streamed change.
    ReadsAreChanges,
    /// nova decides only by the time of a change whether it has seen the change before.
    TellByClock,
    /// nova compares offsets of two different partitions.
    CompareOffsets,
    /// nova does not fill in the values that a record does not repeat.
    KeepPlaceholders,
    /// A column that a record leaves out becomes null.
    NullLeftOut,
    /// After a change of the key, nova does not read the row under the old key.
    ForgetOldKey,
    /// nova treats a null value as a delete in every format.
    NullDeletes,
    /// nova does not raise the epoch when a person requests it.
    KeepEpoch,
    /// nova does not delete rows that only an interrupted first snapshot has read.
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

/// Returns false: a build that people run has no mutants.
#[cfg(not(debug_assertions))]
pub const fn is(_: Mutant) -> bool {
    false
}

/// Switches a mutant on for this thread, or switches every mutant off. Only tests call `switch`.
#[cfg(debug_assertions)]
pub fn switch(mutant: Option<Mutant>) {
    ON.set(mutant);
}
