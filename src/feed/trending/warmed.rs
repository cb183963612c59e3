//! The first lists of a store that has counted nothing yet: from what somebody else counted (the views of ClickHouse),
//! until its own counts carry the list. Nothing of it enters the state: what comes later is counted as ever, and of the
//! two counts of a post the larger one is shown, never their sum.

use std::ops::Range;

use parking_lot::RwLock;

use crate::event::{Action, Id};
use crate::state::{MINUTE_MS, State};

use super::overrides::Overrides;
use super::{Entry, TRENDING_MAX, Trending, Window};

/// Posts that are asked for: not all of them may be shown.
pub const COUNTED_MAX: usize = 2 * TRENDING_MAX;

/// What a post counted by [`Action`]. Likes and comments are not looked at: they count by their rows, which come from the
/// source's log.
pub type Counted = (Id, [i64; 5]);

/// One window that waits for its own counts.
#[derive(Debug)]
pub(super) struct Warmed {
    window: Window,
    /// From then on whatever the window holds happened after the store was made.
    until_ms: i64,
    /// `None` before the first answer.
    counted: Option<Vec<Counted>>,
}

impl Warmed {
    pub(super) fn new(window: Window, now_ms: i64) -> Warmed {
        let range = window.range(now_ms);
        Warmed { window, until_ms: now_ms + (range.end - range.start) * MINUTE_MS, counted: None }
    }

    pub(super) fn put(&mut self, mut counted: Vec<Counted>) {
        counted.truncate(COUNTED_MAX);
        self.counted = Some(counted);
    }

    /// Whether the window's own list can do without: it weighs half of the other (which counts each view of a user, not
    /// one a day), or nothing of before the store can be in it.
    pub(super) fn over(&self, state: &State, own: &Trending, now_ms: i64) -> bool {
        let theirs = self.counted.as_ref().map(|counted| {
            counted.iter().take(TRENDING_MAX).map(|(_, counts)| state.weighed(&events_only(*counts))).sum::<i64>()
        });
        let ours: i64 = own.entries.iter().map(|entry| entry.score).sum();
        now_ms >= self.until_ms || theirs.is_some_and(|theirs| 2 * ours >= theirs)
    }

    /// The window's list with the larger of both counts of each post.
    pub(super) fn list(&self, state: &RwLock<State>, own: Trending, overrides: &Overrides, now_ms: i64) -> Trending {
        let Some(counted) = &self.counted else { return own };
        let range: Range<i64> = self.window.range(now_ms);
        let state = state.read();
        let mut entries: Vec<Entry> = counted
            .iter()
            .filter_map(|(post, counts)| {
                let mut entry = Entry::of(&state, state.post_ids.number(*post)?, &range)?;
                entry
                    .counts
                    .iter_mut()
                    .zip(events_only(*counts))
                    .for_each(|(ours, theirs)| *ours = (*ours).max(theirs));
                entry.score = state.weighed(&entry.counts);
                (entry.score > 0).then_some(entry)
            })
            .collect();
        let known: rustc_hash::FxHashSet<Id> = entries.iter().map(|entry| entry.post).collect();
        let rest = own.entries.into_iter().filter(|entry| !entry.pinned && !known.contains(&entry.post));
        entries.extend(rest);
        entries.sort_unstable_by_key(Entry::order);
        let total = own.total.max(entries.len());
        entries.truncate(TRENDING_MAX + overrides.len());
        let mut list = Trending { total, entries, warmed: true, ..own };
        overrides.apply(&state, &range, &mut list);
        list
    }
}

/// Without likes and comments.
fn events_only(mut counts: [i64; 5]) -> [i64; 5] {
    counts[Action::Like as usize] = 0;
    counts[Action::Comment as usize] = 0;
    counts
}
