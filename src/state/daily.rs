//! Counts what clients did on each day (UTC), over all posts. `/api/v1/feed/metrics` takes its figures of events from
//! the daily counts.

use std::collections::BTreeMap;

use nova_storage::codec::{CodecError, Put, Reader};

use crate::event::Action;

use super::chunks::Chunks;
use super::histogram::Histogram;
use super::times::DAY_MS;

/// The number of latest days that nova keeps.
pub const DAYS_MAX: usize = 90;

/// The figures of one day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// The number of accepted events for each [`Action`].
    pub events: [u64; 5],
    /// How long posts were viewed, milliseconds. Events without a dwell time are left out.
    pub dwell_ms: Histogram,
}

/// The days, by their number since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Days(BTreeMap<i32, Day>);

#[derive(Clone, Debug)]
pub struct Daily {
    /// The only chunk of the daily figures, which has all days.
    pub(super) chunks: Chunks<Days>,
}

impl Default for Daily {
    fn default() -> Daily {
        let mut chunks = Chunks::default();
        chunks.grow(1);
        Daily { chunks }
    }
}

impl Daily {
    pub(super) fn count(&mut self, action: Action, at_ms: i64, dwell_ms: u32) {
        self.chunks.change(0).count(action, at_ms, dwell_ms);
    }

    /// Returns the figures of a day, which is given in days since the epoch. Returns `None` if the day has no figures,
    /// or if it is too long ago.
    pub fn day(&self, day: i32) -> Option<&Day> {
        self.chunks.get(0)?.0.get(&day)
    }
}

impl Days {
    fn count(&mut self, action: Action, at_ms: i64, dwell_ms: u32) {
        let day = at_ms.div_euclid(DAY_MS) as i32;
        if self.0.len() >= DAYS_MAX && !self.0.contains_key(&day) && !self.make_room(day) {
            return;
        }
        let entry = self.0.entry(day).or_default();
        entry.events[action as usize] += 1;
        if dwell_ms > 0 {
            entry.dwell_ms.add(dwell_ms);
        }
    }

    /// Drops the first or the last day, whichever is farther from the given day. A last day that is months ahead was
    /// counted while a clock was wrong. Returns false if the given day is older than all days that nova keeps.
    fn make_room(&mut self, day: i32) -> bool {
        let ends = self.0.first_key_value().zip(self.0.last_key_value());
        let Some((first, last)) = ends.map(|((first, _), (last, _))| (*first, *last)) else { return true };
        if last.saturating_sub(day) > day.saturating_sub(first).max(DAYS_MAX as i32) {
            self.0.pop_last();
        } else if day < first {
            return false;
        } else {
            self.0.pop_first();
        }
        true
    }

    pub(super) fn save(&self, out: &mut Vec<u8>) {
        out.put_varint(self.0.len() as u64);
        for (day, entry) in &self.0 {
            out.put_zigzag(i64::from(*day));
            entry.events.iter().for_each(|count| out.put_varint(*count));
            entry.dwell_ms.save(out);
        }
    }

    /// `actions` is the number of actions whose counts were stored for each day.
    pub(super) fn load(what: &'static str, reader: &mut Reader<'_>, actions: usize) -> Result<Days, CodecError> {
        let mut days = Days::default();
        for _ in 0..reader.varint()? {
            let day = i32::try_from(reader.zigzag()?).map_err(|_| CodecError::Invalid(what))?;
            let mut entry = Day::default();
            for count in entry.events.iter_mut().take(actions) {
                *count = reader.varint()?;
            }
            entry.dwell_ms = Histogram::load(what, reader)?;
            days.0.insert(day, entry);
        }
        Ok(days)
    }
}
