//! Reads records that come from PostgreSQL directly. A message of `pgoutput` or a line of COPY, together with its
//! relation, means exactly what Debezium's record of the same change means.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::fault::Fault;
use super::image::object;
use super::kept::KeepUnknown;
use super::pgoutput::{self, Malformed, Message, Tuple, Value};
use super::pgtext::{self, Form};
use super::private::shown::Shown;
use super::said::{Fact, Stop};
use super::values::nil_key;
use super::{copy, debezium, length, private};
use crate::event::{
    Cell, Change, ChangeBody, Column, Format, Id, Ignored, Op, Origin, OriginKind, Record, Relation, Renamed, Row,
    Table,
};

/// The maximum number of relations whose plan nova keeps. A replication session has five relations, and dead letters
/// may need relations from earlier sessions.
const PLANS_MAX: usize = 32;

/// The name of the primary key, which is the first column of every table.
const KEY: &str = "id";

/// Says what becomes of a column that PostgreSQL sends.
#[derive(Clone, Debug)]
enum Slot {
    /// The column is in the table's list. The fields are the column's index and the printed form of the column's
    /// values.
    Column(usize, Form),
    /// The column is unknown to nova, and is kept under its name.
    Extra(Box<str>, Form),
    /// The column is private, or it is not on the allow-list.
    Dropped,
}

/// Says how the values of a relation become a row. nova makes a plan once for each description of a relation.
#[derive(Debug)]
struct Plan {
    relation: Arc<Relation>,
    table: Table,
    slots: Box<[Slot]>,
    /// The index of the primary key among the columns that PostgreSQL sends.
    key: Option<usize>,
    /// The columns that must not be null and that the relation lacks.
    missing: Vec<&'static str>,
}

impl Plan {
    fn new(relation: &Arc<Relation>, table: Table, keep: &KeepUnknown) -> Plan {
        let mut seen = 0u32;
        let columns = table.columns();
        let slot = |column: &crate::event::WireColumn| {
            let form = Form::of(column.type_oid);
            match columns.iter().position(|known| known.name == &*column.name) {
                Some(index) => {
                    seen |= 1 << index;
                    Slot::Column(index, form)
                }
                None if private::column(&column.name).is_some() || !keep.keeps(table, &column.name) => Slot::Dropped,
                None => Slot::Extra(column.name.clone(), form),
            }
        };
        let slots = relation.columns.iter().map(slot).collect();
        let absent = |(index, column): &(usize, &Column)| seen & 1 << index == 0 && !column.nullable;
        let missing = columns.iter().enumerate().filter(absent).map(|(_, column)| column.name).collect();
        let key = relation.columns.iter().position(|column| &*column.name == KEY);
        Plan { relation: Arc::clone(relation), table, slots, key, missing }
    }

    /// Returns the key and the row that the values make.
    fn row<'a>(&self, mut values: impl Iterator<Item = Field<'a>>) -> Result<(Id, Row), Fault> {
        if !self.missing.is_empty() {
            return Err(debezium::lacks(self.table, &self.missing));
        }
        let columns = self.table.columns();
        let mut cells: Box<[Cell]> = vec![Cell::Missing; columns.len()].into();
        let (mut extra, mut unavailable) = (Vec::new(), Vec::new());
        for slot in &self.slots {
            let value = values.next().ok_or_else(|| other_columns(&self.relation, "fewer"))?;
            match slot {
                Slot::Column(index, form) => {
                    if let (Some(column), Some(place)) = (columns.get(*index), cells.get_mut(*index)) {
                        *place = cell(column, *form, &value)?;
                    }
                }
                Slot::Extra(name, form) => match value {
                    Field::Null => extra.push((&**name, "null".to_owned())),
                    Field::Unchanged => unavailable.push(name.clone()),
                    Field::Text(bytes) => {
                        let json = pgtext::json(*form, pgtext::utf8(name, &bytes)?);
                        extra.push((&**name, private::purge(&json).unwrap_or(json)));
                    }
                    Field::Binary => return Err(binary(name)),
                },
                Slot::Dropped => {}
            }
        }
        if values.next().is_some() {
            return Err(other_columns(&self.relation, "more"));
        }
        extra.sort();
        unavailable.sort();
        let key = match cells.first() {
            Some(Cell::Uuid(key)) => *key,
            _ => return Err(unidentified(&self.relation)),
        };
        Ok((key, Row { cells, extra: object(&extra), extra_unavailable: unavailable.into() }))
    }

    /// Returns the primary key that is in the tuple of the old row.
    fn key_of(&self, tuple: Tuple<'_>) -> Result<Id, Fault> {
        let value = self.key.and_then(|index| tuple.values().nth(index));
        match value {
            // PostgreSQL writes columns that are not part of the replica identity as null.
            None | Some(Value::Null) => Err(nil_key("is not in the message")),
            Some(Value::Text(bytes)) => match Id::parse(bytes) {
                Ok(Id::NIL) => Err(nil_key("is the nil UUID")),
                Ok(key) => Ok(key),
                Err(_) => Err(Fault::invalid(KEY, "not a UUID")),
            },
            Some(Value::Unchanged) => Err(unidentified(&self.relation)),
            Some(Value::Binary) => Err(binary(KEY)),
        }
    }
}

