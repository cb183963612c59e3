//! Writes rows as RowBinary into a batch, and splits a batch into rows again if a table refuses a row.

use std::ops::Range;

use nova_storage::codec::Put;

use crate::event::{Cell, ClientEvent, Id, Op, Row, Table};

use super::columns::Columns;
use super::target::Target;
use super::wire::Wire;

/// The range of ClickHouse's DateTime64 in epoch microseconds: 1900-01-01 to 2299-12-31. A time outside of the range of
/// DateTime64, or an infinity, becomes the nearest limit.
const MICROS_MIN: i64 = -2_208_988_800_000_000;
const MICROS_MAX: i64 = 10_413_791_999_999_999;

/// A change of a row of the source, which becomes a row of ClickHouse.
#[derive(Clone, Copy, Debug)]
pub struct RowChange<'a> {
    pub table: Table,
    pub key: Id,
    /// The row after the change. For a delete, `row` is the row before the change, if nova knows it.
    pub row: Option<&'a Row>,
    pub deleted: bool,
    pub op: Op,
    pub version: u128,
    pub lsn: u64,
    /// The time of the source's commit in epoch microseconds, or 0 if the time is unknown.
    pub source_ts_us: i64,
}

/// An accepted client event, which becomes a row of ClickHouse.
#[derive(Clone, Copy, Debug)]
pub struct EventRow<'a> {
    pub event: &'a ClientEvent,
    /// The author of the post, or [`Id::NIL`] if the author is unknown.
    pub author: Id,
    /// The event's time, limited by its arrival; `arrival_ms` is the arrival. `at_ms` and `arrival_ms` are in epoch
    /// milliseconds.
    pub at_ms: i64,
    pub arrival_ms: i64,
    pub store: u64,
    pub batch: u64,
}

/// Appends a row of the table `{table}_cdc`.
pub fn put_change(out: &mut Vec<u8>, change: &RowChange<'_>) {
    put_uuid(out, change.key);
    for (index, (_, wire)) in
        Target::Rows(change.table).columns().iter().enumerate().take(change.table.columns().len()).skip(1)
    {
        put_cell(out, wire, change.row.and_then(|row| row.cells.get(index)).unwrap_or(&Cell::Missing));
    }
    out.put_fixed(&change.version.to_le_bytes());
    out.put_u8(u8::from(change.deleted));
    out.put_bytes(&[change.op as u8]);
    out.put_fixed(&change.lsn.to_le_bytes());
    put_micros(out, change.source_ts_us);
    out.put_bytes(change.row.and_then(|row| row.extra.as_deref()).unwrap_or_default().as_bytes());
}

/// Appends a row of the table `post_events`.
pub fn put_event(out: &mut Vec<u8>, row: &EventRow<'_>) {
    let event = row.event;
    put_uuid(out, event.event_id);
    out.put_fixed(&row.at_ms.to_le_bytes());
    put_uuid(out, event.user_id);
    put_uuid(out, event.post_id);
    put_uuid(out, row.author);
    out.put_bytes(event.action.name().as_bytes());
    out.put_fixed(&event.dwell_ms.to_le_bytes());
    out.put_bytes(event.device.as_bytes());
    out.put_bytes(event.app_ver.as_bytes());
    out.put_fixed(&row.arrival_ms.to_le_bytes());
    out.put_fixed(&row.store.to_le_bytes());
    out.put_fixed(&row.batch.to_le_bytes());
}

/// Returns `toYYYYMM` (UTC) of a time in epoch milliseconds, which is the partition key of `post_events`.
pub fn month(at_ms: i64) -> u32 {
    // The calculation converts days to a date as in Howard Hinnant's "chrono-compatible low-level date algorithms".
    let days = at_ms.div_euclid(86_400_000) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    u32::try_from(year * 100 + month).unwrap_or(0)
}

/// Writes a UUID as ClickHouse stores it: two little-endian halves, the high half first.
fn put_uuid(out: &mut Vec<u8>, id: Id) {
    let value = u128::from_be_bytes(id.0);
    out.put_fixed(&((value >> 64) as u64).to_le_bytes());
    out.put_fixed(&(value as u64).to_le_bytes());
}

