//! Who watches records as they are committed (`nova tap`): each listener has a bounded queue and a bound on its rate, and
//! is told how many it was not given. Without a listener a record costs one look at a flag.
//!
//! The writer's thread hands over; it never waits for a listener. A tapped record has ids, kinds and outcomes, and never a
//! column's or a member's value, so nothing private passes here.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::event::{Action, Effect, Facts, Id, Op, Outcome, Table};

/// Listeners at once.
pub const TAPS_MAX: usize = 4;
/// Records that wait for one listener.
pub const QUEUE_MAX_RECORDS: usize = 256;
/// Records of one second that one listener is given.
pub const SAMPLE_PER_S: u32 = 100;
/// Records of one commit that are looked at; the others are counted as left out.
pub const COMMIT_MAX_RECORDS: usize = 512;

/// What a record is about.
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
    /// Nothing that nova reads, the end of a snapshot, or no record at all.
    Other(&'static str),
}

/// A record that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tapped {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// Its arrival, epoch milliseconds.
    pub timestamp_ms: i64,
    pub outcome: Outcome,
    pub what: What,
    /// What it changed in memory, in words; empty where it changed nothing.
    pub effect: String,
    /// Users whom it is about, as far as it told.
    pub users: Vec<Id>,
}

/// Which records a listener wants; what is not said, all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A topic's name, or its last part.
    pub topic: Option<String>,
    pub outcome: Option<Outcome>,
    pub user: Option<Id>,
}

impl Filter {
    fn wants(&self, record: &Tapped) -> bool {
        let last = record.topic.rsplit('.').next().unwrap_or_default();
        self.topic.as_ref().is_none_or(|topic| **topic == *record.topic || topic == last)
            && self.outcome.is_none_or(|outcome| outcome == record.outcome)
            && self.user.is_none_or(|user| record.users.contains(&user))
    }
}

/// A record for one listener, and how many it was not given before this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub record: Tapped,
    pub left_out: u64,
}

#[derive(Debug)]
struct Listener {
    number: u64,
    filter: Filter,
    queue: mpsc::Sender<Heard>,
    /// The second at hand, and how many it had.
    second: i64,
    given: u32,
    left_out: u64,
}

impl Listener {
    fn offer(&mut self, record: &Tapped, now_ms: i64) {
        if !self.filter.wants(record) {
            return;
        }
        let second = now_ms.div_euclid(1_000);
        if self.second != second {
            (self.second, self.given) = (second, 0);
        }
        let given = self.given < SAMPLE_PER_S && {
            let heard = Heard { record: record.clone(), left_out: self.left_out };
            self.queue.try_send(heard).is_ok()
        };
        match given {
            true => (self.given, self.left_out) = (self.given + 1, 0),
            false => self.left_out += 1,
        }
    }
}

/// Takes every record that a commit's listeners are told of, on the writer's thread, and how many more there were.
pub type Keep = Box<dyn Fn(&[Tapped], u64) + Send + Sync>;

/// See the module. The lock is held by the writer's thread for a commit's records, and by who comes and goes.
#[derive(Default)]
pub struct Tap {
    listening: AtomicUsize,
    /// Set once, by a server for tests: what it is given has no bound on its rate.
    keep: OnceLock<Keep>,
    listeners: Mutex<(u64, Vec<Listener>)>,
}

impl fmt::Debug for Tap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tap").field("listening", &self.listening).finish_non_exhaustive()
    }
}

impl Tap {
    /// Whether anybody listens.
    pub fn wanted(&self) -> bool {
        self.listening.load(Ordering::Relaxed) > 0 || self.keep.get().is_some()
    }

    /// Has every record told that the listeners would be; the first caller alone.
    pub fn keep(&self, keep: Keep) {
        drop(self.keep.set(keep));
    }

    /// Listens from the next commit on; `None` while as many listen as may.
    pub fn listen(self: &Arc<Tap>, filter: Filter) -> Option<Listening> {
        let mut listeners = self.listeners.lock();
        let (next, all) = &mut *listeners;
        if all.len() >= TAPS_MAX {
            return None;
        }
        let (queue, heard) = mpsc::channel(QUEUE_MAX_RECORDS);
        *next += 1;
        all.push(Listener { number: *next, filter, queue, second: 0, given: 0, left_out: 0 });
        self.listening.store(all.len(), Ordering::Relaxed);
        Some(Listening { tap: Arc::clone(self), number: *next, heard })
    }

