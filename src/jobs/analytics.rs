//! Two jobs that ask ClickHouse: the first fills the trending lists of a new store, and the second compares nova's
//! counts with the counts of the materialised views.

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
use crate::state::{DAY_MS, PostNo};

use super::serving::Served;
use super::{CacheRefreshJob, JobError, Refreshing};

const WARM_TICK: Duration = Duration::from_secs(10);
const DRIFT_TICK: Duration = Duration::from_secs(60);
/// The number of the materialised views' top posts that should be in nova's trending list.
const TOP: usize = 20;

/// A future with the answer of ClickHouse.
pub type Asked<T> = Pin<Box<dyn Future<Output = Result<T, JobError>> + Send>>;

/// The counts of the materialised views in ClickHouse.
pub trait Analytics: Send + Sync {
    /// Returns the number of events in a range of epoch hours, by [`crate::event::Action`].
    fn events(&self, hours: Range<i64>) -> Asked<[i64; 5]>;
    /// Returns the counts of posts in a range of epoch minutes, which begins and ends at the limits of the views' time
    /// buckets. The post with the highest score by views and shares is first, and the answer has at most `limit` posts.
    fn posts(&self, window: Window, minutes: Range<i64>, limit: usize) -> Asked<Vec<Counted>>;
    /// Returns the number of events that nova has counted and that still wait to be sent to ClickHouse.
    fn waiting(&self) -> i64;
}

/// The job that asks ClickHouse for counts while a trending window has no counts of its own.
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

/// The result of the last comparison with the materialised views.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Found {
    /// The events of today and yesterday that nova counted and the views did not, by [`crate::event::Action`], without
    /// events that may still be on the way to ClickHouse. A number below 0 means that the views counted more events
    /// than nova.
    pub events: [i64; 5],
    /// The share of the views' top posts of 24 h that nova's trending list lacks.
    pub trending: f64,
}

/// The job that compares nova's counts with the counts of the materialised views.
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
    // The views were read at some moment between nova's two readings of its own counts. If the views' count equals a
    // count that nova had at any moment between its two readings, there is no difference.
    Ok(std::array::from_fn(|action| {
        let (least, most) = (before[action] - waiting, after[action]);
        (least - theirs[action]).max(0) + (most - theirs[action]).min(0)
    }))
}

async fn trending(served: &Served, analytics: &dyn Analytics, now_ms: i64) -> Result<f64, JobError> {
    let window = Window::Day;
    let top = TOP.min(served.state.read().ranking().trending.list_max as usize);
    if !served.trending.windows().contains(&window) {
        return Ok(0.0);
    }
    let theirs = analytics.posts(window, window.range(now_ms), top).await?;
    let list = served.trending.last(window);
    let ours: FxHashSet<PostNo> = list.numbers.iter().copied().collect();
    let overrides = served.trending.overrides();
    let state = served.state.read();
    let may =
        |number: &PostNo| state.visible(*number) && overrides.get(state.post_ids.id(*number)) != Some(Override::Block);
    let scored = theirs.iter().filter(|(_, counts)| state.weighed(counts) > 0);
    let expected: Vec<PostNo> = scored.filter_map(|(post, _)| state.post_ids.number(*post)).filter(may).collect();
    let lacking = expected.iter().filter(|post| !ours.contains(post)).count();
    Ok(if expected.is_empty() { 0.0 } else { lacking as f64 / expected.len() as f64 })
}