/// Returns the time in epoch microseconds that ClickHouse stores for a time.
pub fn stored_micros(micros: i64) -> i64 {
    micros.clamp(MICROS_MIN, MICROS_MAX)
}

fn put_micros(out: &mut Vec<u8>, micros: i64) {
    out.put_fixed(&stored_micros(micros).to_le_bytes());
}

/// Writes a cell of a row. A cell that the stream did not have becomes null, or the default value of its type.
fn put_cell(out: &mut Vec<u8>, wire: Wire, cell: &Cell) {
    let nullable = matches!(wire, Wire::NullableUuid | Wire::NullableText | Wire::NullableMicros);
    let known = !matches!(cell, Cell::Missing | Cell::Null | Cell::Unavailable);
    if nullable {
        out.put_u8(u8::from(!known));
        if !known {
            return;
        }
    }
    match (wire, cell) {
        (Wire::Uuid | Wire::NullableUuid, Cell::Uuid(id)) => put_uuid(out, *id),
        (Wire::Uuid | Wire::NullableUuid, _) => put_uuid(out, Id::NIL),
        (Wire::Text | Wire::NullableText, Cell::Text(text) | Cell::Json(text)) => out.put_bytes(text.as_bytes()),
        (Wire::Micros | Wire::NullableMicros, Cell::Micros(micros)) => put_micros(out, *micros),
        (Wire::Micros | Wire::NullableMicros, _) => put_micros(out, 0),
        (Wire::Bool, cell) => out.put_u8(u8::from(*cell == Cell::Bool(true))),
        _ => out.put_bytes(&[]),
    }
}

/// The error for a batch whose bytes are not rows of the table. A store with a batch whose bytes are not rows is
/// damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch's bytes are not rows of the table")]
pub struct NotRows;

/// Returns the range of each row in a batch. `columns` are the columns for which the rows were written.
pub fn split(columns: &Columns, bytes: &[u8]) -> Result<Vec<Range<usize>>, NotRows> {
    let (mut rows, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let start = at;
        for (_, wire) in columns.iter() {
            at += width(wire, bytes.get(at..).ok_or(NotRows)?)?;
        }
        if at > bytes.len() {
            return Err(NotRows);
        }
        rows.push(start..at);
    }
    Ok(rows)
}

/// Returns the range of a column's value in a row. Returns `None` if the row has no column of the given name.
pub fn column(columns: &Columns, name: &str, row: &[u8]) -> Result<Option<Range<usize>>, NotRows> {
    let mut at = 0;
    for (known, wire) in columns.iter() {
        let width = width(wire, row.get(at..).ok_or(NotRows)?)?;
        if known == name {
            return Ok(Some(at..at + width).filter(|range| range.end <= row.len()));
        }
        at += width;
    }
    Ok(None)
}

/// Returns the number of bytes of the value with which `bytes` begin. The number may exceed the length of `bytes`.
pub(super) fn width(wire: Wire, bytes: &[u8]) -> Result<usize, NotRows> {
    let nullable = |inner: &dyn Fn(&[u8]) -> Result<usize, NotRows>| match bytes.split_first() {
        Some((1, _)) => Ok(1),
        Some((0, rest)) => Ok(1 + inner(rest)?),
        _ => Err(NotRows),
    };
    match wire {
        Wire::Uuid | Wire::U128 => Ok(16),
        Wire::Micros | Wire::Millis | Wire::U64 => Ok(8),
        Wire::U32 => Ok(4),
        Wire::Bool | Wire::U8 => Ok(1),
        Wire::Text | Wire::Word => text_width(bytes),
        Wire::NullableUuid => nullable(&|_| Ok(16)),
        Wire::NullableMicros => nullable(&|_| Ok(8)),
        Wire::NullableText => nullable(&text_width),
    }
}

fn text_width(bytes: &[u8]) -> Result<usize, NotRows> {
    let mut length = 0usize;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(index + 1 + length);
        }
    }
    Err(NotRows)
}

