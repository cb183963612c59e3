//! Copies of nova's lists in a cache that other services read, under the keys and with the JSON of HTTP's answers
//! (`docs/cache.md`). If a user reads a list over HTTP, a copy of the answer is requested. The job makes copies, checks
//! whether they are outdated, and deletes them. A reading user never waits for the copy: the request only puts a name
//! into a bounded table.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use crate::cache::{Cache, CacheError, Command, Key, SetOptions};
use crate::discover::dismissals::Dismissals;
use crate::event::Id;
use crate::feed::snapshot::Versions;
use crate::feed::trending::Window;
use crate::state::{PostNo, State, UserNo};

use super::made::{self, Maker};
use super::serving::Served;
use super::{CacheRefreshJob, JobError, Refreshing, blocking};

/// The name of the job that makes and deletes copies. nova wakes the job `cache_publish` when a copy must be deleted.
pub const CACHE_PUBLISH: &str = "cache_publish";
const TICK: Duration = Duration::from_secs(1);
/// The lifetime of every copy in the cache, so that a node that has ended leaves no outdated copies.
pub const TTL_MS: i64 = 60_000;
/// For this time after the end of a copy's lifetime, nova still checks the copy for changes, because the cache server
/// counts the lifetime from the receipt of the copy.
const WATCH_MORE_MS: i64 = 5_000;
/// The maximum number of copies, for all users, that wait to be made, are checked for changes, or wait to be deleted.
/// At the limit, nova makes no new copy until some copies have expired.
pub const COPIES_MAX: usize = 20_000;
/// The maximum number of copies that one refresh makes or deletes.
const REFRESH_MAX: usize = 2_000;
/// The maximum number of commands to the cache in one round trip. `PIPELINE_MAX` feeds have about 400 kB.
const PIPELINE_MAX: usize = 64;
/// The number of copies that are checked under one lock of the state.
const SLICE: usize = 64;

/// The kinds of lists that are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The first page of a ranked feed.
    Feed,
    Suggestions,
}

type Name = (Kind, Id);

fn key((kind, user): Name) -> String {
    match kind {
        Kind::Feed => format!("{}{user}", made::FEED),
        Kind::Suggestions => format!("{}{user}", made::SUGGESTIONS),
    }
}

/// What the job does next with a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    Put,
    Delete,
}

#[derive(Debug)]
struct Entry {
    next: Next,
    /// The time at which the copy expires, in epoch milliseconds.
    until_ms: i64,
    /// What the copy shows, so that nova notices when the copy is outdated. `None` means that the cache server does not
    /// have the copy yet.
    basis: Option<Arc<Basis>>,
}

/// The part of a copy's content that may be retracted.
#[derive(Debug)]
enum Basis {
    /// The versions on which a feed depends, and the posts on its first page.
    Feed { versions: Versions, posts: Box<[PostNo]> },
    /// The version of the user's follows, and the suggested users.
    Suggestions { follows: u32, users: Box<[UserNo]> },
}

