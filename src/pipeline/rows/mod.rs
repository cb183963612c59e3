//! The stored row of each primary key. A row that changed since the last checkpoint is in memory. A row that has not
//! changed since the last checkpoint is in the store. The journal makes a change durable. A checkpoint writes the
//! changed rows in the order of their keys as a new run (`flush`, `runs`). A run has `segment`s, and a segment has
//! `block`s. The writer merges old runs in proportion to the bytes that change. A change never rewrites the page of the
//! old row, because with random keys nova would write a page for each row.

mod block;
mod brought;
mod changed;
mod cursor;
mod flush;
mod key;
mod known;
mod run;
mod runs;
mod segment;

use nova_storage::schema::{META, ROW_BLOCK, ROW_SEGMENT, ROWS};
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use crate::event::{Id, Table};
use crate::pipeline::filter::Probe;

pub use self::brought::bring_over;
use self::changed::Changed;
use self::cursor::Merged;
use self::flush::Flush;
use self::known::Known;
use self::runs::{MERGES_KEY, Runs};
use self::segment::hash;
pub use self::segment::remove as remove_segment;

/// The number of bytes that nova merges for each byte that changes, in percent. The percentage is above 100, so that a
/// merge ends before the next merge is due.
const MERGE_PERCENT: u64 = 125;
/// If there are more runs than this number, nova merges [`MERGE_CROWDED`] times as many bytes for each byte that
/// changes.
const RUNS_CROWDED: usize = 48;
const MERGE_CROWDED: u64 = 4;

/// All rows: the rows that changed since the last checkpoint, and the rows in the store.
#[derive(Debug, Default)]
pub struct Rows {
    changed: Changed,
    /// The rows that changed before the running checkpoint began and are not written yet.
    flush: Option<Flush>,
    runs: Runs,
    /// The filter over the keys of `changed`, of `flush`, and of the runs that were begun since the start.
    known: Known,
    /// The number of bytes that nova still has to merge.
    owed_bytes: u64,
}

impl Rows {
    pub fn load(read: &ReadTxn) -> Result<Rows, ReadError> {
        Ok(Rows { runs: Runs::load(read)?, ..Rows::default() })
    }

