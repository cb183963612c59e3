//! The primitives of every stored value, and those values whose form the crate `nova-storage` knows.
//!
//! A stored value starts with a version byte. Integers are stored as LEB128 varints. Signed integers are zigzag-coded
//! before they are stored as varints. The length of a byte string is stored before the string. Reading never panics:
//! malformed bytes give a [`CodecError`].

#![warn(clippy::indexing_slicing)]

use crate::id::Id;

/// The reason why stored bytes cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("the value ends in the middle of {0}")]
    Short(&'static str),
    #[error("{what} has version {found}; this build reads up to {known}: run the newer nova that wrote it")]
    Version { what: &'static str, found: u8, known: u8 },
    #[error("{0} holds an impossible value")]
    Invalid(&'static str),
    /// The value contains a number to which only a later version gave a meaning.
    #[error("{what} has the number {number}, which this build does not know: run the newer nova that wrote it")]
    Unknown { what: &'static str, number: u64 },
    #[error("{0} has bytes left over")]
    Trailing(&'static str),
}

/// Appends primitives to a buffer.
pub trait Put {
    fn put_u8(&mut self, value: u8);
    fn put_varint(&mut self, value: u64);
    fn put_fixed(&mut self, value: &[u8]);
    fn put_zigzag(&mut self, value: i64) {
        self.put_varint(((value << 1) ^ (value >> 63)) as u64);
    }
    fn put_id(&mut self, id: Id) {
        self.put_fixed(&id.0);
    }
    fn put_bytes(&mut self, value: &[u8]) {
        self.put_varint(value.len() as u64);
        self.put_fixed(value);
    }
    fn put_optional_bytes(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.put_u8(0),
            Some(bytes) => {
                self.put_u8(1);
                self.put_bytes(bytes);
            }
        }
    }
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }
    fn put_fixed(&mut self, value: &[u8]) {
        self.extend_from_slice(value);
    }
}

/// Reads primitives in the order in which they were written.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// The name of the value that is read, for the texts of errors.
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, what }
    }

    /// Reads the leading version byte, which must be between 1 and `known`.
    pub fn versioned(what: &'static str, bytes: &'a [u8], known: u8) -> Result<(Reader<'a>, u8), CodecError> {
        let mut reader = Reader::new(what, bytes);
        let found = reader.u8()?;
        if found == 0 || found > known {
            return Err(CodecError::Version { what, found, known });
        }
        Ok((reader, found))
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn u8(&mut self) -> Result<u8, CodecError> {
        let (first, rest) = self.bytes.split_first().ok_or(CodecError::Short(self.what))?;
        self.bytes = rest;
        Ok(*first)
    }

    pub fn varint(&mut self) -> Result<u64, CodecError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(CodecError::Invalid(self.what));
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                // Each number has only one valid encoding, so superfluous zero groups at the end are refused.
                return if byte == 0 && shift > 0 { Err(CodecError::Invalid(self.what)) } else { Ok(value) };
            }
        }
        Err(CodecError::Invalid(self.what))
    }

    /// Reads a byte that must be 0 or 1.
    pub fn flag(&mut self) -> Result<bool, CodecError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Invalid(self.what)),
        }
    }

    pub fn varint_u32(&mut self) -> Result<u32, CodecError> {
        u32::try_from(self.varint()?).map_err(|_| CodecError::Invalid(self.what))
    }

    pub fn zigzag(&mut self) -> Result<i64, CodecError> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (head, rest) = self.bytes.split_first_chunk::<N>().ok_or(CodecError::Short(self.what))?;
        self.bytes = rest;
        Ok(*head)
    }

    pub fn id(&mut self) -> Result<Id, CodecError> {
        Ok(Id(self.fixed()?))
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let length = usize::try_from(self.varint()?).map_err(|_| CodecError::Invalid(self.what))?;
        if length > self.bytes.len() {
            return Err(CodecError::Short(self.what));
        }
        let (head, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        Ok(head)
    }

    pub fn text(&mut self) -> Result<&'a str, CodecError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| CodecError::Invalid(self.what))
    }

    pub fn optional_bytes(&mut self) -> Result<Option<&'a [u8]>, CodecError> {
        self.flag()?.then(|| self.bytes()).transpose()
    }

    /// Returns all bytes that were not read yet.
    pub fn rest(self) -> &'a [u8] {
        self.bytes
    }

    /// Checks that all bytes were read.
    pub fn end(self) -> Result<(), CodecError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(CodecError::Trailing(self.what)) }
    }
}

