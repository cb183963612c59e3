//! Samples the data of the console, once for all viewers. A task of the edge makes two frames a second while somebody
//! watches the console, and otherwise one frame a second. The sampler keeps one point a second for the plots. All
//! viewers get the same bytes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::console::history::{Gauge, Point, STEP_MS};
use crate::http::edge::Edge;
use crate::http::metrics;
use crate::http::settings::ConsoleMode;
use crate::http::sites::Sites;
use crate::state::histogram::Histogram;

use super::overview::{self, Counted, Seen};

/// The interval of frames while somebody watches the console.
const TICK: Duration = Duration::from_millis(500);
/// The number of seconds over which nova computes percentiles of commit times.
const COMMITS_OF_S: usize = 10;
/// The time over which nova computes rates. Rates over a shorter time than this would flicker.
const RATE_MS: i64 = 2_000;
/// The interval between measurements of the memory of each structure. The interval is long, because each measurement
/// locks the state.
const MEMORY_EVERY_MS: i64 = 5_000;

/// Samples data for the console until the future is dropped. The future ends at once if the console is off.
pub(in crate::http) async fn run(sites: &Sites) {
    if sites.now().edge.gate.settings.console == ConsoleMode::Off {
        return;
    }
    let mut sampler = Sampler::default();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let started = tokio::time::Instant::now();
    loop {
        ticks.tick().await;
        let run_ms = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
        sampler.tick(&sites.now().edge, run_ms);
    }
}

/// The state of the sampler between two frames. Times are milliseconds since the sampler's start on the monotonic
/// clock.
#[derive(Default)]
pub(super) struct Sampler {
    /// The recent values of the counters with their times, oldest first.
    counted: VecDeque<(i64, Counted)>,
    /// The commit times of each recent second, oldest first.
    commits: VecDeque<Histogram>,
    memory: Vec<(&'static str, usize)>,
    memory_ms: Option<i64>,
    point_ms: Option<i64>,
}

impl Sampler {
    pub(super) fn tick(&mut self, edge: &Edge, run_ms: i64) {
        let due = self.point_ms.is_none_or(|last| run_ms - last >= STEP_MS);
        if !due && !edge.console.watched() {
            return;
        }
        if self.memory_ms.is_none_or(|last| run_ms - last >= MEMORY_EVERY_MS) {
            self.memory_ms = Some(run_ms);
            self.memory = metrics::memory(edge).collect();
        }
        if due {
            self.commits.push_back(edge.watch.observed.take_recent_commits());
            if self.commits.len() > COMMITS_OF_S {
                self.commits.pop_front();
            }
        }
        let seen = Seen::of(edge);
        let point = self.point(edge, &seen, run_ms);
        if due {
            // The next point is due one step after the time at which this point was due, so that delays do not add up.
            let begun = self.point_ms.map_or(run_ms, |last| (last + STEP_MS).max(run_ms - STEP_MS));
            self.point_ms = Some(begun);
            edge.console.keep(edge.clock.now_ms(), point);
        }
        let whole = overview::overview(edge, seen, &self.memory, &point);
        edge.console.publish(serde_json::json!(whole));
    }

    fn point(&mut self, edge: &Edge, seen: &Seen, run_ms: i64) -> Point {
        let now = seen.counted;
        while self.counted.len() > 1 && self.counted[1].0 <= run_ms - RATE_MS {
            self.counted.pop_front();
        }
        let mut point = Point::default();
        if let Some((then_ms, then)) = self.counted.front().copied().filter(|(then_ms, _)| *then_ms < run_ms) {
            let seconds = (run_ms - then_ms) as f64 / 1e3;
            let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
            point.set(Gauge::RecordsPerS, rate(now.records, then.records));
            point.set(Gauge::CommitsPerS, rate(now.commits, then.commits));
            point.set(Gauge::RequestsPerS, rate(now.requests, then.requests));
            point.set(Gauge::RefusedPerS, rate(now.refused, then.refused));
            point.set(Gauge::FeedsPerS, rate(now.feeds, then.feeds));
            if edge.watch.warehouse.is_some() {
                point.set(Gauge::AcknowledgedPerS, rate(now.acknowledged, then.acknowledged));
            }
        }
        self.counted.push_back((run_ms, now));
        let mut commits = Histogram::default();
        self.commits.iter().for_each(|second| commits.merge(second));
        for (gauge, percent) in [(Gauge::CommitP50Ms, 50), (Gauge::CommitP99Ms, 99)] {
            if let Some(us) = commits.percentile(percent).filter(|_| commits.count() > 0) {
                point.set(gauge, f64::from(us) / 1e3);
            }
        }
        point.set(Gauge::MemoryBytes, self.memory.iter().map(|(_, bytes)| *bytes as f64).sum());
        seen.gauges(edge, &mut point);
        point
    }
}
