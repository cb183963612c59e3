//! Measures the ranking of trending posts, with 20 000 active posts of 140 000.

mod world;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use nova::feed::trending::overrides::Overrides;
use nova::feed::trending::publish::Board;
use nova::feed::trending::{self, Window};
use parking_lot::RwLock;

use self::world::{NOW_MS, Rng, percentiles, view, world};

fn ranking(c: &mut Criterion) {
    let state = Arc::new(RwLock::new(world()));
    let mut group = c.benchmark_group("trending");
    group.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    for window in Window::ALL {
        group.bench_function(format!("rank_{}", window.name()), |b| {
            b.iter(|| black_box(trending::rank(&state.read(), window, NOW_MS, &Overrides::default())));
        });
    }
    let board = Board::new(Arc::clone(&state), Overrides::default(), NOW_MS);
    let mut rng = Rng(5);
    for events in [0, 2_000, 100_000] {
        group.bench_function(format!("tick_of_all_windows_after_{events}_events"), |b| {
            let batch = |rng: &mut Rng| (0..events).for_each(|_| state.write().apply(&view(rng)));
            b.iter_batched(|| batch(&mut rng), |()| board.refresh(NOW_MS), BatchSize::PerIteration);
        });
    }
    let ticks = (0..200).map(|_| {
        (0..2_000).for_each(|_| state.write().apply(&view(&mut rng)));
        let started = nova::clock::monotonic_now();
        board.refresh(NOW_MS);
        started.elapsed()
    });
    percentiles("a tick of all windows after 2000 events", ticks.collect());
    let mut now_ms = NOW_MS;
    group.bench_function("tick_in_a_new_hour", |b| {
        b.iter(|| {
            now_ms += 3_600_000;
            board.refresh(now_ms);
        });
    });
    board.refresh(NOW_MS);
    group.bench_function("read_of_20", |b| b.iter(|| black_box(board.page(Window::Day, None, 20, NOW_MS))));
    group.finish();
}

criterion_group!(benches, ranking);
criterion_main!(benches);