impl Basis {
    fn holds(&self, state: &State, user: Id) -> bool {
        let number = state.users.number(user).unwrap_or(UserNo::NOBODY);
        match self {
            Basis::Feed { versions, posts } => {
                Versions::of(state, number) == *versions && posts.iter().all(|post| state.visible(*post))
            }
            Basis::Suggestions { follows, users } => {
                let active = |user: &UserNo| state.user_row(*user).is_some_and(|row| row.active);
                state.graph.version(number) == *follows && users.iter().all(active)
            }
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    entries: FxHashMap<Name, Entry>,
    /// The queue of entries with a pending action; each entry is in the queue once. An entry that was removed may still
    /// be in the queue.
    due: VecDeque<Name>,
}

impl Inner {
    fn wish(&mut self, name: Name, next: Next) -> bool {
        let room = self.entries.len() < COPIES_MAX;
        let entry = match self.entries.get_mut(&name) {
            Some(entry) => entry,
            None if !room => return false,
            None => self.entries.entry(name).or_insert(Entry { next: Next::Nothing, until_ms: i64::MIN, basis: None }),
        };
        if std::mem::replace(&mut entry.next, next) == Next::Nothing {
            self.due.push_back(name);
        }
        true
    }
}

/// The copies of lists that this node has put into the shared cache.
#[derive(Debug, Default)]
pub struct Copies {
    inner: Mutex<Inner>,
    dropped: AtomicU64,
}

/// How many copies this node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The number of copies that the cache server may have, or that wait to be made.
    pub entries: usize,
    /// The number of copies that wait to be made or deleted.
    pub waiting: usize,
    /// The number of requested copies since the start for which there was no room.
    pub dropped: u64,
}

impl Copies {
    /// Notes that a user was answered, and requests a copy of the answer.
    pub fn read(&self, kind: Kind, user: Id, now_ms: i64) {
        let mut inner = self.inner.lock();
        let known = inner.entries.get(&(kind, user));
        let there = known.is_some_and(|entry| match entry.next {
            Next::Nothing => entry.until_ms > now_ms,
            Next::Put => true,
            Next::Delete => false,
        });
        if !there && !inner.wish((kind, user), Next::Put) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests the deletion of a copy that nobody may read any more, whichever node made the copy. A copy that still
    /// waits to be made is not deleted, because the job will make the copy from newer data.
    pub fn end(&self, kind: Kind, user: Id) {
        let mut inner = self.inner.lock();
        let waits = inner.entries.get(&(kind, user)).is_some_and(|entry| entry.next == Next::Put);
        if !waits && !inner.wish((kind, user), Next::Delete) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn counts(&self) -> Counts {
        let inner = self.inner.lock();
        let (entries, waiting) = (inner.entries.len(), inner.due.len());
        Counts { entries, waiting, dropped: self.dropped.load(Ordering::Relaxed) }
    }

    /// Forgets expired copies, and requests the deletion of copies with outdated content.
    fn look(&self, state: &RwLock<State>, now_ms: i64) {
        let watched: Vec<(Name, Arc<Basis>)> = {
            let mut inner = self.inner.lock();
            inner.entries.retain(|_, entry| {
                entry.next != Next::Nothing || now_ms < entry.until_ms.saturating_add(WATCH_MORE_MS)
            });
            let bases = inner.entries.iter().filter(|(_, entry)| entry.next == Next::Nothing);
            bases.filter_map(|(name, entry)| Some((*name, Arc::clone(entry.basis.as_ref()?)))).collect()
        };
        for slice in watched.chunks(SLICE) {
            let over: Vec<_> = {
                let state = state.read();
                slice.iter().filter(|((_, user), basis)| !basis.holds(&state, *user)).collect()
            };
            let mut inner = self.inner.lock();
            for (name, basis) in over {
                let entry = inner.entries.get(name).filter(|entry| entry.next == Next::Nothing);
                // A copy that was made after the check began must stay.
                if entry.is_some_and(|entry| entry.basis.as_ref().is_some_and(|known| Arc::ptr_eq(known, basis))) {
                    inner.wish(*name, Next::Delete);
                }
            }
        }
    }

    /// Takes the next actions from the queue of copies. As soon as the actions are taken, the cache server may have the
    /// copies that will be made, and may lack the copies that will be deleted.
    fn take(&self, limit: usize, now_ms: i64) -> Vec<(Name, Next)> {
        let inner = &mut *self.inner.lock();
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some(name) = inner.due.pop_front()
        {
            let Some(entry) = inner.entries.get_mut(&name) else { continue };
            let next = std::mem::replace(&mut entry.next, Next::Nothing);
            entry.until_ms = if next == Next::Put { now_ms + TTL_MS } else { i64::MIN };
            entry.basis = None;
            taken.push((name, next));
        }
        taken
    }

    /// Notes that the cache server has done an action. If a second action for the copy was requested while the first
    /// action ran, the second action stays in the queue.
    fn done(&self, name: Name, basis: Option<Basis>) {
        let inner = &mut *self.inner.lock();
        match basis {
            Some(basis) => {
                if let Some(entry) = inner.entries.get_mut(&name) {
                    entry.basis = Some(Arc::new(basis));
                }
            }
            None => {
                if inner.entries.get(&name).is_some_and(|entry| entry.next == Next::Nothing) {
                    inner.entries.remove(&name);
                }
            }
        }
    }

    /// Notes that the cache server has not done an action. A failed action goes back to the queue, unless a second
    /// action for the copy was requested while the failed action ran.
    fn failed(&self, name: Name, next: Next) {
        let mut inner = self.inner.lock();
        if inner.entries.get(&name).is_some_and(|entry| entry.next == Next::Nothing) {
            inner.wish(name, next);
        }
    }
}

/// The cache that other services read, and this node's copies in it.
pub struct SharedCache {
    pub cache: Arc<dyn Cache>,
    pub copies: Copies,
}

/// The job that puts trending lists and copies into the cache for other services.
pub struct Publisher {
    pub served: Served,
    pub dismissals: Arc<Dismissals>,
    /// The key for the MACs of pages' cursors.
    pub cursor_key: [u8; 32],
    pub shared: Arc<SharedCache>,
}

impl CacheRefreshJob for Arc<Publisher> {
    fn name(&self) -> &'static str {
        CACHE_PUBLISH
    }

    fn interval(&self) -> Duration {
        TICK
    }

    fn refresh(&self, now_ms: i64) -> Refreshing {
        let publisher = Arc::clone(self);
        blocking(move || publisher.publish(now_ms))
    }
}

impl Publisher {
    fn publish(&self, now_ms: i64) -> Result<(), JobError> {
        let Publisher { served, shared, .. } = self;
        shared.copies.look(&served.state, now_ms);
        // While the circuit breaker is open, the command for the trending lists is the only attempt to reach the
        // server.
        self.send(&[], &self.trending(now_ms))?;
        let mut left = REFRESH_MAX;
        while left > 0 {
            let taken = shared.copies.take(PIPELINE_MAX.min(left), now_ms);
            if taken.is_empty() {
                break;
            }
            left -= taken.len();
            let (mut values, mut bases) = (Vec::with_capacity(taken.len()), Vec::with_capacity(taken.len()));
            for (name, next) in &taken {
                let made = (*next == Next::Put).then(|| self.make(*name, now_ms));
                let (body, basis) = made.unzip();
                values.push((key(*name), body.map(Bytes::from)));
                bases.push(basis);
            }
            self.send(&taken, &values)?;
            taken.iter().zip(bases).for_each(|((name, _), basis)| shared.copies.done(*name, basis));
        }
        Ok(())
    }

