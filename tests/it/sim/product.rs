//! The simulated product: PostgreSQL with its five tables, and Debezium. The committed rows of the product are the
//! model.
//!
//! This file defines the rows and the changes that a transaction makes to them. `log` assigns the LSNs, the locks and
//! the order of commits, `connector` reads the log, `snapshot` reads the tables, and `writing` makes the messages.

mod connector;
mod log;
mod poison;
mod snapshot;
mod writing;

use std::collections::{BTreeMap, BTreeSet};

use nova::event::{Cell, ColumnType, Id, Table};

use self::log::{Committed, Transaction};
use self::snapshot::{Late, Snapshot};
use super::choices::Kinds;
use crate::support::events::Rng;

pub use writing::{Message, key_json};

/// The format in which the simulated connector writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Envelope,
    /// Flattened records with the members `__deleted` and `__lsn`.
    Rewrite,
    /// Flattened records with the member `__lsn`. A delete is a record with a null value.
    Tombstone,
    /// Flattened records that contain only the columns.
    Bare,
}

impl Style {
    pub const ALL: [Style; 4] = [Style::Envelope, Style::Rewrite, Style::Tombstone, Style::Bare];

    /// Whether every change in the format carries its LSN, including deletes.
    pub fn numbered(self) -> bool {
        matches!(self, Style::Envelope | Style::Rewrite)
    }
}

/// The cells of a row: one for each column of the table, and one for the column `lang` if the product has that column.
pub type Row = Vec<Cell>;
pub type Tables = [BTreeMap<Id, Row>; 5];

/// The unchanged columns that an update leaves out, in addition to the columns that are stored out of line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeftOut {
    Nothing,
    /// The update leaves out unchanged columns, and a header names them.
    Named,
    /// The update leaves out unchanged nullable columns, and no header names them.
    Silently,
}

/// One change of a transaction.
#[derive(Clone, Debug)]
struct Op {
    table: Table,
    key: Id,
    before: Option<Row>,
    after: Option<Row>,
    /// A change of a key may be written as a delete and an insert. The field is the new key for the delete, and the old
    /// key for the insert.
    renamed: Option<Id>,
    /// The earlier row whose out-of-line values the message does not repeat.
    base: Option<Row>,
    left_out: LeftOut,
    /// Whether the change has the LSN of the change before it, because one statement made both changes.
    same_lsn: bool,
    lsn: u64,
}

pub struct Product {
    rng: Rng,
    pub style: Style,
    kinds: Kinds,
    tombstones: bool,
    /// Whether the tables have the column `lang`, which nova does not know.
    unknown_column: bool,
    /// The LSN at the end of the product's log.
    lsn: u64,
    /// The time of the last commit by the server's clock, in epoch microseconds.
    commit_us: i64,
    /// How far the clocks of the server (`server_us`) and of the connector (`connector_us`) are off, in microseconds.
    server_us: i64,
    connector_us: i64,
    /// The committed rows of every table.
    pub tables: Tables,
    /// The written rows of every table, whether they are committed or not.
    latest: Tables,
    open: Vec<Transaction>,
    made: u64,
    /// The stream of the connector's slot, in the order of commits. `None` means that the slot does not exist yet.
    stream: Option<Vec<Committed>>,
    /// The number of entries of the stream that the connector has written to Kafka. A restart of the connector makes
    /// the number of written entries smaller.
    written: usize,
    snapshot: Option<Snapshot>,
    /// Whether the connector took the first snapshot again, so that the stream began again with the repeated snapshot.
    retaken: bool,
    /// The latest time of a snapshot or of a commit.
    latest_us: i64,
    late: Option<Late>,
    /// The last messages that the connector has produced.
    sent: Vec<Message>,
    /// How often the product has run transactions while no slot existed.
    unseen: u64,
    /// Whether the LSNs of the product began again.
    pub promoted: bool,
    pub truncated: bool,
    /// Whether the topic of every table has one partition.
    ordered: bool,
}

