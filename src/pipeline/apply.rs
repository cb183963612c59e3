//! What one change does to the row that is stored under its key. Pure: the writer brings the stored bytes and takes the
//! judgement away. The rules are those of `docs/cdc.md`.

use nova_storage::codec::CodecError;

use crate::event::{Cell, Change, ChangeBody, Format, Id, Op, Outcome, Row, Table};

use super::meta::{TableMeta, Truncated};
use super::rows::{StoredRow, Version, decode_cells, encode_cells};

/// What becomes of a change.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The row is replaced, or deleted (`new` is `None`).
    Write(Box<Written>),
    /// Duplicate, stale or ignored: nothing changes.
    Skip(Outcome),
    /// The table takes no more changes until a person decides.
    Halt(Regression),
}

/// A change of a row shows that the source's log began again: its LSN is below one of the row's, and it is no
/// redelivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regression {
    pub table: Table,
    pub key: Id,
    pub lsn: u64,
    pub stored_lsn: u64,
}

impl std::fmt::Display for Regression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Regression { table, key, lsn, stored_lsn } = self;
        write!(
            f,
            "lsn_regression: row {key} came with LSN {lsn} below the stored {stored_lsn} although its commit is newer: the \
             source's log began again (a restored or promoted server). If that is so, raise the table's epoch and go on: \
             nova cdc epoch bump {table}"
        )
    }
}

/// A change that takes effect.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    pub version: Version,
    /// The bytes to store.
    pub stored: Box<[u8]>,
    pub old: Option<Row>,
    pub new: Option<Row>,
    /// Columns that came as Debezium's placeholder and that no stored row could fill.
    pub unfilled: u32,
}

/// Judges an upsert, delete or tombstone (a truncate concerns the whole table: the writer's).
pub fn judge(change: Change, offset: i64, table: &TableMeta, stored: Option<&[u8]>) -> Result<Judgement, CodecError> {
    let stored = stored.map(StoredRow::decode).transpose()?;
    if let Some(truncate) = truncated(&change, table) {
        return Ok(match began_again(change.op, change.source_ts_us, truncate.source_ts_us) {
            true => Judgement::Halt(regression(change.lsn.unwrap_or(0), truncate.lsn, change.key, change.table)),
            false => Judgement::Skip(Outcome::Stale),
        });
    }
    let tombstone = matches!(change.body, ChangeBody::Tombstone);
    if tombstone && !stored.as_ref().is_some_and(|row| row.cells.is_some() && row.format == Format::FlatTombstone) {
        return Ok(Judgement::Skip(Outcome::Ignored));
    }
    let lsn = change.lsn.or(stored.as_ref().map(StoredRow::lsn)).unwrap_or(0);
    // Whatever is newer has a higher version.
    let least = stored.as_ref().filter(|row| row.version.epoch == table.epoch).map_or(0, |row| row.version.lsn);
    let version = Version { epoch: table.epoch, lsn: lsn.max(least), offset };
    let old = stored.as_ref().and_then(|row| row.cells).map(decode_cells).transpose()?;
    let (key, of) = (change.key, change.table);
    let (new, unfilled) = match change.body {
        ChangeBody::Upsert(row) => {
            let (row, unfilled) = fill(row, old.as_ref());
            (Some(row), unfilled)
        }
        ChangeBody::Delete | ChangeBody::Tombstone | ChangeBody::Truncate => (None, 0),
    };
    if let Some(row) = &stored {
        match order(&Version { lsn, ..version }, change.op, change.source_ts_us, row, old == new) {
            Order::Newer => {}
            Order::Skip(outcome) => return Ok(Judgement::Skip(outcome)),
            Order::Regression => return Ok(Judgement::Halt(regression(lsn, row.lsn(), key, of))),
        }
    }
    // A tombstone record carries no format of its own.
    let format = if tombstone { Format::FlatTombstone } else { change.format };
    let mut cells = Vec::new();
    if let Some(row) = &new {
        encode_cells(row, &mut cells);
    }
    let cells = new.is_some().then_some(cells.as_slice());
    let raised_from = (cells.is_some() && lsn < version.lsn).then_some(lsn);
    let stored = StoredRow { version, format, raised_from, source_ts_us: change.source_ts_us, cells }.encode();
    Ok(Judgement::Write(Box::new(Written { version, stored, old, new, unfilled })))
}

