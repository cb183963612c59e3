//! A PostgreSQL server in memory: tables, a log of transactions, a slot whose position is saved late, and a
//! publication. The server in memory is the fifth double of the simulation. The follower talks to the server in memory
//! through `double` as it talks to a real server. The tests advance the clock of the server in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nova::event::{Relation, Table, Tables};
use nova::source::postgres::server::Failure;
use nova::source::postgres::slot::{Around, Place, Publication, Published, Seen, SlotRow};

use super::pgoutput::{self, Values, Wire, relation};

/// The length above which a value is stored out of line (TOAST). An update does not repeat a value that is stored out
/// of line and that the update leaves unchanged.
pub const OUT_OF_LINE: usize = 12;

pub(super) type Rows = BTreeMap<String, Values>;

/// A committed transaction of the server.
#[derive(Clone)]
pub struct Transaction {
    pub commit_lsn: u64,
    pub end_lsn: u64,
    pub commit_us: i64,
    /// Each change of a published table, as its LSN, its table and its message, with the relation at the time of the
    /// change.
    pub changes: Vec<(u64, Table, Bytes, Arc<Relation>)>,
    /// The rows of every table after the transaction.
    after: [Rows; 5],
}

#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub confirmed: u64,
    /// The rows of every table after the transaction.
    pub saved: u64,
    pub lost: Option<&'static str>,
    pub active: Option<u64>,
}

/// The server.
pub struct Pg {
    pub now: Duration,
    pub system_id: u64,
    pub timeline: u32,
    /// The LSN at which each earlier timeline ended.
    pub branches: BTreeMap<u32, u64>,
    pub lsn: u64,
    pub tables: [Rows; 5],
    pub log: Vec<Transaction>,
    pub slot: Option<Slot>,
    pub publication: Option<Publication>,
    /// The number of each published table's membership; a table that is published again gets a new number.
    pub members: [Option<u64>; 5],
    /// The relation of each table, with the name and the columns.
    pub(super) relations: [Arc<Relation>; 5],
    pub leaf: bool,
    /// The server's `server_encoding`.
    pub encoding: &'static str,
    /// The tables from which a child table inherits.
    pub parents: Tables,
    /// The tables with row-security policies that apply to nova's role.
    pub hidden: Tables,
    /// The number of the server's present run; a crash raises this number. Sessions from an earlier run of the server
    /// are dead.
    pub(super) life: u64,
    pub(super) sessions: u64,
    /// Whether the double of the server gives no answer.
    pub away: bool,
    /// Whether the stream sends nothing, not even a keepalive.
    pub silent: bool,
    /// How often the follower has sent START_REPLICATION, including refused attempts.
    pub starts: u64,
    /// The number of open temporary slots and snapshots.
    pub open_snapshots: u32,
    next_member: u64,
    /// The number of rows after which the next copy of a table breaks.
    pub break_copy_after: Option<u32>,
    pub looks: u64,
}

pub const EPOCH_MS: i64 = 1_795_500_000_000;

impl Default for Pg {
    fn default() -> Pg {
        Pg {
            now: Duration::ZERO,
            system_id: 7,
            timeline: 1,
            branches: BTreeMap::new(),
            lsn: 0x100_0000,
            tables: Default::default(),
            log: Vec::new(),
            slot: None,
            publication: Some(Publication {
                oid: 900,
                inserts: true,
                updates: true,
                deletes: true,
                truncates: true,
                via_root: true,
                ..Publication::default()
            }),
            members: [Some(1), Some(2), Some(3), Some(4), Some(5)],
            relations: Table::ALL.map(|table| Arc::new(relation(table))),
            leaf: false,
            encoding: "UTF8",
            parents: Tables::NONE,
            hidden: Tables::NONE,
            life: 0,
            sessions: 0,
            away: false,
            silent: false,
            starts: 0,
            open_snapshots: 0,
            next_member: 10,
            break_copy_after: None,
            looks: 0,
        }
    }
}

/// One write of a transaction.
#[derive(Clone, Debug)]
pub enum Write {
    Put(Table, Values),
    Delete(Table, String),
    /// Changes the primary key of the row with the first key to the second key.
    Rekey(Table, String, String),
}

pub fn text(value: impl Into<String>) -> Wire {
    Wire::Text(value.into())
}

impl Pg {
    pub fn now_us(&self) -> i64 {
        EPOCH_MS * 1_000 + i64::try_from(self.now.as_micros()).unwrap()
    }

