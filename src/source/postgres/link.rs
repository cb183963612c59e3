//! The bounded queue between the session's thread and ingest, and the messages in both directions. The session waits
//! for room in the queue without blocking its runtime. Ingest waits for records on its own thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::clock::monotonic_now;
use crate::event::{Record, TopicPartition};
use crate::source::bell::Bell;
use crate::source::{Cookie, Fault};

/// The maximum number of bytes of records that may wait for ingest.
pub const QUEUE_MAX_BYTES: usize = 16 << 20;
/// The maximum number of records that may wait for ingest.
pub const QUEUE_MAX_RECORDS: usize = 32_768;
/// The size of a record without its value, in bytes.
const RECORD_OVERHEAD_BYTES: usize = size_of::<Record>();

/// The records that the session hands over to ingest together.
#[derive(Debug, Default)]
pub struct Chunk {
    pub records: Vec<Record>,
    /// The newest position of the stream. The position is valid after the records of the chunk.
    pub cookie: Option<Cookie>,
}

impl Chunk {
    fn bytes(&self) -> usize {
        let value = |record: &Record| record.value.as_ref().map_or(0, bytes::Bytes::len) + RECORD_OVERHEAD_BYTES;
        self.records.iter().map(value).sum()
    }
}

/// The position at which ingest orders the session to begin reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The session begins at the store's position.
    Restart,
    /// The session begins at the position where it began last, and gives the first record the offset `next`.
    Renumber { next: i64 },
}

#[derive(Debug, Default)]
struct Inner {
    chunks: VecDeque<Chunk>,
    records: usize,
    bytes: usize,
    /// Whether ingest currently takes no records of the partition.
    paused: bool,
    /// The number of the present generation of chunks. Chunks of an earlier generation are void.
    generation: u64,
    order: Option<Order>,
    faults: Vec<Fault>,
    bell: Option<Arc<Bell>>,
    closed: bool,
    /// Whether the session must send its last feedback and end.
    closing: bool,
}

/// The queue between the session's thread and ingest.
#[derive(Debug, Default)]
pub struct Link {
    inner: Mutex<Inner>,
    filled: Condvar,
    /// Wakes the session when the queue has room, when ingest has given an order, or when the session must end.
    pub woken: Notify,
}

/// The methods of the link that the session calls.
impl Link {
    /// Returns the number of the current generation. If the session has not yet seen the order that began the
    /// generation, also returns this order.
    pub fn begin(&self) -> (u64, Option<Order>) {
        let mut inner = self.inner.lock();
        (inner.generation, inner.order.take())
    }

    /// Whether ingest still takes records of the given generation.
    pub fn is_current(&self, generation: u64) -> bool {
        let inner = self.inner.lock();
        inner.generation == generation && !inner.closing
    }

    pub fn has_room(&self) -> bool {
        let inner = self.inner.lock();
        !inner.paused && inner.bytes < QUEUE_MAX_BYTES && inner.records < QUEUE_MAX_RECORDS
    }

    /// Hands a chunk over to ingest. A chunk of an earlier generation is dropped. The caller has checked that the queue
    /// has room. The last chunk may exceed the limits of the queue.
    pub fn push(&self, generation: u64, chunk: Chunk) {
        let mut inner = self.inner.lock();
        if inner.generation != generation {
            return;
        }
        inner.records += chunk.records.len();
        inner.bytes += chunk.bytes();
        inner.chunks.push_back(chunk);
        self.tell(&inner);
    }

    pub fn fault(&self, generation: u64, fault: Fault) {
        let mut inner = self.inner.lock();
        if inner.generation == generation {
            inner.faults.push(fault);
            self.tell(&inner);
        }
    }

    fn tell(&self, inner: &Inner) {
        self.filled.notify_all();
        inner.bell.iter().for_each(|bell| bell.ring());
    }

    pub fn is_closing(&self) -> bool {
        self.inner.lock().closing
    }

    /// Notes that the session has ended.
    pub fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        self.tell(&inner);
    }
}

/// The methods of the link that ingest calls.
impl Link {
    pub fn ring_at(&self, bell: &Arc<Bell>) {
        self.inner.lock().bell = Some(Arc::clone(bell));
    }

    /// Returns the next chunk of records from the queue. The call waits for a chunk for at most the time `wait`.
    pub fn pop(&self, wait: Duration) -> Option<Chunk> {
        let mut inner = self.inner.lock();
        if inner.chunks.is_empty() && !wait.is_zero() && inner.faults.is_empty() {
            let deadline = monotonic_now() + wait;
            let nothing = |inner: &mut Inner| inner.chunks.is_empty() && inner.faults.is_empty() && !inner.closed;
            self.filled.wait_while_until(&mut inner, nothing, deadline);
        }
        let chunk = inner.chunks.pop_front()?;
        inner.records -= chunk.records.len();
        inner.bytes -= chunk.bytes();
        drop(inner);
        self.woken.notify_one();
        Some(chunk)
    }

    pub fn take_faults(&self) -> Vec<Fault> {
        std::mem::take(&mut self.inner.lock().faults)
    }

    pub fn pause(&self) {
        self.inner.lock().paused = true;
    }

    /// Makes the waiting chunks void, and orders the session to begin again.
    pub fn restart(&self, order: Order) {
        let mut inner = self.inner.lock();
        let (generation, bell) = (inner.generation + 1, inner.bell.take());
        let (closed, closing) = (inner.closed, inner.closing);
        *inner = Inner { generation, order: Some(order), bell, closed, closing, ..Inner::default() };
        drop(inner);
        self.woken.notify_one();
    }

    pub fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// Asks the session to end, and waits until it has ended. Returns false if the end takes longer than `most`.
    pub fn end(&self, most: Duration) -> bool {
        let mut inner = self.inner.lock();
        inner.closing = true;
        self.woken.notify_one();
        let deadline = monotonic_now() + most;
        !self.filled.wait_while_until(&mut inner, |inner| !inner.closed, deadline).timed_out()
    }
}

/// Returns the only partition of a slot: `pg.{slot}` 0.
pub fn partition(slot: &str) -> TopicPartition {
    TopicPartition::new(format!("pg.{slot}"), 0)
}
