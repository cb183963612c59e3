//! Handles the listeners that watch committed records (`nova tap`). Each listener has a bounded queue and a limited
//! rate, and gets the number of records that nova left out. If nobody listens, a record costs only a check of a flag.
//!
//! The writer's thread hands records to the listeners and never waits for a listener. A tapped record has ids, kinds
//! and outcomes, and never the value of a column or a member. A listener may also request the bytes of records
//! ([`Raw`]): a part of each record, in which private values are overwritten as in a dead letter. The bytes of a record
//! are copied only if a listener that requested them has room for the record.

mod words;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::event::{Action, Effect, Facts, Id, Op, Outcome, Table};

use super::stored::Version;

pub use self::words::describe;

/// The maximum number of listeners at one time.
pub const TAPS_MAX: usize = 4;
/// The maximum number of records that wait for one listener.
pub const QUEUE_MAX_RECORDS: usize = 256;
/// The maximum number of records that one listener gets in a second.
pub const SAMPLE_PER_S: u32 = 100;
const SAMPLE_TIME: Duration = Duration::from_secs(1);
/// The maximum number of records of one commit that `tap` examines. Records of the commit above this maximum are
/// counted as left out.
pub const COMMIT_MAX_RECORDS: usize = 512;
/// The maximum number of bytes of a record's value that a listener gets.
pub const RAW_VALUE_MAX_BYTES: usize = 16 << 10;
/// The maximum number of bytes of a record's key, and of a header's value, that a listener gets.
pub const RAW_PART_MAX_BYTES: usize = 512;
/// The maximum number of bytes of a header's name that a listener gets.
pub const RAW_NAME_MAX_BYTES: usize = 64;
/// The maximum number of headers of a record that a listener gets.
pub const RAW_MAX_HEADERS: usize = 16;

/// The table, event or other thing that a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Event {
        user: Id,
        post: Id,
        action: Action,
    },
    Change {
        table: Table,
        key: Id,
        op: Op,
    },
    /// The record is of a kind that nova does not read, is the end of a snapshot, or cannot be read at all.
    Other(&'static str),
}

/// A committed record in the form for listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tapped {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// The arrival of the record, epoch milliseconds.
    pub timestamp_ms: i64,
    pub outcome: Outcome,
    pub what: What,
    /// For a change: the version that decides whether the change is newer than the stored row. The LSN of the version
    /// is 0 if the record has no LSN.
    pub version: Option<Version>,
    /// The effect that the record had on memory, in words. The text is empty if the record had no effect.
    pub effect: String,
    pub about: About,
}

/// The user and the post of a record, as far as the record names a user or a post.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    pub users: Vec<Id>,
    pub posts: Vec<Id>,
}

impl About {
    /// Takes the user and the post from the row under a key.
    pub fn row(&mut self, key: Id, facts: &Facts) {
        match facts {
            Facts::User { .. } => self.users.push(key),
            Facts::Post { author, .. } => {
                self.users.push(*author);
                self.posts.push(key);
            }
            Facts::Follow { follower, followee, .. } => self.users.extend([*follower, *followee]),
            Facts::Like { user, post, .. } | Facts::Comment { user, post, .. } => {
                self.users.push(*user);
                self.posts.push(*post);
            }
        }
    }
}

/// A part of the bytes of a record. nova has cut the bytes if they were too long, and has overwritten private values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawPart {
    pub bytes: Vec<u8>,
    /// The number of bytes that the part had before nova cut it.
    pub whole_bytes: u64,
}

/// The bytes of a record: its key, its value and its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    pub key: Option<RawPart>,
    pub value: Option<RawPart>,
    /// The name and the value of each header.
    pub headers: Vec<(String, RawPart)>,
    pub headers_left_out: usize,
}

/// Says which records a listener wants. A part of the filter that is `None` allows every record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The name of a topic, or its last part.
    pub topic: Option<String>,
    pub outcome: Option<Outcome>,
    pub user: Option<Id>,
    pub post: Option<Id>,
}

impl Filter {
    fn wants(&self, record: &Tapped) -> bool {
        let last = record.topic.rsplit('.').next().unwrap_or_default();
        self.topic.as_ref().is_none_or(|topic| **topic == *record.topic || topic == last)
            && self.outcome.is_none_or(|outcome| outcome == record.outcome)
            && self.user.is_none_or(|user| record.about.users.contains(&user))
            && self.post.is_none_or(|post| record.about.posts.contains(&post))
    }
}

/// A record for one listener, and the number of records that nova left out before this record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub record: Tapped,
    pub left_out: u64,
    /// The bytes of the record, for a listener that requested them.
    pub raw: Option<Arc<Raw>>,
}

#[derive(Debug)]
struct Listener {
    number: u64,
    filter: Filter,
    /// Whether the listener requested the records' bytes.
    raw: bool,
    queue: mpsc::Sender<Heard>,
    /// The time at which the present second began, and the number of records that the listener got in this second. The
    /// limit on the rate cannot use the clock of the node, because the clock of a test may stand still.
    second: Option<Instant>,
    given: u32,
    left_out: u64,
}

