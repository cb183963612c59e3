//! Collects the columns of one row image, in whatever order and encoding they come.

use std::sync::Arc;

use super::fault::Fault;
use super::headers::Headers;
use super::kept::KeepUnknown;
use super::placeholder::Placeholders;
use super::raw::Raw;
use super::units::Unit;
use super::{private, values};
use crate::event::{Cell, Column, Id, Row, Table};

/// Where a column of the wire belongs.
pub(super) enum Slot {
    /// Index into [`Table::columns`].
    Column(usize),
    /// Never kept, whatever it holds.
    Dropped,
    Extra,
}

/// A row while it is read. The first fault is kept and reading goes on, because the image of a delete is no row and
/// its faults do not count.
#[derive(Debug)]
pub(super) struct ImageBuilder {
    table: Table,
    cells: Box<[Cell]>,
    /// The column that the next name most likely is: Debezium keeps the table's order.
    next: usize,
    /// Bit per column that was set.
    seen: u32,
    extra: Vec<(Box<str>, Box<str>)>,
    /// Unknown columns that hold the placeholder.
    unavailable: Vec<Box<str>>,
    /// Unknown columns that a header names, some of which the image may have.
    named: Vec<Box<str>>,
    keep: Arc<KeepUnknown>,
    /// By table: bit per column that came as an unknown one of this table.
    others: [u32; Table::ALL.len()],
    /// Bit per member of [`MARKER`] that came.
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
            if columns[index].name == name {
                self.next = index + 1;
                return Slot::Column(index);
            }
        }
        if private::column(name).is_some() { Slot::Dropped } else { Slot::Extra }
    }

    pub fn set(&mut self, index: usize, raw: Raw<'_>, unit: Unit, placeholders: &Placeholders) {
        let column = &self.table.columns()[index];
        if self.seen & 1 << index != 0 {
            return self.fail(Fault::duplicate(column.name));
        }
        self.seen |= 1 << index;
        match values::cell(column, raw, unit, placeholders) {
            Ok(cell) => self.cells[index] = cell,
            Err(fault) => self.fail(fault),
        }
    }

    /// A column that the table's list does not name; `json` is the text of one JSON value.
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

    /// The shape of Debezium's transaction markers; their `id` is no UUID.
    pub fn is_transaction_marker(&self) -> bool {
        self.fault.is_some() && self.marker == 0b11
    }

    /// Takes what the headers say of columns that are left out: a list that names one says that it did not change.
    pub fn left_out(&mut self, headers: &Headers) {
        for name in &headers.named {
            match self.slot(name) {
                Slot::Column(index) if self.seen & 1 << index == 0 => {
                    self.seen |= 1 << index;
                    self.cells[index] = Cell::Unavailable;
                }
                Slot::Extra if self.keep.keeps(self.table, name) => self.named.push(name.clone()),
                Slot::Column(_) | Slot::Dropped | Slot::Extra => {}
            }
        }
    }

    /// The row, with the columns that it lacks although they do not take null.
    pub fn finish(mut self) -> Result<(Row, Vec<&'static str>), Fault> {
        let (extra, extra_unavailable) = self.unknown();
        let id_alone = self.seen & !1 == 0;
        match self.fault {
            // Any object may have an `id`; its value tells nothing of a row then.
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

    /// Whether it is a row of another table: all of its columns are here, some that this table does not have, and none that
    /// only this table has.
    fn is_whole_as(&self, other: Table) -> bool {
        let own = self.table.columns();
        let came = |(index, column): (usize, &Column)| {
            let unknown = self.others[other as usize] & 1 << index != 0;
            unknown || own.iter().zip(0..).any(|(one, bit)| one.name == column.name && self.seen & 1 << bit != 0)
        };
        let shared = |(one, bit): (&Column, u32)| {
            self.seen & 1 << bit == 0 || other.columns().iter().any(|column| column.name == one.name)
        };
        self.others[other as usize] != 0
            && other.columns().iter().enumerate().all(came)
            && own.iter().zip(0..).all(shared)
    }

    /// Whether all columns came, and all but the key as what Debezium fills a column with that it does not know.
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

    /// Both kinds of unknown columns, each in the order of their names.
    fn unknown(&mut self) -> (Option<Box<str>>, Box<[Box<str>]>) {
        let mut extra = std::mem::take(&mut self.extra);
        let mut unavailable = std::mem::take(&mut self.unavailable);
        extra.sort_by(|a, b| a.0.cmp(&b.0));
        unavailable.sort();
        let has_value = |name: &str| extra.binary_search_by(|(extra, _)| (**extra).cmp(name)).is_ok();
        let values = extra.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| &pair[0].0);
        let placeholders = || unavailable.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| &pair[0]);
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

/// The text of a JSON object; `None` without members.
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
