//! What a Debezium message asks for, whichever encoding it came in.

use super::image::ImageBuilder;
use super::values::{Fault, Raw};
use super::{Fact, Stop};
use crate::event::{Cell, Change, ChangeBody, Format, Id, Ignored, Op, Row, Table};

/// How the columns are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `before`, `after`, `source`, `op`.
    Envelope,
    /// The columns themselves (ExtractNewRecordState), metadata as `__*`.
    Flat,
    /// `{"schema": …, "payload": …}` around one of the others.
    Wrapped,
}

impl Shape {
    /// What the first member of a message says; a conflict shows later, see [`Message::conflict`].
    pub fn of_first(name: &str) -> Shape {
        match name {
            "before" | "after" | "source" | "op" | "transaction" | "ts_ms" | "ts_us" | "ts_ns" => Shape::Envelope,
            "schema" | "payload" => Shape::Wrapped,
            _ => Shape::Flat,
        }
    }
}

/// A row image on the wire.
#[derive(Debug)]
pub(super) enum Image {
    Absent,
    Null,
    Row(ImageBuilder),
    /// Something else than an object, by its kind.
    Not(&'static str),
}

/// The members that matter, read but not yet judged.
#[derive(Debug)]
pub(super) struct Message {
    pub shape: Shape,
    /// `op` or `__op`: the letter, or 0 for a string that is none; `None` where it is absent or null.
    pub op: Option<u8>,
    pub image: Image,
    /// `__deleted`.
    pub deleted: Option<bool>,
    lsn: Option<u64>,
    ts_us: Option<i64>,
    ts_ms: Option<i64>,
    /// A top-level `id`: no envelope has one, every flattened row does.
    pub top_id: bool,
    /// `source` or `op` was there: a heartbeat has neither.
    pub change: bool,
    /// A top-level `ts_ms`: all that a heartbeat has.
    pub heartbeat: bool,
    fault: Option<Fault>,
}

impl Message {
    pub fn new(shape: Shape) -> Message {
        Message {
            shape,
            op: None,
            image: Image::Absent,
            deleted: None,
            lsn: None,
            ts_us: None,
            ts_ms: None,
            top_id: false,
            change: false,
            heartbeat: false,
            fault: None,
        }
    }

    /// The shape that the message has after all, where its first member misled.
    pub fn conflict(&self) -> Option<Shape> {
        match (self.shape, &self.image) {
            (Shape::Envelope | Shape::Wrapped, _) if self.top_id => Some(Shape::Flat),
            (Shape::Flat, Image::Row(image)) if !image.has_columns() && image.has_extra("op") => Some(Shape::Envelope),
            (Shape::Flat, Image::Row(image)) if !image.has_columns() && image.has_extra("payload") => {
                Some(Shape::Wrapped)
            }
            _ => None,
        }
    }

    pub fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    pub fn set_op(&mut self, name: &str, raw: Raw<'_>) {
        if self.op.is_some() {
            return self.fail(Fault::duplicate(name));
        }
        match raw {
            Raw::Null => {}
            Raw::Text(text) => self.op = Some(if let [letter] = *text.as_bytes() { letter } else { 0 }),
            raw => self.fail(Fault::wrong_type(name, "an operation letter as string", &raw)),
        }
    }

    /// One member of `source`.
    pub fn set_source(&mut self, name: &str, raw: Raw<'_>) {
        match name {
            "lsn" => self.set_lsn("source.lsn", raw),
            "ts_us" => self.set_ts_us("source.ts_us", raw),
            "ts_ms" => self.set_ts_ms("source.ts_ms", raw),
            _ => {}
        }
    }

    /// One `__*` member of a flattened row; the names that nova has no use for are dropped.
    pub fn set_meta(&mut self, name: &str, raw: Raw<'_>) {
        match name {
            "__deleted" => self.set_deleted(raw),
            "__op" => self.set_op("__op", raw),
            "__lsn" | "__source_lsn" => self.set_lsn(name, raw),
            "__source_ts_us" => self.set_ts_us(name, raw),
            "__source_ts_ms" => self.set_ts_ms(name, raw),
            _ => {}
        }
    }

    fn set_deleted(&mut self, raw: Raw<'_>) {
        self.deleted = match raw {
            Raw::Bool(deleted) => Some(deleted),
            Raw::Text(text) if text == "true" => Some(true),
            Raw::Text(text) if text == "false" => Some(false),
            raw => return self.fail(Fault::wrong_type("__deleted", "true or false", &raw)),
        };
    }

    fn set_lsn(&mut self, name: &str, raw: Raw<'_>) {
        match raw {
            Raw::Null => {}
            Raw::Int(lsn) if lsn >= 0 => self.lsn = Some(lsn.unsigned_abs()),
            raw => self.fail(Fault::wrong_type(name, "a log sequence number as integer", &raw)),
        }
    }

