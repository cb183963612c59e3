//! What one change does to the row that is stored under its key. Pure: the writer brings the stored bytes and takes the
//! judgement away. The rules are those of `docs/cdc.md`; `order` says which of two records is newer, `fill` where values
//! come from that a record does not repeat.

use nova_storage::codec::CodecError;

use crate::event::{Cell, Change, ChangeBody, Format, Id, Op, Outcome, Row, Table};
use crate::mutant::{self, Mutant};

use super::cells::{decode_cells, encode_cells};
use super::fill::{Filled, Known, fill, refill, unfilled};
use super::meta::TableMeta;
use super::order::{Incoming, Kind, Order, earlier, later};
use super::stored::{Content, History, Hole, Place, ReadMark, Seen, StoredRow, Version};

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
            "lsn_regression: row {key} came with LSN {lsn} below the stored {stored_lsn} and is no change that was seen \
             before: the source's log began again (a restored or promoted server). If that is so, raise the table's epoch \
             and go on: nova cdc epoch bump {table}"
        )
    }
}

/// A change that takes effect.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    pub version: Version,
    /// The record's own LSN; 0 where it has none.
    pub lsn: u64,
    /// The bytes to store.
    pub stored: Box<[u8]>,
    pub old: Option<Row>,
    pub new: Option<Row>,
    /// Values that the record did not repeat and that no stored row could fill.
    pub unfilled: u32,
}

/// Judges an upsert, delete or tombstone (a truncate concerns the whole table: the writer's). `stored` is the row under
/// the change's key, `renamed` the one under [`Change::renamed_from()`].
pub fn judge(
    change: Change,
    place: Place,
    table: &TableMeta,
    stored: Option<&[u8]>,
    renamed: Option<&[u8]>,
) -> Result<Judgement, CodecError> {
    let stored = stored.map(StoredRow::decode).transpose()?;
    if let Some(judgement) = before_truncate(&change, place, table) {
        return Ok(judgement);
    }
    let tombstone = matches!(change.body, ChangeBody::Tombstone);
    if tombstone
        && !mutant::is(Mutant::NullDeletes)
        && !stored.as_ref().is_some_and(|row| row.live() && row.format == Format::FlatTombstone)
    {
        return Ok(Judgement::Skip(Outcome::Ignored));
    }
    let old = stored.as_ref().map(StoredRow::row).transpose()?.flatten();
    let told = Told {
        lsn: change.lsn,
        ts_us: change.source_ts_us,
        op: change.op,
        place,
        epoch: table.epoch,
        mixed: table.mixed(),
    };
    // A tombstone record carries no format of its own.
    let format = if tombstone { Format::FlatTombstone } else { change.format };
    let (key, of, moved) = (change.key, change.table, change.renamed_to());
    let new = match change.body {
        ChangeBody::Upsert(row) => Some(filled(row, (stored.as_ref(), old.as_ref()), renamed, change.lsn)?),
        ChangeBody::Delete | ChangeBody::Tombstone | ChangeBody::Truncate => None,
    };
    if let Some(row) = &stored {
        let kind = told.kind(new.is_some());
        match told.incoming(kind, old.as_ref() == new.as_ref().map(|new| &new.row)).against(row) {
            Order::Newer => {}
            Order::Skip(Outcome::Stale) => return late(row, old, new, told.lsn),
            Order::Skip(outcome) => return Ok(Judgement::Skip(outcome)),
            Order::Regression { stored_lsn } => {
                let lsn = change.lsn.unwrap_or(0);
                return Ok(Judgement::Halt(Regression { table: of, key, lsn, stored_lsn }));
            }
        }
    }
    Ok(Judgement::Write(Box::new(told.written(stored.as_ref(), old, new, format, moved))))
}

