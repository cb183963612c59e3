//! Every table of the file, each with key, value, lifetime and writer. Values are byte strings that start with a
//! version byte.
//!
//! A name that is no longer used is added to [`RETIRED`] and never used again.

use redb::{TableDefinition, WriteTransaction};

/// A table of byte strings under keys of type `K`.
pub type Blobs<K> = TableDefinition<'static, K, &'static [u8]>;

/// name → bytes. Kept for ever and written by the writer. The entries are the format version, the store id, epochs,
/// halts and sequences.
pub const META: Blobs<&str> = Blobs::new("meta");
/// (topic, partition) → [`crate::codec::OffsetRow`]. Kept for ever and written by the writer.
pub const OFFSETS: Blobs<(&str, i32)> = Blobs::new("offsets");
/// (segment, block) → sorted rows, each with its primary key, version, format and cells, or with its tombstone. Kept
/// until the segment is merged, and written by the writer.
pub const ROW_BLOCK: Blobs<(u64, u32)> = Blobs::new("row_block");
/// segment → its run, first keys and filter. Kept until the segment is merged, and written by the writer.
pub const ROW_SEGMENT: Blobs<u64> = Blobs::new("row_segment");
/// (table, primary key) → a row as format 1 stored it. Kept until the writer moves it to [`ROW_BLOCK`] at its start.
pub const ROWS: Blobs<(u8, &[u8; 16])> = Blobs::new("row");
/// (table, primary key) → a version byte, for rows that ClickHouse may have from before a rebuild. Kept until the
/// source was read to its end, and written by the writer and `nova rebuild`.
pub const UNREAD: Blobs<(u8, &[u8; 16])> = Blobs::new("unread");
/// (topic, offset of the first record) → the records of one commit. Kept until the records are consumed and their
/// retention has passed, and written by the writer.
pub const LOCAL_LOG: Blobs<(&str, i64)> = Blobs::new("local_log");
/// sequence → the compact effects of one batch. Kept until a checkpoint covers them, and written by the writer.
pub const JOURNAL: Blobs<u64> = Blobs::new("journal");
/// (segment, sequence) → the dedup entries of one batch of the open segment. Kept until the segment is sealed, and
/// written by the writer.
pub const DEDUP_OPEN: Blobs<(u64, u64)> = Blobs::new("dedup_open");
/// (segment, chunk) → sorted dedup entries of a sealed segment. Kept for the dedup horizon, and written by the writer.
pub const DEDUP_KEYS: Blobs<(u64, u32)> = Blobs::new("dedup_keys");
/// segment → bounds, index and filter of a sealed segment. Kept for the dedup horizon, and written by the writer.
pub const DEDUP_SEGMENT: Blobs<u64> = Blobs::new("dedup_segment");
/// (structure, chunk, generation) → bytes. Kept until a later complete checkpoint has the chunk, and written by the
/// writer. Chunks of a generation above the last complete checkpoint's belong to one that is being written.
pub const STATE_CHUNK: Blobs<(&str, u32, u64)> = Blobs::new("state_chunk");
/// (structure, chunk) → bytes in the form of formats 1 and 2. Kept until the first checkpoint of format 3, and written
/// by the writer.
pub const CHECKPOINT: Blobs<(&str, u32)> = Blobs::new("checkpoint");
/// (table, batch, chunk) → rows in ClickHouse's RowBinary. Kept until they are acknowledged, and written by the writer.
pub const OUTBOX_SEGMENT: Blobs<(u8, u64, u32)> = Blobs::new("outbox_segment");
/// (table, batch) → [`crate::codec::OutboxBatch`]. Kept until the batch is acknowledged, and written by the writer.
pub const OUTBOX_BATCH: Blobs<(u8, u64)> = Blobs::new("outbox_batch");
/// id → [`crate::codec::DeadLetter`]. Kept until the letter is replayed or discarded, and written by the writer.
pub const DEAD: Blobs<u64> = Blobs::new("dead");
/// sequence → an entry of the audit: who did what to which dead letter, revocation or override. Kept for ever and
/// written by the writer.
pub const AUDIT: Blobs<u64> = Blobs::new("audit");
/// (kind, name) → bytes of the HTTP edge: revocations, idempotency keys, overrides, dismissals. Kept until the edge
/// removes them, and written by the writer.
pub const EDGE: Blobs<(&str, &[u8])> = Blobs::new("edge");

/// The longest value that fits into a page of this many bytes, a power of two, beside its key and the bytes that redb
/// and the caller add. redb rounds a page up to the next power of two and writes all of it, so one more byte costs
/// twice as much.
pub const fn fits_page(page_bytes: usize) -> usize {
    page_bytes - 1024
}

/// Names that earlier versions used, which must not be used again.
pub const RETIRED: &[&str] = &[];

/// Runs the same code for every table.
macro_rules! for_each_table {
    (|$table:ident| $body:expr) => {{
        use $crate::schema::*;
        $crate::schema::for_each_table!(@ $table $body; META OFFSETS ROW_BLOCK ROW_SEGMENT ROWS UNREAD LOCAL_LOG JOURNAL DEDUP_OPEN DEDUP_KEYS
            DEDUP_SEGMENT STATE_CHUNK CHECKPOINT OUTBOX_SEGMENT OUTBOX_BATCH DEAD AUDIT EDGE);
    }};
    (@ $table:ident $body:expr; $($name:ident)+) => {
        $({
            let $table = $name;
            $body;
        })+
    };
}
pub(crate) use for_each_table;

/// Creates missing tables, so that a read transaction finds every table.
pub(crate) fn create_all(txn: &WriteTransaction) -> Result<(), redb::TableError> {
    for_each_table!(|table| drop(txn.open_table(table)?));
    Ok(())
}