impl Listener {
    /// Offers a record to the listener. `raw` makes the bytes of the record, if the listener wants them.
    fn offer(&mut self, record: &Tapped, now: Instant, raw: impl FnOnce() -> Option<Arc<Raw>>) {
        if !self.filter.wants(record) {
            return;
        }
        if self.second.is_none_or(|began| now.saturating_duration_since(began) >= SAMPLE_TIME) {
            (self.second, self.given) = (Some(now), 0);
        }
        let room = if self.given < SAMPLE_PER_S { self.queue.try_reserve().ok() } else { None };
        let Some(room) = room else {
            self.left_out += 1;
            return;
        };
        let raw = if self.raw { raw() } else { None };
        room.send(Heard { record: record.clone(), left_out: self.left_out, raw });
        (self.given, self.left_out) = (self.given + 1, 0);
    }
}

/// A function that gets every examined record of a commit, and the number of records of the commit that were not
/// examined. The writer's thread calls the function for the records of a commit.
pub type Keep = Box<dyn Fn(&[Tapped], u64) + Send + Sync>;

/// The listeners. The listeners. The writer's thread locks the list for the records of a commit, and a listener locks
/// it to register and to leave.
#[derive(Default)]
pub struct Tap {
    listening: AtomicUsize,
    /// The number of listeners that requested the records' bytes.
    listening_raw: AtomicUsize,
    /// A listener that a server for tests sets once. The listener of a server for tests gets all records, without a
    /// limit on the rate.
    keep: OnceLock<Keep>,
    listeners: Mutex<(u64, Vec<Listener>)>,
}

impl fmt::Debug for Tap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tap").field("listening", &self.listening).finish_non_exhaustive()
    }
}

impl Tap {
    /// Whether anybody listens to records.
    pub fn wanted(&self) -> bool {
        self.listening.load(Ordering::Relaxed) > 0 || self.keep.get().is_some()
    }

    /// Whether a listener wants the bytes of records.
    pub fn wants_raw(&self) -> bool {
        self.listening_raw.load(Ordering::Relaxed) > 0
    }

    /// Reports every record to `keep`. Only the first caller can set the function `keep`.
    pub fn keep(&self, keep: Keep) {
        drop(self.keep.set(keep));
    }

    /// Registers a listener, which gets the records of every later commit. If `raw` is set, the listener also gets the
    /// bytes of the records. Returns `None` if the maximum number of listeners is reached.
    pub fn listen(self: &Arc<Tap>, filter: Filter, raw: bool) -> Option<Listening> {
        let mut listeners = self.listeners.lock();
        let (next, all) = &mut *listeners;
        if all.len() >= TAPS_MAX {
            return None;
        }
        let (queue, heard) = mpsc::channel(QUEUE_MAX_RECORDS);
        *next += 1;
        all.push(Listener { number: *next, filter, raw, queue, second: None, given: 0, left_out: 0 });
        self.count(all);
        Some(Listening { tap: Arc::clone(self), number: *next, heard })
    }

    fn count(&self, all: &[Listener]) {
        self.listening.store(all.len(), Ordering::Relaxed);
        self.listening_raw.store(all.iter().filter(|listener| listener.raw).count(), Ordering::Relaxed);
    }

    /// Offers the records of a commit to all listeners. `more` is the number of records of the commit that were not
    /// examined. `raw` makes the bytes of the record at an index, if these bytes were kept. `now` is the time of a
    /// clock that never stands still.
    pub fn tell(&self, records: &[Tapped], more: u64, now: Instant, raw: impl Fn(usize) -> Option<Raw>) {
        if let Some(keep) = self.keep.get() {
            keep(records, more);
        }
        let mut listeners = self.listeners.lock();
        let all = &mut listeners.1;
        for (place, record) in records.iter().enumerate() {
            // nova makes the bytes for the first listener that gets them, and uses the same bytes for further
            // listeners.
            let mut made = None;
            for listener in &mut *all {
                listener.offer(record, now, || made.get_or_insert_with(|| raw(place).map(Arc::new)).clone());
            }
        }
        all.iter_mut().for_each(|listener| listener.left_out += more);
    }
}

/// One registered listener. The listener is removed from the list when its `Listening` value is dropped.
#[derive(Debug)]
pub struct Listening {
    tap: Arc<Tap>,
    number: u64,
    pub heard: mpsc::Receiver<Heard>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listeners = self.tap.listeners.lock();
        listeners.1.retain(|listener| listener.number != self.number);
        self.tap.count(&listeners.1);
    }
}

/// Puts the users and the posts from a record's effects into `about`.
pub fn concerned(effects: &[Effect], about: &mut About) {
    for effect in effects {
        match effect {
            Effect::Event { user, post, .. } => {
                about.users.push(*user);
                about.posts.push(*post);
            }
            Effect::Row { key, old, new } => {
                if let Some(facts) = new.as_ref().or(old.as_ref()) {
                    about.row(*key, facts);
                }
            }
            // The row that follows a `Dated` effect has the same user and post.
            Effect::Dated { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
