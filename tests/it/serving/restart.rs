//! A store that is opened with ranking parameters that differ from those with which it was written.

use nova::app::{self, Setup};
use nova::event::Record;
use nova::state::ranking::Ranking;

use super::oracle::ranking;
use crate::support::events::Rng;
use crate::support::{Listed, capture, setup, state_bytes};

const CAPTURE: &str = "random-envelope.jsonl.gz";

fn run(setup: &Setup, records: &[Record]) {
    let opened = app::open(setup).unwrap();
    opened.start(Box::new(Listed::new(records.to_vec(), 97)), setup).unwrap().finish(|_| {}).unwrap();
}

/// Returns the state of a store that applies the first records with the first ranking parameters, and the rest of the
/// records with the second parameters.
fn stored(first: Ranking, second: Ranking, records: &[Record], half: usize) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = setup(CAPTURE);
    dir.path().clone_into(&mut setup.data_dir);
    for (numbers, records) in [(first, &records[..half]), (second, &records[half..])] {
        setup.state.ranking = numbers;
        run(&setup, records);
    }
    state_bytes(&app::open(&setup).unwrap())
}

#[test]
fn a_store_that_is_opened_with_other_numbers_is_as_if_they_had_always_been_set() {
    let records = capture(CAPTURE);
    for seed in 0..3 {
        let mut rng = Rng(seed);
        let (first, second) = (ranking(&mut rng), ranking(&mut rng));
        let half = rng.below(records.len() as u64) as usize;
        let (changed, always) = (stored(first, second, &records, half), stored(second, second, &records, half));
        assert!(!always.is_empty() && changed == always, "seed {seed}");
    }
}
