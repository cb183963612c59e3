//! The first trending lists of a store that has counted nothing yet. The first lists use the counts in ClickHouse's
//! views until the store's own counts are enough. ClickHouse's counts never enter the state: the state counts events as
//! usual, and a list shows the larger one of a post's two counts, never their sum.

use std::ops::Range;

use parking_lot::RwLock;

use crate::event::{Action, Id};
use crate::state::{MINUTE_MS, State};

use super::list::{Entry, TRENDING_MAX, Trending, list_max};
use super::overrides::Overrides;
use super::window::Window;

/// The number of posts that nova requests from ClickHouse. nova requests twice as many posts as a list has, because
/// some of the posts may not be shown.
pub const COUNTED_MAX: usize = 2 * TRENDING_MAX;

/// The counts of a post by [`Action`], as ClickHouse has them. nova ignores ClickHouse's counts of likes and comments,
/// because it counts likes and comments by their rows, which come from the source's log.
pub type Counted = (Id, [i64; 5]);

/// A window that waits until the store's own counts are enough.
#[derive(Debug)]
pub(super) struct Warmed {
    window: Window,
    /// The time in epoch milliseconds from which the window contains only what happened after the store was made.
    until_ms: i64,
    /// ClickHouse's counts, or `None` before its first answer.
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

    /// Whether the window's own list is enough. The window's own list is enough if its weight is at least half of the
    /// weight of ClickHouse's list. ClickHouse counts every view of a user, and nova counts only one view a day. The
    /// window's own list is also enough if the window begins after the store was made.
    pub(super) fn over(&self, state: &State, own: &Trending, now_ms: i64) -> bool {
        let theirs = self.counted.as_ref().map(|counted| {
            counted.iter().take(list_max(state)).map(|(_, counts)| state.weighed(&events_only(*counts))).sum::<i64>()
        });
        let ours: i64 = own.entries.iter().map(|entry| entry.score).sum();
        now_ms >= self.until_ms || theirs.is_some_and(|theirs| 2 * ours >= theirs)
    }

    /// Returns the window's list with the larger one of the two counts of each post.
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
        entries.truncate(list_max(&state) + overrides.len());
        let mut list = Trending { total, entries, warmed: true, ..own };
        overrides.apply(&state, &range, &mut list);
        list
    }
}

