//! Figures about what readers were served: since the start of the process, and by day (UTC). A job stores the days
//! (`jobs/figures.rs`), so that they survive a restart.

use std::collections::BTreeMap;

use nova_storage::codec::{CodecError, Put as _, Reader};
use parking_lot::Mutex;

use crate::state::DAY_MS;
use crate::state::daily::DAYS_MAX;
use crate::state::histogram::Histogram;

/// The figures of one day, or of the whole time since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The number of feed pages, and of pages from an existing snapshot.
    pub feeds: u64,
    pub feed_hits: u64,
    /// The number of feed pages made in haste: newest first, from followees only.
    pub feeds_cut: u64,
    /// The number of places that were filled against the rules of spacing.
    pub relaxed: u64,
    /// How long the pages took, microseconds.
    pub feed_us: Histogram,
    /// The time from an event's arrival until readers could see it, milliseconds.
    pub visible_ms: Histogram,
}

impl Counts {
    /// The part of the pages that came from an existing snapshot.
    pub fn hit_rate(&self) -> f64 {
        if self.feeds == 0 { 0.0 } else { self.feed_hits as f64 / self.feeds as f64 }
    }

    pub fn save(&self, out: &mut Vec<u8>) {
        [self.feeds, self.feed_hits, self.feeds_cut, self.relaxed].into_iter().for_each(|count| out.put_varint(count));
        self.feed_us.save(out);
        self.visible_ms.save(out);
    }

    /// Reads what [`Counts::save`] wrote.
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

/// The figures since the start, and of each day.
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

    /// Counts a feed page that was answered.
    pub fn feed(&self, now_ms: i64, hit: bool, cut: bool, took_us: u32) {
        self.note(now_ms, |counts| {
            counts.feeds += 1;
            counts.feed_hits += u64::from(hit);
            counts.feeds_cut += u64::from(cut);
            counts.feed_us.add(took_us);
        });
    }

    /// Counts places of a new snapshot that were filled against the rules.
    pub fn relaxed(&self, now_ms: i64, places: u32) {
        if places > 0 {
            self.note(now_ms, |counts| counts.relaxed += u64::from(places));
        }
    }

    /// Counts something that became visible `after_ms` after its arrival.
    pub fn visible(&self, now_ms: i64, after_ms: i64) {
        let after_ms = u32::try_from(after_ms.max(0)).unwrap_or(u32::MAX);
        self.note(now_ms, |counts| counts.visible_ms.add(after_ms));
    }

    pub fn total(&self) -> Counts {
        self.0.lock().total.clone()
    }

    /// Restores a day, before anything is served.
    pub fn load(&self, day: i64, counts: Counts) {
        self.0.lock().days.insert(day, counts);
    }

    /// The days with figures, oldest first.
    pub fn days(&self) -> Vec<i64> {
        self.0.lock().days.keys().copied().collect()
    }

    /// The figures of a day, given as the number of days since the epoch.
    pub fn day(&self, day: i64) -> Option<Counts> {
        self.0.lock().days.get(&day).cloned()
    }
}
