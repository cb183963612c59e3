//! The local log in the store: records are kept for some days. Each commit has one entry, and the key of the entry is
//! the offset of its first record.

use std::sync::Arc;

use nova_storage::codec::{CodecError, Put, Reader};
use nova_storage::schema::LOCAL_LOG;
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use crate::event::Record;

const LOG_VERSION: u8 = 1;

/// Writes the records of one commit into the local log.
pub fn put_log<'a>(write: &WriteTxn, records: impl Iterator<Item = &'a Record>) -> Result<(), WriteError> {
    let (mut out, mut first) = (vec![LOG_VERSION], None);
    for record in records {
        first.get_or_insert((Arc::clone(&record.topic), record.offset));
        put_record(&mut out, record.timestamp_ms, record.value.as_deref().unwrap_or_default());
    }
    match first {
        Some((topic, offset)) => write.put(LOCAL_LOG, (&topic, offset), &out),
        None => Ok(()),
    }
}

fn put_record(out: &mut Vec<u8>, arrival_ms: i64, value: &[u8]) {
    out.put_zigzag(arrival_ms);
    out.put_bytes(value);
}

/// Reads the pairs of arrival time and value in an entry of the local log.
fn read_log(bytes: &[u8]) -> Result<Vec<(i64, &[u8])>, CodecError> {
    let (mut reader, _) = Reader::versioned("local log", bytes, LOG_VERSION)?;
    let mut out = Vec::new();
    while !reader.is_empty() {
        out.push((reader.zigzag()?, reader.bytes()?));
    }
    Ok(out)
}

/// Removes the entries of the local log whose records all arrived before `keep_after_ms`. An entry whose arrival is
/// after `latest_ms` is removed too if an old entry follows it: such an arrival is late only because the clock was
/// ahead when nova wrote the entry.
pub fn prune_log(read: &ReadTxn, write: &WriteTxn, keep_after_ms: i64, latest_ms: i64) -> Result<(), PruneError> {
    let (mut old, mut ahead, mut failed) = (Vec::new(), Vec::new(), None);
    read.scan(LOCAL_LOG, ("", i64::MIN).., |(topic, offset), bytes| match read_log(bytes) {
        Ok(records) if records.iter().all(|(arrival_ms, _)| *arrival_ms < keep_after_ms) => {
            old.append(&mut ahead);
            old.push((topic.to_owned(), offset));
            true
        }
        Ok(records) if records.iter().all(|(arrival_ms, _)| *arrival_ms > latest_ms) => {
            ahead.push((topic.to_owned(), offset));
            true
        }
        // Arrival times rise, so all entries after this entry are younger.
        Ok(_) => false,
        Err(error) => {
            failed = Some(error);
            false
        }
    })?;
    if let Some(error) = failed {
        return Err(ReadError::from(error).into());
    }
    for (topic, offset) in old {
        write.remove(LOCAL_LOG, (topic.as_str(), offset))?;
    }
    Ok(())
}

/// Why the local log could not be pruned.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_storage::testing::mutate::check_bytes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mutated_log_is_an_error_or_records_with_these_bytes(records: Vec<(i64, Vec<u8>)>, seed: u64) {
            let encode = |records: &Vec<(i64, Vec<u8>)>| {
                let mut out = vec![LOG_VERSION];
                records.iter().for_each(|(arrival_ms, value)| put_record(&mut out, *arrival_ms, value));
                out
            };
            let decode = |bytes: &[u8]| {
                Ok(read_log(bytes)?.into_iter().map(|(arrival_ms, value)| (arrival_ms, value.to_vec())).collect())
            };
            check_bytes(&encode(&records), seed, decode, encode);
        }
    }
}