/// What an applied truncate does to one row: `version` and time are the truncate's.
pub fn truncate_row(
    (table, key): (Table, Id),
    stored: &[u8],
    version: Version,
    source_ts_us: Option<i64>,
) -> Result<Judgement, CodecError> {
    let row = StoredRow::decode(stored)?;
    let Some(old) = row.cells.map(decode_cells).transpose()? else { return Ok(Judgement::Skip(Outcome::Stale)) };
    // A row of the new epoch may have come before the epoch was raised: then the times tell.
    let later = matches!((row.source_ts_us, source_ts_us), (Some(row), Some(truncate)) if row > truncate);
    let of_earlier = version.epoch > row.version.epoch && !later;
    let of_this = version.epoch == row.version.epoch && version.lsn > row.version.lsn;
    match order(&version, Op::Truncate, source_ts_us, &row, false) {
        Order::Newer if of_this || of_earlier => {}
        Order::Newer | Order::Skip(_) => return Ok(Judgement::Skip(Outcome::Stale)),
        Order::Regression => return Ok(Judgement::Halt(regression(version.lsn, row.lsn(), key, table))),
    }
    let stored = StoredRow { version, format: row.format, raised_from: None, source_ts_us, cells: None }.encode();
    Ok(Judgement::Write(Box::new(Written { version, stored, old: Some(old), new: None, unfilled: 0 })))
}

/// The truncate that the change is older than. One that comes after the epoch was raised may be from before: then the
/// times tell.
fn truncated(change: &Change, table: &TableMeta) -> Option<Truncated> {
    let (truncate, lsn) = (table.truncated?, change.lsn?);
    let below = (table.epoch, lsn) < (truncate.epoch, truncate.lsn);
    let before = table.epoch > truncate.epoch && earlier(change.source_ts_us, truncate.source_ts_us);
    (below || before).then_some(truncate)
}

fn earlier(source_ts_us: Option<i64>, than_us: Option<i64>) -> bool {
    matches!((source_ts_us, than_us), (Some(new), Some(old)) if new < old)
}

enum Order {
    Newer,
    Skip(Outcome),
    Regression,
}

/// Orders a change against the stored row (N6). Of one key, LSN and time of commit rise together: a lower LSN with a
/// later time means that the source's LSNs began again. A read (`r`) carries the time of the snapshot, not of a commit.
/// Below a raised version the offset must be higher too: what was written there is what the connector repeats.
fn order(version: &Version, op: Op, source_ts_us: Option<i64>, row: &StoredRow<'_>, same: bool) -> Order {
    // Of a key, only a read can be older than its place in the topic. Across epochs LSNs tell nothing.
    if op == Op::Read && version.epoch > row.version.epoch && earlier(source_ts_us, row.source_ts_us) {
        return Order::Skip(Outcome::Stale);
    }
    let later = version.offset > row.version.offset;
    let repeated = version.epoch == row.version.epoch && version.lsn <= row.version.lsn;
    match (version.epoch, version.lsn).cmp(&(row.version.epoch, row.lsn())) {
        std::cmp::Ordering::Greater if later || !repeated => Order::Newer,
        std::cmp::Ordering::Greater => Order::Skip(Outcome::Stale),
        std::cmp::Ordering::Equal if same => Order::Skip(Outcome::Duplicate),
        std::cmp::Ordering::Equal if later => Order::Newer,
        std::cmp::Ordering::Equal => Order::Skip(Outcome::Stale),
        std::cmp::Ordering::Less if began_again(op, source_ts_us, row.source_ts_us) => Order::Regression,
        std::cmp::Ordering::Less => Order::Skip(Outcome::Stale),
    }
}

