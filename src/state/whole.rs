//! Holds all structures of the state, and applies each [`Effect`] to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::{Action, Effect, Facts, Id};

use super::affinity::{Affinity, Cell, Pended};
use super::chunks::{ALLOCATED_BYTES, Chunks};
use super::daily::Daily;
use super::dense::{PostNo, UserNo};
use super::graph::Graph;
use super::ids::Ids;
use super::meta::Meta;
use super::posts::{PostRow, Posts};
use super::ranking::Ranking;
use super::sets::{Dated, Liked};
use super::settings::{CountedFrom, StateSettings};
use super::times::DAY_MS;
use super::touches::Touches;
use super::users::{ROWS, UserRow, UserRows};

/// The state from which nova answers requests.
#[derive(Clone, Debug)]
pub struct State {
    settings: StateSettings,
    pub users: Ids<UserNo>,
    pub(super) user_rows: Chunks<UserRows>,
    pub post_ids: Ids<PostNo>,
    pub graph: Graph,
    pub posts: Posts,
    pub touches: Touches,
    pub affinity: Affinity,
    pub daily: Daily,
    pub(super) liked: Liked,
    pub(super) dated: Dated,
    /// The value that `changes` had when [`State::meta`] last changed.
    pub(super) meta_changed: u64,
    /// The number of effects that were applied so far (see [`State::changes`]).
    changes: u64,
    /// The number of retractions, which readers read without a lock on the state (see [`State::retractions`]).
    retractions: Arc<AtomicU64>,
}

impl State {
    pub fn new(settings: StateSettings) -> State {
        let affinity = Affinity::new(&settings.ranking);
        State {
            settings,
            users: Ids::default(),
            user_rows: Chunks::default(),
            post_ids: Ids::default(),
            graph: Graph::default(),
            posts: Posts::default(),
            touches: Touches::default(),
            affinity,
            daily: Daily::default(),
            liked: Liked::default(),
            dated: Dated::default(),
            meta_changed: 0,
            changes: 0,
            retractions: Arc::default(),
        }
    }

    /// Returns an independent copy of the state. The two states share each chunk until one of them changes it.
    pub fn copy(&self) -> State {
        let retractions = AtomicU64::new(self.retractions.load(Ordering::Acquire));
        State { retractions: Arc::new(retractions), ..self.clone() }
    }

