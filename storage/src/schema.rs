//! Every table of the file, each with its key, its value, its lifetime and its writer. The values of all tables are
//! byte strings that start with a version byte.
//!
//! The name of a table that is no longer used is added to [`RETIRED`] and never used again.

use redb::{TableDefinition, WriteTransaction};

/// A table whose keys have the type `K` and whose values are byte strings.
pub type Blobs<K> = TableDefinition<'static, K, &'static [u8]>;

/// Maps a name to bytes. The writer writes the entries of `META`, and they are kept for ever. The entries of `META` are
/// the format version, the store id, epochs, halts and sequences.
pub const META: Blobs<&str> = Blobs::new("meta");
/// Maps a topic and a partition to a [`crate::codec::OffsetRow`]. The writer writes the offset rows, and they are kept
/// for ever.
pub const OFFSETS: Blobs<(&str, i32)> = Blobs::new("offsets");
/// Maps the numbers of a segment and a block to sorted rows, each with its primary key, version, format and cells, or
/// with its tombstone. The writer writes each block, and a block is kept until its segment is merged.
pub const ROW_BLOCK: Blobs<(u64, u32)> = Blobs::new("row_block");
/// Maps the number of a segment of rows to the segment's run, first keys and filter. The writer writes the entry of a
/// segment, and the entry is kept until the segment is merged.
pub const ROW_SEGMENT: Blobs<u64> = Blobs::new("row_segment");
/// Maps a table and a primary key to a row as format 1 stored it. A row of format 1 is kept until the writer moves the
/// row to [`ROW_BLOCK`] when nova starts.
pub const ROWS: Blobs<(u8, &[u8; 16])> = Blobs::new("row");
/// Maps a table and a primary key to a version byte. Each entry stands for a row that ClickHouse may have from before a
/// rebuild. The writer and `nova rebuild` write the entries of `UNREAD`, and the entries are kept until nova has read
/// the source to its end.
pub const UNREAD: Blobs<(u8, &[u8; 16])> = Blobs::new("unread");
/// Maps a topic and the offset of the first record to the records of one commit. The writer writes the records of the
/// local log, and a record is kept until it is consumed and its retention has passed.
pub const LOCAL_LOG: Blobs<(&str, i64)> = Blobs::new("local_log");
/// Maps a sequence number to the compact effects of one batch. The writer writes the entries of the journal, and an
/// entry is kept until a checkpoint contains its effects.
pub const JOURNAL: Blobs<u64> = Blobs::new("journal");
/// Maps the number of the open segment and a sequence number to the dedup entries of one batch. The writer writes the
/// entries of the open segment, and the entries are kept until the segment is sealed.
pub const DEDUP_OPEN: Blobs<(u64, u64)> = Blobs::new("dedup_open");
/// Maps the numbers of a sealed segment and a chunk to sorted dedup entries. The writer writes the dedup entries of a
/// sealed segment, and the entries are kept for the dedup horizon.
pub const DEDUP_KEYS: Blobs<(u64, u32)> = Blobs::new("dedup_keys");
/// Maps the number of a sealed dedup segment to the segment's bounds, index and filter. The writer writes the index of
/// a sealed segment, and the index is kept for the dedup horizon.
pub const DEDUP_SEGMENT: Blobs<u64> = Blobs::new("dedup_segment");
/// Maps a structure of the state, a chunk and a generation to bytes. The writer writes the chunks of the state, and a
/// chunk is kept until a later complete checkpoint has the chunk. If the generation of a chunk is higher than the
/// generation of the last complete checkpoint, the chunk belongs to an unfinished checkpoint.
pub const STATE_CHUNK: Blobs<(&str, u32, u64)> = Blobs::new("state_chunk");
/// Maps a structure of the state and a chunk to bytes in the form of the formats 1 and 2. The writer keeps the chunks
/// of the formats 1 and 2 until the first checkpoint of format 3.
pub const CHECKPOINT: Blobs<(&str, u32)> = Blobs::new("checkpoint");
/// Maps a table, a batch and a chunk to rows in ClickHouse's RowBinary. The writer writes the rows of a batch, and the
/// rows are kept until ClickHouse acknowledges the batch.
pub const OUTBOX_SEGMENT: Blobs<(u8, u64, u32)> = Blobs::new("outbox_segment");
/// Maps a table and a batch to a [`crate::codec::OutboxBatch`]. The writer writes the entry of a batch, and the entry
/// is kept until ClickHouse acknowledges the batch.
pub const OUTBOX_BATCH: Blobs<(u8, u64)> = Blobs::new("outbox_batch");
/// Maps the id of a dead letter to a [`crate::codec::DeadLetter`]. The writer writes the dead letters, and a dead
/// letter is kept until it is replayed or discarded.
pub const DEAD: Blobs<u64> = Blobs::new("dead");
/// Maps a sequence number to an entry of the audit: who did what to which dead letter, revocation or override. The
/// writer writes the entries of the audit, and they are kept for ever.
pub const AUDIT: Blobs<u64> = Blobs::new("audit");
/// Maps a kind and a name to bytes of the HTTP edge: revocations, idempotency keys, overrides, dismissals. The writer
/// writes the entries of the edge, and an entry is kept until the edge removes it.
pub const EDGE: Blobs<(&str, &[u8])> = Blobs::new("edge");
/// Maps 0 to the bytes over which the store writes its commit log. The store makes the entry, and it is kept for ever. A
/// copy of a store has no entry, because a copy contains all commits.
pub const COMMIT_LOG: Blobs<u8> = Blobs::new("commit_log");

/// Returns the length of the longest value that fits into a page of `page_bytes`, which is a power of two. A page also
/// contains the key and the bytes that redb and the caller add. redb rounds the size of a page up to the next power of
/// two and writes the whole page, so a value that is one byte longer costs twice as much.
pub const fn fits_page(page_bytes: usize) -> usize {
    page_bytes - 1024
}

/// Names of tables that earlier versions used and that must not be used again.
pub const RETIRED: &[&str] = &[];

/// Runs the same code for every table of the file except [`COMMIT_LOG`].
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

/// Creates the tables that do not exist, so that a read transaction finds every table.
pub(crate) fn create_all(txn: &WriteTransaction) -> Result<(), redb::TableError> {
    for_each_table!(|table| drop(txn.open_table(table)?));
    Ok(())
}