/// A value of a row, which is either from a message or from a line of COPY.
enum Field<'a> {
    Null,
    Unchanged,
    Text(Cow<'a, [u8]>),
    Binary,
}

impl<'a> From<Value<'a>> for Field<'a> {
    fn from(value: Value<'a>) -> Field<'a> {
        match value {
            Value::Null => Field::Null,
            Value::Unchanged => Field::Unchanged,
            Value::Text(bytes) => Field::Text(Cow::Borrowed(bytes)),
            Value::Binary => Field::Binary,
        }
    }
}

fn cell(column: &Column, form: Form, value: &Field<'_>) -> Result<Cell, Fault> {
    match value {
        Field::Text(bytes) => pgtext::cell(column, form, bytes),
        Field::Unchanged => Ok(Cell::Unavailable),
        Field::Null if column.nullable => Ok(Cell::Null),
        Field::Null => {
            let detail = format!("`{}` is null, and the column does not take null", column.name);
            Err(Fault::new("null-value", detail))
        }
        Field::Binary => Err(binary(column.name)),
    }
}

fn binary(column: &str) -> Fault {
    Fault::invalid(column, "in binary format, and nova asks PostgreSQL for text")
}

fn other_columns(relation: &Relation, how: &str) -> Fault {
    let (name, described) = (&relation.name, relation.columns.len());
    let detail = format!("the row has {how} values than the {described} columns that the server described {name} with");
    Fault::new("malformed-message", detail)
}

/// Returns the fault of a row whose key is unknown: the key is stored out of line, and the message has neither its
/// value nor the old row.
fn unidentified(relation: &Relation) -> Fault {
    let detail = format!(
        "`{KEY}` of {}.{} is not in the message, so that the row is not known: it must be the primary key and a uuid",
        relation.namespace, relation.name
    );
    Fault::new("unidentified-row", detail)
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Fault {
        Fault::new("malformed-message", malformed.to_string())
    }
}

/// Whether a message is an update that changes the primary key of a row. nova treats an update that changes the key as
/// a delete and an insert, as Debezium does. A message that cannot be read does not count as an update that changes the
/// key.
pub fn changes_key(relation: &Relation, bytes: &[u8]) -> bool {
    const AFTER_OID: usize = 5;
    // Most messages of updates have no part of the old row.
    if bytes.first() != Some(&b'U') || bytes.get(AFTER_OID) == Some(&b'N') {
        return false;
    }
    let Some(index) = relation.columns.iter().position(|column| &*column.name == KEY) else { return false };
    let Ok(Message::Update { old: Some(old), new, .. }) = pgoutput::message(bytes) else { return false };
    match (old.tuple.values().nth(index), new.values().nth(index)) {
        (Some(Value::Text(old)), Some(Value::Text(new))) => old != new,
        _ => false,
    }
}

