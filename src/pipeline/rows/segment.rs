//! A segment is a part of a run: about a megabyte of blocks. The first key of each block and a filter of 2 bytes a row
//! are in memory. No key is in two segments of one run.

use nova_storage::codec::{CodecError, Put, Reader};
use nova_storage::schema::{ROW_BLOCK, ROW_SEGMENT};
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::event::Id;
use crate::pipeline::filter::{Filter, Probe};

use super::block::{Block, Builder};
use super::key::Key;

const VERSION: u8 = 1;
const WHAT: &str = "segment of rows";
/// The number of blocks in a full segment. A full segment has 1 MiB. Only the last segment of a run has fewer blocks.
pub const SEGMENT_MAX_BLOCKS: usize = 64;

/// Returns the hash of a key, which the filters of all segments use.
pub fn hash((table, id): Key) -> u64 {
    xxh3_64_with_seed(&id.0, table.into())
}

/// The run to which a segment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    pub run: u64,
    /// The latest flush that has rows in the run (see [`super::run::Run::newest`]).
    pub newest: u64,
}

/// The index and the filter of a segment.
#[derive(Debug, PartialEq, Eq)]
pub struct Segment {
    pub number: u64,
    /// The first key of each block. A segment has at least one block.
    firsts: Box<[Key]>,
    pub last: Key,
    pub rows: u64,
    /// The number of bytes of all blocks in the segment.
    pub bytes: u64,
    filter: Filter,
}

impl Segment {
    /// Returns every segment of the store with its run, in the order of the segments' numbers.
    pub fn load_all(read: &ReadTxn) -> Result<Vec<(Home, Segment)>, ReadError> {
        let (mut all, mut failed) = (Vec::new(), None);
        read.scan(ROW_SEGMENT, 0u64.., |number, bytes| {
            match decode(number, bytes) {
                Ok(found) => all.push(found),
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        })?;
        failed.map_or(Ok(all), |error| Err(error.into()))
    }

    pub fn first(&self) -> Key {
        self.firsts[0]
    }

    pub fn blocks(&self) -> u32 {
        self.firsts.len() as u32
    }

    pub fn has_table(&self, table: u8) -> bool {
        self.firsts.iter().any(|(of, _)| *of == table)
    }

    /// Returns the only block that may have the key.
    pub fn block_of(&self, key: Key) -> u32 {
        self.firsts.partition_point(|first| *first <= key).saturating_sub(1) as u32
    }

    #[inline]
    pub fn may_contain(&self, probe: &Probe) -> bool {
        self.filter.may_contain(probe)
    }

    /// Calls `found` with the row of a key. If the segment does not have the row, the function returns `found` without
    /// calling it.
    pub fn look_up<T>(
        &self,
        key: Key,
        read: &ReadTxn,
        found: &mut Option<impl FnOnce(Option<&[u8]>) -> T>,
    ) -> Result<Option<T>, ReadError> {
        let look = |bytes: &[u8]| -> Result<Option<T>, CodecError> {
            let row = Block::read(bytes)?.find(key)?;
            Ok(row.and_then(|row| found.take().map(|found| found(Some(row)))))
        };
        let answer = read.get_with(ROW_BLOCK, (self.number, self.block_of(key)), look)?;
        Ok(answer.unwrap_or(Err(CodecError::Short(WHAT)))?)
    }

    pub fn remove(&self, write: &WriteTxn) -> Result<(), WriteError> {
        remove(self.number, write)
    }

    pub fn mem_bytes(&self) -> usize {
        self.filter.bytes() + size_of_val(&*self.firsts)
    }

    fn encode(&self, home: Home) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.mem_bytes() + 64);
        out.put_u8(VERSION);
        out.put_varint(home.run);
        out.put_varint(home.newest);
        out.put_varint(self.rows);
        out.put_varint(self.bytes);
        out.put_varint(self.firsts.len() as u64);
        for (table, id) in self.firsts.iter().chain([&self.last]) {
            out.put_u8(*table);
            out.put_id(*id);
        }
        let mut filter = Vec::new();
        self.filter.encode(&mut filter);
        out.put_bytes(&filter);
        out
    }
}

/// Removes a segment from the store.
pub fn remove(number: u64, write: &WriteTxn) -> Result<(), WriteError> {
    write.remove(ROW_SEGMENT, number)?;
    write.remove_range(ROW_BLOCK, (number, 0u32)..=(number, u32::MAX))
}