/// Returns the event id and the user id in a row of `post_events`. nova accepts an event with this event id and user id
/// only once.
pub fn event_key(row: &[u8]) -> (Id, Id) {
    (id(row), id(row.get(EVENT_USER_AT..).unwrap_or_default()))
}

/// The position of the user's id in a row, after the event's id and the event's time.
const EVENT_USER_AT: usize = 24;

/// Returns the id at the beginning of a row: the primary key, or the id of an event.
pub fn id(row: &[u8]) -> Id {
    let half = |at: usize| row.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    Id::from_u128(u128::from(half(0)) << 64 | u128::from(half(8)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Action;
    use proptest::prelude::*;

    #[test]
    fn months_are_those_of_the_calendar() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 197_001),
            ("2000-02-29T23:59:59.999Z", 200_002),
            ("2026-11-30T23:59:59.999Z", 202_611),
            ("2026-12-01T00:00:00Z", 202_612),
            ("1969-12-31T23:59:59Z", 196_912),
            ("2100-01-01T00:00:00Z", 210_001),
        ] {
            let time: jiff::Timestamp = text.parse().unwrap();
            assert_eq!(month(time.as_millisecond()), expected, "{text}");
        }
    }

    fn cells() -> impl Strategy<Value = Cell> {
        prop_oneof![
            Just(Cell::Missing),
            Just(Cell::Null),
            Just(Cell::Unavailable),
            any::<bool>().prop_map(Cell::Bool),
            any::<u128>().prop_map(|id| Cell::Uuid(Id::from_u128(id))),
            any::<i64>().prop_map(Cell::Micros),
            ".{0,200}".prop_map(|text| Cell::Text(text.into())),
        ]
    }

    proptest! {
        #[test]
        fn rows_are_cut_where_they_were_joined(
            rows in proptest::collection::vec(
                (any::<u128>(), proptest::option::of(proptest::collection::vec(cells(), 9)), any::<u128>()), 1..20),
            number in 0usize..5,
        ) {
            let table = Table::ALL[number];
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            for (key, cells, version) in &rows {
                let row = cells.as_ref().map(|cells| Row {
                    cells: cells.iter().take(table.columns().len()).cloned().collect(),
                    extra: Some("{}".into()),
                    extra_unavailable: Box::default(),
                });
                let change = RowChange {
                    table, key: Id::from_u128(*key), row: row.as_ref(), deleted: row.is_none(), op: Op::Update,
                    version: *version, lsn: 1, source_ts_us: 2,
                };
                put_change(&mut bytes, &change);
                ends.push(bytes.len());
            }
            let split = split(Target::Rows(table).columns(), &bytes).unwrap();
            prop_assert_eq!(split.iter().map(|range| range.end).collect::<Vec<_>>(), ends);
            for (range, (key, _, _)) in split.into_iter().zip(&rows) {
                prop_assert_eq!(id(&bytes[range]), Id::from_u128(*key));
            }
        }

        #[test]
        fn damaged_rows_are_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for target in Target::ALL {
                let _ = split(target.columns(), &bytes);
            }
        }
    }

    #[test]
    fn an_event_takes_its_columns_and_no_more() {
        let event = ClientEvent {
            event_id: Id::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
            user_id: Id::from_u128(2),
            post_id: Id::from_u128(3),
            author_id: None,
            action: Action::View,
            event_time_ms: 5,
            dwell_ms: 6,
            device: "ios".into(),
            app_ver: "1.2".into(),
        };
        let mut bytes = Vec::new();
        let row = EventRow { event: &event, author: Id::NIL, at_ms: 5, arrival_ms: 7, store: 8, batch: 9 };
        put_event(&mut bytes, &row);
        assert_eq!(
            bytes[..16],
            [0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88]
        );
        assert_eq!(split(Target::Events.columns(), &bytes).unwrap().len(), 1);
        assert_eq!(event_key(&bytes), (event.event_id, event.user_id));
    }
}
