//! The scores of trending posts in all windows. nova keeps the scores in memory between two ticks. At a tick, new
//! counts are added to the scores. A tick counts a post again only if its visibility changed, or if minutes of its
//! counts left or entered a window. A tick locks the state for a slice of the posts at a time, so that neither the
//! writer nor a reader waits long.

use std::panic::resume_unwind;
use std::thread::scope;

use parking_lot::RwLock;
use rustc_hash::FxHashSet;

use crate::state::posts::Counted;
use crate::state::ranking::Ranking;
use crate::state::{PostNo, State, start_threads};

use super::list::{Entry, Trending, generated_at_ms, list_max};
use super::overrides::Overrides;
use super::window::Window;

/// The number of posts that are counted under one lock of the state.
const SLICE: usize = 128;

/// The number of posts that one thread counts before the counts are added to the scores. The threads of a start count
/// all posts; at later ticks only one thread counts, so that readers have the other cores.
const SHARE: usize = 64 * SLICE;

/// The score of a post that may not be shown.
const HIDDEN: i64 = i64::MIN;

/// The scores of trending posts in all windows.
#[derive(Debug)]
pub struct Tallies {
    lists: [List; 4],
    /// Whether each window has a list, as in [`crate::state::ranking::TrendingNumbers::windows`].
    kept: [bool; 4],
    /// The value of [`crate::state::posts::Posts::times_counted`] for each post when the post was last counted. The
    /// scores contain all counts of a post up to the number that `times` has for the post.
    times: Vec<u32>,
    /// Posts that have counts after the end of a window. The counts of the posts in `ahead` enter the window as time
    /// passes.
    ahead: FxHashSet<PostNo>,
}

/// What the state says about one post at one moment.
struct Counts {
    post: PostNo,
    times: u32,
    /// The score in each window, or [`HIDDEN`].
    scores: [i64; 4],
    /// Whether the post has counts after the end of a window.
    ahead: bool,
}

/// The scores of the posts in one window.
#[derive(Debug)]
struct List {
    window: Window,
    range: std::ops::Range<i64>,
    /// The score of each post, by the post's number.
    scores: Vec<i64>,
    /// The posts that have a score, and some posts that no longer have a score.
    active: Vec<PostNo>,
    listed: Vec<bool>,
}

impl Default for Tallies {
    fn default() -> Tallies {
        let list = |window| List { window, range: 0..0, scores: Vec::new(), active: Vec::new(), listed: Vec::new() };
        Tallies { lists: Window::ALL.map(list), kept: [true; 4], times: Vec::new(), ahead: FxHashSet::default() }
    }
}

impl Tallies {
    /// Updates the scores of every window to the state at `now_ms`.
    pub fn update(&mut self, state: &RwLock<State>, now_ms: i64) {
        let (changes, posts, settings) = {
            let state = state.read();
            (state.posts.take_changes(), state.posts.len(), *state.ranking())
        };
        self.kept = settings.trending.windows;
        let moved: [bool; 4] = std::array::from_fn(|index| {
            self.kept[index] && self.lists[index].window.range(now_ms) != self.lists[index].range
        });
        let threads = match self.times.is_empty() {
            true => start_threads(),
            false => 1,
        };
        self.times.resize(posts, 0);
        let due = self.move_to(now_ms, posts);
        if moved == [false; 4] {
            changes.counted.iter().for_each(|counted| self.add(counted, &settings));
        }
        // If windows moved, the update counts every post of these windows again, and also the posts with new counts.
        let mut anew: Vec<PostNo> = match moved == [false; 4] {
            true => changes.posts,
            false => changes.counted.iter().map(|counted| counted.post).chain(changes.posts).chain(due).collect(),
        };
        anew.sort_unstable();
        anew.dedup();
        for posts in anew.chunks(SHARE * threads) {
            let counted: Vec<Vec<Counts>> = scope(|scope| {
                let (first, others) = posts.split_at(posts.len().min(SHARE));
                let tallies = &*self;
                let share = |posts| scope.spawn(move || tallies.counts(state, posts));
                let running: Vec<_> = others.chunks(SHARE).map(share).collect();
                let others = running.into_iter().map(|share| share.join().unwrap_or_else(|panic| resume_unwind(panic)));
                std::iter::once(tallies.counts(state, first)).chain(others).collect()
            });
            counted.into_iter().flatten().for_each(|counts| self.set(&counts));
        }
    }

