//! A list of trending posts, and the rules for the posts in a list, their order and their number.

use std::cmp::Reverse;

use crate::event::Id;
use crate::state::{MINUTE_MS, PostNo, State};

use super::window::Window;

/// The maximum number of posts in one answer, and the last place at which an operator can pin a post.
pub const TRENDING_MAX: usize = 200;

/// One post of a trending list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub post: Id,
    pub author: Id,
    pub created_at_us: i64,
    /// The weighted sum of the post's actions in the window, times ten.
    pub score: i64,
    /// The number of actions of each kind, in the order of [`crate::event::Action`].
    pub counts: [i64; 5],
    /// Whether an operator pinned the post to its place.
    pub pinned: bool,
}

impl Entry {
    /// Counts the actions of a post in a range of minutes. Returns `None` if the post may not be shown.
    pub(super) fn of(state: &State, number: PostNo, range: &std::ops::Range<i64>) -> Option<Entry> {
        let row = state.posts.row(number).filter(|_| state.visible(number))?;
        let counts = state.posts.counted(number, range.clone());
        let (post, author) = (state.post_ids.id(number), state.users.id(row.author));
        let (created_at_us, score) = (row.created_at_us, state.weighed(&counts));
        Some(Entry { post, author, created_at_us, score, counts, pinned: false })
    }

    /// Returns the sort key of the lists: highest score first, then newest post, then smallest id.
    pub(super) fn order(&self) -> impl Ord + use<> {
        (Reverse(self.score), Reverse(self.created_at_us), self.post)
    }
}

/// A trending list: the best posts first, and the number of posts with a score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trending {
    pub window: Window,
    /// The beginning of the minute for which the list holds, in epoch milliseconds.
    pub generated_at_ms: i64,
    pub total: usize,
    pub entries: Vec<Entry>,
    /// Whether the list contains counts from ClickHouse (see `warmed`).
    pub warmed: bool,
}

/// The maximum number of posts in a list.
pub(super) fn list_max(state: &State) -> usize {
    state.ranking().trending.list_max as usize
}

/// Returns the beginning of the minute that contains `now_ms`. Within a minute, equal counts give a list with the same
/// bytes.
pub(super) fn generated_at_ms(now_ms: i64) -> i64 {
    now_ms.div_euclid(MINUTE_MS) * MINUTE_MS
}
