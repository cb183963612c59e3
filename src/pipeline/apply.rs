//! What one change does to the row that is stored under its key. Pure: the writer brings the stored bytes and takes the
//! judgement away. The rules are those of `docs/cdc.md`; `order` says which of two records is newer, `fill` where values
//! come from that a record does not repeat, `renamed` what a change of a row's key gives to the row under the new one.

mod filled;
mod history;
pub mod renamed;
pub mod swept;

use nova_storage::codec::CodecError;

use crate::event::{Change, ChangeBody, Format, Id, Op, Outcome, Row, Table};
use crate::mutant::{self, Mutant};

use self::filled::{filled, values_of};
use self::renamed::{Image, Late};
use super::cells::encode_cells;
use super::fill::{Filled, Known, dated, refill};
use super::meta::TableMeta;
use super::order::{Incoming, Kind, Order, earlier, later};
use super::stored::{Content, Hole, Place, Seen, StoredRow, Version};

/// Most rows are smaller: their cells are encoded without growing the buffer.
const CELLS_TYPICAL_BYTES: usize = 256;

/// What becomes of a change.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The row is replaced, or deleted (`new` is `None`).
    Write(Box<Written>),
    /// Duplicate, stale or ignored: nothing changes.
    Skip(Outcome),
    /// Stale, of a row that has another key by now: the row under that key may want what the record tells.
    Late(Box<Late>),
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
    /// What the row under the new key may want, where the change is the delete of a changed key.
    pub image: Option<Box<Image>>,
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
    judge_of(change, (place, false), table, stored, renamed)
}

/// The same where the record may be a dead letter that is replayed, which the flag beside its place says.
pub fn judge_of(
    change: Change,
    (place, replayed): (Place, bool),
    table: &TableMeta,
    stored: Option<&[u8]>,
    renamed: Option<&[u8]>,
) -> Result<Judgement, CodecError> {
    let stored = stored.map(StoredRow::decode).transpose()?;
    if let Some(judgement) = before_truncate(&change, (place, replayed), table) {
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
        renamed: change.renamed_from().is_some(),
        replayed,
    };
    // A tombstone record carries no format of its own.
    let format = if tombstone { Format::FlatTombstone } else { change.format };
    let (key, of, moved) = (change.key, change.table, change.renamed_to());
    // A key of several columns may change and keep the row's id: then the values are those that are stored under it.
    let renamed = renamed.filter(|_| change.renamed_from() != Some(key));
    let new = match change.body {
        ChangeBody::Upsert(row) => {
            let own_epoch =
                stored.as_ref().filter(|_| renamed.is_none()).map_or(told.epoch, |row| told.values_epoch(row));
            let own = (stored.as_ref(), old.as_ref(), own_epoch);
            Some(filled(row, own, renamed, (key, change.lsn, table.epoch))?)
        }
        ChangeBody::Delete | ChangeBody::Tombstone | ChangeBody::Truncate => None,
    };
    if let Some(row) = &stored {
        let kind = told.kind(new.is_some());
        match told.incoming(kind, old.as_ref() == new.as_ref().map(|new| &new.row)).against(row) {
            Order::Newer => {}
            Order::Skip(Outcome::Stale) => {
                let lsn = told.lsn.filter(|_| row.version.epoch == told.epoch);
                return late(row, old, new, (lsn, kind == Kind::Read && !place.elsewhere(&row.place)));
            }
            Order::Skip(outcome) => return Ok(Judgement::Skip(outcome)),
            Order::Regression { lsn, stored_lsn } => {
                return Ok(Judgement::Halt(Regression { table: of, key, lsn, stored_lsn }));
            }
        }
    }
    let moved = moved.map(|to| (to, of));
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
    let told = Told {
        lsn: truncate.lsn,
        ts_us: truncate.source_ts_us,
        op: Op::Truncate,
        place,
        epoch,
        mixed,
        renamed: false,
        replayed: false,
    };
    match told.incoming(Kind::Truncate, false).against(&row) {
        Order::Newer => Ok(Judgement::Write(Box::new(told.written(Some(&row), Some(old), None, row.format, None)))),
        Order::Skip(_) => Ok(Judgement::Skip(Outcome::Stale)),
        Order::Regression { lsn, stored_lsn } => Ok(Judgement::Halt(Regression { table, key, lsn, stored_lsn })),
    }
}

/// An older version came late. It changes nothing, unless the row has values that only an older version could tell.
fn late(
    row: &StoredRow<'_>,
    old: Option<Row>,
    late: Option<Filled>,
    (lsn, read_here): (Option<u64>, bool),
) -> Result<Judgement, CodecError> {
    let (Some(late), Some(lsn)) = (late, lsn) else { return Ok(Judgement::Skip(Outcome::Stale)) };
    let known = Known { row: &late.row, holes: &late.holes, lsn, after_epoch: false, again: false, read_here };
    let Some(old) = old else {
        let late = Late::of(row, &known)?;
        return Ok(late.map_or(Judgement::Skip(Outcome::Stale), |late| Judgement::Late(Box::new(late))));
    };
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
    Some(Written { version, lsn, stored, old: Some(old), new: Some(new), unfilled: 0, image: None })
}

