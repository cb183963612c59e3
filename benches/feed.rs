//! Measures feed pages, suggestions, and how long a reader waits for the writer, in the world of `world/mod.rs`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a measurement that fails ends")]

mod world;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use nova::discover;
use nova::discover::rising::Rising;
use nova::feed::candidates;
use nova::feed::rank::{self, Making};
use nova::feed::shown::NOTHING;
use nova::feed::snapshot::{Algorithm, Ask, Snapshots};
use nova::state::{STRUCTURES, State};
use parking_lot::{RwLock, RwLockWriteGuard};

use self::world::{LIKES, NOW_MS, Rng, USERS, id, like, percentiles, view, world};

/// The number of users whose requests give the percentiles of one run.
const SAMPLE: usize = 20_000;
/// The number of effects that the writer applies under one lock.
const SLICE: usize = 32;

fn each_user(name: &str, mut one: impl FnMut(u64)) {
    let mut rng = Rng(3);
    let timed = |_| {
        let user = rng.below(USERS);
        let started = nova::clock::monotonic_now();
        one(user);
        started.elapsed()
    };
    percentiles(name, (0..SAMPLE).map(timed).collect());
}

fn pages(c: &mut Criterion, state: &RwLock<State>) {
    let mut group = c.benchmark_group("feed");
    group.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    let trending = candidates::trending_posts(&state.read(), NOW_MS);
    let feed = |user| {
        let state = state.read();
        let number = state.users.number(id(1, user)).unwrap();
        black_box(rank::feed(&state, number, &Making::strict(NOW_MS, &trending)));
    };
    let rising = Rising::default();
    rising.refresh(state, NOW_MS);
    let suggest = |user| {
        let state = state.read();
        let number = state.users.number(id(1, user)).unwrap();
        let list = || rising.list(&state, NOW_MS);
        black_box(discover::suggest_with(&state, number, NOW_MS, 20, &Default::default(), list));
    };
    let (mut rng, mut again) = (Rng(1), Rng(1));
    group.bench_function("miss", |b| {
        b.iter(|| feed(rng.below(USERS)));
    });
    each_user("feed miss", feed);
    let snapshots = Snapshots::default();
    let hit = |user| {
        let (algorithm, trending) = (Algorithm::Ranked, &trending);
        let user = id(1, user);
        let shown = &NOTHING;
        let ask = Ask { user, algorithm, cursor: None, shown, limit: 20, now_ms: NOW_MS, trending, late: &|| false };
        snapshots.page(state, &ask)
    };
    (0..1_000).for_each(|user| drop(hit(user)));
    group.bench_function("hit", |b| b.iter(|| black_box(hit(again.below(1_000)))));
    group.bench_function("suggestions", |b| {
        b.iter(|| suggest(rng.below(USERS)));
    });
    each_user("suggestions", suggest);
    group.bench_function("who_gained_followers", |b| b.iter(|| rising.refresh(state, NOW_MS)));
    group.finish();
}

/// Runs a writer that applies slices of effects without a pause, and a reader that takes the lock repeatedly.
fn waiting(state: State) {
    let (state, stop) = (Arc::new(RwLock::new(state)), Arc::new(AtomicBool::new(false)));
    let writer = std::thread::spawn({
        let (state, stop) = (Arc::clone(&state), Arc::clone(&stop));
        move || {
            let (mut rng, mut applied) = (Rng(9), 0u64);
            while !stop.load(Ordering::Relaxed) {
                let slice: Vec<_> = (0..SLICE as u64)
                    .map(|n| if n % 4 == 0 { like(&mut rng, LIKES + applied + n) } else { view(&mut rng) })
                    .collect();
                let mut state = state.write();
                slice.iter().for_each(|effect| state.apply(effect));
                RwLockWriteGuard::unlock_fair(state);
                applied += SLICE as u64;
            }
            applied
        }
    });
    let mut waits = Vec::new();
    let began = nova::clock::monotonic_now();
    while began.elapsed() < Duration::from_secs(4) {
        let started = nova::clock::monotonic_now();
        let guard = state.read();
        waits.push(started.elapsed());
        drop(guard);
        std::thread::yield_now();
    }
    stop.store(true, Ordering::Relaxed);
    eprintln!("the writer applied {} effects in 4 s", writer.join().unwrap());
    percentiles("a reader waits for the state", waits);
}

fn serving(c: &mut Criterion) {
    let state = RwLock::new(world());
    let bytes: usize = STRUCTURES.iter().map(|(_, bytes)| bytes(&state.read())).sum();
    eprintln!("the world takes {} MiB", bytes >> 20);
    pages(c, &state);
    waiting(state.into_inner());
}

criterion_group!(benches, serving);
criterion_main!(benches);
