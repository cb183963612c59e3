//! Figures about what nova served to readers, since the start of the process and for each day (UTC). A job stores the
//! figures of each day (`jobs/figures.rs`), so they survive a restart.

use std::collections::BTreeMap;

use nova_storage::codec::{CodecError, Put as _, Reader};
use parking_lot::Mutex;

use crate::state::DAY_MS;
use crate::state::daily::DAYS_MAX;
use crate::state::histogram::Histogram;

/// The figures of one day, or of the whole time since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The number of feed pages; `feed_hits` is the number of pages from an existing snapshot.
    pub feeds: u64,
    pub feed_hits: u64,
    /// The number of feed pages that have only followees' posts, newest first, because the time limit was reached.
    pub feeds_cut: u64,
    /// The number of places that were filled against the rules of spacing.
    pub relaxed: u64,
    /// A histogram of the times that feed pages took, in microseconds.
    pub feed_us: Histogram,
    /// A histogram of the times from an event's arrival until readers could see it, in milliseconds.
    pub visible_ms: Histogram,
}

impl Counts {
    /// Returns the fraction of the pages that came from an existing snapshot.
    pub fn hit_rate(&self) -> f64 {
        if self.feeds == 0 { 0.0 } else { self.feed_hits as f64 / self.feeds as f64 }
    }

    pub fn save(&self, out: &mut Vec<u8>) {
        [self.feeds, self.feed_hits, self.feeds_cut, self.relaxed].into_iter().for_each(|count| out.put_varint(count));
        self.feed_us.save(out);
        self.visible_ms.save(out);
    }

    /// Reads the figures that [`Counts::save`] wrote.
    pub fn load(what: &'static str, reader: &mut Reader<'_>) -> Result<Counts, CodecError> {
        Ok(Counts {
            feeds: reader.varint()?,
            feed_hits: reader.varint()?,
            feeds_cut: reader.varint()?,
            relaxed: reader.varint()?,
            feed_us: Histogram::load(what, reader)?,
            visible_ms: Histogram::load(what, reader)?,
        })
    }
}

#[derive(Debug, Default)]
struct Inner {
    total: Counts,
    days: BTreeMap<i64, Counts>,
}

/// The figures since the start of the process, and the figures of each day.
#[derive(Debug, Default)]
pub struct Served(Mutex<Inner>);

impl Served {
    fn note(&self, now_ms: i64, what: impl Fn(&mut Counts)) {
        let day = now_ms.div_euclid(DAY_MS);
        let mut inner = self.0.lock();
        what(&mut inner.total);
        if inner.days.len() >= DAYS_MAX && !inner.days.contains_key(&day) {
            inner.days.pop_first();
        }
        what(inner.days.entry(day).or_default());
    }

    /// Counts a feed page that nova returned.
    pub fn feed(&self, now_ms: i64, hit: bool, cut: bool, took_us: u32) {
        self.note(now_ms, |counts| {
            counts.feeds += 1;
            counts.feed_hits += u64::from(hit);
            counts.feeds_cut += u64::from(cut);
            counts.feed_us.add(took_us);
        });
    }

    /// Counts the places of a new snapshot that were filled against the rules of spacing.
    pub fn relaxed(&self, now_ms: i64, places: u32) {
        if places > 0 {
            self.note(now_ms, |counts| counts.relaxed += u64::from(places));
        }
    }

    /// Counts an event that readers could see `after_ms` after its arrival.
    pub fn visible(&self, now_ms: i64, after_ms: i64) {
        let after_ms = u32::try_from(after_ms.max(0)).unwrap_or(u32::MAX);
        self.note(now_ms, |counts| counts.visible_ms.add(after_ms));
    }

    pub fn total(&self) -> Counts {
        self.0.lock().total.clone()
    }

    /// Restores the figures of a day before nova serves anything.
    pub fn load(&self, day: i64, counts: Counts) {
        self.0.lock().days.insert(day, counts);
    }

    /// Returns the days that have figures, oldest first.
    pub fn days(&self) -> Vec<i64> {
        self.0.lock().days.keys().copied().collect()
    }

    /// Returns the figures of a day. `day` is the number of days since the epoch.
    pub fn day(&self, day: i64) -> Option<Counts> {
        self.0.lock().days.get(&day).cloned()
    }
}