/// The number of different outcomes of a record. The caller defines the number of each outcome. The numbers of outcomes
/// never change.
pub const OUTCOMES: usize = 6;

/// The maximum number of bytes of a source's own position in an offset row.
pub const COOKIE_MAX_BYTES: usize = 4 << 10;

/// The state of one partition of a topic: the position, and the counts of the outcomes of all records before it. In the
/// store, the row ends with the cookie, which is the source's own position. Only the source reads the bytes of the
/// cookie, and the cookie may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OffsetRow {
    /// The offset of the next record to read.
    pub next: i64,
    pub consumed: u64,
    pub outcomes: [u64; OUTCOMES],
    /// The number of events whose id was already known with a different payload. Each event with a conflict also counts
    /// as a duplicate.
    pub conflicts: u64,
    /// A hash of the record at `next - 1`. The hash detects a topic that was deleted and created again.
    pub digest: u64,
    /// The latest arrival of the partition's records, in epoch milliseconds.
    pub arrival_ms: i64,
    /// Whether the partition has delivered client events. The dedup horizon waits for the slowest partition that
    /// carries events.
    pub carries_events: bool,
}

impl OffsetRow {
    /// The version of the offset row's format. Version 1 of the offset row always had six outcomes and did not store
    /// their number. Offset rows of version 2 had no cookie.
    const VERSION: u8 = 3;
    const OUTCOMES_V1: u64 = 6;

    /// Encodes the row with its cookie. `cookie` has at most [`COOKIE_MAX_BYTES`], because the writer refuses a longer
    /// cookie.
    pub fn encode(&self, cookie: &[u8]) -> Vec<u8> {
        let mut out = vec![Self::VERSION];
        out.put_zigzag(self.next);
        out.put_varint(self.consumed);
        out.put_varint(OUTCOMES as u64);
        for count in self.outcomes {
            out.put_varint(count);
        }
        out.put_varint(self.conflicts);
        out.put_fixed(&self.digest.to_le_bytes());
        out.put_zigzag(self.arrival_ms);
        out.put_u8(u8::from(self.carries_events));
        out.put_bytes(cookie);
        out
    }

    /// Decodes a row and its cookie.
    pub fn decode(bytes: &[u8]) -> Result<(OffsetRow, &[u8]), CodecError> {
        let (mut reader, version) = Reader::versioned("offset row", bytes, Self::VERSION)?;
        let next = reader.zigzag()?;
        let consumed = reader.varint()?;
        let mut outcomes = [0; OUTCOMES];
        for number in 0..if version == 1 { Self::OUTCOMES_V1 } else { reader.varint()? } {
            let known = usize::try_from(number).ok().and_then(|number| outcomes.get_mut(number));
            *known.ok_or(CodecError::Unknown { what: "record outcome", number })? = reader.varint()?;
        }
        let conflicts = reader.varint()?;
        let digest = u64::from_le_bytes(reader.fixed()?);
        let arrival_ms = reader.zigzag()?;
        let carries_events = reader.flag()?;
        let cookie = if version < 3 { &[] } else { reader.bytes()? };
        if cookie.len() > COOKIE_MAX_BYTES {
            return Err(CodecError::Invalid("offset row"));
        }
        reader.end()?;
        let row = OffsetRow { next, consumed, outcomes, conflicts, digest, arrival_ms, carries_events };
        Ok((row, cookie))
    }

    /// Whether the counts satisfy N2: every consumed record has exactly one outcome.
    pub fn balanced(&self) -> bool {
        self.outcomes.iter().try_fold(0u64, |sum, count| sum.checked_add(*count)) == Some(self.consumed)
    }
}