#[cfg(test)]
mod tests {
    use parking_lot::RwLock;
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Action, Effect, Facts, Id};
    use crate::feed::trending::overrides::Overrides;
    use crate::state::{MINUTE_MS, State, StateSettings};

    const NOW_MS: i64 = 20_780 * DAY_MS + 3 * 3_600_000;

    /// A double of ClickHouse whose materialised views give a fixed answer. During each answer of the views about
    /// events, nova counts as many further impressions as `meanwhile` says.
    struct Told {
        events: Option<[i64; 5]>,
        posts: Vec<Counted>,
        waiting: i64,
        meanwhile: i64,
        state: Arc<RwLock<State>>,
    }

    impl Analytics for Told {
        fn events(&self, hours: Range<i64>) -> Asked<[i64; 5]> {
            assert_eq!(hours, 20_779 * 24..20_781 * 24);
            (0..self.meanwhile).for_each(|n| impression(&self.state, 1_000 + n as u128, NOW_MS));
            let answer = self.events.ok_or(JobError::Away("no answer".to_owned()));
            Box::pin(async move { answer })
        }
        fn posts(&self, _window: Window, _minutes: Range<i64>, limit: usize) -> Asked<Vec<Counted>> {
            let posts = self.posts.iter().take(limit).copied().collect();
            Box::pin(async move { Ok(posts) })
        }
        fn waiting(&self) -> i64 {
            self.waiting
        }
    }

    fn impression(state: &RwLock<State>, user: u128, at_ms: i64) {
        let (user, post) = (Id::from_u128(user), Id::from_u128(2));
        state.write().apply(&Effect::Event { user, post, action: Action::Impression, at_ms, dwell_ms: 0 });
    }

    fn served() -> Served {
        let state: Arc<RwLock<State>> = Arc::new(RwLock::new(State::new(StateSettings::default())));
        let trending = Arc::new(Board::new(Arc::clone(&state), Overrides::default(), NOW_MS));
        Served { state, trending, feeds: Arc::default(), rising: Arc::default(), shown: Arc::default() }
    }

    async fn compare(served: &Served, told: Told) -> (Result<(), JobError>, Found) {
        let found = Arc::<Mutex<Found>>::default();
        let job = Drift { served: served.clone(), analytics: Arc::new(told), found: Arc::clone(&found) };
        let done = job.refresh(NOW_MS).await;
        (done, *found.lock())
    }

    proptest! {
        /// A difference is not reported if rows on the way to ClickHouse explain it. Every unexplained difference is
        /// reported.
        #[test]
        fn events_differ_only_by_what_is_not_on_its_way(
            counted in 0i64..40, waiting in 0i64..10, meanwhile in 0i64..10, theirs in 0i64..60,
        ) {
            let served = served();
            (0..counted).for_each(|n| impression(&served.state, n as u128, NOW_MS - (n % 2) * DAY_MS));
            impression(&served.state, 77, NOW_MS - 2 * DAY_MS);
            let told = Told {
                events: Some([theirs, 0, 0, 0, 0]), posts: Vec::new(), waiting, meanwhile, state: Arc::clone(&served.state),
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (done, found) = runtime.block_on(compare(&served, told));
            prop_assert_eq!(done, Ok(()));
            let expected = if theirs < counted - waiting {
                counted - waiting - theirs
            } else {
                (counted + meanwhile - theirs).min(0)
            };
            prop_assert_eq!(found.events, [expected, 0, 0, 0, 0]);
        }
    }

    #[tokio::test]
    async fn trending_drifts_by_the_part_of_the_top_that_the_list_lacks() {
        let served = served();
        let post = |n: u128| Id::from_u128(3_000 + n);
        for n in 0..8 {
            let new = Some(Facts::Post { author: Id::from_u128(1), created_at_us: 0, published: n != 7 });
            served.state.write().apply(&Effect::Row { key: post(n), old: None, new });
        }
        for n in 0..3 {
            let (user, at_ms) = (Id::from_u128(9), NOW_MS - MINUTE_MS);
            let share = Effect::Event { user, post: post(n), action: Action::Share, at_ms, dwell_ms: 0 };
            served.state.write().apply(&share);
        }
        served.trending.refresh(NOW_MS);
        served.trending.put_override(post(6), Some(Override::Block), NOW_MS);
        // nova lists posts 0 to 2, and lacks posts 3 and 4. Post 5 has no score, post 6 is blocked, post 7 is hidden,
        // and post 8 is unknown.
        let posts = (0..9).map(|n| (post(n), [1, i64::from(n != 5), 0, 0, 0])).collect();
        let state = Arc::clone(&served.state);
        let told = Told { events: Some([0, 0, 0, 0, 3]), posts, waiting: 0, meanwhile: 0, state };
        assert_eq!(compare(&served, told).await, (Ok(()), Found { events: [0; 5], trending: 0.4 }));
        let told = Told { events: None, posts: Vec::new(), waiting: 0, meanwhile: 0, state: Arc::clone(&served.state) };
        let (done, found) = compare(&served, told).await;
        assert_eq!((done, found), (Err(JobError::Away("no answer".to_owned())), Found::default()));
    }
}
