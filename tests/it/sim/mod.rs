//! Simulates the whole pipeline in one thread from a seed: source, ingest, writer, store, outbox, delivery and a
//! simulated ClickHouse, with virtual time and every fault that the seed draws. `docs/testing.md` says what is
//! simulated.
//!
//! `product` and `clients` are the model: nova must have what they commit and send. `broker` simulates Kafka, `network`
//! simulates ClickHouse, and `node` is one run of the nova process. `world` is the run with its `choices` and `faults`,
//! and `oracle` has the required properties. `regressions` has cases that seeds have found, and `mutants` checks that
//! the seeds find deliberate faults.

mod broker;
mod choices;
mod clients;
mod faults;
mod mutants;
mod network;
mod node;
mod oracle;
mod product;
mod regressions;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use choices::Choices;
use world::World;

use crate::support::asked;

/// The number of seeds in a normal run of the tests.
const SEEDS: u64 = 120;
const THREADS: u64 = 2;

fn run(seed: u64, told: bool) -> u128 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, Choices::drawn(seed), told);
        world.run().await;
        world.digest()
    })
}

#[test]
fn every_seed_comes_right_once_its_faults_end() {
    if let Some(seed) = asked("NOVA_TEST_SEED") {
        run(seed, true);
        return;
    }
    let (first, count) = (asked("NOVA_TEST_FIRST_SEED").unwrap_or(1), asked("NOVA_TEST_SEEDS").unwrap_or(SEEDS));
    let next = AtomicU64::new(first);
    let failed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| run(seed, false))).is_err() {
                        failed.fetch_add(1, Ordering::Relaxed);
                        eprintln!("seed {seed} failed; again: NOVA_TEST_SEED={seed} cargo test --test it sim::every");
                    }
                }
            });
        }
    });
    assert_eq!(failed.into_inner(), 0, "seeds failed of {count}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 1..=8 {
        assert_eq!(run(seed, false), run(seed, false), "seed {seed}");
    }
}
