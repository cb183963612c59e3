//! The stored form of a batch's rows: each commit appends its rows to the batch as chunks, and a chunk never changes
//! (N8).

use bytes::Bytes;
use nova_storage::codec::{CodecError, OutboxBatch, Put, Reader};
use nova_storage::schema::{OUTBOX_BATCH, OUTBOX_SEGMENT, fits_page};
use nova_storage::{ReadTxn, WriteError, WriteTxn};
use xxhash_rust::xxh3::Xxh3;

use crate::warehouse::columns::Columns;
use crate::warehouse::target::Target;

use super::error::{OutboxError, WHAT};

/// A batch with this many rows or bytes is full.
pub const BATCH_MAX_ROWS: u32 = 50_000;
pub const BATCH_MAX_BYTES: u64 = 16 << 20;
const CHUNK_MAX_BYTES: usize = fits_page(256 << 10);
/// The version of a chunk's format. In version 2 the first chunk of a batch lists the columns of the batch, and all
/// later chunks have an empty list.
const CHUNK_VERSION: u8 = 2;

/// An open batch, to which commits still add rows.
pub(super) struct Open {
    pub batch: u64,
    /// The columns for which all rows of the batch are written.
    pub columns: Columns,
    pub partition: u32,
    pub rows: u32,
    pub bytes: u64,
    pub chunks: u32,
    pub hash: Xxh3,
    pub began_ms: i64,
    /// The rows that the present commit adds to the batch.
    pub pending: Vec<u8>,
    pub pending_rows: u32,
}

impl Open {
    pub fn new(batch: u64, columns: Columns, partition: u32, began_ms: i64) -> Open {
        let (pending, hash) = (Vec::new(), Xxh3::new());
        Open { batch, columns, partition, rows: 0, bytes: 0, chunks: 0, hash, began_ms, pending, pending_rows: 0 }
    }

    pub fn full(&self) -> bool {
        self.rows + self.pending_rows >= BATCH_MAX_ROWS || self.bytes + self.pending.len() as u64 >= BATCH_MAX_BYTES
    }

    /// Writes the rows of the present commit as chunks. The first chunk of a commit contains the number of the commit's
    /// rows.
    pub fn flush(&mut self, target: Target, write: &WriteTxn) -> Result<(), WriteError> {
        let pending = std::mem::take(&mut self.pending);
        let mut rows = std::mem::take(&mut self.pending_rows);
        self.rows += rows;
        for piece in pending.chunks(CHUNK_MAX_BYTES) {
            let mut chunk = Vec::with_capacity(piece.len() + 24);
            chunk.put_u8(CHUNK_VERSION);
            chunk.put_varint(u64::from(std::mem::take(&mut rows)));
            chunk.put_varint(u64::from(self.partition));
            chunk.put_zigzag(self.began_ms);
            match self.chunks {
                0 => self.columns.encode(&mut chunk),
                _ => chunk.put_varint(0),
            }
            chunk.put_fixed(piece);
            write.put(OUTBOX_SEGMENT, (target.number(), self.batch, self.chunks), &chunk)?;
            self.chunks += 1;
            self.hash.update(piece);
        }
        self.bytes += pending.len() as u64;
        Ok(())
    }
}

/// Reads an open batch from its chunks after a restart.
pub(super) fn reopen(read: &ReadTxn, target: Target, batch: u64) -> Result<Open, OutboxError> {
    let mut open = Open::new(batch, target.columns().clone(), 0, 0);
    scan_chunks(read, target, batch, |chunk| {
        if let Some(columns) = chunk.columns {
            open.columns = columns;
        }
        open.rows += chunk.rows;
        open.bytes += chunk.rows_bytes.len() as u64;
        open.chunks += 1;
        open.hash.update(chunk.rows_bytes);
        (open.partition, open.began_ms) = (chunk.partition, chunk.began_ms);
    })?;
    Ok(open)
}

struct Chunk<'a> {
    rows: u32,
    partition: u32,
    began_ms: i64,
    /// The columns of the batch. Only the first chunk of a batch has the columns.
    columns: Option<Columns>,
    rows_bytes: &'a [u8],
}

impl<'a> Chunk<'a> {
    fn decode(target: Target, bytes: &'a [u8]) -> Result<Chunk<'a>, CodecError> {
        let (mut reader, version) = Reader::versioned(WHAT, bytes, CHUNK_VERSION)?;
        let (rows, partition, began_ms) = (reader.varint_u32()?, reader.varint_u32()?, reader.zigzag()?);
        let columns = match version {
            1 => None,
            _ => Columns::decode(target, &mut reader)?,
        };
        Ok(Chunk { rows, partition, began_ms, columns, rows_bytes: reader.rest() })
    }
}

fn scan_chunks(read: &ReadTxn, target: Target, batch: u64, mut each: impl FnMut(Chunk<'_>)) -> Result<(), OutboxError> {
    let number = target.number();
    let (mut failed, mut first) = (None, true);
    read.scan(OUTBOX_SEGMENT, (number, batch, 0u32)..=(number, batch, u32::MAX), |_, bytes| {
        match Chunk::decode(target, bytes) {
            Ok(mut chunk) => {
                // Version 1 stored no list of columns, so a batch whose first chunk has no list is of version 1.
                if std::mem::take(&mut first) {
                    chunk.columns.get_or_insert_with(|| Columns::first(target));
                }
                each(chunk);
            }
            Err(error) => failed = Some(error),
        }
        failed.is_none()
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// The rows of a batch, and the columns for which they were written.
pub struct Body {
    pub columns: Columns,
    pub rows: Bytes,
}

/// Reads a batch from its chunks.
pub fn body(read: &ReadTxn, target: Target, batch: u64) -> Result<Body, OutboxError> {
    // The size of a sealed batch is known, so its buffer is not larger than the rows.
    let sealed = read.get_with(OUTBOX_BATCH, (target.number(), batch), OutboxBatch::decode)?.transpose()?;
    let bytes = sealed.map_or(0, |sealed| sealed.bytes).min(2 * BATCH_MAX_BYTES);
    let (mut columns, mut rows) = (Columns::first(target), Vec::with_capacity(bytes as usize));
    scan_chunks(read, target, batch, |chunk| {
        if let Some(list) = chunk.columns {
            columns = list;
        }
        rows.extend_from_slice(chunk.rows_bytes);
    })?;
    Ok(Body { columns, rows: rows.into() })
}
