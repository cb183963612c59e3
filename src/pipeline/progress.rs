//! What the two threads of the batch loop, and everyone who watches them, share: the numbers of the partitions, positions
//! and counts after the last commit, orders for ingest, and the wish to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nova_storage::codec::OffsetRow;
use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashMap;

use crate::event::{Outcome, TopicPartition};
use crate::source::Progress;

use super::tap::Tap;

/// A partition's number in this process. [`Shared::slot`] is the one place that gives numbers; what each thread keeps by
/// slot it extends with [`Shared::numbered_from`], so the same number is the same partition for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

impl Slot {
    /// Its place in a list of all partitions.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One partition as of the last commit.
#[derive(Clone, Debug)]
pub struct PartitionStatus {
    pub name: TopicPartition,
    pub row: OffsetRow,
    /// The row when this process opened the store: the difference is what this run did.
    pub start: OffsetRow,
    /// The source's own position; empty where it has none.
    pub cookie: Arc<[u8]>,
    /// Records of this run below the next offset.
    pub redelivered: u64,
    /// Values of this run that their records did not repeat and that no stored row had.
    pub unfilled: u64,
    /// Why the partition is held, in words for a person.
    pub hold: Option<Arc<str>>,
    pub last_dead: Option<Arc<LastDead>>,
    /// How often it was rewound; see [`super::Item::rewind`].
    pub rewind: u32,
}

/// The last record of a partition that this run put aside.
#[derive(Clone, Debug)]
pub struct LastDead {
    /// The letter's.
    pub id: u64,
    pub offset: i64,
    /// For a machine, and for a person.
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
    /// Records consumed by this run.
    pub fn consumed(&self) -> u64 {
        self.row.consumed - self.start.consumed
    }

    /// Records of this run with the outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.row.outcomes[outcome as usize] - self.start.outcomes[outcome as usize]
    }
}

/// What the writer asks of ingest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Deliver no more of the partition.
    Hold { slot: Slot },
    /// Deliver again from the store's next offset, with this rewind number.
    Release { slot: Slot, from: i64, rewind: u32 },
}

#[derive(Debug, Default)]
struct Inner {
    /// By slot.
    partitions: Vec<PartitionStatus>,
    index: FxHashMap<TopicPartition, Slot>,
    orders: Vec<Order>,
    /// Partitions whose next record waits for something outside, and for what.
    waits: BTreeMap<TopicPartition, Arc<str>>,
}

/// See the module. Orders are given after the commit that they belong to, so that ingest finds what it obeys to. At most
/// two wait per partition and commit: a release, and a hold for another reason.
#[derive(Debug, Default)]
pub struct Shared {
    inner: Mutex<Inner>,
    /// Records handed to the writer, and records it has settled.
    sent: AtomicU64,
    settled: AtomicU64,
    changed: Condvar,
    stopping: AtomicBool,
    over_quota: AtomicBool,
    sweeping: AtomicBool,
    dead_letters: AtomicU64,
    /// Who watches records.
    pub tap: Arc<Tap>,
}

impl Shared {
    /// Every known partition, in slot order.
    pub fn partitions(&self) -> Vec<PartitionStatus> {
        self.inner.lock().partitions.clone()
    }

    /// The partition's number; a new partition gets the next one.
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

    /// Partitions with their numbers, without the first `known`.
    pub(super) fn numbered_from(&self, known: usize) -> Vec<(Slot, TopicPartition)> {
        let inner = self.inner.lock();
        let later = inner.partitions.iter().zip((0..).map(Slot)).skip(known);
        later.map(|(status, slot)| (slot, status.name.clone())).collect()
    }

    /// Changes what is known of some partitions, after a commit.
    pub(super) fn update(&self, change: impl FnOnce(&mut [PartitionStatus])) {
        change(&mut self.inner.lock().partitions);
    }

    pub(super) fn order(&self, order: Order) {
        self.inner.lock().orders.push(order);
    }

    pub(super) fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut self.inner.lock().orders)
    }

    /// The partition waits for this, or for nothing any more.
    pub(super) fn wait(&self, name: &TopicPartition, reason: Option<Arc<str>>) {
        let waits = &mut self.inner.lock().waits;
        match reason {
            Some(reason) => drop(waits.insert(name.clone(), reason)),
            None => drop(waits.remove(name)),
        }
    }

    /// Partitions that wait for something outside, with what it is, in words for a person.
    pub fn waits(&self) -> Vec<(TopicPartition, Arc<str>)> {
        self.inner.lock().waits.iter().map(|(name, reason)| (name.clone(), Arc::clone(reason))).collect()
    }

    pub(super) fn sent(&self, records: usize) {
        self.sent.fetch_add(records as u64, Ordering::SeqCst);
    }

    pub(super) fn settled(&self, records: usize) {
        // Under the lock, so that a waiter cannot miss it.
        let _inner = self.inner.lock();
        self.settled.fetch_add(records as u64, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Asks both threads to end: ingest after what it has polled, the writer after its queue.
    pub fn stop(&self) {
        let _inner = self.inner.lock();
        self.stopping.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// The outbox is full: nothing more is consumed before ClickHouse takes rows again.
    pub fn over_quota(&self) -> bool {
        self.over_quota.load(Ordering::Relaxed)
    }

    pub(super) fn set_over_quota(&self, over: bool) {
        if self.over_quota.swap(over, Ordering::Relaxed) != over {
            match over {
                true => tracing::error!("the outbox is full: consumption pauses until ClickHouse takes rows"),
                false => tracing::info!("the outbox has room again: consumption goes on"),
            }
        }
    }

    /// Rows that a snapshot did not read are still to be deleted.
    pub fn sweeping(&self) -> bool {
        self.sweeping.load(Ordering::Relaxed)
    }

    pub(super) fn set_sweeping(&self, sweeping: bool) {
        self.sweeping.store(sweeping, Ordering::Relaxed);
    }

    /// Dead letters that wait for a person, of every run.
    pub fn dead_letters(&self) -> u64 {
        self.dead_letters.load(Ordering::Relaxed)
    }

    pub(super) fn set_dead_letters(&self, waiting: u64) {
        self.dead_letters.store(waiting, Ordering::Relaxed);
    }

    /// Waits for a commit, or the wish to stop, or this long.
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
        // One that is only numbered was never read: its log may begin anywhere.
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
        let deadline = Instant::now() + timeout;
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
