//! The jobs that keep feeds, trending lists and suggestions fresh.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use crate::discover::rising::Rising;
use crate::discover::shown::Shown;
use crate::feed::settings::FeedSettings;
use crate::feed::snapshot::Snapshots;
use crate::feed::trending::Window;
use crate::feed::trending::publish::Board;
use crate::state::State;

use super::{CacheRefreshJob, Refreshing, blocking};

const FEED_TICK: Duration = Duration::from_secs(5);
const RISING_TICK: Duration = Duration::from_secs(10);
const SWEEP_TICK: Duration = Duration::from_secs(60);
/// The maximum number of feeds that one refresh makes.
const FEEDS_MAX: usize = 2_000;

/// The name of the job that makes outdated feeds again. nova wakes the job `feed_warmup` when a page was served from an
/// old snapshot.
pub const FEED_WARMUP: &str = "feed_warmup";

/// The served data that the jobs keep fresh.
#[derive(Clone)]
pub struct Served {
    pub state: Arc<RwLock<State>>,
    pub trending: Arc<Board>,
    pub feeds: Arc<Snapshots>,
    pub rising: Arc<Rising>,
    pub shown: Arc<Shown>,
}

/// One job: its name, its interval, and its work on the served data.
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
        blocking(move || {
            work(&served, now_ms);
            Ok(())
        })
    }
}

/// Returns the jobs: they publish trending lists, refresh the feeds of active users, count who gained followers, and
/// forget what has expired. The interval of the trending job is a setting. A tick of the trending job counts only what
/// has changed, so the same short interval is possible for every window. With an interval of 900 ms, including jitter
/// and the job's own time, an event changes every window within 1.2 s of its commit.
pub fn jobs(served: &Served, settings: &FeedSettings) -> Vec<Box<dyn CacheRefreshJob>> {
    let job = |name, interval, work| -> Box<dyn CacheRefreshJob> {
        Box::new(Job { name, interval, served: served.clone(), work })
    };
    let publish = Duration::from_millis(settings.trending_publish_ms.into());
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
