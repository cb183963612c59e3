//! The product: PostgreSQL with its five tables, and Debezium behind it. What it commits is the model.

mod connector;

use std::collections::{BTreeMap, BTreeSet};

use nova::event::{Cell, ColumnType, Id, Table};

use crate::support::events::Rng;

pub use connector::key_json;

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
}
