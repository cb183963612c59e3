//! Checks that the simulation can fail: its seeds must find deliberate faults (mutants) in nova.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use nova::mutant::{Mutant, switch};
use parking_lot::Mutex;

use super::{THREADS, run};

/// The first seed that finds each mutant. If the draws of the simulation change, the noted seed may no longer find its
/// mutant, and the search begins at seed 1.
const CAUGHT: [(Mutant, u64); 18] = [
    (Mutant::LeaveRunning, 93),
    (Mutant::BlameRows, 231),
    (Mutant::KeepEpoch, 21),
    (Mutant::SkipToken, 2),
    (Mutant::SkipLook, 2),
    (Mutant::BelieveSilence, 3),
    (Mutant::SkipLedger, 1),
    (Mutant::CommitEarly, 2),
    (Mutant::ShowEarly, 6),
    (Mutant::TrustBefore, 1),
    (Mutant::ReadsAreChanges, 25),
    (Mutant::TellByClock, 4),
    (Mutant::CompareOffsets, 11),
    (Mutant::KeepPlaceholders, 1),
    (Mutant::NullLeftOut, 3),
    (Mutant::ForgetOldKey, 4),
    (Mutant::NullDeletes, 11),
    (Mutant::KeepUnread, 37),
];
/// A mutant counts as not found if this many seeds pass although nova has the mutant.
const SEEDS: u64 = 1_000;

fn fails(seed: u64, mutant: Option<Mutant>) -> bool {
    switch(mutant);
    let ended = catch_unwind(AssertUnwindSafe(|| run(seed, false)));
    switch(None);
    ended.is_err()
}

/// Returns the first seed that fails with the mutant and passes without it.
fn caught(mutant: Mutant, known: u64) -> Option<u64> {
    let notices = |seed: &u64| fails(*seed, Some(mutant)) && !fails(*seed, None);
    std::iter::once(known).chain(1..=SEEDS).find(notices)
}

#[test]
fn every_mutant_is_caught() {
    let (next, passed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((mutant, known)) = CAUGHT.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match caught(*mutant, *known) {
                        Some(seed) => eprintln!("{mutant:?} is caught by seed {seed}"),
                        None => passed.lock().push(*mutant),
                    }
                }
            });
        }
    });
    let passed = passed.into_inner();
    assert!(passed.is_empty(), "{SEEDS} seeds let these mutants pass: {passed:?}");
}