/// What an applied truncate does to one row.
pub fn truncate_row(
    (table, key): (Table, Id),
    stored: &[u8],
    truncate: &Change,
    place: Place,
    meta: &TableMeta,
) -> Result<Judgement, CodecError> {
    let row = StoredRow::decode(stored)?;
    let Some(old) = row.row()? else { return Ok(Judgement::Skip(Outcome::Stale)) };
    let (epoch, mixed) = (meta.epoch, meta.mixed());
    let told = Told { lsn: truncate.lsn, ts_us: truncate.source_ts_us, op: Op::Truncate, place, epoch, mixed };
    match told.incoming(Kind::Truncate, false).against(&row) {
        Order::Newer => Ok(Judgement::Write(Box::new(told.written(Some(&row), Some(old), None, row.format, None)))),
        Order::Skip(_) => Ok(Judgement::Skip(Outcome::Stale)),
        Order::Regression { stored_lsn } => {
            let lsn = truncate.lsn.unwrap_or(0);
            Ok(Judgement::Halt(Regression { table, key, lsn, stored_lsn }))
        }
    }
}

/// Gives the row under the new key the values of the row under the old one, whose last state is known by now: of a change
/// of the key, the insert may come before the delete. `None`: there is nothing to give, or no row to take it yet.
pub fn adopt(stored: &[u8], image: &Row, lsn: u64) -> Result<Option<Written>, CodecError> {
    let row = StoredRow::decode(stored)?;
    let Some(old) = row.row()? else { return Ok(None) };
    let renamed = row.history.newest().is_some_and(|newest| newest.lsn >= lsn);
    Ok(if renamed { refilled(&row, old, &Known { row: image, holes: &[], lsn }) } else { None })
}

/// The same for the image of a row whose key was changed once more; the bytes to store.
pub fn adopt_image(stored: &[u8], image: &Row, lsn: u64) -> Result<Option<Box<[u8]>>, CodecError> {
    let row = StoredRow::decode(stored)?;
    let Content::Moved { to, cells } = row.content else { return Ok(None) };
    if cells.is_empty() || row.holes.is_empty() {
        return Ok(None);
    }
    let (mut kept, mut holes) = (decode_cells(cells)?, row.holes.clone());
    if !refill(&mut kept, &mut holes, &Known { row: image, holes: &[], lsn }) {
        return Ok(None);
    }
    let mut cells = Vec::new();
    encode_cells(&kept, &mut cells);
    Ok(Some(StoredRow { holes, content: Content::Moved { to, cells: &cells }, ..row }.encode()))
}

/// Whether the row that a key was changed to stands already, so that the old key's image is not wanted any more.
pub fn has_moved(stored: Option<&[u8]>, lsn: u64) -> Result<bool, CodecError> {
    let row = stored.map(StoredRow::decode).transpose()?;
    // A null value that deletes has no LSN.
    let stands = |row: StoredRow<'_>| match lsn {
        0 => row.content != Content::Gone,
        lsn => row.history.newest().is_some_and(|newest| newest.lsn >= lsn),
    };
    Ok(row.is_some_and(stands))
}

/// The key that the row was changed to, if it is gone for that.
pub fn moved_to(stored: Option<&[u8]>) -> Result<Option<Id>, CodecError> {
    let row = stored.map(StoredRow::decode).transpose()?;
    Ok(row.and_then(|row| if let Content::Moved { to, .. } = row.content { Some(to) } else { None }))
}

/// The tombstone without the image that it kept for the row under the new key.
pub fn without_image(stored: &[u8]) -> Result<Option<Box<[u8]>>, CodecError> {
    let row = StoredRow::decode(stored)?;
    Ok(match row.content {
        Content::Moved { to, cells } if !cells.is_empty() => {
            let content = Content::Moved { to, cells: &[] };
            Some(StoredRow { content, holes: Vec::new(), ..row }.encode())
        }
        _ => None,
    })
}

/// An older version came late. It changes nothing, unless the row has values that only an older version could tell.
fn late(
    row: &StoredRow<'_>,
    old: Option<Row>,
    late: Option<Filled>,
    lsn: Option<u64>,
) -> Result<Judgement, CodecError> {
    let (Some(old), Some(late), Some(lsn)) = (old, late, lsn) else { return Ok(Judgement::Skip(Outcome::Stale)) };
    let known = Known { row: &late.row, holes: &late.holes, lsn };
    Ok(match refilled(row, old, &known) {
        Some(written) => Judgement::Write(Box::new(written)),
        None => Judgement::Skip(Outcome::Stale),
    })
}

