//! The listeners who watch records as they are committed (`nova tap`). Each listener has a bounded queue and a limited
//! rate, and gets the number of records that were left out. Without a listener a record costs only a check of a flag.
//!
//! The writer's thread hands records over and never waits for a listener. A tapped record has ids, kinds and outcomes,
//! and never the value of a column or a member. A listener may also request the record's bytes ([`Raw`]): a part of
//! them, without private values, as in a dead letter. The bytes are copied only for a record for which such a listener
//! has room.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::event::{Action, Effect, Facts, Id, Op, Outcome, Table};

use super::stored::Version;

/// The most listeners at once.
pub const TAPS_MAX: usize = 4;
/// The most records that wait for one listener.
pub const QUEUE_MAX_RECORDS: usize = 256;
/// The most records in one second for one listener.
pub const SAMPLE_PER_S: u32 = 100;
const SAMPLE_TIME: Duration = Duration::from_secs(1);
/// The most records of one commit that are examined. The others are counted as left out.
pub const COMMIT_MAX_RECORDS: usize = 512;
/// The most bytes of a record's value for a listener.
pub const RAW_VALUE_MAX_BYTES: usize = 16 << 10;
/// The most bytes of a key, and of a header's value.
pub const RAW_PART_MAX_BYTES: usize = 512;
/// The most bytes of a header's name.
pub const RAW_NAME_MAX_BYTES: usize = 64;
/// The most headers of a record for a listener.
pub const RAW_MAX_HEADERS: usize = 16;

/// The subject of a record.
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
    /// Something that nova does not read, the end of a snapshot, or no record at all.
    Other(&'static str),
}

/// A record that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tapped {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// The record's arrival, epoch milliseconds.
    pub timestamp_ms: i64,
    pub outcome: Outcome,
    pub what: What,
    /// For a change: the version that decides whether it is newer than the stored row. The version's LSN is 0 if the
    /// record has none.
    pub version: Option<Version>,
    /// The effect in memory, in words. It is empty if there was none.
    pub effect: String,
    pub about: About,
}

/// The user and the post of a record, as far as the record names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    pub users: Vec<Id>,
    pub posts: Vec<Id>,
}

impl About {
    /// Takes the user and the post of the row under a key.
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

/// Bytes of a record, cut, with private values overwritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawPart {
    pub bytes: Vec<u8>,
    /// The number of bytes before the cut.
    pub whole_bytes: u64,
}

/// The bytes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    pub key: Option<RawPart>,
    pub value: Option<RawPart>,
    /// The name and the value of each header.
    pub headers: Vec<(String, RawPart)>,
    pub headers_left_out: usize,
}

/// The records that a listener wants. A part that is `None` allows all.
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

/// A record for one listener, and the number of records that were left out before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub record: Tapped,
    pub left_out: u64,
    /// The bytes, for a listener that requested them.
    pub raw: Option<Arc<Raw>>,
}

#[derive(Debug)]
struct Listener {
    number: u64,
    filter: Filter,
    /// Whether the listener requested the records' bytes.
    raw: bool,
    queue: mpsc::Sender<Heard>,
    /// When the present second began, and the number of records in it. The clock of the node would not do, because a
    /// test's clock stands still.
    second: Option<Instant>,
    given: u32,
    left_out: u64,
}

impl Listener {
    /// Offers a record. `raw` makes the record's bytes, if they are wanted.
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

/// Takes every record that a commit's listeners get, on the writer's thread, and the number of further records.
pub type Keep = Box<dyn Fn(&[Tapped], u64) + Send + Sync>;

/// The listeners. The writer's thread locks them for the records of a commit, and listeners lock them when they come
/// and go.
#[derive(Default)]
pub struct Tap {
    listening: AtomicUsize,
    /// The number of listeners that requested the records' bytes.
    listening_raw: AtomicUsize,
    /// A server for tests sets this listener once. The listener gets all records, without a limit on the rate.
    keep: OnceLock<Keep>,
    listeners: Mutex<(u64, Vec<Listener>)>,
}

impl fmt::Debug for Tap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tap").field("listening", &self.listening).finish_non_exhaustive()
    }
}

impl Tap {
    /// Whether there is a listener.
    pub fn wanted(&self) -> bool {
        self.listening.load(Ordering::Relaxed) > 0 || self.keep.get().is_some()
    }

    /// Whether a listener wants the records' bytes.
    pub fn wants_raw(&self) -> bool {
        self.listening_raw.load(Ordering::Relaxed) > 0
    }

    /// Reports every record to `keep`. Only the first caller can set it.
    pub fn keep(&self, keep: Keep) {
        drop(self.keep.set(keep));
    }

    /// Listens from the next commit on, with the records' bytes if `raw` is set. `None` if there are already as many
    /// listeners as allowed.
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

    /// Offers the records of a commit to all listeners. `more` records were not examined. `raw` makes the bytes of the
    /// record at an index, if they were kept. `now` is of a clock that never stands still.
    pub fn tell(&self, records: &[Tapped], more: u64, now: Instant, raw: impl Fn(usize) -> Option<Raw>) {
        if let Some(keep) = self.keep.get() {
            keep(records, more);
        }
        let mut listeners = self.listeners.lock();
        let all = &mut listeners.1;
        for (place, record) in records.iter().enumerate() {
            // The bytes are made for the first listener that gets them, and reused for the others.
            let mut made = None;
            for listener in &mut *all {
                listener.offer(record, now, || made.get_or_insert_with(|| raw(place).map(Arc::new)).clone());
            }
        }
        all.iter_mut().for_each(|listener| listener.left_out += more);
    }
}

/// One listener, until this is dropped.
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

/// Describes the effects of one record in words, and puts the user and the post into `about`.
pub fn told(effects: &[Effect], about: &mut About) -> String {
    let mut words = Vec::new();
    for effect in effects {
        match effect {
            Effect::Event { user, post, action, .. } => {
                words.push(format!("{} of post {post} counts", action.name()));
                about.users.push(*user);
                about.posts.push(*post);
            }
            Effect::Row { key, old, new } => {
                let (facts, before) = (new.as_ref().or(old.as_ref()), old.is_some());
                let verb = match (before, new.is_some()) {
                    (false, _) => "added",
                    (true, true) => "changed",
                    (true, false) => "removed",
                };
                if let Some(facts) = facts {
                    about.row(*key, facts);
                    words.push(format!("{} {verb}", subject(*key, facts)));
                }
            }
            // The row that follows has its own description.
            Effect::Dated { .. } => {}
        }
    }
    words.join(", ")
}

fn subject(key: Id, facts: &Facts) -> String {
    match facts {
        Facts::User { active, .. } => format!("{} user {key}", if *active { "active" } else { "inactive" }),
        Facts::Post { published, .. } => format!("{} post {key}", if *published { "published" } else { "hidden" }),
        Facts::Follow { follower, followee, .. } => format!("follow of {followee} by {follower}"),
        Facts::Like { post, .. } => format!("like of post {post}"),
        Facts::Comment { post, .. } => format!("comment on post {post}"),
    }
}

#[cfg(test)]
mod tests;