/// The plans of the relations that PostgreSQL has described most recently.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    plans: Vec<Plan>,
}

impl Replicas {
    /// Decodes a record that has an origin.
    pub fn read(&mut self, record: &Record, origin: &Origin, keep: &KeepUnknown) -> Result<Fact, Stop> {
        let relation = match &origin.kind {
            OriginKind::Commit => return Ok(Fact::Ignore(Ignored::TransactionMarker)),
            OriginKind::Message => return Ok(Fact::Ignore(Ignored::Message)),
            OriginKind::Snapshot(mark) => return Ok(Fact::Snapshot(*mark)),
            OriginKind::Change(relation)
            | OriginKind::OldKey(relation)
            | OriginKind::NewKey(relation)
            | OriginKind::Truncate(relation)
            | OriginKind::Copied(relation) => relation,
        };
        let Some(table) = Table::from_name(&relation.name) else { return Ok(Fact::Ignore(Ignored::UnknownTopic)) };
        let bytes = record.value.as_deref().unwrap_or_default();
        length::check("value", bytes)?;
        let change = |(key, op, renamed, body): Told| Change {
            table,
            key,
            op,
            format: Format::Envelope,
            lsn: record.lsn(),
            source_ts_us: Some(origin.commit_us),
            renamed: renamed.map(Box::new),
            ends_snapshot: false,
            body,
        };
        if let OriginKind::Truncate(_) = origin.kind {
            return Ok(Fact::Change(change((Id::NIL, Op::Truncate, None, ChangeBody::Truncate))));
        }
        let told = told(self.plan(relation, table, keep), &origin.kind, bytes)?;
        Ok(Fact::Change(change(told)))
    }

    #[allow(clippy::indexing_slicing, reason = "the plan at this place was found or pushed right before")]
    fn plan(&mut self, relation: &Arc<Relation>, table: Table, keep: &KeepUnknown) -> &Plan {
        let known = self.plans.iter().position(|plan| Arc::ptr_eq(&plan.relation, relation));
        let index = known.unwrap_or_else(|| {
            if self.plans.len() >= PLANS_MAX {
                self.plans.remove(0);
            }
            self.plans.push(Plan::new(relation, table, keep));
            self.plans.len() - 1
        });
        &self.plans[index]
    }
}

/// Returns a record's value in the form that a dead letter keeps: with its original length, and with private values
/// overwritten. If the table has private columns, only the columns that nova reads or keeps stay visible, and a value
/// that cannot be read is overwritten as a whole.
pub(super) fn mask<'b>(keep: &KeepUnknown, origin: &Origin, bytes: &'b [u8]) -> Cow<'b, [u8]> {
    let Some(relation) = origin.kind.relation() else { return Cow::Borrowed(bytes) };
    let table = Table::from_name(&relation.name).filter(|table| private::of(*table));
    let columns = relation.columns.iter().map(|column| match table {
        Some(table) => keep.shown(table, &column.name) != Shown::Nothing,
        None => private::column(&column.name).is_none(),
    });
    // Values after the last column that the relation describes may be anything.
    let shown = columns.chain(std::iter::repeat(table.is_none()));
    let values = match (&origin.kind, pgoutput::message(bytes)) {
        (OriginKind::Copied(_), _) => copied_ranges(bytes, shown),
        (_, Ok(message)) => match message_ranges(bytes, &message, shown) {
            Some(values) => values,
            None if table.is_some() => std::iter::once(0..bytes.len()).collect(),
            None => Vec::new(),
        },
        (_, Err(_)) if table.is_some() => std::iter::once(0..bytes.len()).collect(),
        (_, Err(_)) => Vec::new(),
    };
    if values.is_empty() {
        return private::mask(bytes);
    }
    let mut masked = bytes.to_vec();
    for range in values {
        match masked.get_mut(range) {
            Some(value) => value.fill(MASK),
            // If the range lies outside of the bytes, the place of the value is unknown, and every byte is overwritten.
            None => masked.fill(MASK),
        }
    }
    Cow::Owned(private::mask(&masked).into_owned())
}

