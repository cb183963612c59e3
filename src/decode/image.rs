//! Collects the columns of one row image, in any order and encoding.

use std::sync::Arc;

use super::fault::Fault;
use super::headers::Headers;
use super::kept::KeepUnknown;
use super::placeholder::Placeholders;
use super::raw::Raw;
use super::units::Unit;
use super::{private, values};
use crate::event::{Cell, Column, Id, Row, Table};

/// Says what becomes of a column that a record has.
pub(super) enum Slot {
    /// The column is the one with this index in [`Table::columns`].
    Column(usize),
    /// The column is never kept, whatever its value is.
    Dropped,
    Extra,
}

/// The image of a row while nova reads it. The builder notes the first fault and reads on, because a fault may turn out
/// not to matter: nova does not use the image of a delete as a row, so a fault in that image does not count.
#[derive(Debug)]
pub(super) struct ImageBuilder {
    table: Table,
    cells: Box<[Cell]>,
    /// The index of the column that probably comes next, because Debezium keeps the order of the table's columns.
    next: usize,
    /// A bit set with one bit for each column of the table. The bit is 1 if the image has the column.
    seen: u32,
    extra: Vec<(Box<str>, Box<str>)>,
    /// The unknown columns whose value is the placeholder.
    unavailable: Vec<Box<str>>,
    /// The unknown columns that a header names, some of which the image may have.
    named: Vec<Box<str>>,
    keep: Arc<KeepUnknown>,
    /// For each table other than `table`, a bit set with one bit for each column. The bit is 1 if the image has the
    /// column and `table` has no column of this name.
    others: [u32; Table::ALL.len()],
    /// A bit set with one bit for each member of [`MARKER`]. The bit is 1 if the image has the member.
    marker: u8,
    fault: Option<Fault>,
}

/// Members of Debezium's transaction markers (`BEGIN` and `END`).
const MARKER: [&str; 2] = ["event_count", "data_collections"];

impl ImageBuilder {
    pub fn new(table: Table, keep: &Arc<KeepUnknown>) -> ImageBuilder {
        let cells = vec![Cell::Missing; table.columns().len()].into_boxed_slice();
        ImageBuilder {
            table,
            cells,
            next: 0,
            seen: 0,
            extra: Vec::new(),
            unavailable: Vec::new(),
            named: Vec::new(),
            keep: Arc::clone(keep),
            others: [0; Table::ALL.len()],
            marker: 0,
            fault: None,
        }
    }

    pub fn slot(&mut self, name: &str) -> Slot {
        let columns = self.table.columns();
        for step in 0..columns.len() {
            let index = (self.next + step) % columns.len();
            if columns.get(index).is_some_and(|column| column.name == name) {
                self.next = index + 1;
                return Slot::Column(index);
            }
        }
        if private::column(name).is_some() { Slot::Dropped } else { Slot::Extra }
    }

    pub fn set(&mut self, index: usize, raw: Raw<'_>, unit: Unit, placeholders: &Placeholders) {
        let (Some(column), Some(place)) = (self.table.columns().get(index), self.cells.get_mut(index)) else { return };
        if self.seen & 1 << index != 0 {
            return self.fail(Fault::duplicate(column.name));
        }
        self.seen |= 1 << index;
        match values::cell(column, raw, unit, placeholders) {
            Ok(cell) => *place = cell,
            Err(fault) => self.fail(fault),
        }
    }

    /// Adds a column that is not in the table's list of columns. `json` is the text of one JSON value.
    pub fn extra(&mut self, name: &str, json: &str, placeholders: &Placeholders) {
        if let Some(member) = MARKER.iter().position(|member| *member == name) {
            self.marker |= 1 << member;
        }
        for (table, seen) in Table::ALL.into_iter().zip(&mut self.others) {
            if let Some(index) = table.columns().iter().position(|column| column.name == name) {
                *seen |= 1 << index;
            }
        }
        if !self.keep.keeps(self.table, name) {
            return;
        }
        if placeholders.is_json(json) {
            return self.unavailable.push(name.into());
        }
        let json = private::purge(json).map_or_else(|| json.into(), String::into_boxed_str);
        self.extra.push((name.into(), json));
    }

    pub fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    pub fn has_columns(&self) -> bool {
        self.seen != 0
    }

    /// Whether the image has the shape of Debezium's transaction markers, whose `id` is not a UUID.
    pub fn is_transaction_marker(&self) -> bool {
        self.fault.is_some() && self.marker == 0b11
    }

    /// Adds the columns that the headers name: a record leaves out a named column if the column did not change.
    pub fn left_out(&mut self, headers: &Headers) {
        for name in &headers.named {
            match self.slot(name) {
                Slot::Column(index) if self.seen & 1 << index == 0 => {
                    self.seen |= 1 << index;
                    if let Some(cell) = self.cells.get_mut(index) {
                        *cell = Cell::Unavailable;
                    }
                }
                Slot::Extra if self.keep.keeps(self.table, name) => self.named.push(name.clone()),
                Slot::Column(_) | Slot::Dropped | Slot::Extra => {}
            }
        }
    }

