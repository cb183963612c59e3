//! Empties everything in the store that nova derives from the source, so that the next start reads the source from the
//! beginning. Everything that the source does not have stays in the store: dead letters, the entries of `edge`, the
//! audit log, and the rows that wait for ClickHouse. People's decisions about truncates and about ranges of the log
//! also stay. A decision applies again when nova reads its truncate or range again.

use nova_storage::codec::{CodecError, OffsetRow, Put, Reader};
use nova_storage::schema::{CHECKPOINT, DEDUP_KEYS, DEDUP_OPEN, DEDUP_SEGMENT, JOURNAL, META, OFFSETS, STATE_CHUNK};
use nova_storage::{ReadError, ReadTxn, Store, WriteError};
use rustc_hash::FxHashMap;

use crate::event::{Id, Table, Tables, TopicPartition};
use crate::source::postgres::position;

use super::dedup::DELIVERED_SEGMENT;
use super::meta::{Meta, TableMeta};
use super::{rows, unread};

const KEY: &str = "emitted";
const VERSION: u8 = 1;
const WHAT: &str = "emitted offsets";

/// The reason for which a store could not be emptied. The error leaves the store unchanged.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("a stored value cannot be read: {0}")]
    Codec(#[from] CodecError),
    #[error("a table was rebuilt 65535 times, and its version has no room for another: begin with an empty ClickHouse")]
    Epochs,
}

/// For each partition with client events, the offset below which an earlier store of this node has handed the events'
/// rows to ClickHouse. ClickHouse has one row of an event, however often nova reads the event.
pub type Emitted = FxHashMap<TopicPartition, i64>;

/// The rows of the source's tables that ClickHouse has. nova asks ClickHouse for the rows if a store is lost, or if a
/// store is behind ClickHouse.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The highest epoch that the versions of each table have, in the order of [`Table::ALL`].
    pub epochs: [u16; Table::ALL.len()],
    pub rows: Vec<(Table, Id)>,
}

/// Empties the store in one commit. Returns the number of partitions that nova will read again. If `known` has the
/// answer of ClickHouse, nova knows each event whose row ClickHouse has, and sends rows again that ClickHouse has lost.
/// Without `known`, nova assumes that ClickHouse has the row of every event that nova has read before.
pub fn rebuild(store: &Store, known: Option<&Known>) -> Result<usize, RebuildError> {
    let read = store.read()?;
    let mut emitted = load(&read)?;
    let (mut partitions, mut failed, mut cookies) = (0, None, Vec::new());
    read.scan(OFFSETS, ("", i32::MIN).., |(topic, partition), bytes| {
        partitions += 1;
        let decoded = OffsetRow::decode(bytes);
        if let Ok((_, cookie)) = &decoded
            && !cookie.is_empty()
        {
            cookies.push((topic.to_owned(), partition, position::again(cookie, Tables::ALL)));
        }
        match decoded {
            Ok((row, _)) if row.carries_events => {
                let until = emitted.entry(TopicPartition::new(topic, partition)).or_default();
                *until = (*until).max(row.next);
            }
            Ok(_) => {}
            Err(error) => failed = Some(error),
        }
        failed.is_none()
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if known.is_some() {
        emitted.clear();
    }
    let mut meta = Meta::load(&read)?.unwrap_or_default();
    let last = read.last(JOURNAL, |sequence, _| sequence)?.unwrap_or(0);
    (meta.covered, meta.checkpoint_bytes, meta.dedup_floor_ms) = (meta.covered.max(last), 0, i64::MIN);
    meta.counted = None;
    for (table, number) in meta.tables.iter_mut().zip(0..) {
        // Every version that ClickHouse already has must be older than every version that nova reads after the rebuild.
        let highest = known.map_or(0, |known| known.epochs[number]).max(table.epoch);
        let epoch = highest.checked_add(1).ok_or(RebuildError::Epochs)?;
        let (decided, restarts) = (std::mem::take(&mut table.decided), std::mem::take(&mut table.restarts));
        *table = TableMeta { epoch, first_epoch: epoch, decided, restarts, ..TableMeta::default() };
    }
    let rows_before = unread::all(&read)?;
    let write = store.write()?;
    unread::remember_all(&write, &rows_before)?;
    for (table, key) in known.iter().flat_map(|known| &known.rows) {
        unread::remember(&write, *table, *key)?;
    }
    write.clear(OFFSETS)?;
    // The store must still know that nova made the replication slot.
    for (topic, partition, cookie) in cookies {
        write.put(OFFSETS, (&*topic, partition), &OffsetRow::default().encode(&cookie))?;
    }
    rows::clear(&write)?;
    write.clear(JOURNAL)?;
    write.clear(CHECKPOINT)?;
    write.clear(STATE_CHUNK)?;
    write.clear(DEDUP_OPEN)?;
    // The dedup set keeps events that are known to be delivered, because these events come again.
    write.remove_range(DEDUP_KEYS, ..(DELIVERED_SEGMENT, 0u32))?;
    write.remove_range(DEDUP_SEGMENT, ..DELIVERED_SEGMENT)?;
    write.put(META, KEY, &encode(&emitted))?;
    meta.save(&write)?;
    write.commit()?;
    Ok(partitions)
}

/// Loads the offsets below which an earlier store of this node has handed rows to ClickHouse.
pub fn load(read: &ReadTxn) -> Result<Emitted, ReadError> {
    Ok(read.get_with(META, KEY, decode)?.transpose()?.unwrap_or_default())
}

fn encode(emitted: &Emitted) -> Vec<u8> {
    let mut out = vec![VERSION];
    let mut sorted: Vec<_> = emitted.iter().collect();
    sorted.sort();
    for (name, until) in sorted {
        out.put_bytes(name.topic.as_bytes());
        out.put_zigzag(i64::from(name.partition));
        out.put_zigzag(*until);
    }
    out
}

fn decode(bytes: &[u8]) -> Result<Emitted, CodecError> {
    let (mut reader, _) = Reader::versioned(WHAT, bytes, VERSION)?;
    let mut emitted = Emitted::default();
    while !reader.is_empty() {
        let topic = reader.text()?.to_owned();
        let partition = i32::try_from(reader.zigzag()?).map_err(|_| CodecError::Invalid(WHAT))?;
        emitted.insert(TopicPartition::new(topic, partition), reader.zigzag()?);
    }
    Ok(emitted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_storage::testing::mutate::check_values;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_round_trips_and_mutants_are_errors_or_offsets(
            entries in proptest::collection::vec((any::<String>(), any::<i32>(), any::<i64>()), 0..8),
            seed: u64,
        ) {
            let emitted: Emitted = entries
                .into_iter()
                .map(|(topic, partition, until)| (TopicPartition::new(topic, partition), until))
                .collect();
            let bytes = encode(&emitted);
            prop_assert_eq!(decode(&bytes), Ok(emitted));
            // The entries may be in any order.
            check_values(&bytes, seed, decode, encode);
        }
    }
}