/// Returns the counts without likes and comments.
fn events_only(mut counts: [i64; 5]) -> [i64; 5] {
    counts[Action::Like as usize] = 0;
    counts[Action::Comment as usize] = 0;
    counts
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::publish::{Board, Published};
    use super::super::rank;
    use super::*;
    use crate::event::{Effect, Facts};
    use crate::state::StateSettings;

    const NOW_MS: i64 = 1_795_000_000_000;
    const POSTS: u8 = 6;

    fn post(n: u8) -> Id {
        Id::from_u128(2_000 + u128::from(n))
    }

    fn row(published: bool) -> Facts {
        Facts::Post { author: Id::from_u128(1), created_at_us: 0, published }
    }

    fn share(user: usize, n: u8) -> Effect {
        let user = Id::from_u128(5_000 + user as u128);
        Effect::Event { user, post: post(n), action: Action::Share, at_ms: NOW_MS - MINUTE_MS, dwell_ms: 0 }
    }

    /// Makes a board over posts that have no counts of their own.
    fn board() -> (Arc<RwLock<State>>, Board) {
        let state: Arc<RwLock<State>> = Arc::new(RwLock::new(State::new(StateSettings::default())));
        for n in 0..POSTS {
            state.write().apply(&Effect::Row { key: post(n), old: None, new: Some(row(n > 0)) });
        }
        let board = Board::new(Arc::clone(&state), Overrides::default(), NOW_MS);
        board.begin_warm(NOW_MS);
        (state, board)
    }

    fn bytes(state: &State) -> Vec<u8> {
        let mut out = Vec::new();
        state.save(&mut |_, _, chunk| out.extend_from_slice(chunk));
        out
    }

    fn listed(board: &Board) -> serde_json::Value {
        serde_json::from_str(&board.page(Window::Hour, None, 200, NOW_MS).body).unwrap()
    }

    proptest! {
        /// ClickHouse has counted shares, and in this test some of these shares arrive again in any order. No post ever
        /// shows more shares than it has, or fewer than ClickHouse or nova has counted. At the end of the test, the
        /// list has the bytes that it would have without ClickHouse's counts.
        #[test]
        fn what_comes_again_is_never_counted_twice_and_the_own_list_takes_over(
            shares in proptest::collection::vec(0u8..POSTS + 2, 1..60), ticks in proptest::collection::vec(any::<bool>(), 60),
        ) {
            let (state, board) = board();
            let mut counted: Vec<Counted> = (0..POSTS + 2).map(|n| {
                (post(n), [0, 0, 7, 7, shares.iter().filter(|share| **share == n).count() as i64])
            }).collect();
            counted.sort_by_key(|(_, counts)| std::cmp::Reverse(counts[Action::Share as usize]));
            let before = bytes(&state.read());
            board.warm(Window::Hour, counted.clone());
            board.refresh(NOW_MS);
            prop_assert_eq!(bytes(&state.read()), before, "nothing of it enters the state");
            let mut own = [0i64; POSTS as usize + 2];
            for (user, (share_of, tick)) in shares.iter().zip(ticks).enumerate() {
                // The state does not count events of an unknown post before the post's row arrives.
                state.write().apply(&share(user, *share_of));
                own[usize::from(*share_of)] += 1;
                if !tick {
                    continue;
                }
                board.refresh(NOW_MS);
                let list = listed(&board);
                let warmed = list["degraded"][0] == "warmed";
                for n in 0..POSTS + 2 {
                    let of = |one: &&serde_json::Value| one["post_id"] == post(n).to_string();
                    let shown = list["posts"].as_array().unwrap().iter().find(of).map_or(0, |one| one["shares"].as_i64().unwrap());
                    let all = shares.iter().filter(|share| **share == n).count() as i64;
                    let expected = if n == 0 || n >= POSTS { 0 } else if warmed { all } else { own[usize::from(n)] };
                    prop_assert_eq!(shown, expected, "post {}", n);
                }
            }
            board.warm(Window::Hour, counted);
            // If ClickHouse counted many views of posts that are hidden or unknown here, the window may have to wait
            // until it begins after the store was made.
            let over_ms = NOW_MS + 60 * MINUTE_MS;
            board.refresh(over_ms);
            prop_assert!(!board.warming().contains(&Window::Hour));
            let expected = rank(&state.read(), Window::Hour, over_ms, &Overrides::default());
            let expected = Published::new(&state.read(), expected).page(0, 200, |_| true).body;
            prop_assert_eq!(board.page(Window::Hour, None, 200, over_ms).body, expected);
        }
    }

    #[test]
    fn n11_a_post_that_is_taken_back_leaves_a_warmed_list_at_the_next_read() {
        let (state, board) = board();
        board.warm(
            Window::Hour,
            vec![(post(1), [0, 9, 0, 0, 0]), (post(2), [0, 5, 0, 0, 0]), (post(0), [0, 3, 0, 0, 0])],
        );
        board.refresh(NOW_MS);
        assert_eq!((listed(&board)["total_posts"].as_i64(), board.last(Window::Hour).numbers.len()), (Some(2), 2));
        state.write().apply(&Effect::Row { key: post(1), old: Some(row(true)), new: None });
        let list = listed(&board);
        assert_eq!((list["total_posts"].as_i64(), &list["posts"][0]["views"]), (Some(1), &5.into()));
    }

    #[test]
    fn views_that_counted_nothing_end_the_waiting_at_once() {
        let (_, board) = board();
        board.refresh(NOW_MS);
        assert_eq!(board.warming().len(), 4, "no answer yet");
        Window::ALL.into_iter().for_each(|window| board.warm(window, Vec::new()));
        board.refresh(NOW_MS);
        assert_eq!(board.warming(), []);
    }
}