    /// Adds one count to the scores of a post that may be shown.
    fn add(&mut self, counted: &Counted, settings: &Ranking) {
        let at = counted.post.index();
        // The scores already contain the count, because the state changed while the post was counted.
        if self.times[at].wrapping_sub(counted.times) < u32::MAX / 2 {
            return;
        }
        self.times[at] = counted.times;
        let (minute, sign) = (i64::from(counted.minute), i64::from(counted.sign));
        let held = self.lists.iter_mut().filter(|list| list.range.contains(&minute));
        for list in held.filter(|list| list.scores[at] != HIDDEN) {
            list.set(counted.post, list.scores[at] + settings.weights[counted.action as usize] * sign);
        }
        if minute >= self.first_end() {
            self.ahead.insert(counted.post);
        }
    }

    /// Moves every window to `now_ms`. Returns the posts that must be counted again because a window moved.
    fn move_to(&mut self, now_ms: i64, posts: usize) -> Vec<PostNo> {
        let mut due = Vec::new();
        for (list, _) in self.lists.iter_mut().zip(self.kept).filter(|(_, kept)| *kept) {
            due.extend(list.move_to(now_ms, posts, &self.ahead));
        }
        if !due.is_empty() {
            // If a window has moved, `due` contains every post of `ahead`. When the update counts a post that still has
            // later counts, the update inserts the post into `ahead` again.
            self.ahead.clear();
        }
        due.sort_unstable();
        due.dedup();
        due
    }

    /// Sets the scores of a post in all windows.
    fn set(&mut self, counts: &Counts) {
        let Counts { post, times, scores, ahead } = *counts;
        self.times[post.index()] = times;
        let kept = self.lists.iter_mut().zip(scores).zip(self.kept).filter(|(_, kept)| *kept);
        kept.for_each(|((list, score), _)| list.set(post, score));
        if ahead {
            self.ahead.insert(post);
        }
    }

    /// Counts posts in all windows, and locks the state for a slice of the posts at a time.
    fn counts(&self, state: &RwLock<State>, posts: &[PostNo]) -> Vec<Counts> {
        let mut counted = Vec::with_capacity(posts.len());
        for slice in posts.chunks(SLICE) {
            let state = state.read();
            counted.extend(slice.iter().filter_map(|post| self.counts_of(&state, *post)));
        }
        counted
    }

    /// Returns the counts of a post, or `None` if the post came after the update began. Such a post is among the
    /// changes of the next update.
    fn counts_of(&self, state: &State, post: PostNo) -> Option<Counts> {
        if post.index() >= self.times.len() {
            return None;
        }
        // A window that is not kept has an empty range, which begins at a minute that the kept windows also read.
        let first_end = self.first_end();
        let ranges = std::array::from_fn(|index| match self.kept[index] {
            true => self.lists[index].range.clone(),
            false => first_end..first_end,
        });
        let scores = if state.visible(post) { state.scores(post, &ranges) } else { [HIDDEN; 4] };
        let ahead = state.posts.last_minute(post).is_some_and(|minute| minute >= first_end);
        Some(Counts { post, times: state.posts.times_counted(post), scores, ahead })
    }

    /// Returns the earliest end of all windows, which is the end of the window with the shortest bucket.
    fn first_end(&self) -> i64 {
        let ends = self.lists.iter().zip(self.kept).filter(|(_, kept)| *kept).map(|(list, _)| list.range.end);
        ends.min().unwrap_or(i64::MAX)
    }

    /// Returns the list of a kept window. The list of a window equals the list that [`super::rank`] makes from the
    /// state at the last update.
    pub fn rank(&mut self, state: &RwLock<State>, window: Window, now_ms: i64, overrides: &Overrides) -> Trending {
        let list = &mut self.lists[window as usize];
        let total = list.clean();
        let limit = list_max(&state.read()) + overrides.len();
        let best = list.best(limit, state);
        let mut entries = Vec::with_capacity(best.len());
        for slice in best.chunks(SLICE) {
            let state = state.read();
            // The posts of the list are counted again here, so that the list's numbers and order agree and hidden posts
            // are left out.
            let fresh = slice.iter().filter_map(|post| Entry::of(&state, *post, &list.range));
            entries.extend(fresh.filter(|entry| entry.score > 0));
        }
        entries.sort_unstable_by_key(Entry::order);
        let total = total - (best.len() - entries.len());
        let mut ranked = Trending { window, generated_at_ms: generated_at_ms(now_ms), total, entries, warmed: false };
        overrides.apply(&state.read(), &list.range, &mut ranked);
        ranked
    }
}

