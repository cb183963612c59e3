//! Collects the columns of one row image, in whatever order and encoding they come.

use super::values::{self, Fault, Placeholder, Raw};
use crate::event::{Cell, DROPPED_COLUMNS, Row, Table};

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
    fault: Option<Fault>,
}

impl ImageBuilder {
    pub fn new(table: Table) -> ImageBuilder {
        let cells = vec![Cell::Missing; table.columns().len()].into_boxed_slice();
        ImageBuilder { table, cells, next: 0, seen: 0, extra: Vec::new(), fault: None }
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
        if DROPPED_COLUMNS.iter().any(|dropped| dropped.eq_ignore_ascii_case(name)) {
            Slot::Dropped
        } else {
            Slot::Extra
        }
    }

    pub fn set(&mut self, index: usize, raw: Raw<'_>, placeholder: &Placeholder) {
        let column = &self.table.columns()[index];
        if self.seen & 1 << index != 0 {
            return self.fail(Fault::duplicate(column.name));
        }
        self.seen |= 1 << index;
        match values::cell(column, raw, placeholder) {
            Ok(cell) => self.cells[index] = cell,
            Err(fault) => self.fail(fault),
        }
    }

    /// `json` is the text of one JSON value.
    pub fn extra(&mut self, name: &str, json: &str) {
        self.extra.push((name.into(), json.into()));
    }

    pub fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    pub fn has_columns(&self) -> bool {
        self.seen != 0
    }

    pub fn has_extra(&self, name: &str) -> bool {
        self.extra.iter().any(|(extra, _)| **extra == *name)
    }

    /// The shape of Debezium's transaction markers; their `id` is no UUID.
    pub fn is_transaction_marker(&self) -> bool {
        self.fault.is_some() && self.has_extra("event_count") && self.has_extra("data_collections")
    }

    pub fn finish(mut self) -> Result<Row, Fault> {
        let extra = self.extra_json();
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(Row { cells: self.cells, extra, extra_unavailable: Box::default() }),
        }
    }

    fn extra_json(&mut self) -> Option<Box<str>> {
        if self.extra.is_empty() {
            return None;
        }
        let mut extra = std::mem::take(&mut self.extra);
        extra.sort_by(|a, b| a.0.cmp(&b.0));
        let mut out = String::from("{");
        for (index, (name, json)) in extra.iter().enumerate() {
            if index > 0 {
                if extra[index - 1].0 == *name {
                    self.fail(Fault::duplicate(name));
                }
                out.push(',');
            }
            out.push_str(&serde_json::Value::from(&**name).to_string());
            out.push(':');
            out.push_str(json);
        }
        out.push('}');
        Some(out.into_boxed_str())
    }
}
