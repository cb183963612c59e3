//! Writes committed rows as the connector does.

use bytes::Bytes;
use nova::clock::rfc3339;
use nova::decode::DEFAULT_PLACEHOLDER;
use nova::event::{Cell, Column, ColumnType, Id, Table};
use serde_json::{Map, Value, json};

use super::log::{Committed, What};
use super::{LeftOut, Op, Product, Row, Style};

/// The length above which a text is stored out of line (TOAST). An update does not repeat a text that is stored out of
/// line and that the update leaves unchanged.
const OUT_OF_LINE_BYTES: usize = 24;
pub(super) const SECRET: &str = "s3cret-hash";
/// The column `lang`, which nova does not know.
const UNKNOWN: Column = Column { name: "lang", kind: ColumnType::Text, nullable: true };

/// The key of a Kafka record: the primary key, and a second column if `message.key.columns` names a second column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub id: Id,
    pub by: Option<(&'static str, Id)>,
}

pub type Headers = Vec<(Box<str>, Bytes)>;

/// One message of the connector, for the topic of its table.
#[derive(Clone, Debug)]
pub struct Message {
    pub table: Table,
    /// The key of the message, or `None` for a truncate.
    pub key: Option<Key>,
    pub value: Option<String>,
    pub headers: Headers,
}

/// The metadata that a message has in addition to the row.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub table: Table,
    pub op: &'static str,
    /// The LSN of the change, or `None` for a read of an incremental snapshot.
    pub lsn: Option<u64>,
    pub us: i64,
}

pub(super) fn columns(table: Table) -> impl Iterator<Item = &'static Column> {
    table.columns().iter().chain([&UNKNOWN])
}

impl Product {
    /// Returns the Kafka key of a row.
    pub(super) fn key(&self, table: Table, id: Id, row: &Row) -> Key {
        let column = match table {
            Table::Users => None,
            Table::Posts | Table::Follows | Table::Likes => Some(1),
            Table::Comments => Some(2),
        };
        let by = |column: usize| match row[column] {
            Cell::Uuid(id) => Some((table.columns()[column].name, id)),
            _ => None,
        };
        Key { id, by: column.filter(|_| self.kinds.moving).and_then(by) }
    }

    pub(super) fn write(&self, committed: &Committed, out: &mut Vec<Message>) {
        let us = committed.us;
        let op = match &committed.what {
            What::Row(op) => op,
            What::Truncate { table, lsn } => return out.push(self.truncate_message(*table, *lsn, us)),
        };
        let key = |id: Id, row: &Option<Row>| row.as_ref().map(|row| self.key(op.table, id, row));
        let (old, new) = (key(op.key, &op.before), key(op.key, &op.after));
        let moved = old.is_some() && new.is_some() && old != new;
        if let Some(old) = old.filter(|_| moved || new.is_none()) {
            let newer = op.renamed.and_then(|id| key(id, &op.before)).or(new);
            self.write_delete(op, old, newer, us, out);
        }
        let (Some(key_now), Some(row)) = (new, &op.after) else { return };
        let mut headers = Headers::new();
        if let Some(older) = op.renamed.and_then(|id| key(id, &op.base)).or(old.filter(|_| moved)) {
            headers.push(("__debezium.oldkey".into(), key_json(older).into()));
        }
        let letter = if op.before.is_some() && !moved { "u" } else { "c" };
        let mut image = self.image(op.table, row, op.base.as_ref());
        if !moved && op.left_out != LeftOut::Nothing {
            leave_out(op, row, &mut image, &mut headers);
        }
        let value = self.value(image, Source { table: op.table, op: letter, lsn: Some(op.lsn), us }, "false");
        out.push(Message { table: op.table, key: Some(key_now), value: Some(value), headers });
    }

    /// Writes the messages of a delete. If the delete is a part of a change of the key, `newer` is the row's new key.
    fn write_delete(&self, op: &Op, key: Key, newer: Option<Key>, us: i64, out: &mut Vec<Message>) {
        let header = |newer: Key| ("__debezium.newkey".into(), key_json(newer).into());
        let headers: Headers = newer.map(header).into_iter().collect();
        let source = Source { table: op.table, op: "d", lsn: Some(op.lsn), us };
        if let Some(value) = self.delete_value(key.id, source) {
            out.push(Message { table: op.table, key: Some(key), value: Some(value), headers: headers.clone() });
        }
        if self.tombstones || matches!(self.style, Style::Tombstone | Style::Bare) {
            out.push(Message { table: op.table, key: Some(key), value: None, headers });
        }
    }

    pub(super) fn read_message(&self, table: Table, id: Id, row: &Row, lsn: Option<u64>, us: i64) -> Message {
        let value = self.value(self.image(table, row, None), Source { table, op: "r", lsn, us }, "false");
        Message { table, key: Some(self.key(table, id, row)), value: Some(value), headers: Headers::new() }
    }

