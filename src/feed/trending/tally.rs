//! Scores of all windows between two ticks: what posts counted since is added, and only posts whose visibility changed,
//! or whose minutes left or entered a window, are counted again. The state is locked for a slice of them at a time, so
//! that neither the writer nor a reader waits long.

use parking_lot::RwLock;
use rustc_hash::FxHashSet;

use crate::state::State;
use crate::state::posts::Counted;
use crate::state::ranking::Ranking;

use super::list::{Entry, Trending, generated_at_ms, list_max};
use super::overrides::Overrides;
use super::window::Window;

/// Posts that are counted under one lock.
const SLICE: usize = 128;

/// The score of a post that may not be shown.
const HIDDEN: i64 = i64::MIN;

/// See the module.
#[derive(Debug)]
pub struct Tallies {
    lists: [List; 4],
    /// Which windows there are lists of, as [`crate::state::ranking::TrendingNumbers::windows`].
    kept: [bool; 4],
    /// By post: [`crate::state::posts::Posts::times_counted`] when it was counted last; what it counted up to there is in the scores.
    times: Vec<u32>,
    /// Posts that counted something after the end of a window: time brings it in.
    ahead: FxHashSet<u32>,
}

/// One window.
#[derive(Debug)]
struct List {
    window: Window,
    range: std::ops::Range<i64>,
    /// By post.
    scores: Vec<i64>,
    /// Posts with a score, and some that had one.
    active: Vec<u32>,
    listed: Vec<bool>,
}

impl Default for Tallies {
    fn default() -> Tallies {
        let list = |window| List { window, range: 0..0, scores: Vec::new(), active: Vec::new(), listed: Vec::new() };
        Tallies { lists: Window::ALL.map(list), kept: [true; 4], times: Vec::new(), ahead: FxHashSet::default() }
    }
}

impl Tallies {
    /// Brings every window to the state at `now_ms`.
    pub fn update(&mut self, state: &RwLock<State>, now_ms: i64) {
        let (changes, posts, settings) = {
            let state = state.read();
            (state.posts.take_changes(), state.posts.len(), *state.ranking())
        };
        self.kept = settings.trending.windows;
        let moved: [bool; 4] = std::array::from_fn(|index| {
            self.kept[index] && self.lists[index].window.range(now_ms) != self.lists[index].range
        });
        self.times.resize(posts, 0);
        let due = self.move_to(now_ms, posts);
        if moved == [false; 4] {
            changes.counted.iter().for_each(|counted| self.add(counted, &settings));
        }
        // Where windows moved, every post of theirs is counted, and those that counted something besides.
        let mut anew: Vec<u32> = match moved == [false; 4] {
            true => changes.posts,
            false => changes.counted.iter().map(|counted| counted.post).chain(changes.posts).chain(due).collect(),
        };
        anew.sort_unstable();
        anew.dedup();
        for slice in anew.chunks(SLICE) {
            let state = state.read();
            slice.iter().for_each(|post| self.count(&state, *post));
        }
    }

    /// Adds one count of a post that may be shown.
    fn add(&mut self, counted: &Counted, settings: &Ranking) {
        let at = counted.post as usize;
        // Already in its scores: the post was counted after this, as the state went on while it was.
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

    /// Moves the windows; returns the posts that must be counted for that.
    fn move_to(&mut self, now_ms: i64, posts: usize) -> Vec<u32> {
        let mut due = Vec::new();
        for (list, _) in self.lists.iter_mut().zip(self.kept).filter(|(_, kept)| *kept) {
            due.extend(list.move_to(now_ms, posts, &self.ahead));
        }
        if !due.is_empty() {
            // Whatever is still ahead is noted again when it is counted: the shortest buckets move whenever others do.
            self.ahead.clear();
        }
        due.sort_unstable();
        due.dedup();
        due
    }

    /// Counts a post in all windows.
    fn count(&mut self, state: &State, post: u32) {
        if post as usize >= self.times.len() {
            // Came after the update began: it is among the changes of the next.
            return;
        }
        self.times[post as usize] = state.posts.times_counted(post);
        // That of a window that is not kept is empty, at a place where others look anyway.
        let first_end = self.first_end();
        let ranges = std::array::from_fn(|index| match self.kept[index] {
            true => self.lists[index].range.clone(),
            false => first_end..first_end,
        });
        let scores = if state.visible(post) { state.scores(post, &ranges) } else { [HIDDEN; 4] };
        let kept = self.lists.iter_mut().zip(scores).zip(self.kept).filter(|(_, kept)| *kept);
        kept.for_each(|((list, score), _)| list.set(post, score));
        if state.posts.last_minute(post).is_some_and(|minute| minute >= self.first_end()) {
            self.ahead.insert(post);
        }
    }

    /// The end of the window that ends first: that of the shortest bucket.
    fn first_end(&self) -> i64 {
        let ends = self.lists.iter().zip(self.kept).filter(|(_, kept)| *kept).map(|(list, _)| list.range.end);
        ends.min().unwrap_or(i64::MAX)
    }

    /// The list of a window that is kept, as [`super::rank`] would make it of the state at the last update.
    pub fn rank(&mut self, state: &RwLock<State>, window: Window, now_ms: i64, overrides: &Overrides) -> Trending {
        let list = &mut self.lists[window as usize];
        let total = list.clean();
        let limit = list_max(&state.read()) + overrides.len();
        let best = list.best(limit, state);
        let mut entries = Vec::with_capacity(best.len());
        for slice in best.chunks(SLICE) {
            let state = state.read();
            // Counted anew: numbers and order of the list agree, and what was hidden meanwhile is not in it.
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
    /// Moves the window; returns the posts that must be counted for that.
    fn move_to(&mut self, now_ms: i64, posts: usize, ahead: &FxHashSet<u32>) -> Vec<u32> {
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
        // The first time, or the clock went back.
        (0..posts as u32).collect()
    }

    fn set(&mut self, post: u32, score: i64) {
        let at = post as usize;
        self.scores[at] = score;
        if score > 0 && !self.listed[at] {
            self.listed[at] = true;
            self.active.push(post);
        }
    }

    /// Forgets posts without a score; returns how many have one.
    fn clean(&mut self) -> usize {
        let (scores, listed) = (&self.scores, &mut self.listed);
        self.active.retain(|post| {
            listed[*post as usize] = scores[*post as usize] > 0;
            listed[*post as usize]
        });
        self.active.len()
    }

    /// The first `limit` posts: those above the score at which the list is cut, and of those with just this score the
    /// newest, then the smallest ids.
    fn best(&self, limit: usize, state: &RwLock<State>) -> Vec<u32> {
        if self.active.len() <= limit {
            return self.active.clone();
        }
        let score = |post: &u32| self.scores[*post as usize];
        let mut scores: Vec<i64> = self.active.iter().map(score).collect();
        let (_, cut, _) = scores.select_nth_unstable_by(limit - 1, |a, b| b.cmp(a));
        let cut = *cut;
        let mut best: Vec<u32> = self.active.iter().copied().filter(|post| score(post) > cut).collect();
        let mut tied = Vec::new();
        let ties: Vec<u32> = self.active.iter().copied().filter(|post| score(post) == cut).collect();
        for slice in ties.chunks(SLICE * 8) {
            let state = state.read();
            let order = |post: u32| {
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