fn refilled(row: &StoredRow<'_>, old: Row, known: &Known<'_>) -> Option<Written> {
    if row.holes.is_empty() {
        return None;
    }
    let (mut new, mut holes) = (old.clone(), row.holes.clone());
    if !refill(&mut new, &mut holes, known) || new == old {
        return None;
    }
    let version = Version::default().above(row.version);
    let mut cells = Vec::new();
    encode_cells(&new, &mut cells);
    let stored = StoredRow { version, holes, content: Content::Live(&cells), ..row.clone() }.encode();
    let lsn = row.history.newest().map_or(0, |newest| newest.lsn);
    Some(Written { version, lsn, stored, old: Some(old), new: Some(new), unfilled: 0 })
}

/// What an upsert does not repeat is the stored row's, or after a change of the key that of the row which had it. A row
/// whose key was changed there and back finds its own image where the other row is not read yet.
fn filled(
    row: Row,
    (stored, old): (Option<&StoredRow<'_>>, Option<&Row>),
    renamed: Option<&[u8]>,
    lsn: Option<u64>,
) -> Result<Filled, CodecError> {
    let whole = |cell: &Cell| !matches!(cell, Cell::Unavailable | Cell::Missing);
    if row.extra_unavailable.is_empty() && row.cells.iter().all(whole) {
        let own = old.map(|image| Known { row: image, holes: &[], lsn: 0 });
        return Ok(fill(row, own.as_ref()));
    }
    let renamed = renamed.filter(|_| !mutant::is(Mutant::ForgetOldKey)).map(StoredRow::decode).transpose()?;
    // The image that a delete left is that of its own LSN, which the insert shares.
    let first = renamed.as_ref().map(|row| Source::of(row, lsn)).transpose()?.flatten();
    let second = stored.map(|row| Source::of(row, None)).transpose()?.flatten();
    let known = first.as_ref().map(Source::known);
    let Some(own) = second.as_ref().map(Source::known) else { return Ok(fill(row, known.as_ref())) };
    let Some(known) = known else { return Ok(fill(row, Some(&own))) };
    let mut filled = fill(row, Some(&known));
    if refill(&mut filled.row, &mut filled.holes, &own) {
        filled.unfilled = unfilled(&filled.row);
    }
    Ok(filled)
}

/// A stored row or image that may know values.
struct Source<'a> {
    image: Row,
    holes: &'a [Hole],
    lsn: u64,
}

impl<'a> Source<'a> {
    /// `deleted` is the LSN of the delete that left an image.
    fn of(row: &'a StoredRow<'_>, deleted: Option<u64>) -> Result<Option<Source<'a>>, CodecError> {
        let (cells, lsn) = match row.content {
            Content::Live(cells) => (cells, content_lsn(row)),
            Content::Moved { cells, .. } if !cells.is_empty() => (cells, deleted.unwrap_or_else(|| content_lsn(row))),
            Content::Moved { .. } | Content::Gone => return Ok(None),
        };
        Ok(Some(Source { image: decode_cells(cells)?, holes: &row.holes, lsn }))
    }

    fn known(&self) -> Known<'_> {
        Known { row: &self.image, holes: self.holes, lsn: self.lsn }
    }
}

fn content_lsn(row: &StoredRow<'_>) -> u64 {
    let newest = row.history.newest().map_or(0, |newest| newest.lsn);
    row.read.map_or(newest, |read| read.lsn.unwrap_or(newest))
}

/// What a record tells besides the row.
struct Told {
    lsn: Option<u64>,
    ts_us: Option<i64>,
    op: Op,
    place: Place,
    epoch: u16,
    mixed: bool,
}

impl Told {
    fn kind(&self, upsert: bool) -> Kind {
        match (self.op, upsert) {
            (Op::Read, _) => Kind::Read,
            (_, true) => Kind::Upsert,
            (_, false) => Kind::Delete,
        }
    }

    fn incoming(&self, kind: Kind, same: bool) -> Incoming {
        let Told { lsn, ts_us, place, epoch, mixed, .. } = *self;
        Incoming { kind, lsn, ts_us, place, epoch, mixed, same }
    }

