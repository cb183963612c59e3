//! Ranking of trending posts: 20 000 active ones of 140 000.

mod world;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use nova::feed::trending::{self, Window};

use self::world::{NOW_MS, world};

fn ranking(c: &mut Criterion) {
    let state = world();
    let mut group = c.benchmark_group("trending");
    group.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    for window in Window::ALL {
        group.bench_function(format!("rank_{}", window.name()), |b| {
            b.iter(|| black_box(trending::rank(&state, window, NOW_MS, 200)));
        });
    }
    group.finish();
}

criterion_group!(benches, ranking);
criterion_main!(benches);