    fn truncate_message(&self, table: Table, lsn: u64, us: i64) -> Message {
        let source = json!({"lsn": lsn, "ts_us": us, "table": table.name()});
        let value = json!({"before": null, "after": null, "source": source, "op": "t"}).to_string();
        Message { table, key: None, value: Some(value), headers: Headers::new() }
    }

    /// Returns the row as the connector writes it, without unchanged values that are stored out of line.
    pub(super) fn image(&self, table: Table, row: &Row, base: Option<&Row>) -> Map<String, Value> {
        let mut image = Map::new();
        for (index, (column, cell)) in columns(table).zip(row).enumerate() {
            let same = base.is_some_and(|base| base[index] == *cell);
            let value = match cell {
                Cell::Text(text) | Cell::Json(text) if same && text.len() > OUT_OF_LINE_BYTES => {
                    json!(DEFAULT_PLACEHOLDER)
                }
                cell => wire(column.kind, cell),
            };
            image.insert(column.name.to_owned(), value);
        }
        if table == Table::Users {
            image.insert("password_hash".to_owned(), json!(SECRET));
        }
        image
    }

    pub(super) fn value(&self, mut image: Map<String, Value>, source: Source, deleted: &str) -> String {
        let Source { table, op, lsn, us } = source;
        // nova accepts a row if its record has the name of a partition instead of the table's name, or a name that a
        // transform gave.
        let name = if self.kinds.strangers && us % 5 == 0 { format!("{table}_p5") } else { table.name().to_owned() };
        if self.style == Style::Envelope {
            let snapshot = match (op, lsn) {
                ("r", None) => "incremental",
                ("r", _) => "true",
                _ => "false",
            };
            let source = json!({"lsn": lsn, "ts_us": us, "snapshot": snapshot, "table": name});
            return json!({"before": null, "after": image, "source": source, "op": op, "ts_ms": us / 1_000})
                .to_string();
        }
        if self.style != Style::Bare {
            image.extend([
                ("__op".to_owned(), json!(op)),
                ("__lsn".to_owned(), json!(lsn)),
                ("__source_ts_us".to_owned(), json!(us)),
                ("__table".to_owned(), json!(name)),
            ]);
        }
        if self.style == Style::Rewrite {
            image.insert("__deleted".to_owned(), json!(deleted));
        }
        Value::Object(image).to_string()
    }

    /// Returns the value of a delete, for the format in which deletes have a value: the key, and placeholders for all
    /// other columns.
    pub(super) fn delete_value(&self, id: Id, source: Source) -> Option<String> {
        let mut image = Map::new();
        for column in source.table.columns() {
            let value = match column.kind {
                _ if column.name == "id" => json!(id.to_string()),
                _ if column.nullable => Value::Null,
                ColumnType::Timestamp => json!(0),
                ColumnType::Bool => json!(false),
                _ => json!(""),
            };
            image.insert(column.name.to_owned(), value);
        }
        match self.style {
            Style::Envelope => {
                let stands = json!({"lsn": source.lsn, "ts_us": source.us, "table": source.table.name()});
                Some(json!({"before": image, "after": null, "source": stands, "op": "d"}).to_string())
            }
            Style::Rewrite => Some(self.value(image, source, "true")),
            Style::Tombstone | Style::Bare => None,
        }
    }
}

/// Removes unchanged columns from the row, as ExtractChangedRecordState does with `drop.fields.header.name`.
fn leave_out(op: &Op, row: &Row, image: &mut Map<String, Value>, headers: &mut Headers) {
    let Some(base) = &op.base else { return };
    let mut names = Vec::new();
    for (index, (column, cell)) in columns(op.table).zip(row).enumerate().skip(1) {
        if base[index] == *cell && (op.left_out == LeftOut::Named || column.nullable) {
            image.remove(column.name);
            names.push(column.name);
        }
    }
    if op.left_out == LeftOut::Named {
        headers.push(("Unchanged".into(), json!(names).to_string().into()));
    }
}

pub fn key_json(key: Key) -> Vec<u8> {
    let mut object = Map::new();
    object.insert("id".to_owned(), json!(key.id.to_string()));
    if let Some((name, id)) = key.by {
        object.insert(name.to_owned(), json!(id.to_string()));
    }
    Value::Object(object).to_string().into_bytes()
}

fn wire(kind: ColumnType, cell: &Cell) -> Value {
    match (kind, cell) {
        (_, Cell::Bool(value)) => json!(value),
        (_, Cell::Uuid(id)) => json!(id.to_string()),
        (ColumnType::TimestampTz, Cell::Micros(micros)) => json!(rfc3339(*micros)),
        (_, Cell::Micros(micros)) => json!(micros),
        (_, Cell::Text(text) | Cell::Json(text)) => json!(&**text),
        _ => Value::Null,
    }
}