    /// The row that the record leaves. `moved`: the key that it has now; its image stays for the row there.
    fn written(
        &self,
        stored: Option<&StoredRow<'_>>,
        old: Option<Row>,
        new: Option<Filled>,
        format: Format,
        moved: Option<Id>,
    ) -> Written {
        let in_epoch = stored.filter(|row| row.version.epoch == self.epoch);
        let lsn = self.lsn.unwrap_or_else(|| in_epoch.map_or(0, |row| row.version.lsn));
        let version = Version { epoch: self.epoch, lsn, offset: self.place.offset };
        let version = stored.map_or(version, |row| version.above(row.version));
        let (history, read) = self.history(in_epoch, format, new.is_some());
        let (mut cells, mut holes) = (Vec::new(), Vec::new());
        if let Some(image) = new.as_ref().map(|new| &new.row).or(old.as_ref().filter(|_| moved.is_some())) {
            encode_cells(image, &mut cells);
        }
        let content = match (&new, moved) {
            (Some(new), _) => {
                holes.clone_from(&new.holes);
                Content::Live(&cells)
            }
            (None, Some(to)) => {
                holes = stored.filter(|row| row.live()).map(|row| row.holes.clone()).unwrap_or_default();
                Content::Moved { to, cells: &cells }
            }
            (None, None) => Content::Gone,
        };
        let bytes = StoredRow { version, format, place: self.place, history, read, holes, content }.encode();
        let unfilled = new.as_ref().map_or(0, |new| new.unfilled);
        Written { version, lsn: self.lsn.unwrap_or(0), stored: bytes, old, new: new.map(|new| new.row), unfilled }
    }

    /// The versions that the stream has told, and whether the content is another's.
    fn history(&self, stored: Option<&StoredRow<'_>>, format: Format, upsert: bool) -> (History, Option<ReadMark>) {
        let mut history = stored.map(|row| row.history).unwrap_or_default();
        let mark = Some(ReadMark { lsn: self.lsn, ts_us: self.ts_us });
        match (self.op, self.lsn) {
            (Op::Read, lsn) if lsn.is_none() || !mutant::is(Mutant::ReadsAreChanges) => (history, mark),
            (_, None) => {
                // A null value that deletes has no LSN. Where the connector repeats the rows before it, they are newer.
                if !upsert && format == Format::FlatTombstone {
                    history.forget();
                }
                (history, mark)
            }
            (op, Some(lsn)) => {
                let version = Seen { lsn, ts_us: self.ts_us };
                let Some(stored) = stored else { return (History::first(version, op == Op::Create), None) };
                // What another partition still holds of the row may be older, and was not seen.
                if self.place.elsewhere(&stored.place) {
                    history.forget();
                }
                history.push(version);
                (history, None)
            }
        }
    }
}

/// Whether the change is from before the latest applied truncate.
fn before_truncate(change: &Change, place: Place, table: &TableMeta) -> Option<Judgement> {
    let truncate = table.truncated?;
    let (before, after) = {
        let (one, than) = (change.source_ts_us, truncate.source_ts_us);
        (earlier(one, than), later(one, than))
    };
    if change.op == Op::Read {
        let below = change.lsn.is_some_and(|lsn| (table.epoch, lsn) < (truncate.epoch, truncate.lsn));
        let stale = before || (below && !after);
        return stale.then_some(Judgement::Skip(Outcome::Stale));
    }
    let lsn = change.lsn?;
    // In a later epoch, and in another partition of a log that began again, times tell.
    let mixed = table.epoch > truncate.epoch || (table.mixed() && truncate.elsewhere(place));
    if mixed {
        return before.then_some(Judgement::Skip(Outcome::Stale));
    }
    if lsn >= truncate.lsn {
        return None;
    }
    Some(match after {
        true => {
            let (table, key) = (change.table, change.key);
            Judgement::Halt(Regression { table, key, lsn, stored_lsn: truncate.lsn })
        }
        false => Judgement::Skip(Outcome::Stale),
    })
}

#[cfg(test)]
mod tests;
