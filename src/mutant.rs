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
    /// A process does not wait for what an earlier one sent in pieces.
    ForgetPieces,
}

impl Mutant {
    pub const ALL: [Mutant; 6] = [
        Mutant::SkipToken,
        Mutant::SkipLook,
        Mutant::BelieveSilence,
        Mutant::LeaveRunning,
        Mutant::BlameRows,
        Mutant::ForgetPieces,
    ];
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
