//! Copies of what is served in a cache that other services read, under their keys and as the JSON that HTTP answers
//! (`docs/cache.md`). A read asks for a copy of what it answered; the job makes, watches and deletes copies. All of it is
//! beside the reads: they leave a name in a bounded table.

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
use crate::state::State;

use super::made::{self, Maker};
use super::serving::Served;
use super::{CacheRefreshJob, JobError, Refreshing, blocking};

/// Name of the job: woken when a copy is to be deleted.
pub const CACHE_PUBLISH: &str = "cache_publish";
const TICK: Duration = Duration::from_secs(1);
/// Every value ends by itself after this: a node that is gone leaves nothing old behind.
pub const TTL_MS: i64 = 60_000;
/// A copy is watched for so much longer than it lives: the server counts from when it got it.
const WATCH_MORE_MS: i64 = 5_000;
/// Copies that are waited for, watched or to be deleted, of all users; no more are made before some have ended.
pub const COPIES_MAX: usize = 20_000;
/// Copies made or deleted in one refresh.
const REFRESH_MAX: usize = 2_000;
/// Commands of one round trip: about 400 kB of feeds.
const PIPELINE_MAX: usize = 64;
/// Copies that are looked at under one lock of the state.
const SLICE: usize = 64;

/// What there are copies of.
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

/// What the next refresh does with a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    Put,
    Delete,
}

#[derive(Debug)]
struct Entry {
    next: Next,
    /// When the copy ends by itself.
    until_ms: i64,
    /// `None` while it is on its way.
    basis: Option<Arc<Basis>>,
}

/// What a copy shows, as far as it may be taken back.
#[derive(Debug)]
enum Basis {
    /// With the posts on the page.
    Feed { versions: Versions, posts: Box<[u32]> },
    /// Version of whom the user follows; the suggested.
    Suggestions { follows: u32, users: Box<[u32]> },
}

impl Basis {
    fn holds(&self, state: &State, user: Id) -> bool {
        let number = state.users.number(user).unwrap_or(u32::MAX);
        match self {
            Basis::Feed { versions, posts } => {
                Versions::of(state, number) == *versions && posts.iter().all(|post| state.visible(*post))
            }
            Basis::Suggestions { follows, users } => {
                let active = |user: &u32| state.user_row(*user).is_some_and(|row| row.active);
                state.graph.version(number) == *follows && users.iter().all(active)
            }
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    entries: FxHashMap<Name, Entry>,
    /// Entries with something to do, each once; one that has gone meanwhile may still be named.
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

/// What the shared cache has of this node's; see the module.
#[derive(Debug, Default)]
pub struct Copies {
    inner: Mutex<Inner>,
    dropped: AtomicU64,
}

/// How many copies there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// That the server may hold, or that wait.
    pub entries: usize,
    /// To be made or deleted.
    pub waiting: usize,
    /// Wishes for which there was no room, since the start.
    pub dropped: u64,
}

impl Copies {
    /// A user was answered: there should be a copy.
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

    /// A copy must not be read any more, whoever made it. One that waits to be made is made of what is true then.
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

    /// Forgets copies that ended by themselves, and has those deleted that show what is true no more.
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
                // Not one that was made since.
                if entry.is_some_and(|entry| entry.basis.as_ref().is_some_and(|known| Arc::ptr_eq(known, basis))) {
                    inner.wish(*name, Next::Delete);
                }
            }
        }
    }

    /// Takes out what is to be done next. From here on the server may have a copy that is made, and may have none that is
    /// deleted.
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

    /// The server has done it. What was wished for meanwhile stays.
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

    /// It is still to be done, unless something else is wished for meanwhile.
    fn failed(&self, name: Name, next: Next) {
        let mut inner = self.inner.lock();
        if inner.entries.get(&name).is_some_and(|entry| entry.next == Next::Nothing) {
            inner.wish(name, next);
        }
    }
}

/// The cache that others read, and what this node put there.
pub struct SharedCache {
    pub cache: Arc<dyn Cache>,
    pub copies: Copies,
}

/// Puts trending lists and copies where other readers find them.
pub struct Publisher {
    pub served: Served,
    pub dismissals: Arc<Dismissals>,
    /// Makes the MACs of cursors.
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
        // Also the one try while the server is given a rest.
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

    /// Sets values, or deletes where there is none, in one round trip. Where that fails, what was `taken` is still to do.
    fn send(&self, taken: &[(Name, Next)], values: &[(String, Option<Bytes>)]) -> Result<(), JobError> {
        let cache = &self.shared.cache;
        let commands = values.iter().map(|(key, body)| match body {
            Some(body) => Command::Set(Key::plain(key), body.clone(), SetOptions::millis(TTL_MS)),
            None => Command::Del(vec![Key::plain(key)]),
        });
        let commands: Vec<_> = commands.collect();
        let error = cache.run(&commands).into_iter().find_map(Result::err).or_else(|| {
            // Answered in this process while the server is away: others do not see that.
            let away = || CacheError::Unavailable("what is published is kept in this process meanwhile".to_owned());
            cache.stats().breaker_open.then(away)
        });
        let Some(error) = error else { return Ok(()) };
        taken.iter().for_each(|(name, next)| self.shared.copies.failed(*name, *next));
        Err(match error {
            CacheError::Unavailable(_) => JobError::Away(error.to_string()),
            other => JobError::Failed(other.to_string()),
        })
    }

    /// The JSON of a copy as of now, and what it shows.
    fn make(&self, (kind, user): Name, now_ms: i64) -> (String, Basis) {
        match kind {
            Kind::Feed => self.feed(user, now_ms),
            Kind::Suggestions => self.suggestions(user, now_ms),
        }
    }

    fn feed(&self, user: Id, now_ms: i64) -> (String, Basis) {
        // Before the page: what changes from here on ends the copy.
        let versions = {
            let state = self.served.state.read();
            Versions::of(&state, state.users.number(user).unwrap_or(u32::MAX))
        };
        let (body, page) = self.maker().feed(user, now_ms);
        let posts = page.cut.places.iter().map(|place| page.snapshot.posts()[*place].number).collect();
        (body, Basis::Feed { versions, posts })
    }

    fn suggestions(&self, user: Id, now_ms: i64) -> (String, Basis) {
        let state = self.served.state.read();
        let number = state.users.number(user).unwrap_or(u32::MAX);
        let (body, list) = self.maker().suggestions(&state, user, now_ms);
        let users = list.iter().filter_map(|suggested| state.users.number(suggested.user)).collect();
        (body, Basis::Suggestions { follows: state.graph.version(number), users })
    }
}

#[cfg(test)]
mod tests;
