//! Interprets a Debezium message in any encoding.

use super::fault::Fault;
use super::headers::Headers;
use super::image::ImageBuilder;
use super::raw::Raw;
use super::said::{Fact, Stop};
use super::schema::SchemaMismatch;
use super::shape::{Shape, Top};
use crate::event::{Cell, Change, ChangeBody, Format, Id, Ignored, Op, Renamed, Row, Table, Wait};

/// The value of `source.connector` in records of Debezium's connector for PostgreSQL.
const POSTGRESQL: &str = "postgresql";

/// The image of a row in a message.
#[derive(Debug)]
pub(super) enum Image {
    Absent,
    Null,
    Row(ImageBuilder),
    /// The value is not an object. The text names the kind of the value.
    Not(&'static str),
}

/// What a message is: a change in one of the formats, or a record to ignore.
enum Form {
    Change(Op, Format),
    Ignore(Ignored),
}

/// The members of a message that nova uses, read but not yet interpreted.
#[derive(Debug)]
pub(super) struct Message {
    pub shape: Shape,
    pub top: Top,
    /// The letter in `op` or `__op`, or 0 if the text is not one letter. The operation is `None` if the member is
    /// absent or null.
    pub op: Option<u8>,
    pub image: Image,
    /// The value of `__deleted`.
    pub deleted: Option<bool>,
    /// The id of the schema of an Avro value, and, if rows of this schema do not fit the table, the reason.
    pub schema: Option<(u32, Option<Box<SchemaMismatch>>)>,
    lsn: Option<u64>,
    ts_us: Option<i64>,
    ts_ms: Option<i64>,
    /// The table that the record names, if it is one of the tables that nova reads.
    table: Option<Table>,
    /// Whether the connector that wrote the record is a connector for a database other than PostgreSQL.
    foreign: bool,
    /// Whether `source.snapshot` is `incremental`.
    incremental: bool,
    /// Whether `source.snapshot` is `last`, so that no other read of the snapshot follows this read.
    last: bool,
    fault: Option<Fault>,
}

impl Message {
    pub fn new(shape: Shape) -> Message {
        Message {
            shape,
            top: Top::default(),
            op: None,
            image: Image::Absent,
            deleted: None,
            schema: None,
            lsn: None,
            ts_us: None,
            ts_ms: None,
            table: None,
            foreign: false,
            incremental: false,
            last: false,
            fault: None,
        }
    }

    /// Returns the true shape of the message, if the first member of the message misled the reader.
    pub fn conflict(&self) -> Option<Shape> {
        let row = matches!(&self.image, Image::Row(image) if image.has_columns());
        let shape = match self.top {
            top if top.is_envelope() => Shape::Envelope,
            top if top.is_wrapper() => Shape::Wrapped,
            top if top.id || self.shape == Shape::Flat && row => Shape::Flat,
            top if top.op => Shape::Envelope,
            top if top.payload => Shape::Wrapped,
            _ => self.shape,
        };
        (shape != self.shape).then_some(shape)
    }