impl Product {
    pub fn new(seed: u64, style: Style, kinds: Kinds, ordered: bool) -> Product {
        let mut rng = Rng(seed);
        let (tombstones, unknown_column) = (rng.below(2) == 0, rng.below(3) == 0);
        let (tables, latest, open, sent) = Default::default();
        let stream = (!kinds.initial).then(Vec::new);
        Product {
            rng,
            style,
            kinds,
            tombstones,
            unknown_column,
            lsn: 1 << 20,
            commit_us: 0,
            server_us: 0,
            connector_us: 0,
            tables,
            latest,
            open,
            made: 0,
            stream,
            written: 0,
            snapshot: None,
            retaken: false,
            latest_us: 0,
            late: None,
            sent,
            unseen: 0,
            promoted: false,
            truncated: false,
            ordered,
        }
    }

    /// Whether nova may be unable to find a value that the message about a changed key does not repeat. If the topic
    /// has several partitions, a delete without an LSN does not say which version of the row it deletes. Older versions
    /// of a row may also arrive after the row has moved to another partition.
    pub fn values_get_lost(&self) -> bool {
        let unnamed = !self.style.numbered() || self.kinds.moving;
        unnamed && self.kinds.renamed && !self.ordered
    }

    /// Draws a new transaction that is not yet in the log. The transaction does not change rows that the transactions
    /// in `others` have locked.
    fn transaction(&mut self, now_us: i64, others: &BTreeSet<Id>) -> Transaction {
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
                    // The transaction changes a key, and sometimes changes the key back.
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
        Transaction { ops, written: 0, keys: own }
    }

    fn put(&mut self, ops: &mut Vec<Op>, table: Table, key: Id, after: Option<Row>, same_lsn: bool) {
        let rows = &mut self.latest[table as usize];
        let before = match &after {
            Some(row) => rows.insert(key, row.clone()),
            None => rows.remove(&key),
        };
        let update = self.kinds.left_out && before.is_some() && after.is_some();
        let left_out = match if update { self.rng.below(4) } else { 3 } {
            0 => LeftOut::Named,
            1 => LeftOut::Silently,
            _ => LeftOut::Nothing,
        };
        let base = before.clone();
        ops.push(Op { table, key, before, after, renamed: None, base, left_out, same_lsn, lsn: 0 });
    }

    fn rename(&mut self, ops: &mut Vec<Op>, table: Table, from: Id, to: Id) {
        let mut row = self.latest[table as usize][&from].clone();
        let base = self.kinds.renamed.then(|| row.clone());
        self.put(ops, table, from, None, false);
        row[0] = Cell::Uuid(to);
        self.put(ops, table, to, Some(row), true);
        if let [.., old, new] = ops.as_mut_slice() {
            (old.renamed, new.renamed, new.base) = (Some(to), Some(from), base);
        }
    }

    /// Deletes a row after the rows that refer to it, as foreign keys require.
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
            let rows = self.latest[*child as usize].iter().filter(|(_, row)| of(row)).map(|(id, _)| *id);
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
        let free: Vec<_> = self.latest[table as usize].keys().filter(|id| !others.contains(id)).copied().collect();
        (!free.is_empty()).then(|| free[self.rng.below(free.len() as u64) as usize])
    }

    /// Returns the key of a random row, or a key that has no row.
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
        if self.unknown_column {
            let lang = if self.kinds.unknown_values { self.text() } else { "en".to_owned() };
            row.push(Cell::Text(lang.into()));
        }
        row
    }

    fn text(&mut self) -> String {
        let word = format!("{:x}é\u{1f600}", self.rng.next());
        if self.rng.below(3) == 0 { word.repeat(4) } else { word }
    }

    fn changed(&mut self, table: Table, key: Id, now_us: i64) -> Row {
        let mut row = self.latest[table as usize][&key].clone();
        let new = self.row(table, key, now_us);
        for (index, cell) in new.into_iter().enumerate().skip(1) {
            if self.rng.below(3) == 0 {
                row[index] = cell;
            }
        }
        row
    }
}