/// Whether a change with a lower LSN has the later commit.
fn began_again(op: Op, source_ts_us: Option<i64>, stored_ts_us: Option<i64>) -> bool {
    op != Op::Read && matches!((source_ts_us, stored_ts_us), (Some(new), Some(old)) if new > old)
}

fn regression(lsn: u64, stored_lsn: u64, key: Id, table: Table) -> Regression {
    Regression { table, key, lsn, stored_lsn }
}

/// Takes columns that the record left out from the stored row; counts those that nothing can fill.
fn fill(mut row: Row, stored: Option<&Row>) -> (Row, u32) {
    let mut unfilled = 0;
    for (index, cell) in row.cells.iter_mut().enumerate() {
        if *cell == Cell::Unavailable {
            match stored.and_then(|row| row.cells.get(index)) {
                Some(known) if *known != Cell::Unavailable => *cell = known.clone(),
                _ => unfilled += 1,
            }
        }
    }
    (row, unfilled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        let cells = Box::new([Cell::Uuid(Id::NIL), Cell::Text(text.into())]);
        Row { cells, extra: None, extra_unavailable: Box::default() }
    }

    fn change(lsn: Option<u64>, ts: i64, body: ChangeBody) -> Change {
        let op = if body == ChangeBody::Delete { Op::Delete } else { Op::Update };
        Change {
            table: Table::Users,
            key: Id::NIL,
            op,
            format: Format::Envelope,
            lsn,
            source_ts_us: Some(ts),
            renamed_from: None,
            renamed_to: None,
            body,
        }
    }

    fn judged(change: Change, offset: i64, stored: Option<&[u8]>) -> Judgement {
        judge(change, offset, &TableMeta::default(), stored).unwrap()
    }

    fn write(judgement: Judgement) -> Written {
        match judgement {
            Judgement::Write(written) => *written,
            other => panic!("expected a write, got {other:?}"),
        }
    }

    fn stored(text: &str) -> Box<[u8]> {
        write(judged(change(Some(100), 50, ChangeBody::Upsert(row(text))), 7, None)).stored
    }

    #[test]
    fn an_older_lsn_is_stale_and_an_equal_one_goes_by_content_then_offset() {
        let stored = stored("a");
        let upsert = |lsn, text| change(Some(lsn), 50, ChangeBody::Upsert(row(text)));
        assert_eq!(judged(upsert(99, "b"), 8, Some(&stored)), Judgement::Skip(Outcome::Stale));
        assert_eq!(judged(upsert(100, "a"), 8, Some(&stored)), Judgement::Skip(Outcome::Duplicate));
        assert_eq!(judged(upsert(100, "b"), 6, Some(&stored)), Judgement::Skip(Outcome::Stale));
        assert_eq!(write(judged(upsert(100, "b"), 8, Some(&stored))).old, Some(row("a")));
    }

    #[test]
    fn a_lower_lsn_with_a_later_commit_halts_unless_it_is_a_snapshot_read() {
        let stored = stored("a");
        let mut low = change(Some(5), 51, ChangeBody::Upsert(row("b")));
        assert!(
            matches!(judged(low.clone(), 8, Some(&stored)), Judgement::Halt(halt) if halt.to_string().contains("epoch bump"))
        );
        low.op = Op::Read;
        assert_eq!(judged(low.clone(), 8, Some(&stored)), Judgement::Skip(Outcome::Stale));
        let bumped = TableMeta { epoch: 1, ..TableMeta::default() };
        assert!(matches!(judge(low, 8, &bumped, Some(&stored)).unwrap(), Judgement::Write(_)));
    }

    /// Found by the simulation: a read from before, in a partition that was behind, took the place of what came after it.
    #[test]
    fn a_read_that_is_older_than_the_row_is_stale_after_an_epoch_bump_too() {
        let (stored, bumped) = (stored("a"), TableMeta { epoch: 1, ..TableMeta::default() });
        let read = |ts| Change { op: Op::Read, ..change(Some(90), ts, ChangeBody::Upsert(row("b"))) };
        let stale = judge(read(49), 8, &bumped, Some(&stored)).unwrap();
        assert_eq!(stale, Judgement::Skip(Outcome::Stale));
        assert!(write(judge(read(51), 8, &bumped, Some(&stored)).unwrap()).new.is_some());
        // Other changes come in their order.
        let update = change(Some(90), 49, ChangeBody::Upsert(row("b")));
        assert!(write(judge(update, 8, &bumped, Some(&stored)).unwrap()).new.is_some());
    }

    #[test]
    fn an_unknown_delete_leaves_a_tombstone_that_stops_older_rows() {
        let gone = write(judged(change(Some(100), 50, ChangeBody::Delete), 7, None));
        assert_eq!((gone.old, gone.new), (None, None));
        let older = change(Some(90), 40, ChangeBody::Upsert(row("a")));
        assert_eq!(judged(older, 8, Some(&gone.stored)), Judgement::Skip(Outcome::Stale));
    }

    #[test]
    fn a_null_value_deletes_only_in_a_flattened_topic_without_deleted_flags() {
        let tombstone = || change(None, 60, ChangeBody::Tombstone);
        assert_eq!(judged(tombstone(), 8, None), Judgement::Skip(Outcome::Ignored));
        assert_eq!(judged(tombstone(), 8, Some(&stored("a"))), Judgement::Skip(Outcome::Ignored));
        let mut bare = change(None, 50, ChangeBody::Upsert(row("a")));
        bare.format = Format::FlatTombstone;
        let bare = write(judged(bare, 7, None)).stored;
        let gone = write(judged(tombstone(), 8, Some(&bare)));
        assert_eq!((gone.old, gone.new), (Some(row("a")), None));
        assert_eq!(judged(tombstone(), 9, Some(&gone.stored)), Judgement::Skip(Outcome::Ignored));
    }

    #[test]
    fn placeholders_are_filled_from_the_stored_row_and_counted_where_there_is_none() {
        let mut holes = row("x");
        holes.cells[1] = Cell::Unavailable;
        let update = || change(Some(101), 51, ChangeBody::Upsert(holes.clone()));
        let filled = write(judged(update(), 8, Some(&stored("a"))));
        assert_eq!((filled.new, filled.unfilled), (Some(row("a")), 0));
        assert_eq!(write(judged(update(), 8, None)).unfilled, 1);
    }

    #[test]
    fn rows_from_before_an_applied_truncate_are_stale() {
        let truncated = Some(Truncated { epoch: 0, lsn: 100, source_ts_us: Some(40) });
        let table = TableMeta { truncated, ..TableMeta::default() };
        let old = change(Some(99), 1, ChangeBody::Upsert(row("a")));
        assert_eq!(judge(old, 1, &table, None).unwrap(), Judgement::Skip(Outcome::Stale));
        let new = change(Some(101), 1, ChangeBody::Upsert(row("a")));
        assert!(matches!(judge(new, 1, &table, None).unwrap(), Judgement::Write(_)));
        let version = Version { epoch: 0, lsn: 101, offset: 3 };
        let row = (Table::Users, Id::NIL);
        assert!(write(truncate_row(row, &stored("a"), version, None).unwrap()).new.is_none());
        let version = Version { epoch: 0, lsn: 99, offset: 3 };
        let older = truncate_row(row, &stored("a"), version, Some(49)).unwrap();
        assert_eq!(older, Judgement::Skip(Outcome::Stale));
    }

    /// Found by the simulation: new rows were stale, and a truncate took rows that were newer.
    #[test]
    fn rows_and_truncates_of_a_source_whose_lsns_began_again_are_told_by_their_times() {
        let truncated = Some(Truncated { epoch: 0, lsn: 100, source_ts_us: Some(40) });
        let table = TableMeta { truncated, ..TableMeta::default() };
        let new = change(Some(5), 41, ChangeBody::Upsert(row("a")));
        assert!(
            matches!(judge(new, 1, &table, None).unwrap(), Judgement::Halt(halt) if halt.to_string().contains("epoch bump"))
        );
        let bumped = TableMeta { epoch: 1, ..table.clone() };
        let old = change(Some(99), 39, ChangeBody::Upsert(row("a")));
        assert_eq!(judge(old, 1, &bumped, None).unwrap(), Judgement::Skip(Outcome::Stale));
        let (row, version) = ((Table::Users, Id::NIL), Version { epoch: 1, lsn: 5, offset: 8 });
        let kept = truncate_row(row, &stored("a"), version, Some(49)).unwrap();
        assert_eq!(kept, Judgement::Skip(Outcome::Stale));
        assert!(write(truncate_row(row, &stored("a"), version, Some(51)).unwrap()).new.is_none());
    }

    /// Found by the simulation: the rows stayed.
    #[test]
    fn a_truncate_of_a_source_whose_lsns_began_again_halts_the_table() {
        let version = Version { epoch: 0, lsn: 5, offset: 8 };
        let halted = truncate_row((Table::Users, Id::NIL), &stored("a"), version, Some(51)).unwrap();
        assert!(matches!(halted, Judgement::Halt(halt) if halt.to_string().starts_with("lsn_regression")));
    }

    /// Found by the simulation: the insert was stale, and the update after it had holes.
    #[test]
    fn an_insert_after_a_repeated_null_value_brings_the_row_back() {
        let bare = |lsn, body| Change { format: Format::FlatTombstone, ..change(Some(lsn), 50, body) };
        let live = write(judged(bare(105, ChangeBody::Upsert(row("b"))), 7, None)).stored;
        let null = Change { lsn: None, ..bare(0, ChangeBody::Tombstone) };
        let gone = write(judged(null, 8, Some(&live)));
        let back = write(judged(bare(104, ChangeBody::Upsert(row("a"))), 9, Some(&gone.stored)));
        assert!(back.version > gone.version && back.new == Some(row("a")));
        let mut holes = row("b");
        holes.cells[1] = Cell::Unavailable;
        let filled = write(judged(bare(105, ChangeBody::Upsert(holes)), 10, Some(&back.stored)));
        assert_eq!(
            (filled.new, filled.version.lsn),
            (Some(row("a")), 105),
            "its hole is filled from the row that is back"
        );
    }

    /// Found by the simulation: of two rows repeated after a null value the second was stale, or halted its table.
    #[test]
    fn rows_repeated_after_a_null_value_are_as_new_as_they_were_at_first() {
        let flat = |lsn, ts, text| Change {
            format: Format::FlatTombstone,
            ..change(Some(lsn), ts, ChangeBody::Upsert(row(text)))
        };
        let null = || Change { format: Format::FlatTombstone, ..change(None, 0, ChangeBody::Tombstone) };
        let live = write(judged(flat(130, 53, "c"), 9, None));
        let gone = write(judged(null(), 10, Some(&live.stored)));
        let first = write(judged(flat(120, 51, "a"), 11, Some(&gone.stored)));
        let second = write(judged(flat(125, 52, "b"), 12, Some(&first.stored)));
        let third = write(judged(flat(130, 53, "c"), 13, Some(&second.stored)));
        let versions = [live.version, gone.version, first.version, second.version, third.version];
        assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
        assert_eq!(second.new, Some(row("b")));
        // What comes late by another way is no part of it.
        for (lsn, offset) in [(125, 13), (130, 7), (128, 7)] {
            let stale = judged(flat(lsn, 52, "late"), offset, Some(&third.stored));
            assert_eq!(stale, Judgement::Skip(Outcome::Stale), "{lsn} {offset}");
        }
        let dead = judged(flat(110, 50, "late"), 7, Some(&gone.stored));
        assert_eq!(dead, Judgement::Skip(Outcome::Stale));
    }
}
