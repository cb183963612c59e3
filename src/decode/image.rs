//! Collects the columns of one row image, in whatever order and encoding they come.

use std::sync::Arc;

use super::kept::KeepUnknown;
use super::placeholder::Placeholders;
use super::units::Unit;
use super::values::{self, Fault, Raw};
use super::{headers::Headers, private};
use crate::event::{Cell, Row, Table};

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
        let columns = self.table.columns().iter().enumerate();
        let missing = columns.filter(|(index, column)| self.seen & 1 << index == 0 && !column.nullable);
        let missing = missing.map(|(_, column)| column.name).collect();
        Ok((Row { cells: self.cells, extra, extra_unavailable }, missing))
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
