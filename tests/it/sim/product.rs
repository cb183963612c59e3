//! The product: PostgreSQL with its five tables, and Debezium behind it. What it commits is the model.

use std::collections::{BTreeMap, BTreeSet};

use nova::clock::rfc3339;
use nova::event::{Cell, ColumnType, Id, Table};
use serde_json::{Map, Value, json};

use crate::support::events::Rng;

/// A text longer than this is stored out of line: an update that leaves it alone does not repeat it.
const OUT_OF_LINE_BYTES: usize = 24;
const SECRET: &str = "s3cret-hash";

/// How the connector writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Envelope,
    /// Flattened with `__deleted` and `__lsn`.
    Rewrite,
    /// Flattened with `__lsn`; a delete is a null value.
    Tombstone,
    /// Flattened, nothing but the columns.
    Bare,
}

impl Style {
    pub const ALL: [Style; 4] = [Style::Envelope, Style::Rewrite, Style::Tombstone, Style::Bare];
}

/// One message of the connector, for the topic of its table.
#[derive(Clone, Debug)]
pub struct Message {
    pub table: Table,
    /// `None` for a truncate.
    pub key: Option<Id>,
    pub value: Option<String>,
}

type Row = Vec<Cell>;

/// A change within a transaction.
struct Op {
    table: Table,
    key: Id,
    before: Option<Row>,
    after: Option<Row>,
    /// Written with the LSN of the change before it: one statement.
    same_lsn: bool,
    lsn: u64,
}

/// A table was truncated, or the LSNs began again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upset {
    Truncated,
    Promoted,
}

/// Its LSN, its time and the rows that it read.
type Snapshot = (u64, i64, Vec<(Table, Id, Row)>);

pub struct Product {
    rng: Rng,
    pub style: Style,
    tombstones: bool,
    unknown_column: bool,
    lsn: u64,
    /// Time of the last commit, epoch microseconds.
    commit_us: i64,
    pub tables: [BTreeMap<Id, Row>; 5],
    made: u64,
    /// Every message since the connector's slot was made, in its order.
    history: Vec<Message>,
    /// Read and not written yet.
    snapshot: Option<Snapshot>,
    /// Every table's topic has one partition.
    ordered: bool,
    /// The last of what makes rows hard to order. Not both where a partition may be behind another: its rows from
    /// before would come with higher LSNs than the truncate's, and only times would tell.
    upset: Option<Upset>,
}

impl Product {
    pub fn new(seed: u64, style: Style, ordered: bool) -> Product {
        let mut rng = Rng(seed);
        let (tombstones, unknown_column) = (rng.below(2) == 0, rng.below(3) == 0);
        let (tables, history) = Default::default();
        let lsn = 1 << 20;
        Product {
            rng,
            style,
            tombstones,
            unknown_column,
            lsn,
            commit_us: 0,
            tables,
            made: 0,
            history,
            snapshot: None,
            ordered,
            upset: None,
        }
    }

    /// What one to three concurrent transactions write, in the order of their commits.
    pub fn transactions(&mut self, now_us: i64) -> Vec<Message> {
        let mut touched = BTreeSet::new();
        let count = 1 + self.rng.below(3);
        let mut open: Vec<Vec<Op>> = (0..count).map(|_| self.transaction(now_us, &mut touched)).collect();
        // LSNs are given when a change is written, records come in the order of commits.
        let mut at = vec![0; open.len()];
        while let Some(pick) = self.pick_unwritten(&open, &at) {
            let op = &mut open[pick][at[pick]];
            if !op.same_lsn {
                self.lsn += 8 + self.rng.below(100);
            }
            op.lsn = self.lsn;
            at[pick] += 1;
        }
        let mut messages = Vec::new();
        for ops in open {
            self.commit_us = now_us.max(self.commit_us + 1);
            ops.into_iter().for_each(|op| self.write(op, &mut messages));
        }
        self.history.extend_from_slice(&messages);
        messages
    }

    /// A transaction with changes left; one whose next change shares the LSN before it goes on at once.
    fn pick_unwritten(&mut self, open: &[Vec<Op>], at: &[usize]) -> Option<usize> {
        let left: Vec<_> = (0..open.len()).filter(|one| at[*one] < open[*one].len()).collect();
        let joined = left.iter().find(|one| open[**one][at[**one]].same_lsn);
        match (joined, left.len()) {
            (Some(one), _) => Some(*one),
            (None, 0) => None,
            (None, count) => Some(left[self.rng.below(count as u64) as usize]),
        }
    }

    /// Changes `tables` and says how; no row of another open transaction is touched.
    fn transaction(&mut self, now_us: i64, others: &mut BTreeSet<Id>) -> Vec<Op> {
        let (mut ops, mut own) = (Vec::new(), BTreeSet::new());
        for _ in 0..1 + self.rng.below(6) {
            let table = Table::ALL[self.rng.below(5) as usize];
            match self.rng.below(12) {
                0..5 => {
                    let same = self.rng.below(4) == 0;
                    for number in 0..if same { 2 + self.rng.below(5) } else { 1 } {
                        let key = self.new_id();
                        let row = self.row(table, key, now_us);
                        self.put(&mut ops, table, key, Some(row), number > 0);
                        own.insert(key);
                    }
                }
                5..9 => {
                    let Some(key) = self.existing(table, others) else { continue };
                    let row = self.changed(table, key, now_us);
                    self.put(&mut ops, table, key, Some(row), false);
                    own.insert(key);
                }
                9 => {
                    let Some(key) = self.existing(table, others) else { continue };
                    self.cascade(&mut ops, table, key, others, &mut own);
                    if self.rng.below(3) == 0 {
                        let row = self.row(table, key, now_us);
                        self.put(&mut ops, table, key, Some(row), false);
                    }
                }
                _ => {
                    // A key change, and sometimes back within the transaction.
                    let Some(key) = self.existing(table, others) else { continue };
                    let other = self.new_id();
                    own.extend([key, other]);
                    self.rename(&mut ops, table, key, other);
                    if self.rng.below(3) == 0 {
                        self.rename(&mut ops, table, other, key);
                    }
                }
            }
        }
        others.extend(own);
        ops
    }

