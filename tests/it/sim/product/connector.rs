//! The connector: how what the product commits is written, and what comes besides.

use nova::clock::rfc3339;
use nova::decode::DEFAULT_PLACEHOLDER;
use nova::event::{Cell, ColumnType, Id, Table};
use serde_json::{Map, Value, json};

use super::{Message, Op, Product, Row, Style, Upset};
use crate::support::events::Rng;

/// A text longer than this is stored out of line: an update that leaves it alone does not repeat it.
const OUT_OF_LINE_BYTES: usize = 24;
const SECRET: &str = "s3cret-hash";

impl Product {
    pub(super) fn write(&mut self, op: Op, out: &mut Vec<Message>) {
        let Op { table, key, before, after, lsn, .. } = op;
        match &after {
            Some(row) => {
                let letter = if before.is_some() { "u" } else { "c" };
                let image = self.image(table, row, before.as_ref());
                out.push(Message {
                    table,
                    key: Some(key),
                    value: Some(self.upsert(image, letter, lsn, self.commit_us)),
                });
            }
            None => {
                if let Some(value) = self.delete(table, key, lsn) {
                    out.push(Message { table, key: Some(key), value: Some(value) });
                }
                if self.tombstones || matches!(self.style, Style::Tombstone | Style::Bare) {
                    out.push(Message { table, key: Some(key), value: None });
                }
            }
        }
    }

