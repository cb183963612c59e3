//! Writes the segments of delivered events.

use nova_storage::schema::{DEDUP_KEYS, DEDUP_SEGMENT};
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use super::entry::Entry;
use super::sealed::{DELIVERED_SEGMENT, SEGMENT_MAX_KEYS, Sealed};

/// Stores the events whose rows ClickHouse already has. Each stored segment has a bounded size. The events may come in
/// any order.
pub struct DeliveredWriter {
    entries: Vec<Entry>,
    max_ms: i64,
    next: u64,
    /// The node's clock, epoch milliseconds.
    now_ms: i64,
}

impl DeliveredWriter {
    /// Makes a writer that adds new segments to the segments that the store already has.
    pub fn new(read: &ReadTxn, now_ms: i64) -> Result<DeliveredWriter, ReadError> {
        let last = Sealed::load_all(read)?.last().map_or(0, |last| last.segment + 1);
        Ok(DeliveredWriter { entries: Vec::new(), max_ms: i64::MIN, next: last.max(DELIVERED_SEGMENT), now_ms })
    }

    /// Removes the existing segments, because the next answer of ClickHouse has all delivered events.
    pub fn forget(&mut self, write: &WriteTxn) -> Result<(), WriteError> {
        write.remove_range(DEDUP_SEGMENT, DELIVERED_SEGMENT..)?;
        write.remove_range(DEDUP_KEYS, (DELIVERED_SEGMENT, 0u32)..)
    }

    pub fn insert(&mut self, entry: Entry, arrival_ms: i64, write: &WriteTxn) -> Result<(), WriteError> {
        self.entries.push(entry);
        self.max_ms = self.max_ms.max(arrival_ms);
        if self.entries.len() >= SEGMENT_MAX_KEYS { self.seal(write) } else { Ok(()) }
    }

    pub fn finish(mut self, write: &WriteTxn) -> Result<(), WriteError> {
        if self.entries.is_empty() { Ok(()) } else { self.seal(write) }
    }

    fn seal(&mut self, write: &WriteTxn) -> Result<(), WriteError> {
        Sealed::write(self.next, std::mem::take(&mut self.entries), self.max_ms, self.now_ms, write)?;
        (self.next, self.max_ms) = (self.next + 1, i64::MIN);
        Ok(())
    }
}
