//! A list of trending posts, and what every maker of one goes by: which posts may be in it, in which order, how many.

use std::cmp::Reverse;

use crate::event::Id;
use crate::state::{MINUTE_MS, State};

use super::window::Window;

/// Posts of one answer, and the last place at which a post may be pinned.
pub const TRENDING_MAX: usize = 200;

/// One post of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub post: Id,
    pub author: Id,
    pub created_at_us: i64,
    /// Weighed actions of the window, times ten.
    pub score: i64,
    /// By [`crate::event::Action`].
    pub counts: [i64; 5],
    /// An operator put it at its place.
    pub pinned: bool,
}

impl Entry {
    /// What a post counted in minutes of the range; `None` while it may not be shown.
    pub(super) fn of(state: &State, number: u32, range: &std::ops::Range<i64>) -> Option<Entry> {
        let row = state.posts.row(number).filter(|_| state.visible(number))?;
        let counts = state.posts.counted(number, range.clone());
        let (post, author) = (state.post_ids.id(number), state.users.id(row.author));
        let (created_at_us, score) = (row.created_at_us, state.weighed(&counts));
        Some(Entry { post, author, created_at_us, score, counts, pinned: false })
    }

    /// The order of lists: score, then newest, then smallest id.
    pub(super) fn order(&self) -> impl Ord + use<> {
        (Reverse(self.score), Reverse(self.created_at_us), self.post)
    }
}

/// A list as it is published: the best first, and how many posts scored at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trending {
    pub window: Window,
    /// Begin of the minute for which the list holds, epoch milliseconds.
    pub generated_at_ms: i64,
    pub total: usize,
    pub entries: Vec<Entry>,
    /// With counts that are not the state's; see `warmed`.
    pub warmed: bool,
}

/// Posts of a list.
pub(super) fn list_max(state: &State) -> usize {
    state.ranking().trending.list_max as usize
}

/// The begin of the minute: within it equal counts give equal bytes.
pub(super) fn generated_at_ms(now_ms: i64) -> i64 {
    now_ms.div_euclid(MINUTE_MS) * MINUTE_MS
}
