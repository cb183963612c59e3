//! The rows in the store, in sorted runs from the newest run to the oldest run, and the merges of these runs.
//!
//! A checkpoint adds a run to the store, some segments in each commit. A start ignores a run of an incomplete
//! checkpoint. When [`MERGE_RUNS`] adjacent runs have about the same size, nova merges them into one run, a segment at
//! a time. When rows are merged up to a key, the same commit removes them from the old runs. So a crash only interrupts
//! a merge, and a row is stored twice for no longer than the merge of one segment takes. nova writes a row again each
//! time that the runs have become [`MERGE_RUNS`] times as large.

use nova_storage::codec::{CodecError, Put, Reader};
use nova_storage::schema::META;
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use crate::event::Id;
use crate::pipeline::filter::Probe;
use crate::pipeline::meta::Meta;

use super::block::BLOCK_MAX_BYTES;
use super::cursor::Merged;
use super::key::{Key, LEAST, after};
use super::run::{MERGE_RUNS, Run, WHAT};
use super::segment::{Home, SEGMENT_MAX_BLOCKS, Segment, SegmentWriter};

pub const MERGES_KEY: &str = "row_merges";
/// The number of bytes that one step of a merge writes.
pub const SEGMENT_BYTES: u64 = (SEGMENT_MAX_BLOCKS * BLOCK_MAX_BYTES) as u64;
const MERGES_VERSION: u8 = 1;

/// A merge of adjacent runs into one run.
#[derive(Debug)]
struct Merge {
    /// The runs that are merged, as a range of their numbers (see [`Run::newest`]).
    range: std::ops::RangeInclusive<u64>,
    /// The number of the run into which the rows are merged.
    into: u64,
    /// Whether the filter over all keys ([`super::known::Known`]) has every key of the merged runs.
    known: bool,
    /// The last key whose row has been merged.
    done: Option<Key>,
    /// The cursors of the merge, which are opened again after a start.
    rows: Option<Merged>,
    ended: bool,
}

/// The runs in the store.
#[derive(Debug, Default)]
pub struct Runs {
    /// The runs, in the order from the newest to the oldest. A run that a merge writes is in the list beside the runs
    /// that it replaces.
    list: Vec<Run>,
    merges: Vec<Merge>,
    next_run: u64,
    next_segment: u64,
    /// The number of the run that a checkpoint is writing.
    writing: Option<u64>,
    /// The numbers of the segments that an incomplete checkpoint left.
    half_written: Vec<u64>,
}

impl Runs {
    /// Loads the runs that the last complete checkpoint has.
    pub fn load(read: &ReadTxn) -> Result<Runs, ReadError> {
        let whole = Meta::load(read)?.and_then(|meta| meta.generation).unwrap_or(u64::MAX);
        let mut runs = Runs::default();
        let mut all = Segment::load_all(read)?;
        all.sort_by_key(|(_, segment)| segment.first());
        for (home, segment) in all {
            runs.next_segment = runs.next_segment.max(segment.number + 1);
            match home.newest <= whole {
                true => runs.push(home, false, segment)?,
                false => runs.half_written.push(segment.number),
            }
        }
        for merge in read.get_with(META, MERGES_KEY, decode_merges)?.transpose()?.unwrap_or_default() {
            runs.next_run = runs.next_run.max(merge.into + 1);
            runs.mark(&merge);
            runs.merges.push(merge);
        }
        Ok(runs)
    }

    /// Notes that rows are merged up to `merge.done`, so that look-ups no longer ask the old runs for the merged rows.
    fn mark(&mut self, merge: &Merge) {
        for run in &mut self.list {
            if run.number != merge.into && merge.range.contains(&run.newest) {
                run.merged = merge.done;
            }
        }
    }

    fn push(&mut self, home: Home, known: bool, segment: Segment) -> Result<(), CodecError> {
        self.next_run = self.next_run.max(home.run + 1);
        let run = match self.list.iter().position(|run| run.number == home.run) {
            Some(at) => &mut self.list[at],
            None => {
                let at = self.list.partition_point(|run| (run.newest, run.number) > (home.newest, home.run));
                self.list.insert(at, Run::new(home, known));
                &mut self.list[at]
            }
        };
        run.push(segment)
    }