/// A record that could not be applied. A dead letter keeps the record until somebody decides about it. The record in a
/// dead letter is whole or cut; the sizes in the dead letter show which.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeadLetter {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// The arrival of the record in epoch milliseconds.
    pub timestamp_ms: i64,
    /// The time at which the record became a dead letter, in epoch milliseconds.
    pub died_at_ms: i64,
    pub stage: String,
    pub reason: String,
    pub detail: String,
    pub attempts: u32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// The size of the key before any cut; `value_bytes` is the size of the value before any cut.
    pub key_bytes: u64,
    pub value_bytes: u64,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl DeadLetter {
    const VERSION: u8 = 1;

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![Self::VERSION];
        out.put_bytes(self.topic.as_bytes());
        out.put_zigzag(i64::from(self.partition));
        out.put_zigzag(self.offset);
        out.put_zigzag(self.timestamp_ms);
        out.put_zigzag(self.died_at_ms);
        out.put_bytes(self.stage.as_bytes());
        out.put_bytes(self.reason.as_bytes());
        out.put_bytes(self.detail.as_bytes());
        out.put_varint(u64::from(self.attempts));
        out.put_optional_bytes(self.key.as_deref());
        out.put_optional_bytes(self.value.as_deref());
        out.put_varint(self.key_bytes);
        out.put_varint(self.value_bytes);
        out.put_varint(self.headers.len() as u64);
        for (name, value) in &self.headers {
            out.put_bytes(name.as_bytes());
            out.put_bytes(value);
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<DeadLetter, CodecError> {
        let (mut reader, _) = Reader::versioned("dead letter", bytes, Self::VERSION)?;
        let mut letter = DeadLetter {
            topic: reader.text()?.to_owned(),
            partition: i32::try_from(reader.zigzag()?).map_err(|_| CodecError::Invalid("dead letter"))?,
            offset: reader.zigzag()?,
            timestamp_ms: reader.zigzag()?,
            died_at_ms: reader.zigzag()?,
            stage: reader.text()?.to_owned(),
            reason: reader.text()?.to_owned(),
            detail: reader.text()?.to_owned(),
            attempts: reader.varint_u32()?,
            key: reader.optional_bytes()?.map(<[u8]>::to_vec),
            value: reader.optional_bytes()?.map(<[u8]>::to_vec),
            key_bytes: reader.varint()?,
            value_bytes: reader.varint()?,
            headers: Vec::new(),
        };
        for _ in 0..reader.varint()? {
            letter.headers.push((reader.text()?.to_owned(), reader.bytes()?.to_vec()));
        }
        reader.end()?;
        Ok(letter)
    }
}

/// A sealed batch of the outbox (N8). The content of a sealed batch never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxBatch {
    pub rows: u32,
    pub bytes: u64,
    /// A hash of the batch's concatenated chunks.
    pub hash: u128,
    pub chunks: u32,
    /// The value of the table's partition key, which is the same for all rows of the batch.
    pub partition: u32,
    pub sealed_at_ms: i64,
}

impl OutboxBatch {
    const VERSION: u8 = 1;

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![Self::VERSION];
        out.put_varint(u64::from(self.rows));
        out.put_varint(self.bytes);
        out.put_fixed(&self.hash.to_le_bytes());
        out.put_varint(u64::from(self.chunks));
        out.put_varint(u64::from(self.partition));
        out.put_zigzag(self.sealed_at_ms);
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<OutboxBatch, CodecError> {
        let (mut reader, _) = Reader::versioned("outbox batch", bytes, Self::VERSION)?;
        let batch = OutboxBatch {
            rows: reader.varint_u32()?,
            bytes: reader.varint()?,
            hash: u128::from_le_bytes(reader.fixed()?),
            chunks: reader.varint_u32()?,
            partition: reader.varint_u32()?,
            sealed_at_ms: reader.zigzag()?,
        };
        reader.end()?;
        Ok(batch)
    }
}

#[cfg(test)]
mod tests;