const MASK: u8 = b'*';

/// A change of a row: the row's key, the operation, the row's key before or after the change, and the body of the
/// change.
type Told = (Id, Op, Option<Renamed>, ChangeBody);

fn told(plan: &Plan, kind: &OriginKind, bytes: &[u8]) -> Result<Told, Fault> {
    if let OriginKind::Copied(_) = kind {
        let (key, row) = plan.row(copy::fields(bytes).map(|field| field.map_or(Field::Null, Field::Text)))?;
        return Ok((key, Op::Read, None, ChangeBody::Upsert(row)));
    }
    let upsert = |new: Tuple<'_>, op, renamed| {
        let (key, row) = plan.row(new.values().map(Field::from))?;
        Ok((key, op, renamed, ChangeBody::Upsert(row)))
    };
    let (oid, told) = match (pgoutput::message(bytes)?, kind) {
        (Message::Insert { oid, new }, OriginKind::Change(_)) => (oid, upsert(new, Op::Create, None)),
        (Message::Update { oid, new, .. }, OriginKind::Change(_)) => (oid, upsert(new, Op::Update, None)),
        (Message::Delete { oid, old }, OriginKind::Change(_)) => {
            (oid, plan.key_of(old.tuple).map(|key| (key, Op::Delete, None, ChangeBody::Delete)))
        }
        (Message::Update { oid, old: Some(old), new }, OriginKind::OldKey(_)) => {
            let (from, to) = (plan.key_of(old.tuple)?, plan.key_of(new)?);
            (oid, Ok((from, Op::Delete, Some(Renamed::To(to)), ChangeBody::Delete)))
        }
        (Message::Update { oid, old: Some(old), new }, OriginKind::NewKey(_)) => {
            let from = plan.key_of(old.tuple)?;
            (oid, upsert(new, Op::Create, Some(Renamed::From(from))))
        }
        _ => return Err(Fault::new("malformed-message", "the message is another one than its record says")),
    };
    if oid != plan.relation.oid {
        let detail = format!("the message is of relation {oid}, and its record of {}", plan.relation.oid);
        return Err(Fault::new("malformed-message", detail));
    }
    told
}

/// Returns the ranges of a message that hold values which must be overwritten. Returns `None` if the message is not a
/// change of a row.
fn message_ranges(
    bytes: &[u8],
    message: &Message<'_>,
    shown: impl Iterator<Item = bool> + Clone,
) -> Option<Vec<Range<usize>>> {
    let tuples = match message {
        Message::Insert { new, .. } => [Some(*new), None],
        Message::Update { old, new, .. } => [Some(*new), old.map(|old| old.tuple)],
        Message::Delete { old, .. } => [Some(old.tuple), None],
        Message::Truncate { .. } => [None, None],
        _ => return None,
    };
    let mut ranges = Vec::new();
    for tuple in tuples.into_iter().flatten() {
        for (value, shown) in tuple.values().zip(shown.clone()) {
            match value {
                Value::Text(text) if !shown => {
                    // The value is borrowed from the message, so its position is the address of the value minus the
                    // address of the message.
                    let start = text.as_ptr().addr() - bytes.as_ptr().addr();
                    ranges.push(start..start + text.len());
                }
                // The position of a binary value is unknown, because nova does not request the binary format.
                Value::Binary if !shown => return Some(std::iter::once(0..bytes.len()).collect()),
                Value::Text(_) | Value::Binary | Value::Null | Value::Unchanged => {}
            }
        }
    }
    Some(ranges)
}

/// Returns the ranges of a line of COPY that hold values which must be overwritten.
fn copied_ranges(bytes: &[u8], shown: impl Iterator<Item = bool>) -> Vec<Range<usize>> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let (mut ranges, mut start) = (Vec::new(), 0);
    for (field, shown) in line.split(|byte| *byte == b'\t').zip(shown) {
        if !shown {
            ranges.push(start..start + field.len());
        }
        start += field.len() + 1;
    }
    ranges
}