    fn maker(&self) -> Maker<'_> {
        let Served { state, trending, feeds, rising, .. } = &self.served;
        Maker { state, trending, feeds, rising, dismissals: &self.dismissals, cursor_key: &self.cursor_key }
    }

    fn trending(&self, now_ms: i64) -> Vec<(String, Option<Bytes>)> {
        let maker = self.maker();
        let list = |window: Window| {
            (format!("{}{}", made::TRENDING, window.name()), maker.trending(window, now_ms).map(Bytes::from))
        };
        Window::ALL.map(list).into()
    }

    /// Sets values, and deletes the keys that have no value, in one round trip. If the round trip fails, the actions
    /// `taken` go back to the queue.
    fn send(&self, taken: &[(Name, Next)], values: &[(String, Option<Bytes>)]) -> Result<(), JobError> {
        let cache = &self.shared.cache;
        let commands = values.iter().map(|(key, body)| match body {
            Some(body) => Command::Set(Key::plain(key), body.clone(), SetOptions::millis(TTL_MS)),
            None => Command::Del(vec![Key::plain(key)]),
        });
        let commands: Vec<_> = commands.collect();
        let error = cache.run(&commands).into_iter().find_map(Result::err).or_else(|| {
            // While the Redis server is out of reach, nova's own cache takes the values, and other services do not see
            // them.
            let away =
                || CacheError::Unavailable("the copies are kept in this process until the server answers".to_owned());
            cache.stats().breaker_open.then(away)
        });
        let Some(error) = error else { return Ok(()) };
        taken.iter().for_each(|(name, next)| self.shared.copies.failed(*name, *next));
        Err(match error {
            CacheError::Unavailable(_) => JobError::Away(error.to_string()),
            other => JobError::Failed(other.to_string()),
        })
    }

    /// Returns the JSON of a copy for the time `now_ms`, and the content on which the copy depends.
    fn make(&self, (kind, user): Name, now_ms: i64) -> (String, Basis) {
        match kind {
            Kind::Feed => self.feed(user, now_ms),
            Kind::Suggestions => self.suggestions(user, now_ms),
        }
    }

    fn feed(&self, user: Id, now_ms: i64) -> (String, Basis) {
        // The versions are read before the page is made, so that a change after the reading makes the copy outdated.
        let versions = {
            let state = self.served.state.read();
            Versions::of(&state, state.users.number(user).unwrap_or(UserNo::NOBODY))
        };
        let (body, page) = self.maker().feed(user, now_ms);
        let posts = page.cut.places.iter().map(|place| page.snapshot.posts()[*place].number).collect();
        (body, Basis::Feed { versions, posts })
    }

    fn suggestions(&self, user: Id, now_ms: i64) -> (String, Basis) {
        let state = self.served.state.read();
        let number = state.users.number(user).unwrap_or(UserNo::NOBODY);
        let (body, list) = self.maker().suggestions(&state, user, now_ms);
        let users = list.iter().filter_map(|suggested| state.users.number(suggested.user)).collect();
        (body, Basis::Suggestions { follows: state.graph.version(number), users })
    }
}

#[cfg(test)]
mod tests;
