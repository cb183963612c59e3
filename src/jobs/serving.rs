//! The jobs behind feeds, trending and suggestions.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use crate::cache::{Cache, CacheError, Key, SetOptions};
use crate::discover::rising::Rising;
use crate::discover::shown::Shown;
use crate::feed::snapshot::Snapshots;
use crate::feed::trending::publish::Board;
use crate::feed::trending::{TRENDING_MAX, Window};
use crate::state::State;

use super::{CacheRefreshJob, JobError, Refreshing, computing};

const FEED_TICK: Duration = Duration::from_secs(5);
const RISING_TICK: Duration = Duration::from_secs(10);
const SWEEP_TICK: Duration = Duration::from_secs(60);
const SHARED_TICK: Duration = Duration::from_secs(1);
/// A node that is gone leaves no old list behind.
const SHARED_TTL_MS: i64 = 60_000;
/// Feeds that are made anew in one refresh.
const FEEDS_MAX: usize = 2_000;

/// Name of the job that makes feeds anew: woken when a page was served from an old snapshot.
pub const FEED_WARMUP: &str = "feed_warmup";

/// What the jobs keep fresh.
#[derive(Clone)]
pub struct Served {
    pub state: Arc<RwLock<State>>,
    pub trending: Arc<Board>,
    pub feeds: Arc<Snapshots>,
    pub rising: Arc<Rising>,
    pub shown: Arc<Shown>,
}

/// One job: its name, its rhythm, and what it does with what is served.
struct Job {
    name: &'static str,
    interval: Duration,
    served: Served,
    work: fn(&Served, i64),
}

impl CacheRefreshJob for Job {
    fn name(&self) -> &'static str {
        self.name
    }

    fn interval(&self) -> Duration {
        self.interval
    }

    fn refresh(&self, now_ms: i64) -> Refreshing {
        let (served, work) = (self.served.clone(), self.work);
        computing(move || work(&served, now_ms))
    }
}

/// Puts the trending lists where other readers find them: under the keys of the older services, as the JSON that HTTP
/// answers.
struct Shared {
    trending: Arc<Board>,
    cache: Arc<dyn Cache>,
}

impl CacheRefreshJob for Shared {
    fn name(&self) -> &'static str {
        "cache_publish"
    }

    fn interval(&self) -> Duration {
        SHARED_TICK
    }

    fn refresh(&self, _now_ms: i64) -> Refreshing {
        let (trending, cache) = (Arc::clone(&self.trending), Arc::clone(&self.cache));
        Box::pin(async move {
            // A server that is away answers late: beside the thread that keeps time.
            let put = tokio::task::spawn_blocking(move || put_trending(&trending, &*cache)).await;
            put.map_err(|error| JobError(error.to_string()))?.map_err(|error| JobError(error.to_string()))
        })
    }
}

fn put_trending(trending: &Board, cache: &dyn Cache) -> Result<(), CacheError> {
    for window in Window::ALL {
        let name = format!("nova:cache:trending:{}", window.name());
        let body = trending.last(window).page(0, TRENDING_MAX, |_| true).body;
        cache.set(Key::plain(&name), body.to_string().into(), SetOptions::millis(SHARED_TTL_MS))?;
    }
    // Kept in this process while the server is away: others do not see that.
    match cache.stats().breaker_open {
        true => Err(CacheError::Unavailable("the lists are kept in this process meanwhile".to_owned())),
        false => Ok(()),
    }
}

/// The job that shares what is published through a cache.
pub fn shared(served: &Served, cache: Arc<dyn Cache>) -> Box<dyn CacheRefreshJob> {
    Box::new(Shared { trending: Arc::clone(&served.trending), cache })
}

/// Publishing trending, feeds of active users, who gained followers, and forgetting what expired. `publish` is the tick of
/// trending: it only counts what changed, so that no window needs a slower one. At 900 ms, with its jitter and the
/// time it takes, an event moves every window within 1.2 s of its commit.
pub fn jobs(served: &Served, publish: Duration) -> Vec<Box<dyn CacheRefreshJob>> {
    let job = |name, interval, work| -> Box<dyn CacheRefreshJob> {
        Box::new(Job { name, interval, served: served.clone(), work })
    };
    vec![
        job("trending_publish", publish, |served, now_ms| served.trending.refresh(now_ms)),
        job(FEED_WARMUP, FEED_TICK, |served, now_ms| {
            let trending = served.trending.last(Window::Day);
            served.feeds.refresh(&served.state, &trending.numbers, now_ms, FEEDS_MAX);
        }),
        job("suggestion_refresh", RISING_TICK, |served, now_ms| served.rising.refresh(&served.state, now_ms)),
        job("expiry_sweep", SWEEP_TICK, |served, now_ms| {
            served.feeds.sweep(now_ms);
            served.shown.settle(&served.state, now_ms);
        }),
    ]
}
