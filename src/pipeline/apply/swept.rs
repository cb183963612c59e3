//! Deletes rows that were stored before a snapshot and that the snapshot did not read. The source no longer has these
//! rows.

use nova_storage::codec::CodecError;

use crate::event::Op;
use crate::pipeline::meta::TableMeta;
use crate::pipeline::stored::{Place, ReadMark, StoredRow};
use crate::pipeline::sweep::Sweep;

use super::told::Told;
use super::written::Written;

/// The delete of a stored row by the sweep after a snapshot. Returns `None` if the snapshot read the row, if the row
/// was written after the snapshot began, or if the row is already deleted.
pub fn swept_row(stored: &[u8], sweep: &Sweep) -> Result<Option<Written>, CodecError> {
    let row = StoredRow::decode(stored)?;
    if row.version.epoch >= sweep.epoch {
        return Ok(None);
    }
    let Some(old) = row.row()? else { return Ok(None) };
    // The delete that the sweep makes has the snapshot's LSN and time. A change that comes after the delete in the
    // stream is newer than the delete, whatever the change's LSN is.
    let place = Place { partition: Some(sweep.partition), offset: sweep.offset };
    let (lsn, ts_us) = (Some(sweep.lsn), Some(sweep.ts_us));
    let told = Told {
        lsn,
        ts_us,
        op: Op::Read,
        place,
        epoch: sweep.epoch,
        mixed: false,
        divided: false,
        renamed: false,
        replayed: false,
    };
    Ok(Some(told.written(Some(&row), Some(old), None, row.format, None)))
}

/// The delete of a row that only an earlier attempt at a first snapshot has read. The completed snapshot, whose LSN is
/// `by`, did not find the row, so the row no longer exists in the source. Returns `None` if the row stays.
pub fn unread_row(stored: &[u8], by: u64, meta: &TableMeta) -> Result<Option<Written>, CodecError> {
    let row = StoredRow::decode(stored)?;
    let told = row.history.newest().is_some() || row.history.latest_us().is_some();
    // The row may have a later epoch than the snapshot that read it, if its partition was behind when the epoch was
    // raised. The LSNs of `meta.first` are only those of first snapshots.
    let read = row.read.filter(|_| row.live() && !told && row.version.epoch >= meta.first_epoch);
    let Some(ReadMark { lsn: Some(lsn), ts_us }) = read else { return Ok(None) };
    if !meta.first.left_out(lsn, by) {
        return Ok(None);
    }
    let (place, epoch, mixed, divided) = (row.place, meta.epoch, meta.mixed(), meta.partitions > 1);
    let told =
        Told { lsn: Some(by), ts_us, op: Op::Read, place, epoch, mixed, divided, renamed: false, replayed: false };
    Ok(Some(told.written(Some(&row), row.row()?, None, row.format, None)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Cell, Change, ChangeBody, Format, Id, Row, Table};
    use crate::pipeline::apply::{Judgement, judge};

    fn read(lsn: u64, meta: &TableMeta) -> Box<[u8]> {
        let row = Row { cells: Box::new([Cell::Uuid(Id::NIL)]), extra: None, extra_unavailable: Box::default() };
        let change = Change {
            table: Table::Users,
            key: Id::NIL,
            op: Op::Read,
            format: Format::Envelope,
            lsn: Some(lsn),
            source_ts_us: Some(50),
            renamed: None,
            ends_snapshot: false,
            body: ChangeBody::Upsert(row),
        };
        let place = Place { partition: Some(0), offset: 0 };
        match judge(change, place, meta, None, None).unwrap() {
            Judgement::Write(written) => written.stored,
            other => panic!("expected a write, got {other:?}"),
        }
    }

    /// The simulation found (seeds 3073 and 4508) that the row stayed if the epoch was raised before nova saw the end
    /// of the first snapshot.
    #[test]
    fn a_row_that_the_completed_first_snapshot_did_not_read_is_deleted_also_after_the_epoch_was_raised() {
        for epoch in [0, 1, 2] {
            let mut meta = TableMeta { epoch, ..TableMeta::default() };
            meta.first.read(0, 1_000);
            meta.first.read(0, 1_100);
            meta.first.streamed(0);
            let first = TableMeta::default();
            let deleted = unread_row(&read(1_000, &first), 1_100, &meta).unwrap().unwrap();
            assert!(deleted.new.is_none());
            assert_eq!((deleted.version.epoch, deleted.version.lsn), (epoch, 1_100));
            assert_eq!(unread_row(&read(1_100, &first), 1_100, &meta).unwrap(), None);
        }
    }

    /// The simulation found (seed 32380) that the row stayed if its partition was behind, so that its read came after
    /// the epoch was raised.
    #[test]
    fn a_row_that_the_completed_first_snapshot_did_not_read_is_deleted_if_its_read_came_in_a_raised_epoch() {
        let mut meta = TableMeta { epoch: 1, ..TableMeta::default() };
        meta.first.read(0, 1_000);
        meta.first.read(0, 1_100);
        meta.first.streamed(0);
        let deleted = unread_row(&read(1_000, &meta), 1_100, &meta).unwrap().unwrap();
        assert!(deleted.new.is_none());
        assert_eq!(unread_row(&read(1_100, &meta), 1_100, &meta).unwrap(), None);
        // The snapshot of a new log has an LSN that no first snapshot has.
        meta.first.read_beside(50);
        assert_eq!(unread_row(&read(50, &meta), 1_100, &meta).unwrap(), None);
    }
}
