//! Makes records that nova must not apply.

use nova::event::{Cell, Id, Table};
use serde_json::json;

use super::writing::{Key, SECRET, Source, key_json};
use super::{Product, Row, Style};

/// A record for the topic of a table, with its key and value.
pub type Poison = (Table, Option<Vec<u8>>, Vec<u8>);

impl Product {
    /// Draws a message that nobody can read, or that does not belong to its topic.
    pub fn poison(&mut self) -> Poison {
        let (table, id) = (Table::ALL[self.rng.below(5) as usize], self.new_id());
        let key = Some(key_json(Key { id, by: None }));
        match self.rng.below(if self.kinds.strangers { 8 } else { 5 }) {
            0 => (table, key, b"{\"before\":null,\"after\":{".to_vec()),
            1 => (table, key, b"\xff\xfe\x00 not text".to_vec()),
            2 => {
                let source = Source { table: Table::Likes, op: "c", lsn: Some(1), us: 1 };
                (table, None, self.value(self.image(Table::Likes, &tables_row(id), None), source, "false").into())
            }
            3 => (table, key, b"{\"before\":null,\"after\":null,\"source\":{\"lsn\":1},\"op\":\"c\"}".to_vec()),
            4 => (table, key, b"[1,2,3]".to_vec()),
            5 => self.of_another_table(table),
            6 => self.of_nobody(table),
            _ => self.without_a_column(table),
        }
    }

    /// Makes a record in the topic of `table`: the record has a key of `table`, and a row of a different table.
    fn of_another_table(&mut self, table: Table) -> Poison {
        let id = self.some(table);
        let other = Table::ALL[(table as usize + 1 + self.rng.below(4) as usize) % 5];
        let row = self.row(other, id, self.commit_us);
        // A bare record has no metadata, so only its columns show the table.
        if self.style == Style::Bare {
            return (table, Some(key_json(Key { id, by: None })), b"{\"something\":1}".to_vec());
        }
        let source = Source { table: other, op: "u", lsn: Some(self.lsn + 1), us: self.commit_us / 5 * 5 + 1 };
        let value = self.value(self.image(other, &row, None), source, "false");
        (table, Some(key_json(self.key(other, id, &row))), value.into())
    }

    /// Makes a delete under REPLICA IDENTITY USING INDEX, in which the primary key is empty.
    fn of_nobody(&mut self, table: Table) -> Poison {
        let source = Source { table, op: "d", lsn: Some(self.lsn + 1), us: self.commit_us };
        match self.delete_value(Id::NIL, source) {
            Some(value) => (table, Some(key_json(Key { id: Id::NIL, by: None })), value.into()),
            None => (table, Some(b"{\"id\":1}".to_vec()), b"{}".to_vec()),
        }
    }

    /// Makes an update that lacks a NOT NULL column, although no header names the column as unchanged.
    fn without_a_column(&mut self, table: Table) -> Poison {
        let id = self.some(table);
        let row = self.row(table, id, self.commit_us);
        let mut image = self.image(table, &row, None);
        let columns: Vec<_> = table.columns().iter().skip(1).filter(|column| !column.nullable).collect();
        image.remove(columns[self.rng.below(columns.len() as u64) as usize].name);
        let source = Source { table, op: "u", lsn: Some(self.lsn + 1), us: self.commit_us };
        (table, Some(key_json(self.key(table, id, &row))), self.value(image, source, "false").into())
    }

    /// Returns a text that must never be seen outside the product.
    pub fn secret() -> &'static [u8] {
        SECRET.as_bytes()
    }

    /// Returns the `_extra` that nova must store for a row.
    pub fn extra(&self, row: &Row) -> Option<String> {
        match row.last() {
            Some(Cell::Text(lang)) if self.unknown_column => Some(json!({"lang": &**lang}).to_string()),
            _ => None,
        }
    }
}

fn tables_row(id: Id) -> Row {
    vec![Cell::Uuid(id), Cell::Uuid(id), Cell::Uuid(id), Cell::Micros(0)]
}
