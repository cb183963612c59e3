//! Whether the simulation can fail: faults that are put into nova must be found by its seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use nova::mutant::{Mutant, switch};
use parking_lot::Mutex;

use super::{THREADS, run};

/// A mutant that so many seeds let pass is not noticed.
const SEEDS: u64 = 1_000;

/// Seeds that notice a mutant, tried first: the search takes minutes.
const KNOWN: [u64; 10] = [1, 2, 3, 4, 6, 11, 13, 21, 93, 1];

/// The first seed that notices the mutant, and passes without it.
fn caught(mutant: Mutant) -> Option<u64> {
    let fails = |seed: u64, mutant: Option<Mutant>| {
        switch(mutant);
        let ended = catch_unwind(AssertUnwindSafe(|| run(seed, false)));
        switch(None);
        ended.is_err()
    };
    let notices = |seed: &u64| fails(*seed, Some(mutant)) && !fails(*seed, None);
    KNOWN.into_iter().chain(1..=SEEDS).find(notices)
}

#[test]
fn every_mutant_is_caught() {
    let (next, passed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(mutant) = Mutant::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match caught(*mutant) {
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