impl List {
    /// Moves the window to `now_ms`. Returns the posts that must be counted again because the window moved.
    fn move_to(&mut self, now_ms: i64, posts: usize, ahead: &FxHashSet<PostNo>) -> Vec<PostNo> {
        let range = self.window.range(now_ms);
        let before = std::mem::replace(&mut self.range, range.clone());
        self.scores.resize(posts, HIDDEN);
        self.listed.resize(posts, false);
        if before == range {
            return Vec::new();
        }
        if before.start < range.start && before.end > before.start {
            return self.active.iter().chain(ahead).copied().collect();
        }
        // The window's range is new at the first update, or after the clock was set back, so every post is counted.
        (0..posts as u32).map(PostNo::of).collect()
    }

    fn set(&mut self, post: PostNo, score: i64) {
        let at = post.index();
        self.scores[at] = score;
        if score > 0 && !self.listed[at] {
            self.listed[at] = true;
            self.active.push(post);
        }
    }

    /// Removes the posts without a score from `active`. Returns the number of posts that have a score.
    fn clean(&mut self) -> usize {
        let (scores, listed) = (&self.scores, &mut self.listed);
        self.active.retain(|post| {
            listed[post.index()] = scores[post.index()] > 0;
            listed[post.index()]
        });
        self.active.len()
    }

    /// Returns the first `limit` posts of the list. If the list is cut between posts of the same score, the newest of
    /// these posts stay in the list, and among equally new posts the posts with the smallest ids.
    fn best(&self, limit: usize, state: &RwLock<State>) -> Vec<PostNo> {
        if self.active.len() <= limit {
            return self.active.clone();
        }
        let score = |post: &PostNo| self.scores[post.index()];
        let mut scores: Vec<i64> = self.active.iter().map(score).collect();
        let (_, cut, _) = scores.select_nth_unstable_by(limit - 1, |a, b| b.cmp(a));
        let cut = *cut;
        let mut best: Vec<PostNo> = self.active.iter().copied().filter(|post| score(post) > cut).collect();
        let mut tied = Vec::new();
        let ties: Vec<PostNo> = self.active.iter().copied().filter(|post| score(post) == cut).collect();
        for slice in ties.chunks(SLICE * 8) {
            let state = state.read();
            let order = |post: PostNo| {
                let created_at_us = state.posts.row(post).map_or(i64::MIN, |row| row.created_at_us);
                (std::cmp::Reverse(created_at_us), state.post_ids.id(post), post)
            };
            tied.extend(slice.iter().map(|post| order(*post)));
        }
        let free = limit - best.len();
        if tied.len() > free {
            tied.select_nth_unstable(free - 1);
        }
        best.extend(tied.into_iter().take(free).map(|(_, _, post)| post));
        best
    }
}

#[cfg(test)]
mod tests {
    use super::super::rank;
    use super::*;
    use crate::event::{Action, Effect, Facts, Id};
    use crate::state::{MINUTE_MS, StateSettings};

    /// There are more posts than two threads can count in one round.
    #[test]
    fn the_first_update_counts_the_posts_of_every_thread_like_a_plain_count() {
        let now_ms = 1_795_000_000_000;
        let mut state = State::new(StateSettings::default());
        let id = |kind: u128, n: usize| Id::from_u128(kind << 64 | n as u128);
        for n in 0..2 * SHARE + SLICE + 1 {
            let row = Facts::Post { author: id(1, 0), created_at_us: n as i64, published: !n.is_multiple_of(5) };
            state.apply(&Effect::Row { key: id(2, n), old: None, new: Some(row) });
            let (user, post, action) = (id(3, n % 7), id(2, n), [Action::View, Action::Share][n % 2]);
            let at_ms = now_ms - (n % 600) as i64 * MINUTE_MS;
            state.apply(&Effect::Event { user, post, action, at_ms, dwell_ms: 0 });
        }
        let state = RwLock::new(state);
        let mut tallies = Tallies::default();
        tallies.update(&state, now_ms);
        for window in Window::ALL {
            let made = tallies.rank(&state, window, now_ms, &Overrides::default());
            assert_eq!(made, rank(&state.read(), window, now_ms, &Overrides::default()), "{window:?}");
        }
    }
}