    /// The row as the connector writes it: what is out of line and did not change is not repeated.
    fn image(&self, table: Table, row: &Row, before: Option<&Row>) -> Map<String, Value> {
        let mut image = Map::new();
        for (index, (column, cell)) in table.columns().iter().zip(row).enumerate() {
            let same = before.is_some_and(|before| before[index] == *cell);
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
        if self.unknown_column {
            image.insert("lang".to_owned(), json!("en"));
        }
        image
    }

    fn upsert(&self, image: Map<String, Value>, letter: &str, lsn: u64, us: i64) -> String {
        self.flat_or_envelope(image, letter, lsn, us, "false")
    }

    fn flat_or_envelope(&self, mut image: Map<String, Value>, op: &str, lsn: u64, us: i64, deleted: &str) -> String {
        if self.style == Style::Envelope {
            let source = json!({"lsn": lsn, "ts_us": us, "snapshot": if op == "r" { "true" } else { "false" }});
            return json!({"before": null, "after": image, "source": source, "op": op, "ts_ms": us / 1_000})
                .to_string();
        }
        if self.style != Style::Bare {
            image.extend([
                ("__op".to_owned(), json!(op)),
                ("__lsn".to_owned(), json!(lsn)),
                ("__source_ts_us".to_owned(), json!(us)),
            ]);
        }
        if self.style == Style::Rewrite {
            image.insert("__deleted".to_owned(), json!(deleted));
        }
        Value::Object(image).to_string()
    }

    /// What is told of a delete besides a null value: the key and nothing that is true.
    fn delete(&self, table: Table, key: Id, lsn: u64) -> Option<String> {
        let mut image = Map::new();
        for column in table.columns() {
            let value = match column.kind {
                _ if column.name == "id" => json!(key.to_string()),
                _ if column.nullable => Value::Null,
                ColumnType::Timestamp => json!(0),
                ColumnType::Bool => json!(false),
                _ => json!(""),
            };
            image.insert(column.name.to_owned(), value);
        }
        match self.style {
            Style::Envelope => {
                let source = json!({"lsn": lsn, "ts_us": self.commit_us});
                Some(json!({"before": image, "after": null, "source": source, "op": "d"}).to_string())
            }
            Style::Rewrite => Some(self.flat_or_envelope(image, "d", lsn, self.commit_us, "true")),
            Style::Tombstone | Style::Bare => None,
        }
    }

    /// The connector begins again at one of its last messages and writes everything from there once more.
    pub fn repeated(&mut self) -> Vec<Message> {
        let most = self.history.len().min(60) as u64;
        let from = self.history.len() - self.rng.below(most + 1) as usize;
        self.history[from..].to_vec()
    }

    /// Reads or writes a snapshot of some rows: what it read may have changed meanwhile.
    pub fn snapshot(&mut self, now_us: i64) -> Vec<Message> {
        // Where deletes have no LSN a snapshot that is older than one would bring the row back.
        if self.snapshot.is_none() {
            self.lsn += 8;
            let (mut rows, mut rng) = (Vec::new(), Rng(self.rng.next()));
            for table in Table::ALL {
                let some = self.tables[table as usize].iter().filter(|_| rng.below(3) == 0);
                rows.extend(some.map(|(id, row)| (table, *id, row.clone())));
            }
            self.snapshot = Some((self.lsn, now_us.max(self.commit_us), rows));
            if matches!(self.style, Style::Envelope | Style::Rewrite) {
                return Vec::new();
            }
        }
        let (lsn, us, rows) = self.snapshot.take().unwrap_or_default();
        let message = |(table, id, row): (Table, Id, Row)| Message {
            table,
            key: Some(id),
            value: Some(self.upsert(self.image(table, &row, None), "r", lsn, us)),
        };
        let messages: Vec<_> = rows.into_iter().map(message).collect();
        self.history.extend_from_slice(&messages);
        messages
    }

    /// Empties a table; only the envelope tells.
    pub fn truncate(&mut self, now_us: i64) -> Vec<Message> {
        if self.style != Style::Envelope || (self.upset == Some(Upset::Promoted) && !self.ordered) {
            return Vec::new();
        }
        self.upset = Some(Upset::Truncated);
        let table = Table::ALL[self.rng.below(5) as usize];
        self.lsn += 8;
        self.commit_us = now_us.max(self.commit_us + 1);
        self.tables[table as usize].clear();
        let source = json!({"lsn": self.lsn, "ts_us": self.commit_us});
        let value = json!({"before": null, "after": null, "source": source, "op": "t"}).to_string();
        let message = Message { table, key: None, value: Some(value) };
        self.history.push(message.clone());
        vec![message]
    }

    /// Another server goes on in this one's place: its LSNs begin low, its times do not.
    pub fn promote(&mut self, now_us: i64) {
        let alone = self.ordered || self.upset != Some(Upset::Truncated);
        if alone && matches!(self.style, Style::Envelope | Style::Rewrite) {
            (self.lsn, self.snapshot, self.upset) = (1_000, None, Some(Upset::Promoted));
            self.commit_us = now_us.max(self.commit_us + 1_000_000);
            // A new slot does not go back before it.
            self.history.clear();
        }
    }

    /// A message that nobody can read.
    pub fn poison(&mut self) -> (Table, Option<Vec<u8>>, Vec<u8>) {
        let (table, key) = (Table::ALL[self.rng.below(5) as usize], self.new_id());
        let key_json = Some(key_json(key));
        match self.rng.below(5) {
            0 => (table, key_json, b"{\"before\":null,\"after\":{".to_vec()),
            1 => (table, key_json, b"\xff\xfe\x00 not text".to_vec()),
            2 => (table, None, self.upsert(self.image(Table::Likes, &self.tables_row(key), None), "c", 1, 1).into()),
            3 => (table, key_json, b"{\"before\":null,\"after\":null,\"source\":{\"lsn\":1},\"op\":\"c\"}".to_vec()),
            _ => (table, key_json, b"[1,2,3]".to_vec()),
        }
    }

    fn tables_row(&self, key: Id) -> Row {
        vec![Cell::Uuid(key), Cell::Uuid(key), Cell::Uuid(key), Cell::Micros(0)]
    }

    /// Never to be seen outside the product.
    pub fn secret() -> &'static [u8] {
        SECRET.as_bytes()
    }
}

pub fn key_json(key: Id) -> Vec<u8> {
    format!("{{\"id\":\"{key}\"}}").into_bytes()
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
