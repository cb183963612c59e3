//! The bounded queue between the session's thread and ingest, and what each side tells the other. The session waits for
//! room without blocking its runtime; ingest waits for records on its own thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::event::{Record, TopicPartition};
use crate::source::bell::Bell;
use crate::source::{Cookie, Fault};

/// Bytes of records that may wait for ingest.
pub const QUEUE_MAX_BYTES: usize = 16 << 20;
/// Records that may wait for ingest.
pub const QUEUE_MAX_RECORDS: usize = 32_768;
/// What a record costs besides its value.
const RECORD_OVERHEAD_BYTES: usize = size_of::<Record>();

/// What the session hands over at once.
#[derive(Debug, Default)]
pub struct Chunk {
    pub records: Vec<Record>,
    /// The newest position, which holds after the records.
    pub cookie: Option<Cookie>,
}

impl Chunk {
    fn bytes(&self) -> usize {
        let value = |record: &Record| record.value.as_ref().map_or(0, bytes::Bytes::len) + RECORD_OVERHEAD_BYTES;
        self.records.iter().map(value).sum()
    }
}

/// From where the session shall read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the store's position.
    Restart,
    /// From where it began last, with the first record at this offset.
    Renumber { next: i64 },
}

#[derive(Debug, Default)]
struct Inner {
    chunks: VecDeque<Chunk>,
    records: usize,
    bytes: usize,
    /// Ingest takes nothing of the partition for now.
    paused: bool,
    /// Chunks of an earlier generation are void.
    generation: u64,
    order: Option<Order>,
    faults: Vec<Fault>,
    bell: Option<Arc<Bell>>,
    closed: bool,
    /// The last feedback is to be sent, and the session to be closed.
    closing: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Link {
    inner: Mutex<Inner>,
    filled: Condvar,
    /// Wakes the session: there is room, an order, or the end.
    pub woken: Notify,
}

/// The session's side.
impl Link {
    /// The number of the current generation, and its order where the session has not seen it yet.
    pub fn begin(&self) -> (u64, Option<Order>) {
        let mut inner = self.inner.lock();
        (inner.generation, inner.order.take())
    }

    /// Whether what is read now is still wanted.
    pub fn is_current(&self, generation: u64) -> bool {
        let inner = self.inner.lock();
        inner.generation == generation && !inner.closing
    }

    pub fn has_room(&self) -> bool {
        let inner = self.inner.lock();
        !inner.paused && inner.bytes < QUEUE_MAX_BYTES && inner.records < QUEUE_MAX_RECORDS
    }

    /// Hands a chunk over; one of an earlier generation is dropped. The caller has looked for room: one chunk more than
    /// the bounds fit in any case.
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

    /// The session has ended.
    pub fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        self.tell(&inner);
    }
}

/// Ingest's side.
impl Link {
    pub fn ring_at(&self, bell: &Arc<Bell>) {
        self.inner.lock().bell = Some(Arc::clone(bell));
    }

    /// The next chunk; waits for one no longer than this.
    pub fn pop(&self, wait: Duration) -> Option<Chunk> {
        let mut inner = self.inner.lock();
        if inner.chunks.is_empty() && !wait.is_zero() && inner.faults.is_empty() {
            let deadline = Instant::now() + wait;
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

    /// What waits is void; the session begins again.
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

    /// Asks the session to end, and waits for that; false where it takes longer.
    pub fn end(&self, most: Duration) -> bool {
        let mut inner = self.inner.lock();
        inner.closing = true;
        self.woken.notify_one();
        let deadline = Instant::now() + most;
        !self.filled.wait_while_until(&mut inner, |inner| !inner.closed, deadline).timed_out()
    }
}

/// The one partition of a slot: `pg.{slot}` 0.
pub fn partition(slot: &str) -> TopicPartition {
    TopicPartition::new(format!("pg.{slot}"), 0)
}