    fn set_ts_us(&mut self, name: &str, raw: Raw<'_>) {
        match raw {
            Raw::Null => {}
            Raw::Int(micros) => self.ts_us = Some(micros),
            raw => self.fail(Fault::wrong_type(name, "epoch microseconds as integer", &raw)),
        }
    }

    fn set_ts_ms(&mut self, name: &str, raw: Raw<'_>) {
        match raw {
            Raw::Null => {}
            Raw::Int(millis) => self.ts_ms = Some(millis),
            raw => self.fail(Fault::wrong_type(name, "epoch milliseconds as integer", &raw)),
        }
    }

    /// What the message asks for. `key` reads the Kafka key, and is called only when the message needs one.
    pub fn interpret(mut self, table: Table, key: impl FnOnce() -> Result<Id, Stop>) -> Result<Fact, Stop> {
        if let Some(fault) = self.fault.take() {
            return Err(fault.into());
        }
        let (op, format) = match self.shape {
            Shape::Flat if matches!(&self.image, Image::Row(image) if image.is_transaction_marker()) => {
                return Ok(Fact::Ignore(Ignored::TransactionMarker));
            }
            Shape::Flat => self.flat()?,
            Shape::Envelope | Shape::Wrapped if !self.change => {
                // `{"ts_ms": …}` and nothing else.
                return match self.heartbeat {
                    true => Ok(Fact::Ignore(Ignored::Heartbeat)),
                    false => Err(Fault::new("unrecognised-shape", "neither a Debezium envelope nor a row").into()),
                };
            }
            Shape::Envelope | Shape::Wrapped => match self.op {
                Some(b'm') => return Ok(Fact::Ignore(Ignored::Message)),
                letter => (operation(letter)?, Format::Envelope),
            },
        };
        let source_ts_us = self.source_ts_us()?;
        let lsn = self.lsn;
        let (renamed_from, renamed_to) = (None, None);
        let change = |key, body| {
            Fact::Change(Change { table, key, op, format, lsn, source_ts_us, renamed_from, renamed_to, body })
        };
        match op {
            Op::Truncate => Ok(change(Id::NIL, ChangeBody::Truncate)),
            // The image of a delete is not the old row: it is not looked at, with any replica identity.
            Op::Delete => Ok(change(key()?, ChangeBody::Delete)),
            Op::Read | Op::Create | Op::Update | Op::Unknown => {
                let row = self.row()?;
                let key = key()?;
                same_key(&row, key)?;
                Ok(change(key, ChangeBody::Upsert(row)))
            }
        }
    }

    fn flat(&self) -> Result<(Op, Format), Fault> {
        let format = if self.deleted.is_some() { Format::FlatRewrite } else { Format::FlatTombstone };
        let op = match self.op {
            None => Op::Unknown,
            letter => operation(letter)?,
        };
        match (self.deleted, op) {
            (Some(true), _) => Ok((Op::Delete, format)),
            (_, op) => Ok((op, format)),
        }
    }

    fn source_ts_us(&self) -> Result<Option<i64>, Fault> {
        match (self.ts_us, self.ts_ms) {
            (Some(micros), _) => Ok(Some(micros)),
            (None, Some(millis)) => match millis.checked_mul(1_000) {
                Some(micros) => Ok(Some(micros)),
                None => Err(Fault::invalid("ts_ms", "milliseconds beyond what fits")),
            },
            (None, None) => Ok(None),
        }
    }

    fn row(&mut self) -> Result<Row, Fault> {
        match std::mem::replace(&mut self.image, Image::Absent) {
            Image::Row(image) if !image.has_columns() => Err(Fault::new(
                "unrecognised-shape",
                "no member is a column of the table: neither a Debezium envelope nor a row",
            )),
            Image::Row(image) => image.finish(),
            Image::Absent | Image::Null => {
                Err(Fault::new("missing-after", "an insert, update or read needs `after`, and it is null or absent"))
            }
            Image::Not(kind) => Err(Fault::new("wrong-type", format!("`after`: expected an object, got {kind}"))),
        }
    }
}

fn operation(letter: Option<u8>) -> Result<Op, Fault> {
    match letter {
        Some(b'c') => Ok(Op::Create),
        Some(b'u') => Ok(Op::Update),
        Some(b'r') => Ok(Op::Read),
        Some(b'd') => Ok(Op::Delete),
        Some(b't') => Ok(Op::Truncate),
        _ => Err(Fault::new("unknown-operation", "`op` is not one of c, u, r, d, t, m")),
    }
}

/// The row's own `id` must be the key's: a connector with other `message.key.columns` would mix up rows.
fn same_key(row: &Row, key: Id) -> Result<(), Fault> {
    match row.cells.first() {
        Some(Cell::Uuid(id)) if *id != key => {
            Err(Fault::new("key-mismatch", format!("the Kafka key says id {key}, the row {id}")))
        }
        _ => Ok(()),
    }
}
