//! The jobs that ask ClickHouse: warming the first trending lists of a new store, and comparing what nova counted with
//! what the materialised views did.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashSet;

use crate::feed::trending::Window;
use crate::feed::trending::overrides::Override;
use crate::feed::trending::publish::Board;
use crate::feed::trending::warmed::{COUNTED_MAX, Counted};
use crate::state::DAY_MS;

use super::serving::Served;
use super::{CacheRefreshJob, JobError, Refreshing};

const WARM_TICK: Duration = Duration::from_secs(10);
const DRIFT_TICK: Duration = Duration::from_secs(60);
/// Posts on top of the views that must be in nova's list.
const TOP: usize = 20;

/// An answer on its way.
pub type Asked<T> = Pin<Box<dyn Future<Output = Result<T, JobError>> + Send>>;

/// What the materialised views counted.
pub trait Analytics: Send + Sync {
    /// Events from an epoch hour to another one, by [`crate::event::Action`].
    fn events(&self, hours: Range<i64>) -> Asked<[i64; 5]>;
    /// What the posts counted in epoch minutes of which the views know the bounds; the highest score by views and shares
    /// first, at most `limit`.
    fn posts(&self, window: Window, minutes: Range<i64>, limit: usize) -> Asked<Vec<Counted>>;
    /// Events that were counted here and wait to be sent.
    fn waiting(&self) -> i64;
}

/// Asks for counts while a window waits for its own.
pub struct Warmup {
    pub trending: Arc<Board>,
    pub analytics: Arc<dyn Analytics>,
}

impl CacheRefreshJob for Warmup {
    fn name(&self) -> &'static str {
        "trending_warmup"
    }

    fn interval(&self) -> Duration {
        WARM_TICK
    }

    fn refresh(&self, now_ms: i64) -> Refreshing {
        let (trending, analytics) = (Arc::clone(&self.trending), Arc::clone(&self.analytics));
        Box::pin(async move {
            for window in trending.warming() {
                let counted = analytics.posts(window, window.range(now_ms), COUNTED_MAX).await?;
                trending.warm(window, counted);
            }
            Ok(())
        })
    }
}

/// What the last comparison found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Found {
    /// Events of today and yesterday that nova counted and the views did not (below 0: the other way), by
    /// [`crate::event::Action`], beyond what may be on its way.
    pub events: [i64; 5],
    /// Part of the views' top posts of 24 h that nova's list lacks.
    pub trending: f64,
}

/// Compares nova's counts with those of the views.
pub struct Drift {
    pub served: Served,
    pub analytics: Arc<dyn Analytics>,
    pub found: Arc<Mutex<Found>>,
}

impl CacheRefreshJob for Drift {
    fn name(&self) -> &'static str {
        "views_drift"
    }

    fn interval(&self) -> Duration {
        DRIFT_TICK
    }

    fn refresh(&self, now_ms: i64) -> Refreshing {
        let (served, analytics, found) = (self.served.clone(), Arc::clone(&self.analytics), Arc::clone(&self.found));
        Box::pin(async move {
            let compared = Found {
                events: events(&served, &*analytics, now_ms).await?,
                trending: trending(&served, &*analytics, now_ms).await?,
            };
            *found.lock() = compared;
            Ok(())
        })
    }
}

async fn events(served: &Served, analytics: &dyn Analytics, now_ms: i64) -> Result<[i64; 5], JobError> {
    let today = now_ms.div_euclid(DAY_MS);
    let counted = || {
        let state = served.state.read();
        let days = [today - 1, today].map(|day| i32::try_from(day).ok().and_then(|day| state.daily.day(day)));
        let mut sum = [0i64; 5];
        for day in days.into_iter().flatten() {
            sum.iter_mut().zip(day.events).for_each(|(sum, count)| *sum += count as i64);
        }
        sum
    };
    let (before, waited) = (counted(), analytics.waiting());
    let theirs = analytics.events((today - 1) * 24..(today + 1) * 24).await?;
    let (waiting, after) = (waited.max(analytics.waiting()), counted());
    // The question was answered at some moment between: any count that is possible there is none too few or too many.
    Ok(std::array::from_fn(|action| {
        let (least, most) = (before[action] - waiting, after[action]);
        (least - theirs[action]).max(0) + (most - theirs[action]).min(0)
    }))
}

async fn trending(served: &Served, analytics: &dyn Analytics, now_ms: i64) -> Result<f64, JobError> {
    let window = Window::Day;
    let theirs = analytics.posts(window, window.range(now_ms), TOP).await?;
    let list = served.trending.last(window);
    let ours: FxHashSet<u32> = list.numbers.iter().copied().collect();
    let overrides = served.trending.overrides();
    let state = served.state.read();
    let may =
        |number: &u32| state.visible(*number) && overrides.get(state.post_ids.id(*number)) != Some(Override::Block);
    let scored = theirs.iter().filter(|(_, counts)| state.weighed(counts) > 0);
    let expected: Vec<u32> = scored.filter_map(|(post, _)| state.post_ids.number(*post)).filter(may).collect();
    let lacking = expected.iter().filter(|post| !ours.contains(post)).count();
    Ok(if expected.is_empty() { 0.0 } else { lacking as f64 / expected.len() as f64 })
}
