//! Stores the daily figures (`/api/v1/feed/metrics`) of what this process served: one entry for each day in the edge's
//! table. nova writes an entry when the figures of its day have changed. A crash loses the figures since the last
//! write. A regular stop loses no figures.

use std::sync::Arc;
use std::time::Duration;

use nova_storage::codec::{CodecError, Put as _, Reader};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::discover::shown::Conversion;
use crate::feed::served::Counts;
use crate::state::daily::DAYS_MAX;

use super::serving::Served;
use super::{CacheRefreshJob, JobError, Refreshing, blocking};

/// The kind of the figures' entries in the edge's table. The name of an entry is the day, in days since the epoch, as a
/// big-endian number.
pub const KIND: &str = "figures";
const TICK: Duration = Duration::from_secs(60);
const VERSION: u8 = 1;
const WHAT: &str = "figures of a day";

/// The name of an entry in the edge's table, and the entry's new value. `None` removes the entry.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// An interface that makes entries of the edge's table durable.
pub trait Durable: Send + Sync {
    /// Writes the changes, and waits for their commit. The call blocks its thread until the commit.
    fn put(&self, changes: Vec<Change>) -> Result<(), JobError>;
    /// Writes the changes in the next commit, without waiting for the commit. `leave` is for the end of the process.
    fn leave(&self, changes: Vec<Change>);
}

/// The job that stores the daily figures.
pub struct Figures(Arc<Inner>);

struct Inner {
    served: Served,
    durable: Arc<dyn Durable>,
    /// The bytes that are stored for each day.
    stored: Mutex<FxHashMap<i64, Vec<u8>>>,
}

impl Figures {
    /// Loads the days of the stored entries into memory. Malformed entries are skipped.
    pub fn load(
        served: Served,
        durable: Arc<dyn Durable>,
        entries: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Figures {
        let mut stored = FxHashMap::default();
        for (name, value) in entries {
            let Ok(day) = name.as_slice().try_into().map(i64::from_be_bytes) else { continue };
            match decode(&value) {
                Ok((counts, conversion)) => {
                    served.feeds.served.load(day, counts);
                    served.shown.load(day, conversion);
                }
                Err(error) => tracing::warn!(day, "{error}: what was served on that day is not known any more"),
            }
            stored.insert(day, value);
        }
        Figures(Arc::new(Inner { served, durable, stored: Mutex::new(stored) }))
    }
}

impl Inner {
    /// Returns the days whose figures differ from the stored figures.
    fn changes(&self) -> Vec<(i64, Option<Vec<u8>>)> {
        let stored = self.stored.lock();
        let mut days: Vec<i64> = self.served.feeds.served.days();
        days.extend(self.served.shown.days());
        days.sort_unstable();
        days.dedup();
        let kept = &days[days.len().saturating_sub(DAYS_MAX)..];
        let mut changes = Vec::new();
        for day in kept {
            let counts = self.served.feeds.served.day(*day).unwrap_or_default();
            let value = encode(&counts, self.served.shown.day(*day));
            if stored.get(day) != Some(&value) {
                changes.push((*day, Some(value)));
            }
        }
        changes.extend(stored.keys().filter(|day| !kept.contains(day)).map(|day| (*day, None)));
        changes
    }

    fn save(&self) -> Result<(), JobError> {
        let changes = self.changes();
        if changes.is_empty() {
            return Ok(());
        }
        self.durable.put(named(&changes))?;
        let mut stored = self.stored.lock();
        for (day, value) in changes {
            match value {
                Some(value) => drop(stored.insert(day, value)),
                None => drop(stored.remove(&day)),
            }
        }
        Ok(())
    }
}

fn named(changes: &[(i64, Option<Vec<u8>>)]) -> Vec<Change> {
    changes.iter().map(|(day, value)| (day.to_be_bytes().to_vec(), value.clone())).collect()
}

impl CacheRefreshJob for Figures {
    fn name(&self) -> &'static str {
        "figures_save"
    }

    fn interval(&self) -> Duration {
        TICK
    }

    fn refresh(&self, now_ms: i64) -> Refreshing {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            inner.served.shown.settle(&inner.served.state, now_ms);
            inner.save()
        })
    }
}

impl Drop for Figures {
    fn drop(&mut self) {
        let changes = self.0.changes();
        if !changes.is_empty() {
            self.0.durable.leave(named(&changes));
        }
    }
}

fn encode(counts: &Counts, conversion: Conversion) -> Vec<u8> {
    let mut out = vec![VERSION];
    counts.save(&mut out);
    out.put_varint(conversion.suggested);
    out.put_varint(conversion.followed);
    out
}