    /// Commits a transaction with the given writes. Writes that change nothing are left out.
    pub fn commit(&mut self, writes: &[Write]) {
        let mut changes = Vec::new();
        for write in writes {
            self.lsn += 40;
            let lsn = self.lsn;
            // A change is in the stream if its table was published at the time of the change.
            if let Some((table, message)) = self.apply(write)
                && self.members[table as usize].is_some()
            {
                changes.push((lsn, table, Bytes::from(message), Arc::clone(&self.relations[table as usize])));
            }
        }
        self.lsn += 8;
        let commit_lsn = self.lsn;
        self.lsn += 24;
        let (end_lsn, commit_us) = (self.lsn, self.now_us());
        let after = self.tables.clone();
        self.log.push(Transaction { commit_lsn, end_lsn, commit_us, changes, after });
    }

    fn apply(&mut self, write: &Write) -> Option<(Table, Vec<u8>)> {
        match write {
            Write::Put(table, values) => {
                let (oid, rows) = (self.relations[*table as usize].oid, &mut self.tables[*table as usize]);
                let Wire::Text(key) = &values[0] else { panic!("a key") };
                let message = match rows.get(key) {
                    None => pgoutput::insert(oid, values),
                    Some(old) => pgoutput::update(oid, None, &toasted(old, values)),
                };
                rows.insert(key.clone(), values.clone());
                Some((*table, message))
            }
            Write::Delete(table, key) => {
                let old = self.tables[*table as usize].remove(key)?;
                let oid = self.relations[*table as usize].oid;
                Some((*table, pgoutput::delete(oid, (b'K', &key_alone(&old)))))
            }
            Write::Rekey(table, from, to) => {
                let rows = &mut self.tables[*table as usize];
                if rows.contains_key(to) {
                    return None;
                }
                let old = rows.remove(from)?;
                let mut new = old.clone();
                new[0] = text(to.clone());
                rows.insert(to.clone(), new.clone());
                let oid = self.relations[*table as usize].oid;
                Some((*table, pgoutput::update(oid, Some((b'K', &key_alone(&old))), &toasted(&old, &new))))
            }
        }
    }

    /// Writes WAL for tables and databases that nova does not follow.
    pub fn foreign_wal(&mut self, bytes: u64) {
        self.lsn += bytes;
    }

    /// Kills the server with `kill -9` and starts it again. All sessions end, and the slot is back at its saved
    /// position.
    pub fn crash(&mut self) {
        self.life += 1;
        self.open_snapshots = 0;
        if let Some(slot) = &mut self.slot {
            (slot.confirmed, slot.active) = (slot.saved, None);
        }
    }

    /// Ends the sessions of the server.
    pub fn disconnect(&mut self) {
        self.life += 1;
        self.open_snapshots = 0;
        if let Some(slot) = &mut self.slot {
            slot.active = None;
        }
    }

