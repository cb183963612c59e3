//! Moves the rows of a store of format 1 into runs. A store of format 1 had an entry for each row. The first start
//! moves the rows, some megabytes in each commit. A crash only interrupts the move, because each commit removes the
//! entries that it moves.

use nova_storage::schema::ROWS;
use nova_storage::{ReadError, ReadTxn, Store, WriteError};

use crate::event::Id;

use super::key::Key;
use super::runs::Runs;

/// The maximum number of bytes of rows that one commit moves.
const PAGE_MAX_BYTES: usize = 16 << 20;

type Page = Vec<(Key, Box<[u8]>)>;

/// Moves the rows of a store of format 1 into runs, and returns the number of rows that it moved.
pub fn bring_over(store: &Store) -> Result<u64, WriteError> {
    let read = store.read()?;
    let mut page = first_page(&read)?;
    if page.is_empty() {
        return Ok(0);
    }
    let (mut runs, mut brought) = (Runs::load(&read)?, 0);
    drop(read);
    while let Some((last, _)) = page.last() {
        let write = store.write()?;
        runs.bring(page.iter().map(|(key, row)| (*key, &row[..])), &write)?;
        write.remove_range(ROWS, (0u8, &[0u8; 16])..=(last.0, &last.1.0))?;
        write.commit()?;
        brought += page.len() as u64;
        page = first_page(&store.read()?)?;
    }
    Ok(brought)
}

/// Returns the first rows that must still be moved.
fn first_page(read: &ReadTxn) -> Result<Page, ReadError> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    read.scan(ROWS, (0u8, &[0u8; 16]).., |(table, id), row| {
        page.push(((table, Id(*id)), row.into()));
        bytes += row.len();
        bytes < PAGE_MAX_BYTES
    })?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::super::Rows;
    use super::*;
    use crate::event::Table;
    use nova_storage::Options;
    use nova_storage::testing::Recorder;

    #[test]
    fn rows_of_format_1_are_brought_over_and_newer_ones_win() {
        let store = Store::open_backend(Recorder::new(), &Options::default()).unwrap();
        let id = |number: u32| Id::from_u128(u128::from(number) * 0x9e37_79b9_7f4a_7c15);
        let mut keys: Vec<Id> = (0..30_000).map(id).collect();
        keys.sort_unstable();
        let write = store.write().unwrap();
        let row = vec![7; 1_000];
        write.put_all(ROWS, keys.iter().map(|key| ((Table::Likes.number(), &key.0), &row[..]))).unwrap();
        write.commit().unwrap();
        assert_eq!(bring_over(&store).unwrap(), 30_000);
        assert_eq!(bring_over(&store).unwrap(), 0);
        let mut rows = Rows::load(&store.read().unwrap()).unwrap();
        rows.put(Table::Likes, keys[0], Box::new([8]));
        let write = store.write().unwrap();
        rows.begin_flush(rows.newest() + 1);
        rows.flush(&write, u64::MAX, u64::MAX).unwrap();
        rows.flushed();
        write.commit().unwrap();
        let rows = Rows::load(&store.read().unwrap()).unwrap();
        let mut seen = Vec::new();
        rows.scan(Table::Likes, &store.read().unwrap(), |key, row| seen.push((key, row[0]))).unwrap();
        let expected = keys.iter().enumerate().map(|(at, key)| (*key, if at == 0 { 8 } else { 7 }));
        assert_eq!(seen, expected.collect::<Vec<_>>());
    }
}
