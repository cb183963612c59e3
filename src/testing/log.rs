//! The log of a server for tests: committed records, and pages that were served.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::Value;

use crate::event::Id;
use crate::http::shapes::TappedRecord;
use crate::http::testing::{Logged, LoggedPage, TestLog};
use crate::pipeline::tap::Tapped;
use crate::schema::Uuid;

/// The maximum number of entries that the log keeps. The log counts the oldest entries when it removes them.
const ENTRIES_MAX: usize = 10_000;

enum What {
    Record(Tapped),
    Page { what: &'static str, user: Option<Id>, answer: String },
}

struct Entry {
    seq: u64,
    at_ms: i64,
    what: What,
}

#[derive(Default)]
struct Inner {
    entries: VecDeque<Entry>,
    /// The number of the last entry. The numbers of entries do not begin again after a reset.
    last: u64,
    left_out: u64,
}

/// The log of a server for tests. The writer's thread and the serving threads hold the log's lock for one entry at a
/// time.
#[derive(Default)]
pub(super) struct Log {
    inner: Mutex<Inner>,
    /// The number of the node whose entries the log accepts. The log refuses entries of a previous node that arrive
    /// late.
    node: AtomicU64,
}

impl Log {
    /// Forgets everything. After `begin`, the log accepts only entries of the node with this number.
    pub fn begin(&self, node: u64) {
        let mut inner = self.inner.lock();
        self.node.store(node, Ordering::SeqCst);
        inner.entries.clear();
        inner.left_out = 0;
    }

    pub fn records(&self, node: u64, at_ms: i64, records: &[Tapped], more: u64) {
        let mut inner = self.inner.lock();
        if self.node.load(Ordering::SeqCst) == node {
            records.iter().for_each(|record| inner.put(at_ms, What::Record(record.clone())));
            inner.left_out += more;
        }
    }

    pub fn page(&self, at_ms: i64, what: &'static str, user: Option<Id>, answer: String) {
        self.inner.lock().put(at_ms, What::Page { what, user, answer });
    }

    /// Returns at most `limit` entries with numbers above `since`.
    pub fn since(&self, since: u64, limit: usize) -> TestLog {
        let inner = self.inner.lock();
        let later = inner.entries.iter().filter(|entry| entry.seq > since).take(limit);
        let entries: Vec<_> = later.map(Entry::told).collect();
        let next = entries.last().map_or(since, |last| last.seq);
        TestLog { entries, next, left_out: inner.left_out }
    }
}

impl Inner {
    fn put(&mut self, at_ms: i64, what: What) {
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.pop_front();
            self.left_out += 1;
        }
        self.last += 1;
        self.entries.push_back(Entry { seq: self.last, at_ms, what });
    }
}

impl Entry {
    fn told(&self) -> Logged {
        let (mut record, mut page) = (None, None);
        match &self.what {
            What::Record(tapped) => record = Some(TappedRecord::told(tapped, 0)),
            What::Page { what, user, answer } => {
                let answer = serde_json::from_str(answer).unwrap_or(Value::Null);
                page = Some(LoggedPage { what, user_id: user.map(Uuid), answer });
            }
        }
        Logged { seq: self.seq, at_ms: self.at_ms, record, page }
    }
}
