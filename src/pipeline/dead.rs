//! Reading the dead letters. Only the writer changes them.

use nova_storage::codec::DeadLetter;
use nova_storage::schema::DEAD;
use nova_storage::{ReadError, ReadTxn};

/// Letters of one page: a listing never pins the file for long.
pub const PAGE_MAX_LETTERS: usize = 1_000;

/// The letters with an id above `after`, oldest first, at most `limit` and [`PAGE_MAX_LETTERS`].
pub fn page(read: &ReadTxn, after: Option<u64>, limit: usize) -> Result<Vec<(u64, DeadLetter)>, ReadError> {
    let (mut letters, mut failed) = (Vec::new(), None);
    let limit = limit.min(PAGE_MAX_LETTERS);
    let from = after.map_or(0, |id| id.saturating_add(1));
    read.scan(DEAD, from.., |id, bytes| {
        if letters.len() == limit {
            return false;
        }
        match DeadLetter::decode(bytes) {
            Ok(letter) => letters.push((id, letter)),
            Err(error) => failed = Some(error),
        }
        failed.is_none()
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(letters),
    }
}

/// One letter.
pub fn get(read: &ReadTxn, id: u64) -> Result<Option<DeadLetter>, ReadError> {
    Ok(read.get_with(DEAD, id, DeadLetter::decode)?.transpose()?)
}
