//! Every table of the file: key, value, lifetime, writer. Values are byte strings that start with a version byte.
//!
//! A name that goes out of use is added to [`RETIRED`] and never used again.

use redb::{TableDefinition, WriteTransaction};

/// A table of byte strings under keys of type `K`.
pub type Blobs<K> = TableDefinition<'static, K, &'static [u8]>;

/// name → bytes; for ever; the writer. Format version, store id, epochs, halts, sequences.
pub const META: Blobs<&str> = Blobs::new("meta");
/// (topic, partition) → [`crate::codec::OffsetRow`]; for ever; the writer.
pub const OFFSETS: Blobs<(&str, i32)> = Blobs::new("offsets");
/// (segment, block) → sorted rows: primary key and the row's version, format and cells, or its tombstone; until the segment
/// is merged; the writer.
pub const ROW_BLOCK: Blobs<(u64, u32)> = Blobs::new("row_block");
/// segment → the run that it is of, first keys and filter; until it is merged; the writer.
pub const ROW_SEGMENT: Blobs<u64> = Blobs::new("row_segment");
/// (table, primary key) → a row as format 1 stored it; until it is brought over to [`ROW_BLOCK`]; the writer at its start.
pub const ROWS: Blobs<(u8, &[u8; 16])> = Blobs::new("row");
/// (table, primary key) → a version byte: rows that ClickHouse may have from before a rebuild; until the source was read to
/// its end; the writer and `nova rebuild`.
pub const UNREAD: Blobs<(u8, &[u8; 16])> = Blobs::new("unread");
/// (topic, offset of the first) → the records of one commit; until consumed and older than its retention; the writer.
pub const LOCAL_LOG: Blobs<(&str, i64)> = Blobs::new("local_log");
/// sequence → the compact effects of one batch; until a checkpoint covers it; the writer.
pub const JOURNAL: Blobs<u64> = Blobs::new("journal");
/// (segment, sequence) → the dedup entries of one batch of the open segment; until it is sealed; the writer.
pub const DEDUP_OPEN: Blobs<(u64, u64)> = Blobs::new("dedup_open");
/// (segment, chunk) → sorted dedup entries of a sealed segment; the dedup horizon; the writer.
pub const DEDUP_KEYS: Blobs<(u64, u32)> = Blobs::new("dedup_keys");
/// segment → bounds, index and filter of a sealed segment; the dedup horizon; the writer.
pub const DEDUP_SEGMENT: Blobs<u64> = Blobs::new("dedup_segment");
/// (structure, chunk, generation) → bytes; until a later checkpoint that is whole has the chunk; the writer. Those of a
/// generation above the last whole checkpoint's are of one that is being written.
pub const STATE_CHUNK: Blobs<(&str, u32, u64)> = Blobs::new("state_chunk");
/// (structure, chunk) → bytes, as formats 1 and 2 stored them; until the first checkpoint of format 3; the writer.
pub const CHECKPOINT: Blobs<(&str, u32)> = Blobs::new("checkpoint");
/// (table, batch, chunk) → rows in ClickHouse's RowBinary; until acknowledged; the writer.
pub const OUTBOX_SEGMENT: Blobs<(u8, u64, u32)> = Blobs::new("outbox_segment");
/// (table, batch) → [`crate::codec::OutboxBatch`]; until acknowledged; the writer.
pub const OUTBOX_BATCH: Blobs<(u8, u64)> = Blobs::new("outbox_batch");
/// id → [`crate::codec::DeadLetter`]; until replayed or discarded; the writer.
pub const DEAD: Blobs<u64> = Blobs::new("dead");
/// sequence → who did what to which dead letter, revocation or override; for ever; the writer.
pub const AUDIT: Blobs<u64> = Blobs::new("audit");
/// (kind, name) → bytes of the HTTP edge: revocations, idempotency keys, overrides, dismissals; the writer.
pub const EDGE: Blobs<(&str, &[u8])> = Blobs::new("edge");

/// The longest value that fits a page of so many bytes, a power of two, beside its key and what redb and the caller put
/// around it. redb rounds a page up to the next power of two and writes all of it: one byte more costs twice as much.
pub const fn fits_page(page_bytes: usize) -> usize {
    page_bytes - 1024
}

/// Names that earlier versions used. Reserved.
pub const RETIRED: &[&str] = &[];

/// Does the same with every table.
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

/// Creates what is missing, so that a read transaction finds every table.
pub(crate) fn create_all(txn: &WriteTransaction) -> Result<(), redb::TableError> {
    for_each_table!(|table| drop(txn.open_table(table)?));
    Ok(())
}