    /// Calls `read` with the stored bytes of a key. `stored` is a read transaction that sees the last commit.
    pub fn with<T>(
        &self,
        table: Table,
        key: Id,
        stored: &ReadTxn,
        read: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Result<T, ReadError> {
        let key = (table.number(), key);
        let probe = Probe::new(hash(key));
        let known = self.known.may_contain(&probe);
        // The filter lacks only keys of rows that were written after the filter was full.
        let recent = known || !self.known.is_complete();
        let flushed = || self.flush.as_ref().and_then(|flush| flush.rows().get(&key));
        if recent && let Some(bytes) = self.changed.get(&key).or_else(flushed) {
            return Ok(read(Some(bytes)));
        }
        let mut read = Some(read);
        let found = self.runs.look_up(key, (&probe, known), stored, &mut read)?;
        let absent = || read.map(|read| read(None));
        // `look_up` either calls its closure and returns a result, or it does neither.
        found.or_else(absent).ok_or(ReadError::Storage("a row was found and not handed on".into()))
    }

    pub fn put(&mut self, table: Table, key: Id, bytes: Box<[u8]>) {
        self.owed_bytes += bytes.len() as u64 * MERGE_PERCENT / 100;
        let key = (table.number(), key);
        self.known.insert(hash(key));
        self.changed.put(key, bytes);
    }

    /// The number of bytes of rows that wait for the next checkpoint.
    pub fn changed_bytes(&self) -> usize {
        self.changed.bytes()
    }

    /// The number of bytes of the rows in the store, and the number of runs that have these rows.
    pub fn stored(&self) -> (u64, usize) {
        (self.runs.bytes(), self.runs.len())
    }

    /// The number of bytes that indexes and filters take in memory, and the number of bytes that changed rows take.
    pub fn mem_bytes(&self) -> usize {
        let flushed = self.flush.as_ref().map_or(0, |flush| flush.rows().bytes());
        self.runs.mem_bytes() + self.known.mem_bytes() + self.changed.bytes() + flushed
    }

    /// Begins to write the changed rows as a new run, which is newer than all other runs. The function may only be
    /// called when no other run is being written. Until a commit says that `generation` is complete, a start ignores
    /// the run.
    pub fn begin_flush(&mut self, generation: u64) {
        let home = self.runs.begin(generation);
        self.flush = Some(Flush::new(std::mem::take(&mut self.changed), home, self.known.is_complete()));
    }

    /// Writes segments of about `segment_bytes` until `budget` bytes of rows are written. Returns the number of bytes
    /// that were written, which is below `budget` only if no changed row is left. Nobody may look a row up between a
    /// call of this function and the commit.
    pub fn flush(&mut self, write: &WriteTxn, segment_bytes: u64, budget: u64) -> Result<u64, WriteError> {
        let mut written = 0;
        while let Some(flush) = &mut self.flush
            && written < budget
        {
            match flush.segment(&mut self.runs, write, segment_bytes)? {
                0 => break,
                bytes => written += bytes,
            }
        }
        Ok(written)
    }

    /// Notes that the new run is complete and stays in the store.
    pub fn flushed(&mut self) {
        self.flush = None;
        self.runs.ended();
    }

    /// The number of the newest run in the store.
    pub fn newest(&self) -> u64 {
        self.runs.newest()
    }

    /// Returns the segments of an incomplete run. The segments must be removed before the next run begins.
    pub fn take_half_written(&mut self) -> Vec<u64> {
        self.runs.take_half_written()
    }

    /// Merges runs in proportion to the changes since the last call, so an idle node merges nothing. `read` is a read
    /// transaction that sees the last commit. Nobody may look a row up between a call of this function and the next
    /// commit.
    pub fn merge(&mut self, read: &ReadTxn, write: &WriteTxn) -> Result<(), WriteError> {
        if self.owed_bytes == 0 || !self.runs.merging() {
            self.owed_bytes = 0;
            return Ok(());
        }
        let rate = if self.runs.len() > RUNS_CROWDED { MERGE_CROWDED } else { 1 };
        let merged = self.runs.merge(read, write, self.owed_bytes.saturating_mul(rate))?;
        self.owed_bytes = self.owed_bytes.saturating_sub(merged / rate);
        Ok(())
    }

    /// Whether the table has any row, including tombstones.
    pub fn any(&self, table: Table) -> bool {
        let table = table.number();
        let flushed = self.flush.iter().flat_map(|flush| flush.rows().iter());
        self.changed.iter().chain(flushed).any(|((of, _), _)| of == table) || self.runs.has_table(table)
    }

    /// Calls `each` for every row of the table, including tombstones, in key order.
    pub fn scan(&self, table: Table, stored: &ReadTxn, mut each: impl FnMut(Id, &[u8])) -> Result<(), ReadError> {
        self.scan_while(table, stored, |id, bytes| {
            each(id, bytes);
            true
        })
    }

    /// Does the same as `scan`, but only until `each` returns false.
    pub fn scan_while(
        &self,
        table: Table,
        stored: &ReadTxn,
        mut each: impl FnMut(Id, &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        // Of two rows with the same key, the newer row is first, and the stable sort keeps it first.
        let flushed = self.flush.iter().flat_map(|flush| flush.rows().iter());
        let mut changed: Vec<(Id, &[u8])> = self
            .changed
            .iter()
            .chain(flushed)
            .filter_map(|((of, id), row)| (of == table.number()).then_some((id, row)))
            .collect();
        changed.sort_by_key(|(id, _)| *id);
        changed.dedup_by_key(|(id, _)| *id);
        let (mut changed, mut more) = (changed.into_iter().peekable(), true);
        self.scan_stored(table, Id([0; 16]), stored, |key, bytes| {
            while more && let Some((id, newer)) = changed.next_if(|(id, _)| *id < key) {
                more = each(id, newer);
            }
            more = more
                && match changed.next_if(|(id, _)| *id == key) {
                    Some((_, newer)) => each(key, newer),
                    None => each(key, bytes),
                };
            more
        })?;
        while more && let Some((id, newer)) = changed.next() {
            more = each(id, newer);
        }
        Ok(())
    }

    /// Calls `each` for the stored rows of the table, beginning at a key, until `each` returns false.
    pub fn scan_stored(
        &self,
        table: Table,
        from: Id,
        stored: &ReadTxn,
        mut each: impl FnMut(Id, &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        let mut rows = self.runs.rows((table.number(), from), stored)?;
        while let Some(((of, id), bytes)) = rows.row()? {
            if of != table.number() || !each(id, bytes) {
                break;
            }
            rows.advance(stored)?;
        }
        Ok(())
    }
}

/// Calls `each` for every row that the last checkpoint has. The store may have any format, and no writer may have it
/// open.
pub fn scan_all(
    read: &ReadTxn,
    mut each: impl FnMut(u8, Id, &[u8]) -> Result<(), nova_storage::codec::CodecError>,
) -> Result<(), ReadError> {
    let mut failed = None;
    read.scan(ROWS, (0u8, &[0u8; 16]).., |(table, key), bytes| {
        failed = each(table, Id(*key), bytes).err();
        failed.is_none()
    })?;
    failed.map_or(Ok(()), Err)?;
    let mut rows: Merged = Runs::load(read)?.rows((0, Id([0; 16])), read)?;
    while let Some(((table, id), bytes)) = rows.row()? {
        each(table, id, bytes)?;
        rows.advance(read)?;
    }
    Ok(())
}

/// Removes every row of a store. No writer may have the store open.
pub fn clear(write: &WriteTxn) -> Result<(), WriteError> {
    write.clear(ROWS)?;
    write.clear(ROW_BLOCK)?;
    write.clear(ROW_SEGMENT)?;
    write.remove(META, MERGES_KEY).map(drop)
}

#[cfg(test)]
mod tests;
