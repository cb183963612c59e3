//! The batches of client events that are sent in pieces, because the table refused some of their rows. Before the first
//! piece of a batch is sent, the store contains a note that the batch is sent in pieces. A process that finds a note of
//! an earlier process waits until no piece from the earlier process can arrive any more.

use std::collections::BTreeSet;

use nova_storage::codec::{CodecError, Put, Reader};
use nova_storage::schema::META;
use nova_storage::{ReadTxn, WriteError, WriteTxn};

use super::error::OutboxError;

const KEY: &str = "outbox-pieces";
const VERSION: u8 = 1;

/// Returns the numbers of the batches that are sent in pieces.
pub fn pieces(read: &ReadTxn) -> Result<BTreeSet<u64>, OutboxError> {
    Ok(read.get_with(META, KEY, decode)?.transpose()?.unwrap_or_default())
}

pub(super) fn save(batches: &BTreeSet<u64>, write: &WriteTxn) -> Result<(), WriteError> {
    write.put(META, KEY, &encode(batches))
}

fn encode(batches: &BTreeSet<u64>) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.put_varint(batches.len() as u64);
    batches.iter().for_each(|batch| out.put_varint(*batch));
    out
}

fn decode(bytes: &[u8]) -> Result<BTreeSet<u64>, CodecError> {
    let (mut reader, _) = Reader::versioned("batches in pieces", bytes, VERSION)?;
    let mut batches = BTreeSet::new();
    for _ in 0..reader.varint()? {
        batches.insert(reader.varint()?);
    }
    reader.end()?;
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use nova_storage::testing::mutate::check_values;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn mutants_are_errors_or_batches(batches: BTreeSet<u64>, seed: u64) {
            check_values(&encode(&batches), seed, decode, encode);
        }
    }
}