/// What a record tells besides the row.
struct Told {
    lsn: Option<u64>,
    ts_us: Option<i64>,
    op: Op,
    place: Place,
    epoch: u16,
    mixed: bool,
    /// It is the insert of a changed key: the row has the values of another one.
    renamed: bool,
    /// It is a dead letter that is replayed.
    replayed: bool,
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
        let Told { lsn, ts_us, place, epoch, mixed, replayed, .. } = *self;
        Incoming { kind, lsn, ts_us, place, epoch, mixed, replayed, same }
    }

    /// The row that the record leaves. `moved`: the key that it has now, and its table; its image stays for the row there.
    fn written(
        &self,
        stored: Option<&StoredRow<'_>>,
        old: Option<Row>,
        new: Option<Filled>,
        format: Format,
        moved: Option<(Id, Table)>,
    ) -> Written {
        let in_epoch = stored.filter(|row| row.version.epoch == self.epoch);
        let lsn = self.lsn.unwrap_or_else(|| in_epoch.map_or(0, |row| row.version.lsn));
        let version = Version { epoch: self.epoch, lsn, offset: self.place.offset };
        let version = stored.map_or(version, |row| version.above(row.version));
        let (history, read) = self.history(stored, format, new.is_some());
        let (mut cells, mut holes) = (Vec::with_capacity(CELLS_TYPICAL_BYTES), Vec::new());
        if let Some(image) = new.as_ref().map(|new| &new.row).or(old.as_ref().filter(|_| moved.is_some())) {
            encode_cells(image, &mut cells);
        }
        let content = match (&new, moved) {
            (Some(new), _) => {
                holes.clone_from(&new.holes);
                Content::Live(&cells)
            }
            (None, Some((to, table))) => match stored.and_then(|stored| self.kept_image(stored, to)) {
                Some((image, kept)) => {
                    holes.extend_from_slice(kept);
                    Content::Moved { to, cells: image }
                }
                None => {
                    holes = self.image_holes(stored, table);
                    Content::Moved { to, cells: &cells }
                }
            },
            (None, None) => Content::Gone,
        };
        let bytes = StoredRow { version, format, place: self.place, history, read, holes, content }.encode();
        let unfilled = new.as_ref().map_or(0, |new| new.unfilled);
        let image = match (stored, &old, &new, moved) {
            (Some(stored), Some(old), None, Some(_)) => Some(Box::new(self.image(stored, old))),
            _ => None,
        };
        let (lsn, new) = (self.lsn.unwrap_or(0), new.map(|new| new.row));
        Written { version, lsn, stored: bytes, old, new, unfilled, image }
    }

    /// The image that the tombstone has already, and its holes: the same delete of a changed key came again in a raised
    /// epoch, and the row under the new key may not be read yet.
    fn kept_image<'a>(&self, stored: &'a StoredRow<'_>, to: Id) -> Option<(&'a [u8], &'a [Hole])> {
        let same = |seen: &Seen| self.lsn.is_some_and(|lsn| seen.is(lsn, self.ts_us));
        match stored.content {
            Content::Moved { to: known, cells } if known == to && stored.history.newest().is_some_and(same) => {
                Some((cells, &stored.holes))
            }
            Content::Moved { .. } | Content::Live(_) | Content::Gone => None,
        }
    }

    /// The holes of the image that stays for the row under the new key: of each value, how old it is. Without LSNs, what
    /// is known.
    fn image_holes(&self, stored: Option<&StoredRow<'_>>, table: Table) -> Vec<Hole> {
        let live = stored.filter(|row| row.live());
        match self.lsn {
            Some(_) => {
                let known = live.map(|row| values_of(row, self.values_epoch(row)));
                dated(table.columns().len(), known.map(|(lsn, holes)| (holes, lsn)))
            }
            None => live.map(|row| row.holes.clone()).unwrap_or_default(),
        }
    }

    /// What a delete that is a change of the key leaves of the row.
    fn image(&self, stored: &StoredRow<'_>, old: &Row) -> Image {
        let (row, epoch, ts_us) = (old.clone(), self.epoch, self.ts_us);
        match self.lsn {
            Some(lsn) => Image::before(row, (lsn, ts_us), epoch),
            None => {
                let (lsn, holes) = values_of(stored, self.epoch);
                Image { row, holes: holes.to_vec(), lsn, epoch, delete_lsn: 0, ts_us }
            }
        }
    }
}

/// Whether the change is from before the latest applied truncate.
fn before_truncate(change: &Change, (place, replayed): (Place, bool), table: &TableMeta) -> Option<Judgement> {
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
    // In a later epoch, in another partition of a log that began again, and of a letter from before it, times tell. What was
    // committed at one time is of one log, and mostly of one transaction.
    let mixed = table.epoch > truncate.epoch || (table.mixed() && (replayed || truncate.elsewhere(place)));
    if mixed {
        let same_time = change.source_ts_us.is_some() && change.source_ts_us == truncate.source_ts_us;
        let stale = before || (same_time && lsn < truncate.lsn);
        return stale.then_some(Judgement::Skip(Outcome::Stale));
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
