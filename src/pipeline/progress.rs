//! Holds the state that the two threads of the batch loop share with the code that reports their progress. The state
//! has the partitions with their positions and counts after the last commit, the orders for the ingest thread, and the
//! request to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nova_storage::codec::OffsetRow;
use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashMap;

use crate::clock::monotonic_now;
use crate::event::{Outcome, TopicPartition};
use crate::source::Progress;

use super::tap::Tap;

/// The number of a partition in this process. Only [`Shared::slot`] gives numbers to partitions. Each thread extends
/// its own lists with `Shared::numbered_from`, so the same number means the same partition in every thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

impl Slot {
    /// The index of the partition in a list of all partitions.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The state of a partition as of the last commit.
#[derive(Clone, Debug)]
pub struct PartitionStatus {
    pub name: TopicPartition,
    pub row: OffsetRow,
    /// The partition's row in the store when this process opened the store. The difference between `row` and `start` is
    /// the work of this process.
    pub start: OffsetRow,
    /// The position that the source lets nova store. The cookie is empty if the source stores no position.
    pub cookie: Arc<[u8]>,
    /// The number of records in this run whose offsets were below the next offset.
    pub redelivered: u64,
    /// The number of values in this run that a record did not repeat and that no stored row had.
    pub unfilled: u64,
    /// The reason for which the partition is held, in words for a person.
    pub hold: Option<Arc<str>>,
    pub last_dead: Option<Arc<LastDead>>,
    /// How often the partition was rewound (see [`super::Item::rewind`]).
    pub rewind: u32,
}

/// The last dead letter of a partition in this run.
#[derive(Clone, Debug)]
pub struct LastDead {
    /// The id of the dead letter.
    pub id: u64,
    pub offset: i64,
    /// The code of the reason for the dead letter. The detail of the letter is a text for a person.
    pub reason: &'static str,
    pub detail: String,
}

impl std::fmt::Display for LastDead {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LastDead { id, offset, reason, detail } = self;
        write!(
            out,
            "offset {offset}: {reason}: {detail}; nova dlq show {id}; once it is repaired, nova dlq replay {id}"
        )
    }
}

impl PartitionStatus {
    /// The number of records that this run consumed.
    pub fn consumed(&self) -> u64 {
        self.row.consumed - self.start.consumed
    }

    /// The number of records of this run that had the given outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.row.outcomes[outcome as usize] - self.start.outcomes[outcome as usize]
    }
}

/// A command that the writer sends to the ingest thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ingest must stop delivering the records of the partition.
    Hold { slot: Slot },
    /// Ingest must deliver the partition again from the store's next offset, with this rewind number.
    Release { slot: Slot, from: i64, rewind: u32 },
}

#[derive(Debug, Default)]
struct Inner {
    /// The partitions, in the order of [`Slot::index`].
    partitions: Vec<PartitionStatus>,
    index: FxHashMap<TopicPartition, Slot>,
    orders: Vec<Order>,
    /// The partitions whose next record waits, and the reason for each wait.
    waits: BTreeMap<TopicPartition, Arc<str>>,
}

/// The state that the threads of the batch loop share. The writer sends the ingest thread an order only after the
/// order's commit, so that the thread finds the state to which the order refers. A commit adds at most two orders for a
/// partition: a release, and a hold for a new reason.
#[derive(Debug, Default)]
pub struct Shared {
    inner: Mutex<Inner>,
    /// The number of records handed to the writer, and the number of records that the writer has settled.
    sent: AtomicU64,
    settled: AtomicU64,
    changed: Condvar,
    stopping: AtomicBool,
    over_quota: AtomicBool,
    sweeping: AtomicBool,
    dead_letters: AtomicU64,
    /// The listeners to whom `tap` reports records.
    pub tap: Arc<Tap>,
}

impl Shared {
    /// Returns every known partition, in the order of the slots.
    pub fn partitions(&self) -> Vec<PartitionStatus> {
        self.inner.lock().partitions.clone()
    }

    /// Returns the number of the partition. A partition without a number gets the next number.
    pub fn slot(&self, name: &TopicPartition) -> Slot {
        let mut inner = self.inner.lock();
        if let Some(slot) = inner.index.get(name) {
            return *slot;
        }
        let slot = Slot(inner.partitions.len() as u32);
        inner.index.insert(name.clone(), slot);
        let (name, row) = (name.clone(), OffsetRow::default());
        inner.partitions.push(PartitionStatus {
            name,
            row,
            start: row,
            cookie: Arc::default(),
            redelivered: 0,
            unfilled: 0,
            hold: None,
            last_dead: None,
            rewind: 0,
        });
        slot
    }

    /// Returns the partitions with their numbers, without the first `known` partitions.
    pub(super) fn numbered_from(&self, known: usize) -> Vec<(Slot, TopicPartition)> {
        let inner = self.inner.lock();
        let later = inner.partitions.iter().zip((0..).map(Slot)).skip(known);
        later.map(|(status, slot)| (slot, status.name.clone())).collect()
    }

