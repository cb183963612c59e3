//! A sealed segment, which takes no more entries. The entries of a sealed segment are sorted on disk in chunks. A
//! filter of 2 bytes a key and the first entry of each chunk are in memory.

#![warn(clippy::indexing_slicing)]

use nova_storage::codec::{CodecError, Put, Reader};
use nova_storage::schema::{DEDUP_KEYS, DEDUP_SEGMENT, fits_page};
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use super::entry::{Entry, Seen};
use super::times::Times;
use crate::pipeline::filter::{Filter, Probe};

/// The number of entries at which a segment is sealed. Even with the entries of one more commit, the segment fits into
/// a hash table of 2^19 slots (8.9 MB), so the table does not double.
pub const SEGMENT_MAX_KEYS: usize = (1 << 19) / 8 * 7 - (1 << 15);
/// The lowest segment number of delivered events.
pub const DELIVERED_SEGMENT: u64 = 1 << 63;
/// The version of the format of a sealed segment. Version 1 of the format did not store the time at which the segment
/// was sealed.
const SEGMENT_VERSION: u8 = 2;
const CHUNK_VERSION: u8 = 1;
/// The number of entries in one stored chunk.
const CHUNK_KEYS: usize = fits_page(64 << 10) / 16;

#[derive(Debug)]
pub(super) struct Sealed {
    pub segment: u64,
    pub keys: u64,
    /// The latest arrival of an entry of the segment, epoch milliseconds.
    pub max_ms: i64,
    /// The time at which the segment was sealed, by the node's clock, epoch milliseconds.
    pub sealed_ms: i64,
    filter: Filter,
    /// The first entry of each chunk of the segment.
    index: Vec<Entry>,
}

impl Sealed {
    /// Sorts and stores the entries of a segment.
    pub fn write(
        segment: u64,
        mut entries: Vec<Entry>,
        max_ms: i64,
        sealed_ms: i64,
        write: &WriteTxn,
    ) -> Result<Sealed, WriteError> {
        entries.sort_unstable();
        let mut filter = Filter::with_keys(entries.len());
        let mut index = Vec::with_capacity(entries.len().div_ceil(CHUNK_KEYS));
        for entry in &entries {
            filter.insert(entry.hash());
        }
        for (number, chunk) in entries.chunks(CHUNK_KEYS).enumerate() {
            index.extend(chunk.first().copied());
            let mut bytes = Vec::with_capacity(1 + chunk.len() * 16);
            bytes.put_u8(CHUNK_VERSION);
            for entry in chunk {
                bytes.put_fixed(&entry.0.to_be_bytes());
            }
            write.put(DEDUP_KEYS, (segment, number as u32), &bytes)?;
        }
        let sealed = Sealed { segment, keys: entries.len() as u64, max_ms, sealed_ms, filter, index };
        write.put(DEDUP_SEGMENT, segment, &sealed.encode())?;
        Ok(sealed)
    }

    /// Loads every segment of the store, in the order of the segment numbers.
    pub fn load_all(read: &ReadTxn) -> Result<Vec<Sealed>, ReadError> {
        let (mut all, mut failed) = (Vec::new(), None);
        read.scan(DEDUP_SEGMENT, 0u64.., |segment, bytes| {
            match decode(segment, bytes) {
                Ok(found) => all.push(found),
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        })?;
        failed.map_or(Ok(all), |error| Err(error.into()))
    }

    /// Corrects times of the segment that lie in the future because of a wrong clock. Such a time becomes the latest
    /// possible time.
    pub fn heal(&mut self, times: Times, write: &WriteTxn) -> Result<(), WriteError> {
        if self.max_ms.max(self.sealed_ms) <= times.latest_ms {
            return Ok(());
        }
        self.max_ms = self.max_ms.min(times.latest_ms);
        self.sealed_ms = self.sealed_ms.min(times.now_ms);
        write.put(DEDUP_SEGMENT, self.segment, &self.encode())
    }

    pub fn remove(&self, write: &WriteTxn) -> Result<(), WriteError> {
        write.remove(DEDUP_SEGMENT, self.segment)?;
        write.remove_range(DEDUP_KEYS, (self.segment, 0u32)..=(self.segment, u32::MAX))
    }

    /// Whether the segment may have an entry of the event. `probe` is made from the hash of the event.
    #[inline]
    pub fn may_contain(&self, probe: &Probe) -> bool {
        self.filter.may_contain(probe)
    }

    /// Looks an event up in the segment's entries on disk.
    pub fn look_up(&self, entry: Entry, read: &ReadTxn) -> Result<Seen, ReadError> {
        let after = self.index.partition_point(|first| *first < entry.floor());
        // The event is either the first entry of the chunk `after`, or inside the chunk before `after`.
        for chunk in [after.checked_sub(1), Some(after)].into_iter().flatten() {
            if chunk >= self.index.len() {
                continue;
            }
            let found = read.get_with(DEDUP_KEYS, (self.segment, chunk as u32), |bytes| find(bytes, entry))?;
            match found.unwrap_or(Err(CodecError::Short("dedup chunk")))? {
                Some(found) if found == entry => return Ok(Seen::Duplicate),
                Some(_) => return Ok(Seen::Conflict),
                None => {}
            }
        }
        Ok(Seen::New)
    }

    pub fn mem_bytes(&self) -> usize {
        self.filter.bytes() + self.index.len() * 16
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.mem_bytes() + 32);
        out.put_u8(SEGMENT_VERSION);
        out.put_varint(self.keys);
        out.put_zigzag(self.max_ms);
        out.put_zigzag(self.sealed_ms);
        out.put_varint(self.index.len() as u64);
        for first in &self.index {
            out.put_fixed(&first.0.to_be_bytes());
        }
        let mut filter = Vec::new();
        self.filter.encode(&mut filter);
        out.put_bytes(&filter);
        out
    }
}

/// Finds an entry of the same event in a stored chunk by binary search.
pub(super) fn find(bytes: &[u8], entry: Entry) -> Result<Option<Entry>, CodecError> {
    let (mut reader, _) = Reader::versioned("dedup chunk", bytes, CHUNK_VERSION)?;
    let _ = &mut reader;
    let (entries, rest) = bytes.get(1..).unwrap_or_default().as_chunks::<16>();
    if !rest.is_empty() {
        return Err(CodecError::Trailing("dedup chunk"));
    }
    let at = entries.partition_point(|bytes| Entry(u128::from_be_bytes(*bytes)) < entry.floor());
    Ok(entries.get(at).map(|bytes| Entry(u128::from_be_bytes(*bytes))).filter(|found| found.same_event(entry)))
}

pub(super) fn decode(segment: u64, bytes: &[u8]) -> Result<Sealed, CodecError> {
    const WHAT: &str = "dedup segment";
    let (mut reader, version) = Reader::versioned(WHAT, bytes, SEGMENT_VERSION)?;
    let keys = reader.varint()?;
    let max_ms = reader.zigzag()?;
    let sealed_ms = if version > 1 { reader.zigzag()? } else { max_ms };
    let chunks = reader.varint()?;
    let mut index = Vec::new();
    for _ in 0..chunks {
        index.push(Entry(u128::from_be_bytes(reader.fixed()?)));
    }
    let filter = Filter::decode(reader.bytes()?).ok_or(CodecError::Invalid(WHAT))?;
    reader.end()?;
    Ok(Sealed { segment, keys, max_ms, sealed_ms, filter, index })
}