    /// Offers the records of a commit to everyone who listens; `more` were not looked at.
    pub fn tell(&self, records: &[Tapped], more: u64, now_ms: i64) {
        if let Some(keep) = self.keep.get() {
            keep(records, more);
        }
        for listener in &mut self.listeners.lock().1 {
            records.iter().for_each(|record| listener.offer(record, now_ms));
            listener.left_out += more;
        }
    }
}

/// One listener, until it is dropped.
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
        self.tap.listening.store(listeners.1.len(), Ordering::Relaxed);
    }
}

/// What the effects of one record did, in words, and whom they are about.
pub fn told(effects: &[Effect]) -> (String, Vec<Id>) {
    let (mut words, mut users) = (Vec::new(), Vec::new());
    for effect in effects {
        match effect {
            Effect::Event { user, post, action, .. } => {
                words.push(format!("{} of post {post} counts", action.name()));
                users.push(*user);
            }
            Effect::Row { key, old, new } => {
                let (facts, before) = (new.as_ref().or(old.as_ref()), old.is_some());
                let verb = match (before, new.is_some()) {
                    (false, _) => "added",
                    (true, true) => "changed",
                    (true, false) => "removed",
                };
                if let Some(facts) = facts {
                    words.push(format!("{} {verb}", subject(*key, facts, &mut users)));
                }
            }
            // The row that follows says it.
            Effect::Dated { .. } => {}
        }
    }
    (words.join(", "), users)
}

fn subject(key: Id, facts: &Facts, users: &mut Vec<Id>) -> String {
    match facts {
        Facts::User { active, .. } => {
            users.push(key);
            format!("{} user {key}", if *active { "active" } else { "inactive" })
        }
        Facts::Post { author, published, .. } => {
            users.push(*author);
            format!("{} post {key}", if *published { "published" } else { "hidden" })
        }
        Facts::Follow { follower, followee, .. } => {
            users.extend([*follower, *followee]);
            format!("follow of {followee} by {follower}")
        }
        Facts::Like { user, post, .. } => {
            users.push(*user);
            format!("like of post {post}")
        }
        Facts::Comment { user, post, .. } => {
            users.push(*user);
            format!("comment on post {post}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, topic: &str, outcome: Outcome, user: u128) -> Tapped {
        let user = Id::from_u128(user);
        Tapped {
            topic: topic.into(),
            partition: 0,
            offset,
            timestamp_ms: 1,
            outcome,
            what: What::Event { user, post: Id::from_u128(7), action: Action::View },
            effect: String::new(),
            users: vec![user],
        }
    }

    fn heard(listening: &mut Listening) -> Vec<(i64, u64)> {
        std::iter::from_fn(|| listening.heard.try_recv().ok())
            .map(|heard| (heard.record.offset, heard.left_out))
            .collect()
    }

    #[test]
    fn a_listener_gets_what_it_asked_for_and_counts_of_what_it_did_not_get() {
        let tap = Arc::<Tap>::default();
        assert!(!tap.wanted());
        let filter =
            Filter { topic: Some("likes".into()), outcome: Some(Outcome::Applied), user: Some(Id::from_u128(1)) };
        let (mut some, mut all) = (tap.listen(filter).unwrap(), tap.listen(Filter::default()).unwrap());
        assert!(tap.wanted());
        let records = [
            record(1, "cdc.likes", Outcome::Applied, 1),
            record(2, "cdc.likes", Outcome::Stale, 1),
            record(3, "cdc.likes", Outcome::Applied, 2),
            record(4, "cdc.posts", Outcome::Applied, 1),
        ];
        tap.tell(&records, 0, 0);
        assert_eq!(heard(&mut some), [(1, 0)]);
        assert_eq!(heard(&mut all), [(1, 0), (2, 0), (3, 0), (4, 0)]);
        // More than a second's share: the rest is counted, and told with the next one.
        let many: Vec<_> = (0..150).map(|offset| record(offset, "events", Outcome::Applied, 3)).collect();
        tap.tell(&many, 7, 1_000);
        assert_eq!(heard(&mut all).len(), SAMPLE_PER_S as usize);
        tap.tell(&many[..1], 0, 2_000);
        assert_eq!(heard(&mut all), [(0, 57)]);
        // Who does not listen loses what does not fit into the queue, and nobody waits.
        for second in 3..10 {
            tap.tell(&many, 0, second * 1_000);
        }
        let last = heard(&mut all);
        assert_eq!(last.len(), QUEUE_MAX_RECORDS);
        let others: Vec<_> = (0..TAPS_MAX - 2).map(|_| tap.listen(Filter::default()).unwrap()).collect();
        assert!(tap.listen(Filter::default()).is_none());
        drop((some, all, others));
        assert!(!tap.wanted());
    }
}