    /// Returns an error if the reader has already found a fault in the message.
    pub fn sound(&mut self) -> Result<(), Fault> {
        self.fault.take().map_or(Ok(()), Err)
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

    /// Reads one member of the object `source` of a message.
    pub fn set_source(&mut self, name: &str, raw: Raw<'_>) {
        match name {
            "lsn" => self.set_lsn("source.lsn", raw),
            "ts_us" => self.set_ts_us("source.ts_us", raw),
            "ts_ms" => self.set_ts_ms("source.ts_ms", raw),
            "table" => self.set_table(&raw),
            "snapshot" => self.set_snapshot(&raw),
            "connector" => self.set_connector(&raw),
            _ => {}
        }
    }

    /// Reads one member of a flattened row. The name of the member begins with two underscores. Members that nova does
    /// not use are dropped.
    pub fn set_meta(&mut self, name: &str, raw: Raw<'_>) {
        match name {
            "__deleted" => self.set_deleted(raw),
            "__op" => self.set_op("__op", raw),
            "__lsn" | "__source_lsn" => self.set_lsn(name, raw),
            "__source_ts_us" => self.set_ts_us(name, raw),
            "__source_ts_ms" => self.set_ts_ms(name, raw),
            "__table" | "__source_table" => self.set_table(&raw),
            "__snapshot" | "__source_snapshot" => self.set_snapshot(&raw),
            "__connector" | "__source_connector" => self.set_connector(&raw),
            _ => {}
        }
    }

    fn set_table(&mut self, raw: &Raw<'_>) {
        if let Raw::Text(name) = raw {
            self.table = Table::from_name(name);
        }
    }

    fn set_connector(&mut self, raw: &Raw<'_>) {
        self.foreign = matches!(raw, Raw::Text(name) if name != POSTGRESQL);
    }

    fn set_snapshot(&mut self, raw: &Raw<'_>) {
        if let Raw::Text(kind) = raw {
            (self.incremental, self.last) = (kind == "incremental", kind == "last");
        }
    }

    fn set_deleted(&mut self, raw: Raw<'_>) {
        let deleted = match raw {
            Raw::Bool(deleted) => deleted,
            Raw::Text(text) if text == "true" => true,
            Raw::Text(text) if text == "false" => false,
            raw => return self.fail(Fault::wrong_type("__deleted", "true or false, or the text of one", &raw)),
        };
        if self.deleted.replace(deleted).is_some_and(|before| before != deleted) {
            self.fail(Fault::duplicate("__deleted"));
        }
    }

    /// Sets the LSN. Two members of a flattened record may have the LSN, and both must have the same value.
    fn set_lsn(&mut self, name: &str, raw: Raw<'_>) {
        match raw {
            Raw::Null => {}
            Raw::Int(lsn) if lsn >= 0 => {
                let lsn = lsn.unsigned_abs();
                if self.lsn.replace(lsn).is_some_and(|before| before != lsn) {
                    self.fail(Fault::duplicate(name));
                }
            }
            raw => self.fail(Fault::wrong_type(name, "a log sequence number, an integer from 0 to 2^63 - 1", &raw)),
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

    /// Returns the change that the message describes, or the reason to ignore the message. `key` reads the Kafka key,
    /// and is called only if the message needs a key.
    pub fn interpret(
        mut self,
        table: Table,
        headers: &Headers,
        key: impl FnOnce(bool) -> Result<Id, Stop>,
    ) -> Result<Fact, Stop> {
        let (op, format) = match self.form()? {
            Form::Change(op, format) => (op, format),
            Form::Ignore(kind) => return Ok(Fact::Ignore(kind)),
        };
        self.same_table(table)?;
        let source_ts_us = self.source_ts_us()?;
        // Debezium gives a read of an incremental snapshot no LSN, or the LSN of another record
        // (debezium/debezium#3765).
        let lsn = self.lsn.filter(|_| !(self.incremental && op == Op::Read));
        let ends_snapshot = self.last && op == Op::Read;
        let change = |key, body| {
            let renamed = match &body {
                ChangeBody::Upsert(_) => headers.old_key.map(Renamed::From),
                ChangeBody::Delete => headers.new_key.map(Renamed::To),
                ChangeBody::Tombstone | ChangeBody::Truncate => None,
            };
            let renamed = renamed.map(Box::new);
            Fact::Change(Change { table, key, op, format, lsn, source_ts_us, renamed, ends_snapshot, body })
        };
        match op {
            Op::Truncate => Ok(change(Id::NIL, ChangeBody::Truncate)),
            // Whether a delete has the whole old row depends on the table's replica identity, so nova never reads the
            // image of a delete.
            Op::Delete => Ok(change(key(true)?, ChangeBody::Delete)),
            Op::Read | Op::Create | Op::Update | Op::Unknown => {
                let row = self.row(table, headers)?;
                let key = key(false)?;
                same_key(&row, key)?;
                Ok(change(key, ChangeBody::Upsert(row)))
            }
        }
    }

    fn form(&mut self) -> Result<Form, Fault> {
        let is_envelope = self.shape != Shape::Flat;
        let is_message = is_envelope && self.op == Some(b'm');
        if is_envelope && !is_message && !self.top.is_envelope() {
            return match self.top.is_heartbeat() {
                true => Ok(Form::Ignore(Ignored::Heartbeat)),
                false => Err(Fault::new("unrecognised-shape", "neither a Debezium envelope nor a row")),
            };
        }
        self.sound()?;
        match &self.image {
            _ if is_message => Ok(Form::Ignore(Ignored::Message)),
            _ if is_envelope => Ok(Form::Change(operation(self.op)?, Format::Envelope)),
            Image::Row(image) if image.is_transaction_marker() => Ok(Form::Ignore(Ignored::TransactionMarker)),
            _ => self.flat().map(|(op, format)| Form::Change(op, format)),
        }
    }

    fn same_table(&self, table: Table) -> Result<(), Fault> {
        if self.foreign {
            let detail = "`source.connector` is not `postgresql`: nova follows PostgreSQL, and the columns, times and positions \
                          of another database mean something else. Take its connector off the topics that nova reads";
            return Err(Fault::new("other-connector", detail));
        }
        match self.table {
            Some(other) if other != table => Err(Fault::other_table(other, table, "says that it is")),
            _ => Ok(()),
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

    fn row(&mut self, table: Table, headers: &Headers) -> Result<Row, Stop> {
        let (schema, mismatch) = match self.schema.take() {
            Some((id, mismatch)) => (Some(id), mismatch),
            None => (None, None),
        };
        let read = match std::mem::replace(&mut self.image, Image::Absent) {
            Image::Row(mut image) => {
                image.left_out(headers);
                image.finish()
            }
            Image::Absent | Image::Null => {
                Err(Fault::new("missing-after", "an insert, update or read needs `after`, and it is null or absent"))
            }
            Image::Not(kind) => Err(Fault::new("wrong-type", format!("`after`: expected an object, got {kind}"))),
        };
        match (read, mismatch, schema) {
            // A record whose value is not a row becomes a dead letter and does not wait, because a correct schema would
            // not make it a row.
            (Err(fault), Some(_), _) if fault.reason == "unrecognised-shape" => Err(fault.into()),
            (_, Some(mismatch), _) => Err(waits(&mismatch)),
            (Err(fault), None, _) => Err(fault.into()),
            (Ok((row, missing)), None, _) if missing.is_empty() => Ok(row),
            (Ok((_, missing)), None, Some(id)) => Err(waits(&SchemaMismatch::missing(id, table, &missing))),
            (Ok((_, missing)), None, None) => Err(lacks(table, &missing).into()),
        }
    }
}

/// The reason for which a record waits if its schema does not fit the table. A dead letter has this reason if its
/// record has no schema and lacks a column.
pub(crate) const SCHEMA_MISMATCH: &str = "schema-mismatch";

fn waits(mismatch: &SchemaMismatch) -> Stop {
    Stop::Wait(Wait { reason: SCHEMA_MISMATCH, detail: mismatch.to_string() })
}

pub(super) fn lacks(table: Table, missing: &[&str]) -> Fault {
    let detail = format!(
        "SchemaMismatch: the row has no {table}.{}, which takes no null. Give the column its name back at the source, or set \
         drop.fields.header.name where a transform leaves columns out. Then have the rows sent again: \
         UPDATE {table} SET id = id WHERE …",
        missing.join(", ")
    );
    Fault::new(SCHEMA_MISMATCH, detail)
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

/// Checks that the row's own `id` is the same as the id in the Kafka key. A connector whose setting
/// `message.key.columns` names a column other than `id` would mix up rows.
fn same_key(row: &Row, key: Id) -> Result<(), Fault> {
    match row.cells.first() {
        Some(Cell::Uuid(id)) if *id != key => {
            Err(Fault::new("key-mismatch", format!("the Kafka key says id {key}, the row {id}")))
        }
        _ => Ok(()),
    }
}