fn decode(value: &[u8]) -> Result<(Counts, Conversion), CodecError> {
    let (mut reader, _) = Reader::versioned(WHAT, value, VERSION)?;
    let counts = Counts::load(WHAT, &mut reader)?;
    let conversion = Conversion { suggested: reader.varint()?, followed: reader.varint()? };
    reader.end()?;
    Ok((counts, conversion))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nova_storage::testing::mutate::check_values;
    use parking_lot::RwLock;
    use proptest::prelude::*;

    use super::*;
    use crate::feed::trending::overrides::Overrides;
    use crate::feed::trending::publish::Board;
    use crate::state::{DAY_MS, State, StateSettings, UserNo};

    /// A double of the edge's table. The double of the table refuses writes while `away` is set.
    #[derive(Default)]
    struct Store {
        entries: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
        writes: Mutex<usize>,
        away: Mutex<bool>,
    }

    impl Durable for Store {
        fn put(&self, changes: Vec<Change>) -> Result<(), JobError> {
            if *self.away.lock() {
                return Err(JobError::Failed("the writer is behind".to_owned()));
            }
            self.leave(changes);
            Ok(())
        }
        fn leave(&self, changes: Vec<Change>) {
            let mut entries = self.entries.lock();
            for (name, value) in changes {
                *self.writes.lock() += 1;
                match value {
                    Some(value) => drop(entries.insert(name, value)),
                    None => drop(entries.remove(&name)),
                }
            }
        }
    }

    fn figures(store: &Arc<Store>) -> (Served, Figures) {
        let state: Arc<RwLock<State>> = Arc::new(RwLock::new(State::new(StateSettings::default())));
        let trending = Arc::new(Board::new(Arc::clone(&state), Overrides::default(), 0));
        let served = Served { state, trending, feeds: Arc::default(), rising: Arc::default(), shown: Arc::default() };
        let entries = store.entries.lock().clone().into_iter();
        (served.clone(), Figures::load(served, Arc::clone(store) as _, entries))
    }

    #[tokio::test]
    async fn only_days_that_changed_are_written_and_old_ones_leave() {
        let store = Arc::new(Store::default());
        let (served, job) = figures(&store);
        for day in 0..DAYS_MAX as i64 + 5 {
            served.feeds.served.feed(day * DAY_MS, true, false, 7);
            job.refresh(day * DAY_MS).await.unwrap();
        }
        assert_eq!(store.entries.lock().len(), DAYS_MAX);
        assert_eq!(*store.writes.lock(), DAYS_MAX + 5 + 5, "one a day, and five that left");
        job.refresh(0).await.unwrap();
        assert_eq!(*store.writes.lock(), DAYS_MAX + 10);
        *store.away.lock() = true;
        served.feeds.served.visible((DAYS_MAX as i64 + 4) * DAY_MS, 9);
        assert!(job.refresh(0).await.is_err());
        *store.away.lock() = false;
        job.refresh(0).await.unwrap();
        assert_eq!(*store.writes.lock(), DAYS_MAX + 11, "what could not be written is not forgotten");
    }

    proptest! {
        #[test]
        fn a_stop_loses_nothing_and_a_crash_what_came_since_the_last_time(
            pages in proptest::collection::vec((0i64..5, any::<bool>(), 0u32..100_000), 0..60),
            stops: bool, after in 0usize..60,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let store = Arc::new(Store::default());
            let (served, job) = figures(&store);
            for (index, (day, hit, took_us)) in pages.iter().enumerate() {
                if index == after {
                    runtime.block_on(job.refresh(0)).unwrap();
                }
                served.feeds.served.feed(day * DAY_MS, *hit, false, *took_us);
                served.feeds.served.visible(day * DAY_MS, i64::from(*took_us));
                served.shown.note(UserNo::of(1), std::iter::once(UserNo::of(index as u32)), day * DAY_MS);
            }
            let saved = if stops { pages.len() } else if after < pages.len() { after } else { 0 };
            if stops { drop(job) } else { std::mem::forget(job) }
            let (again, _) = figures(&store);
            for day in 0..5 {
                let of = |n: usize| pages[..n].iter().filter(|page| page.0 == day);
                let counts = again.feeds.served.day(day).unwrap_or_default();
                prop_assert_eq!(counts.feeds, of(saved).count() as u64);
                prop_assert_eq!(counts.feed_hits, of(saved).filter(|page| page.1).count() as u64);
                prop_assert_eq!(counts.visible_ms.count(), counts.feeds);
                prop_assert_eq!(again.shown.day(day).suggested, counts.feeds);
                if stops {
                    prop_assert_eq!(counts, served.feeds.served.day(day).unwrap_or_default());
                }
            }
            prop_assert_eq!(again.feeds.served.total().feeds, 0, "metrics count from the start of the process");
        }

        #[test]
        fn malformed_entries_are_passed_over(name: Vec<u8>, value: Vec<u8>) {
            let store = Arc::new(Store::default());
            store.entries.lock().insert(name, value);
            drop(figures(&store));
        }
    }

    proptest! {
        #[test]
        fn mutants_of_saved_figures_are_errors_or_figures(suggested: u64, followed: u64, seed: u64) {
            let bytes = encode(&Counts::default(), Conversion { suggested, followed });
            check_values(&bytes, seed, decode, |(counts, conversion)| encode(counts, *conversion));
        }
    }
}