    pub fn checkpoint(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.saved = slot.confirmed;
        }
    }

    /// Makes a standby the primary. Everything after `lsn` is lost. The slot is also lost, unless `keep_slot` is set.
    pub fn promote(&mut self, lsn: u64, keep_slot: bool) {
        self.crash();
        self.branches.insert(self.timeline, lsn);
        self.timeline += 1;
        self.rewind(lsn);
        self.lsn = lsn + 0x100;
        if !keep_slot {
            self.slot = None;
        }
    }

    /// Restores an old cold copy of the server. The log of the restored server continues from `lsn` on the timeline of
    /// the copy.
    pub fn restore(&mut self, lsn: u64) {
        self.crash();
        self.rewind(lsn);
        self.lsn = lsn + 8;
        if let Some(slot) = &mut self.slot {
            (slot.confirmed, slot.saved) = (slot.confirmed.min(lsn), slot.saved.min(lsn));
        }
    }

    /// Forgets what was committed after a position of the log.
    fn rewind(&mut self, lsn: u64) {
        self.log.retain(|one| one.end_lsn <= lsn);
        self.tables = self.log.last().map(|last| last.after.clone()).unwrap_or_default();
    }

    pub fn drop_member(&mut self, table: Table) {
        self.members[table as usize] = None;
    }

    pub fn add_member(&mut self, table: Table) {
        self.next_member += 1;
        self.members[table as usize] = Some(self.next_member);
    }

    /// Runs `ALTER TABLE … SET SCHEMA` and `RENAME TO`. The log of the server contains the rename and the change of the
    /// schema.
    pub fn rename(&mut self, table: Table, namespace: &str, name: &str) {
        let now = &self.relations[table as usize];
        let renamed = Relation { namespace: namespace.into(), name: name.into(), ..(**now).clone() };
        self.relations[table as usize] = Arc::new(renamed);
        self.lsn += 120;
    }

    /// Replaces the published table by a new table that has the name and the rows of the published table.
    pub fn replace(&mut self, table: Table) {
        let now = &self.relations[table as usize];
        let other = Relation { oid: now.oid + 1_000, ..(**now).clone() };
        self.relations[table as usize] = Arc::new(other);
        self.lsn += 120;
        self.add_member(table);
    }

    /// Runs `ALTER TABLE … ALTER COLUMN … TYPE`. The stream does not report how ALTER COLUMN TYPE changes rows.
    pub fn retype(&mut self, table: Table, column: &str, type_oid: u32) {
        let mut relation = (*self.relations[table as usize]).clone();
        let columns = relation.columns.iter_mut().filter(|one| &*one.name == column);
        columns.for_each(|one| one.type_oid = type_oid);
        self.relations[table as usize] = Arc::new(relation);
        self.lsn += 120;
    }

    pub(super) fn alive(&self, life: u64) -> Result<(), Failure> {
        match self.life == life && !self.away {
            true => Ok(()),
            false => Err(Failure::Away("the connection broke".to_owned())),
        }
    }

    pub(super) fn seen(&self) -> Seen {
        let slot = self.slot.as_ref().map(|slot| SlotRow {
            plugin: "pgoutput".to_owned(),
            database: "app".to_owned(),
            logical: true,
            active_pid: slot.active.map(|session| session as i64),
            restart_lsn: Some(slot.saved).filter(|_| slot.lost.is_none()),
            confirmed_lsn: Some(slot.confirmed),
            wal_status: if slot.lost.is_some() { "lost" } else { "reserved" }.to_owned(),
            invalidation: slot.lost.map(str::to_owned),
            ..SlotRow::default()
        });
        let published = |table: Table| {
            let (member, relation) = (self.members[table as usize]?, &self.relations[table as usize]);
            // nova looks only for tables with the five names of the source tables.
            (*relation.name == *table.name()).then(|| Published {
                table: Some(table),
                oid: relation.oid,
                namespace: relation.namespace.to_string(),
                name: relation.name.to_string(),
                is_leaf: self.leaf && table == Table::Posts,
                columns: relation.columns.iter().map(|one| (one.name.to_string(), one.type_oid)).collect(),
                replica_identity: 'd',
                has_primary_key: true,
                membership: member.to_string(),
                ..Published::default()
            })
        };
        let around = Around {
            encoding: self.encoding.to_owned(),
            tables: Table::ALL.into_iter().filter_map(|table| self.place(table)).collect(),
        };
        Seen {
            version: 15_00_18,
            system_id: self.system_id,
            timeline: self.timeline,
            database: "app".to_owned(),
            wal_level: "logical".to_owned(),
            may_replicate: true,
            flush_lsn: self.lsn,
            slot,
            tables: self.publication.iter().flat_map(|_| Table::ALL.into_iter().filter_map(published)).collect(),
            publication: self.publication.clone(),
            around,
            ..Seen::default()
        }
    }

    /// Returns where the table is in the database, whether it is published or not.
    fn place(&self, table: Table) -> Option<Place> {
        let relation = &self.relations[table as usize];
        (*relation.name == *table.name()).then(|| Place {
            table,
            namespace: relation.namespace.to_string(),
            partitioned: false,
            columns: relation.columns.iter().map(|one| one.name.to_string()).collect(),
            children: self.parents.contains(table).then(|| format!("public.{table}_old")).into_iter().collect(),
            hides_rows: self.hidden.contains(table),
        })
    }
}

/// Returns the new row of an update, without long values that the update leaves unchanged.
fn toasted(old: &[Wire], new: &[Wire]) -> Values {
    let one = |(old, new): (&Wire, &Wire)| match new {
        Wire::Text(value) if old == new && value.len() > OUT_OF_LINE && value.len() != 36 && !value.contains(':') => {
            Wire::Unchanged
        }
        new => new.clone(),
    };
    old.iter().zip(new).map(one).collect()
}

/// Returns the old row under the default replica identity, in which all values except the key are null.
fn key_alone(row: &[Wire]) -> Values {
    row.iter().enumerate().map(|(index, value)| if index == 0 { value.clone() } else { Wire::Null }).collect()
}