    /// The number of runs in the store.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The number of bytes of all blocks in the runs. A row that is in several runs counts several times.
    pub fn bytes(&self) -> u64 {
        self.list.iter().map(|run| run.bytes).sum()
    }

    pub fn mem_bytes(&self) -> usize {
        self.list.iter().map(|run| run.mem_bytes).sum()
    }

    pub fn has_table(&self, table: u8) -> bool {
        self.list.iter().flat_map(|run| &run.segments).any(|segment| segment.has_table(table))
    }

    /// Calls `found` with the newest version of the row. If no run has the row, the function returns `found` without
    /// calling it. `read` is a read transaction that sees the last commit. `known` says whether the filter over all keys
    /// may have the key.
    pub fn look_up<T, F: FnOnce(Option<&[u8]>) -> T>(
        &self,
        key: Key,
        (probe, known): (&Probe, bool),
        read: &ReadTxn,
        found: &mut Option<F>,
    ) -> Result<Option<T>, ReadError> {
        let asked = self.list.iter().filter(|run| known || !run.known);
        for segment in asked.filter_map(|run| run.segment_of(key, probe)) {
            if let Some(answer) = segment.look_up(key, read, found)? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// Returns every row from a key on, in the order of the keys.
    pub fn rows(&self, from: Key, read: &ReadTxn) -> Result<Merged, ReadError> {
        let mut rows = Merged::default();
        for run in &self.list {
            let from = run.merged.map_or(from, |merged| from.max(after(merged)));
            rows.add(run.segments.iter(), from, read)?;
        }
        Ok(rows)
    }

    /// The number of the latest flush that has rows in the store.
    pub fn newest(&self) -> u64 {
        self.list.first().map_or(0, |run| run.newest)
    }

    pub fn take_half_written(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.half_written)
    }

    /// Begins a run that is newer than all other runs. No merge takes this run before [`Runs::ended`] was called.
    pub fn begin(&mut self, newest: u64) -> Home {
        let home = Home { run: self.next_run, newest };
        self.next_run += 1;
        self.writing = Some(home.run);
        home
    }

    /// Notes that the run which the checkpoint writes is complete.
    pub fn ended(&mut self) {
        self.writing = None;
    }

    /// Writes more segments of the run that gets the rows of format 1. The run with the rows of format 1 is older than
    /// all other runs.
    pub fn bring<'r>(
        &mut self,
        rows: impl Iterator<Item = (Key, &'r [u8])>,
        write: &WriteTxn,
    ) -> Result<(), WriteError> {
        let home = Home { run: 0, newest: 0 };
        let mut writer = self.segment(write);
        for (key, row) in rows {
            if writer.is_full_for(key, row) {
                let full = std::mem::replace(&mut writer, self.segment(write));
                self.keep(full, home, false)?;
            }
            writer.push(key, row)?;
        }
        self.keep(writer, home, false)
    }

    pub fn segment<'w>(&mut self, write: &'w WriteTxn) -> SegmentWriter<'w> {
        self.next_segment += 1;
        SegmentWriter::new(write, self.next_segment - 1)
    }

    /// Ends a segment of a run. A segment without rows is not kept. `known` says whether the filter over all keys has
    /// every key of the run.
    pub fn keep(&mut self, writer: SegmentWriter<'_>, home: Home, known: bool) -> Result<(), WriteError> {
        if let Some(segment) = writer.end(home)? {
            self.push(home, known, segment)?;
        }
        Ok(())
    }

    /// Whether there are runs to merge.
    pub fn merging(&mut self) -> bool {
        self.begin_merge();
        !self.merges.is_empty()
    }

    /// Begins a merge if enough adjacent runs have about the same size and are not yet in a merge.
    fn begin_merge(&mut self) {
        let free = |run: &&Run| !self.merges.iter().any(|merge| merge.range.contains(&run.newest));
        let whole = self.list.iter().filter(|run| Some(run.number) != self.writing);
        let free: Vec<&Run> = whole.take_while(free).collect();
        let tiers: Vec<u32> = free.iter().map(|run| run.tier()).collect();
        let highest = tiers.iter().max().copied();
        for tier in 0..=highest.unwrap_or(0) {
            let count = tiers.iter().take_while(|of| **of <= tier).count();
            if count >= MERGE_RUNS {
                let range = free[count - 1].newest..=free[0].newest;
                let known = free[..count].iter().all(|run| run.known);
                self.merges.push(Merge { range, into: self.next_run, known, done: None, rows: None, ended: false });
                self.next_run += 1;
                return;
            }
        }
    }

    /// Continues each merge by some segments, but writes at most `most_bytes` bytes. Returns the number of bytes that
    /// were written. `read` is a read transaction that sees the last commit.
    pub fn merge(&mut self, read: &ReadTxn, write: &WriteTxn, most_bytes: u64) -> Result<u64, WriteError> {
        let (mut most, mut merges) = (0, std::mem::take(&mut self.merges));
        for merge in &mut merges {
            let mut bytes = 0;
            // A merge waits until a whole segment is due.
            while bytes + SEGMENT_BYTES <= most_bytes {
                bytes += self.step(merge, read, write)?;
                if merge.ended {
                    break;
                }
            }
            most = most.max(bytes);
        }
        if most == 0 {
            self.merges = merges;
            return Ok(0);
        }
        merges.retain(|merge| !merge.ended);
        self.merges = merges;
        match self.merges.is_empty() {
            true => write.remove(META, MERGES_KEY).map(drop)?,
            false => write.put(META, MERGES_KEY, &encode_merges(&self.merges))?,
        }
        Ok(most)
    }

    /// Merges one segment into the new run.
    fn step(&mut self, merge: &mut Merge, read: &ReadTxn, write: &WriteTxn) -> Result<u64, WriteError> {
        let mut rows = match merge.rows.take() {
            Some(rows) => rows,
            None => self.inputs(merge, read)?,
        };
        let home = Home { run: merge.into, newest: *merge.range.end() };
        let mut writer = self.segment(write);
        loop {
            let Some((key, row)) = rows.row()? else {
                merge.ended = true;
                break;
            };
            if writer.is_full_for(key, row) {
                break;
            }
            writer.push(key, row)?;
            merge.done = Some(key);
            rows.advance(read)?;
        }
        let before = self.bytes();
        self.keep(writer, home, merge.known)?;
        let bytes = self.bytes() - before;
        self.mark(merge);
        self.drop_merged(merge, write)?;
        merge.rows = Some(rows);
        Ok(bytes)
    }

    fn inputs(&self, merge: &Merge, read: &ReadTxn) -> Result<Merged, ReadError> {
        let mut rows = Merged::default();
        let from = merge.done.map_or(LEAST, after);
        for run in self.list.iter().filter(|run| run.number != merge.into && merge.range.contains(&run.newest)) {
            rows.add(run.segments.iter(), from, read)?;
        }
        Ok(rows)
    }

    /// Removes the segments whose rows are all merged into the new run.
    fn drop_merged(&mut self, merge: &Merge, write: &WriteTxn) -> Result<(), WriteError> {
        for run in &mut self.list {
            if run.number != merge.into && merge.range.contains(&run.newest) {
                run.drop_upto(merge.done, write)?;
            }
        }
        self.list.retain(|run| !run.segments.is_empty());
        Ok(())
    }
}

fn encode_merges(merges: &[Merge]) -> Vec<u8> {
    let mut out = vec![MERGES_VERSION];
    for merge in merges {
        out.put_varint(*merge.range.start());
        out.put_varint(*merge.range.end());
        out.put_varint(merge.into);
        out.put_u8(u8::from(merge.done.is_some()));
        if let Some((table, id)) = &merge.done {
            out.put_u8(*table);
            out.put_id(*id);
        }
    }
    out
}

fn decode_merges(bytes: &[u8]) -> Result<Vec<Merge>, CodecError> {
    let (mut reader, _) = Reader::versioned(WHAT, bytes, MERGES_VERSION)?;
    let mut merges = Vec::new();
    while !reader.is_empty() {
        let range = reader.varint()?..=reader.varint()?;
        if range.is_empty() {
            return Err(CodecError::Invalid(WHAT));
        }
        let into = reader.varint()?;
        let done = if reader.flag()? { Some((reader.u8()?, Id(reader.fixed()?))) } else { None };
        merges.push(Merge { range, into, known: false, done, rows: None, ended: false });
    }
    Ok(merges)
}

#[cfg(test)]
mod tests;