    fn put(&mut self, ops: &mut Vec<Op>, table: Table, key: Id, after: Option<Row>, same_lsn: bool) {
        let rows = &mut self.tables[table as usize];
        let before = match &after {
            Some(row) => rows.insert(key, row.clone()),
            None => rows.remove(&key),
        };
        ops.push(Op { table, key, before, after, same_lsn, lsn: 0 });
    }

    fn rename(&mut self, ops: &mut Vec<Op>, table: Table, from: Id, to: Id) {
        let mut row = self.tables[table as usize][&from].clone();
        self.put(ops, table, from, None, false);
        row[0] = Cell::Uuid(to);
        self.put(ops, table, to, Some(row), true);
    }

    /// Deletes a row after what refers to it, as foreign keys do.
    fn cascade(&mut self, ops: &mut Vec<Op>, table: Table, key: Id, others: &BTreeSet<Id>, own: &mut BTreeSet<Id>) {
        let columns: &[(Table, usize)] = match table {
            Table::Users => {
                &[(Table::Follows, 1), (Table::Follows, 2), (Table::Likes, 1), (Table::Comments, 2), (Table::Posts, 1)]
            }
            Table::Posts => &[(Table::Likes, 2), (Table::Comments, 1)],
            _ => &[],
        };
        for (child, column) in columns {
            let of = |row: &Row| row[*column] == Cell::Uuid(key);
            let rows = self.tables[*child as usize].iter().filter(|(_, row)| of(row)).map(|(id, _)| *id);
            for id in rows.collect::<Vec<_>>() {
                if !others.contains(&id) {
                    self.cascade(ops, *child, id, others, own);
                }
            }
        }
        self.put(ops, table, key, None, false);
        own.insert(key);
    }

    fn new_id(&mut self) -> Id {
        self.made += 1;
        Id::from_u128(u128::from(self.rng.next()) << 64 | u128::from(self.made))
    }

    fn existing(&mut self, table: Table, others: &BTreeSet<Id>) -> Option<Id> {
        let free: Vec<_> = self.tables[table as usize].keys().filter(|id| !others.contains(id)).copied().collect();
        (!free.is_empty()).then(|| free[self.rng.below(free.len() as u64) as usize])
    }

    /// The key of some row, or of one that is not there.
    pub fn some(&mut self, table: Table) -> Id {
        match self.existing(table, &BTreeSet::new()) {
            Some(id) if self.rng.below(10) > 0 => id,
            _ => self.new_id(),
        }
    }

    fn row(&mut self, table: Table, key: Id, now_us: i64) -> Row {
        let columns = table.columns();
        let mut row: Row = columns.iter().map(|_| Cell::Null).collect();
        row[0] = Cell::Uuid(key);
        for (index, column) in columns.iter().enumerate().skip(1) {
            row[index] = match (column.kind, column.name) {
                (ColumnType::Uuid, "post_id") => Cell::Uuid(self.some(Table::Posts)),
                (ColumnType::Uuid, "parent_comment_id") => continue,
                (ColumnType::Uuid, _) => Cell::Uuid(self.some(Table::Users)),
                (_, "soft_delete" | "deleted_at") if self.rng.below(6) > 0 => continue,
                (ColumnType::TimestampTz | ColumnType::Timestamp, _) => {
                    Cell::Micros(now_us - self.rng.below(3_600_000_000) as i64)
                }
                (ColumnType::Bool, _) => Cell::Bool(self.rng.below(4) > 0),
                (ColumnType::Text, "status") => {
                    Cell::Text(["published", "draft", "published"][self.rng.below(3) as usize].into())
                }
                (ColumnType::Text, _) => Cell::Text(self.text().into()),
                (ColumnType::Json, _) => Cell::Json(format!("{{\"w\":\"{}\"}}", self.text()).into()),
            };
        }
        row
    }

    fn text(&mut self) -> String {
        let word = format!("{:x}é\u{1f600}", self.rng.next());
        if self.rng.below(3) == 0 { word.repeat(4) } else { word }
    }

    fn changed(&mut self, table: Table, key: Id, now_us: i64) -> Row {
        let mut row = self.tables[table as usize][&key].clone();
        let new = self.row(table, key, now_us);
        for (index, cell) in new.into_iter().enumerate().skip(1) {
            if self.rng.below(3) == 0 {
                row[index] = cell;
            }
        }
        row
    }

    fn write(&mut self, op: Op, out: &mut Vec<Message>) {
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
                    json!(nova::decode::DEFAULT_PLACEHOLDER)
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