    /// Returns a number that every effect raises. While `changes` stays the same, only the passing of time can change
    /// the results of the state. The number of effects is not stored.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Returns a number that rises when a post, a like or a comment is deleted or changed, or when a user is
    /// deactivated. A list that was published under a lower number may contain something that was deleted, hidden or
    /// retracted since (rule N11).
    pub fn retractions(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.retractions)
    }

    pub fn settings(&self) -> &StateSettings {
        &self.settings
    }

    pub fn ranking(&self) -> &Ranking {
        &self.settings.ranking
    }

    pub(super) fn user(&mut self, id: Id) -> UserNo {
        let user = self.users.intern(id);
        if user.index() + 1 == self.users.len() {
            self.user_rows.grow(self.users.len().div_ceil(ROWS));
            self.graph.grow(self.users.len());
            self.posts.grow_authors(self.users.len());
            self.touches.grow(self.users.len());
            self.affinity.grow(self.users.len());
        }
        user
    }

    /// Returns the row of a user. Returns `None` if the row has not come yet, or if it was deleted.
    pub fn user_row(&self, user: UserNo) -> Option<&UserRow> {
        self.user_rows.get(user.index() / ROWS)?.0[user.index() % ROWS].as_ref()
    }

    pub(super) fn set_user_row(&mut self, user: UserNo, row: Option<UserRow>) {
        self.user_rows.change(user.index() / ROWS).0[user.index() % ROWS] = row;
    }

    pub(super) fn post(&mut self, id: Id) -> PostNo {
        let post = self.post_ids.intern(id);
        self.posts.grow(self.post_ids.len());
        post
    }

    /// Applies one effect of a commit.
    pub fn apply(&mut self, effect: &Effect) {
        self.changes += 1;
        self.stamp();
        let meta = self.meta();
        self.take(effect);
        if self.meta() != meta {
            self.meta_changed = self.changes;
        }
    }

    /// Sets the number that is noted at every later change of a chunk to the present number of effects.
    fn stamp(&mut self) {
        let now = self.changes;
        self.users.ids.stamp(now);
        self.user_rows.stamp(now);
        self.post_ids.ids.stamp(now);
        self.graph.following.stamp(now);
        self.posts.chunks.stamp(now);
        self.posts.authors.stamp(now);
        self.touches.chunks.stamp(now);
        self.affinity.users.stamp(now);
        self.affinity.pending.stamp(now);
        self.daily.chunks.stamp(now);
        self.liked.chunks.stamp(now);
        self.dated.chunks.stamp(now);
    }

    /// Returns the parts of the state that do not belong to a single chunk.
    pub(super) fn meta(&self) -> Meta {
        Meta {
            users: self.users.len(),
            posts: self.post_ids.len(),
            fold_at: self.posts.fold_at,
            folding: self.posts.folding,
            fold_from: self.posts.fold_from,
        }
    }

    fn take(&mut self, effect: &Effect) {
        match effect {
            Effect::Event { user, post, action, at_ms, dwell_ms } => {
                self.daily.count(*action, *at_ms, *dwell_ms);
                self.event(*user, *post, *action, *at_ms);
            }
            Effect::Dated { action, key, at_ms } => {
                self.dated.insert(*action, *key, *at_ms);
            }
            Effect::Row { key, old, new } => {
                let taken =
                    matches!(old, Some(Facts::Post { .. } | Facts::Like { .. } | Facts::Comment { counts: true, .. }));
                if taken || matches!(new, Some(Facts::User { active: false, .. })) {
                    self.retractions.fetch_add(1, Ordering::Release);
                }
                if let Some(old) = old {
                    self.leave(*key, old, new.is_some());
                }
                if let Some(new) = new {
                    self.enter(*key, new);
                }
            }
        }
    }

    fn event(&mut self, user: Id, post: Id, action: Action, at_ms: i64) {
        let (user, post) = (self.user(user), self.post(post));
        let counts = self.settings.source(action) == CountedFrom::Events
            && match action {
                Action::Comment => true,
                Action::Impression | Action::View | Action::Share => self.touches.counts(user, post, action, at_ms),
                Action::Like => self.liked.insert(post, user),
            };
        if counts {
            self.posts.count(post, action, at_ms, 1);
            self.attribute(user, post, action, at_ms, 1);
        }
    }

    /// Handles a row that was deleted, or is about to be replaced.
    fn leave(&mut self, key: Id, old: &Facts, replaced: bool) {
        match old {
            Facts::User { .. } => {
                let user = self.user(key);
                if !replaced {
                    self.set_user_row(user, None);
                }
                self.posts.author_changed(user);
            }
            Facts::Post { author, .. } => {
                let (post, author) = (self.post(key), self.user(*author));
                self.posts.remove(post, author);
            }
            Facts::Follow { follower, followee, created_at_us } => {
                let (follower, followee) = (self.user(*follower), self.user(*followee));
                self.graph.unfollow(follower, followee, *created_at_us);
            }
            Facts::Like { user, post, created_at_us } => {
                self.row((*user, *post), (Action::Like, key), *created_at_us, -1);
            }
            Facts::Comment { user, post, created_at_us, counts: true } => {
                self.row((*user, *post), (Action::Comment, key), *created_at_us, -1);
            }
            Facts::Comment { .. } => {}
        }
    }

    fn enter(&mut self, key: Id, new: &Facts) {
        match new {
            Facts::User { username, active, .. } => {
                let user = self.user(key);
                self.set_user_row(user, Some(UserRow { username: username.clone(), active: *active }));
                self.posts.author_changed(user);
            }
            Facts::Post { author, created_at_us, published } => {
                let (post, author) = (self.post(key), self.user(*author));
                let row = PostRow { author, created_at_us: *created_at_us, published: *published };
                self.posts.put(post, row, &self.post_ids);
                // The pending actions of a post came before the post's own row.
                for Pended { user, day, kind, count } in self.affinity.take_pending(post) {
                    self.affinity.add(user, Cell { author, day, kind, count: count.into() });
                }
            }
            Facts::Follow { follower, followee, created_at_us } => {
                let (follower, followee) = (self.user(*follower), self.user(*followee));
                self.graph.follow(follower, followee, *created_at_us);
            }
            Facts::Like { user, post, created_at_us } => {
                self.row((*user, *post), (Action::Like, key), *created_at_us, 1);
            }
            Facts::Comment { user, post, created_at_us, counts: true } => {
                self.row((*user, *post), (Action::Comment, key), *created_at_us, 1);
            }
            Facts::Comment { .. } => {}
        }
    }

    /// Handles the row of a like or a comment. The sign is +1 if the row came and −1 if it was deleted.
    fn row(&mut self, (user, post): (Id, Id), (action, key): (Action, Id), created_at_us: i64, sign: i32) {
        // When a dated row is deleted, the time at which the row counts is removed as well.
        let dated_ms = match sign {
            1 => self.dated.get(action, key),
            _ => self.dated.remove(action, key),
        };
        if self.settings.source(action) == CountedFrom::Events {
            return;
        }
        let (user, post) = (self.user(user), self.post(post));
        let at_ms = dated_ms.unwrap_or_else(|| created_at_us.div_euclid(1_000));
        self.posts.count(post, action, at_ms, sign);
        self.attribute(user, post, action, at_ms, sign);
    }

    /// Counts an action of a user on the posts of an author, even if the present weight of the action is 0.
    fn attribute(&mut self, user: UserNo, post: PostNo, action: Action, at_ms: i64, sign: i32) {
        if action == Action::Impression {
            return;
        }
        let (day, kind) = (at_ms.div_euclid(DAY_MS) as i32, action as u8);
        match self.posts.author(post) {
            Some(author) => self.affinity.add(user, Cell { author, day, kind, count: sign.into() }),
            None => self.affinity.pend(post, Pended { user, day, count: sign, kind }),
        }
    }

    /// Whether a post may be shown: it is published and not deleted, and its author is neither deactivated nor deleted.
    /// If nova has no row of the author yet, the author counts as active.
    pub fn visible(&self, post: PostNo) -> bool {
        let Some(row) = self.posts.row(post) else { return false };
        row.published && self.user_row(row.author).is_none_or(|user| user.active)
    }

    /// The weighted sum of all counts of a post, times ten.
    pub fn engagement(&self, post: PostNo) -> i64 {
        self.weighed(&self.posts.totals(post))
    }

    /// Returns the weighted counts of a post in each range of epoch minutes, times ten.
    pub fn scores<const N: usize>(&self, post: PostNo, ranges: &[std::ops::Range<i64>; N]) -> [i64; N] {
        self.posts.weighed(post, ranges, &self.settings.ranking.weights)
    }

    pub(crate) fn weighed(&self, counts: &[i64; 5]) -> i64 {
        counts.iter().zip(self.settings.ranking.weights).map(|(count, weight)| count * weight).sum()
    }

    fn users_bytes(&self) -> usize {
        let rows = self.user_rows.iter().flat_map(|rows| &rows.0).flatten();
        let names: usize = rows.map(|row| row.username.len() + ALLOCATED_BYTES).sum();
        self.user_rows.mem_bytes() + names
    }
}

/// A function that returns the number of bytes of one structure of a state.
pub type BytesOf = fn(&State) -> usize;

/// The structures of a state with their names. Each structure is measured under a lock of its own, because measuring
/// all structures under one lock would delay the writer, and every reader who waits for the writer.
pub const STRUCTURES: [(&str, BytesOf); 8] = [
    ("ids", |state| state.users.mem_bytes() + state.post_ids.mem_bytes()),
    ("users", State::users_bytes),
    ("graph", |state| state.graph.mem_bytes()),
    ("posts", |state| state.posts.mem_bytes()),
    ("touches", |state| state.touches.mem_bytes()),
    ("affinity", |state| state.affinity.mem_bytes()),
    ("liked", |state| state.liked.mem_bytes()),
    ("dated", |state| state.dated.mem_bytes()),
];