    /// Returns the row, and the names of the columns that are absent although they must not be null.
    pub fn finish(mut self) -> Result<(Row, Vec<&'static str>), Fault> {
        let (extra, extra_unavailable) = self.unknown();
        let id_alone = self.seen & !1 == 0;
        match self.fault {
            // Any JSON object may have an `id`. So an object that has only an `id` need not be a row, and a fault in
            // the `id` of such an object does not count.
            Some(fault) if !id_alone || fault.reason == "duplicate-field" => return Err(fault),
            _ if id_alone => {
                let detail = "no member but `id` is a column of the table: neither a Debezium envelope nor a row";
                return Err(Fault::new("unrecognised-shape", detail));
            }
            _ => {}
        }
        if let Some(other) = Table::ALL.into_iter().find(|other| self.is_whole_as(*other)) {
            return Err(Fault::other_table(other, self.table, "has all columns"));
        }
        if self.is_key_only() {
            let detail = "every column but `id` is empty: this is what a connector writes for a deleted row of which it has \
                          the key alone, and nothing in the record marks the delete. Give `__deleted` its name back";
            return Err(Fault::new("key-only-row", detail));
        }
        let columns = self.table.columns().iter().enumerate();
        let missing = columns.filter(|(index, column)| self.seen & 1 << index == 0 && !column.nullable);
        let missing = missing.map(|(_, column)| column.name).collect();
        Ok((Row { cells: self.cells, extra, extra_unavailable }, missing))
    }

    /// Whether the image is a row of the table `other`: the image has all columns of `other`, at least one column that
    /// only `other` has, and no column that only `self.table` has.
    fn is_whole_as(&self, other: Table) -> bool {
        let own = self.table.columns();
        let others = self.others.get(other as usize).copied().unwrap_or_default();
        let came = |(index, column): (usize, &Column)| {
            let unknown = others & 1 << index != 0;
            unknown || own.iter().zip(0..).any(|(one, bit)| one.name == column.name && self.seen & 1 << bit != 0)
        };
        let shared = |(one, bit): (&Column, u32)| {
            self.seen & 1 << bit == 0 || other.columns().iter().any(|column| column.name == one.name)
        };
        others != 0 && other.columns().iter().enumerate().all(came) && own.iter().zip(0..).all(shared)
    }

    /// Whether the image has all columns, and all columns except the key have the value that Debezium writes for an
    /// unknown value.
    fn is_key_only(&self) -> bool {
        let mut rest = self.table.columns().iter().zip(&self.cells).skip(1);
        rest.all(|(column, cell)| match cell {
            Cell::Null => column.nullable,
            Cell::Bool(value) => !value,
            Cell::Micros(micros) => *micros == 0,
            Cell::Text(text) => text.is_empty(),
            Cell::Uuid(id) => *id == Id::NIL,
            Cell::Missing | Cell::Unavailable | Cell::Json(_) => false,
        })
    }

    /// Returns the unknown columns with a value, and the names of the unknown columns without a value. Both lists are
    /// in the order of the names.
    fn unknown(&mut self) -> (Option<Box<str>>, Box<[Box<str>]>) {
        let mut extra = std::mem::take(&mut self.extra);
        let mut unavailable = std::mem::take(&mut self.unavailable);
        extra.sort_by(|a, b| a.0.cmp(&b.0));
        unavailable.sort();
        let has_value = |name: &str| extra.binary_search_by(|(extra, _)| (**extra).cmp(name)).is_ok();
        let mut pairs = extra.iter().zip(extra.iter().skip(1));
        let values = pairs.find(|(one, next)| one.0 == next.0).map(|(one, _)| &one.0);
        let mut pairs = unavailable.iter().zip(unavailable.iter().skip(1));
        let placeholders = || pairs.find(|(one, next)| one == next).map(|(one, _)| one);
        let twice = values.or_else(placeholders).or_else(|| unavailable.iter().find(|name| has_value(name)));
        if let Some(name) = twice {
            self.fault.get_or_insert(Fault::duplicate(name));
        }
        if !self.named.is_empty() {
            unavailable.extend(std::mem::take(&mut self.named).into_iter().filter(|name| !has_value(name)));
            unavailable.sort();
            unavailable.dedup();
        }
        (object(&extra), unavailable.into_boxed_slice())
    }
}

/// Returns the text of a JSON object, or `None` if there are no members.
pub(super) fn object<N: AsRef<str>, V: AsRef<str>>(members: &[(N, V)]) -> Option<Box<str>> {
    if members.is_empty() {
        return None;
    }
    let mut out = String::from("{");
    for (index, (name, json)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&serde_json::Value::from(name.as_ref()).to_string());
        out.push(':');
        out.push_str(json.as_ref());
    }
    out.push('}');
    Some(out.into_boxed_str())
}