fn decode(number: u64, bytes: &[u8]) -> Result<(Home, Segment), CodecError> {
    let (mut reader, _) = Reader::versioned(WHAT, bytes, VERSION)?;
    let home = Home { run: reader.varint()?, newest: reader.varint()? };
    let (rows, stored) = (reader.varint()?, reader.varint()?);
    let mut firsts: Vec<Key> = Vec::new();
    for _ in 0..reader.varint()? {
        firsts.push(key(&mut reader)?);
    }
    let last = key(&mut reader)?;
    let filter = Filter::decode(reader.bytes()?).ok_or(CodecError::Invalid(WHAT))?;
    reader.end()?;
    if firsts.last().is_none_or(|first| *first > last) || !firsts.is_sorted_by(|a, b| a < b) {
        return Err(CodecError::Invalid(WHAT));
    }
    Ok((home, Segment { number, firsts: firsts.into(), last, rows, bytes: stored, filter }))
}

fn key(reader: &mut Reader<'_>) -> Result<Key, CodecError> {
    Ok((reader.u8()?, Id(reader.fixed()?)))
}

/// Writes one segment, whose rows come in the order of their keys.
pub struct SegmentWriter<'w> {
    write: &'w WriteTxn,
    number: u64,
    builder: Builder,
    block: Vec<u8>,
    firsts: Vec<Key>,
    hashes: Vec<u64>,
    last: Option<Key>,
    bytes: u64,
}

impl<'w> SegmentWriter<'w> {
    pub fn new(write: &'w WriteTxn, number: u64) -> SegmentWriter<'w> {
        let (firsts, hashes) = (Vec::new(), Vec::new());
        let (builder, block) = (Builder::default(), Vec::new());
        SegmentWriter { write, number, builder, block, firsts, hashes, last: None, bytes: 0 }
    }

    /// Whether the row belongs in the next segment, because this segment is full.
    pub fn is_full_for(&self, key: Key, row: &[u8]) -> bool {
        self.firsts.len() >= SEGMENT_MAX_BLOCKS && self.builder.is_full_for(key, row)
    }

    pub fn push(&mut self, key: Key, row: &[u8]) -> Result<(), WriteError> {
        debug_assert!(self.last.is_none_or(|last| last < key), "rows come in the order of their keys");
        if self.builder.is_full_for(key, row) {
            self.end_block()?;
        }
        if self.builder.is_empty() {
            self.firsts.push(key);
        }
        self.builder.push(key, row);
        self.hashes.push(hash(key));
        self.last = Some(key);
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), WriteError> {
        self.builder.take(&mut self.block);
        self.bytes += self.block.len() as u64;
        self.write.put(ROW_BLOCK, (self.number, self.firsts.len() as u32 - 1), &self.block)
    }

    /// Ends the segment, and stores the index and the filter that recovery needs. Returns `None` if the segment has no
    /// row.
    pub fn end(mut self, home: Home) -> Result<Option<Segment>, WriteError> {
        let Some(last) = self.last else { return Ok(None) };
        self.end_block()?;
        let mut filter = Filter::with_keys(self.hashes.len());
        self.hashes.iter().for_each(|hash| filter.insert(*hash));
        let (number, rows, bytes) = (self.number, self.hashes.len() as u64, self.bytes);
        let segment = Segment { number, firsts: self.firsts.into(), last, rows, bytes, filter };
        self.write.put(ROW_SEGMENT, number, &segment.encode(home))?;
        Ok(Some(segment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_storage::testing::mutate::check_bytes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn segments_read_back_and_mutants_are_errors_or_segments_with_these_bytes(
            keys in proptest::collection::btree_set((any::<u8>(), any::<[u8; 16]>()), 1..20),
            numbers: [u64; 4],
            seed: u64,
        ) {
            let firsts: Box<[Key]> = keys.iter().map(|(table, id)| (*table, Id(*id))).collect();
            let mut filter = Filter::with_keys(firsts.len());
            firsts.iter().for_each(|key| filter.insert(hash(*key)));
            let [run, newest, rows, bytes] = numbers;
            let home = Home { run, newest };
            let segment = Segment { number: 3, last: *firsts.last().unwrap(), firsts, rows, bytes, filter };
            let stored = segment.encode(home);
            let (back, again) = decode(3, &stored).unwrap();
            prop_assert_eq!(back, home);
            prop_assert_eq!(again.encode(back), stored.clone());
            check_bytes(&stored, seed, |bytes| decode(3, bytes), |(home, segment)| segment.encode(*home));
        }
    }
}
