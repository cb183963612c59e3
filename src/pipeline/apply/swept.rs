//! A row that a snapshot did not read although it was taken after the row was stored: the source does not have it.

use nova_storage::codec::CodecError;

use crate::event::Op;
use crate::pipeline::stored::{Place, StoredRow};
use crate::pipeline::sweep::Sweep;

use super::{Told, Written};

/// The delete of a stored row by a sweep; `None` where the row was read, was written since, or is gone already.
pub fn swept_row(stored: &[u8], sweep: &Sweep) -> Result<Option<Written>, CodecError> {
    let row = StoredRow::decode(stored)?;
    if row.version.epoch >= sweep.epoch {
        return Ok(None);
    }
    let Some(old) = row.row()? else { return Ok(None) };
    // What the snapshot said: a change that stands behind it in the stream is newer, whatever its LSN.
    let place = Place { partition: Some(sweep.partition), offset: sweep.offset };
    let (lsn, ts_us) = (Some(sweep.lsn), Some(sweep.ts_us));
    let told = Told { lsn, ts_us, op: Op::Read, place, epoch: sweep.epoch, mixed: false };
    Ok(Some(told.written(Some(&row), Some(old), None, row.format, None)))
}