    /// Changes the state of partitions after a commit.
    pub(super) fn update(&self, change: impl FnOnce(&mut [PartitionStatus])) {
        change(&mut self.inner.lock().partitions);
    }

    pub(super) fn order(&self, order: Order) {
        self.inner.lock().orders.push(order);
    }

    pub(super) fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut self.inner.lock().orders)
    }

    /// Notes the reason for which the partition waits, or that the partition no longer waits.
    pub(super) fn wait(&self, name: &TopicPartition, reason: Option<Arc<str>>) {
        let waits = &mut self.inner.lock().waits;
        match reason {
            Some(reason) => drop(waits.insert(name.clone(), reason)),
            None => drop(waits.remove(name)),
        }
    }

    /// The partitions that wait, each with the reason in words for a person.
    pub fn waits(&self) -> Vec<(TopicPartition, Arc<str>)> {
        self.inner.lock().waits.iter().map(|(name, reason)| (name.clone(), Arc::clone(reason))).collect()
    }

    pub(super) fn sent(&self, records: usize) {
        self.sent.fetch_add(records as u64, Ordering::SeqCst);
    }

    pub(super) fn settled(&self, records: usize) {
        // The count changes under the lock, so that a thread that waits for the count cannot miss the change.
        let _inner = self.inner.lock();
        self.settled.fetch_add(records as u64, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Asks both threads to end: ingest ends after its present poll, and the writer ends after its queue is empty.
    pub fn stop(&self) {
        let _inner = self.inner.lock();
        self.stopping.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Whether the outbox has reached its limit. If the outbox is full, nova consumes no more records until ClickHouse
    /// takes rows again.
    pub fn over_quota(&self) -> bool {
        self.over_quota.load(Ordering::Relaxed)
    }

    pub(super) fn set_over_quota(&self, over: bool) {
        if self.over_quota.swap(over, Ordering::Relaxed) != over {
            match over {
                true => tracing::error!("the outbox is full: consumption pauses until ClickHouse takes rows"),
                false => tracing::info!("the outbox has room again: consumption continues"),
            }
        }
    }

    /// Whether rows that a snapshot did not read must still be deleted.
    pub fn sweeping(&self) -> bool {
        self.sweeping.load(Ordering::Relaxed)
    }

    pub(super) fn set_sweeping(&self, sweeping: bool) {
        self.sweeping.store(sweeping, Ordering::Relaxed);
    }

    /// The number of dead letters that wait, including dead letters from earlier runs of the process.
    pub fn dead_letters(&self) -> u64 {
        self.dead_letters.load(Ordering::Relaxed)
    }

    pub(super) fn set_dead_letters(&self, waiting: u64) {
        self.dead_letters.store(waiting, Ordering::Relaxed);
    }

    /// Waits for a commit or for the request to stop, but at most for the given time.
    pub(super) fn rest(&self, most: Duration) {
        let mut inner = self.inner.lock();
        if !self.stopping() {
            self.changed.wait_for(&mut inner, most);
        }
    }

    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

impl Progress for Shared {
    fn next_offset(&self, partition: &TopicPartition) -> Option<i64> {
        let inner = self.inner.lock();
        let row = inner.partitions[inner.index.get(partition)?.index()].row;
        // If a partition has neither a next offset nor a consumed record, nova has never read it, so the partition's
        // log may begin at any offset.
        (row.next > 0 || row.consumed > 0).then_some(row.next)
    }

    fn cookie(&self, partition: &TopicPartition) -> Option<Arc<[u8]>> {
        let inner = self.inner.lock();
        let cookie = &inner.partitions[inner.index.get(partition)?.index()].cookie;
        (!cookie.is_empty()).then(|| Arc::clone(cookie))
    }

    fn knows_last(&self, partition: &TopicPartition) -> bool {
        let inner = self.inner.lock();
        inner.index.get(partition).is_some_and(|slot| inner.partitions[slot.index()].row.digest != 0)
    }

    fn handed_over(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    fn is_settled(&self, handed_over: u64) -> bool {
        self.settled.load(Ordering::SeqCst) >= handed_over
    }

    fn drain(&self, timeout: Duration) -> bool {
        let target = self.sent.load(Ordering::SeqCst);
        let deadline = monotonic_now() + timeout;
        let mut inner = self.inner.lock();
        while self.settled.load(Ordering::SeqCst) < target {
            if self.changed.wait_until(&mut inner, deadline).timed_out() {
                return self.settled.load(Ordering::SeqCst) >= target;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drain_waits_for_what_was_sent_before_it_and_no_more() {
        let shared = Arc::new(Shared::default());
        assert!(shared.drain(Duration::ZERO));
        shared.sent(10);
        assert!(!shared.drain(Duration::ZERO));
        let writer = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            writer.settled(4);
            writer.settled(6);
        });
        assert!(shared.drain(Duration::from_secs(60)));
        thread.join().unwrap();
    }
}
