//! A PostgreSQL server in memory: tables, a log of transactions, a slot whose position is saved lazily, a publication. It is
//! the fifth double of the simulation; the follower asks it as it asks a real server. Time stands still unless it is moved.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use nova::event::{Relation, Table};
use nova::source::postgres::server::{Clock, Copy, Event, Failure, Made, Server, Stream};
use nova::source::postgres::slot::{Publication, Published, Seen, SlotRow};
use parking_lot::Mutex;

use super::pgoutput::{self, Values, Wire, relation};

/// A value longer than this is stored out of line, and not repeated by an update that leaves it alone.
pub const OUT_OF_LINE: usize = 12;

type Rows = BTreeMap<String, Values>;

/// A committed transaction.
#[derive(Clone)]
pub struct Transaction {
    pub commit_lsn: u64,
    pub end_lsn: u64,
    pub commit_us: i64,
    /// LSN, table and message of each change of a table that was published then, and what the table was called.
    pub changes: Vec<(u64, Table, Bytes, Arc<Relation>)>,
    /// What every table is behind it.
    after: [Rows; 5],
}

#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub confirmed: u64,
    /// What a crash of the server leaves of it.
    pub saved: u64,
    pub lost: Option<&'static str>,
    pub active: Option<u64>,
}

/// See the module.
pub struct Pg {
    pub now: Duration,
    pub system_id: u64,
    pub timeline: u32,
    /// Where earlier timelines ended.
    pub branches: BTreeMap<u32, u64>,
    pub lsn: u64,
    pub tables: [Rows; 5],
    pub log: Vec<Transaction>,
    pub slot: Option<Slot>,
    pub publication: Option<Publication>,
    /// Membership number of each published table.
    pub members: [Option<u64>; 5],
    /// What each table is called, and its columns.
    relations: [Arc<Relation>; 5],
    pub leaf: bool,
    /// The number of the present life of the server; sessions of an earlier one are dead.
    life: u64,
    sessions: u64,
    /// Answers nothing.
    pub away: bool,
    /// The stream says nothing, not even a keepalive.
    pub silent: bool,
    /// Refusals of START_REPLICATION, and streams that were started.
    pub starts: u64,
    /// Temporary slots and snapshots that are open.
    pub open_snapshots: u32,
    next_member: u64,
    /// Ends the next snapshot after so many rows.
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

/// One change of a transaction.
#[derive(Clone, Debug)]
pub enum Write {
    Put(Table, Values),
    Delete(Table, String),
    /// The row of the first key has the second from now on.
    Rekey(Table, String, String),
}

pub fn text(value: impl Into<String>) -> Wire {
    Wire::Text(value.into())
}

impl Pg {
    pub fn now_us(&self) -> i64 {
        EPOCH_MS * 1_000 + i64::try_from(self.now.as_micros()).unwrap()
    }

    /// Commits; writes that change nothing are left out.
    pub fn commit(&mut self, writes: &[Write]) {
        let mut changes = Vec::new();
        for write in writes {
            self.lsn += 40;
            let lsn = self.lsn;
            // The publication is looked up as of the change.
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

    /// WAL of other tables and databases.
    pub fn foreign_wal(&mut self, bytes: u64) {
        self.lsn += bytes;
    }

    /// `kill -9` and a new start: sessions die, the slot is what was saved.
    pub fn crash(&mut self) {
        self.life += 1;
        self.open_snapshots = 0;
        if let Some(slot) = &mut self.slot {
            (slot.confirmed, slot.active) = (slot.saved, None);
        }
    }

    /// Ends the sessions alone.
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

    /// A standby becomes the primary; what came after `lsn` is lost, and the slot with it unless it is kept.
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

    /// A cold copy of the server from before is put back: its log goes on from there, on the same timeline.
    pub fn restore(&mut self, lsn: u64) {
        self.crash();
        self.rewind(lsn);
        self.lsn = lsn + 8;
        if let Some(slot) = &mut self.slot {
            (slot.confirmed, slot.saved) = (slot.confirmed.min(lsn), slot.saved.min(lsn));
        }
    }

    /// Forgets what was committed behind a place of the log.
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

    /// `ALTER TABLE … SET SCHEMA` and `RENAME TO`; both are in the log.
    pub fn rename(&mut self, table: Table, namespace: &str, name: &str) {
        let now = &self.relations[table as usize];
        let renamed = Relation { namespace: namespace.into(), name: name.into(), ..(**now).clone() };
        self.relations[table as usize] = Arc::new(renamed);
        self.lsn += 120;
    }

    /// Another table of the same name, with the rows that are there, is published in its place.
    pub fn replace(&mut self, table: Table) {
        let now = &self.relations[table as usize];
        let other = Relation { oid: now.oid + 1_000, ..(**now).clone() };
        self.relations[table as usize] = Arc::new(other);
        self.lsn += 120;
        self.add_member(table);
    }

    /// `ALTER TABLE … ALTER COLUMN … TYPE`: what it does to rows is not in the stream.
    pub fn retype(&mut self, table: Table, column: &str, type_oid: u32) {
        let mut relation = (*self.relations[table as usize]).clone();
        let columns = relation.columns.iter_mut().filter(|one| &*one.name == column);
        columns.for_each(|one| one.type_oid = type_oid);
        self.relations[table as usize] = Arc::new(relation);
        self.lsn += 120;
    }

    fn alive(&self, life: u64) -> Result<(), Failure> {
        match self.life == life && !self.away {
            true => Ok(()),
            false => Err(Failure::Away("the connection broke".to_owned())),
        }
    }

    fn seen(&self) -> Seen {
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
            // Tables of other names are not looked for.
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
            ..Seen::default()
        }
    }
}

/// An update does not repeat long values that it leaves alone.
fn toasted(old: &[Wire], new: &[Wire]) -> Values {
    let one = |(old, new): (&Wire, &Wire)| match new {
        Wire::Text(value) if old == new && value.len() > OUT_OF_LINE && value.len() != 36 && !value.contains(':') => {
            Wire::Unchanged
        }
        new => new.clone(),
    };
    old.iter().zip(new).map(one).collect()
}

/// With the default replica identity all but the key is written as null.
fn key_alone(row: &[Wire]) -> Values {
    row.iter().enumerate().map(|(index, value)| if index == 0 { value.clone() } else { Wire::Null }).collect()
}

/// A server as the follower has it.
#[derive(Clone)]
pub struct Double(pub Arc<Mutex<Pg>>);

#[derive(Clone)]
pub struct DoubleClock(Arc<Mutex<Pg>>);

impl Clock for DoubleClock {
    fn elapsed(&self) -> Duration {
        self.0.lock().now
    }

    fn now_ms(&self) -> i64 {
        self.0.lock().now_us() / 1_000
    }

    fn sleep(&self, wait: Duration) -> impl Future<Output = ()> {
        let (pg, until) = (Arc::clone(&self.0), self.elapsed().saturating_add(wait));
        std::future::poll_fn(move |_| if pg.lock().now >= until { Poll::Ready(()) } else { Poll::Pending })
    }
}

/// Pending once, so that whoever steps the follower sees every place between two questions.
struct Turn(bool);

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Server for Double {
    type Clock = DoubleClock;
    type Stream = DoubleStream;
    type Copy = DoubleCopy;

    fn clock(&self) -> DoubleClock {
        DoubleClock(Arc::clone(&self.0))
    }

    async fn look(&mut self) -> Result<Seen, Failure> {
        let mut pg = self.0.lock();
        pg.looks += 1;
        match pg.away {
            true => Err(Failure::Away("no answer".to_owned())),
            false => Ok(pg.seen()),
        }
    }

    async fn branched_at(&mut self, timeline: u32, _of: u32) -> Result<Option<u64>, Failure> {
        Ok(self.0.lock().branches.get(&timeline).copied())
    }

    async fn drop_slot(&mut self) -> Result<(), Failure> {
        Turn(false).await;
        let mut pg = self.0.lock();
        if pg.slot.as_ref().is_some_and(|slot| slot.active.is_some()) {
            return Err(Failure::Refused { code: "55006".to_owned(), text: "the slot is active".to_owned() });
        }
        pg.slot = None;
        Ok(())
    }

    async fn make_slot(&mut self, temporary: bool, _told: impl Fn(String)) -> Result<Made, Failure> {
        Turn(false).await;
        let mut pg = self.0.lock();
        if pg.away {
            return Err(Failure::Away("no answer".to_owned()));
        }
        // The server writes a record of its own.
        pg.lsn += 56;
        let (consistent_lsn, at_us) = (pg.lsn, pg.now_us());
        if !temporary {
            if pg.slot.is_some() {
                let text = "a slot of that name is there".to_owned();
                return Err(Failure::Refused { code: "42710".to_owned(), text });
            }
            pg.slot = Some(Slot { confirmed: consistent_lsn, saved: consistent_lsn, ..Slot::default() });
        }
        pg.open_snapshots += 1;
        SNAPSHOT.with(|snapshot| *snapshot.borrow_mut() = pg.tables.clone());
        Ok(Made { consistent_lsn, at_us })
    }

    async fn copy(&mut self, table: &Published) -> Result<DoubleCopy, Failure> {
        let table = table.table.unwrap();
        let rows = SNAPSHOT.with(|snapshot| snapshot.borrow()[table as usize].values().cloned().collect());
        let pg = self.0.lock();
        let (life, relation) = (pg.life, (*pg.relations[table as usize]).clone());
        drop(pg);
        Ok(DoubleCopy { pg: Arc::clone(&self.0), relation, rows, next: 0, life })
    }

    async fn end_snapshot(&mut self) {
        let mut pg = self.0.lock();
        pg.open_snapshots = pg.open_snapshots.saturating_sub(1);
    }

    async fn start(&mut self, from: u64, acknowledged: u64) -> Result<DoubleStream, Failure> {
        Turn(false).await;
        let mut pg = self.0.lock();
        pg.starts += 1;
        pg.sessions += 1;
        let (life, session) = (pg.life, pg.sessions);
        let refused = |code: &str, text: &str| Failure::Refused { code: code.to_owned(), text: text.to_owned() };
        let Some(slot) = &mut pg.slot else { return Err(refused("42704", "there is no slot")) };
        if slot.lost.is_some() {
            return Err(refused("55000", "the slot was invalidated"));
        }
        if slot.active.is_some() {
            return Err(refused("55006", "the slot is active"));
        }
        slot.active = Some(session);
        slot.confirmed = slot.confirmed.max(acknowledged);
        let from = from.max(slot.confirmed);
        let next = pg.log.iter().position(|one| one.commit_lsn >= from).unwrap_or(pg.log.len());
        Ok(DoubleStream {
            pg: Arc::clone(&self.0),
            life,
            session,
            next,
            within: 0,
            described: BTreeMap::new(),
            alive_until: from,
            told: acknowledged,
        })
    }
}

thread_local! {
    /// What the open snapshot sees.
    static SNAPSHOT: std::cell::RefCell<[Rows; 5]> = Default::default();
}

pub struct DoubleCopy {
    pg: Arc<Mutex<Pg>>,
    relation: Relation,
    rows: Vec<Values>,
    next: usize,
    life: u64,
}

impl Copy for DoubleCopy {
    fn columns(&self) -> &Relation {
        &self.relation
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.next.is_multiple_of(16) {
            Turn(false).await;
        }
        let mut pg = self.pg.lock();
        pg.alive(self.life)?;
        if let Some(left) = &mut pg.break_copy_after {
            if *left == 0 {
                pg.break_copy_after = None;
                return Err(Failure::Away("the connection broke".to_owned()));
            }
            *left -= 1;
        }
        let row = self.rows.get(self.next);
        self.next += 1;
        Ok(row.map(|row| pgoutput::line(row).into()))
    }
}

pub struct DoubleStream {
    pg: Arc<Mutex<Pg>>,
    life: u64,
    session: u64,
    /// The transaction at hand, and the message within it: 0 is Begin.
    next: usize,
    within: usize,
    /// As each relation was described last.
    described: BTreeMap<u32, Arc<Relation>>,
    /// The last keepalive's position.
    alive_until: u64,
    told: u64,
}

impl DoubleStream {
    fn event(&mut self) -> Option<Result<Event, Failure>> {
        let pg = Arc::clone(&self.pg);
        let pg = pg.lock();
        if let Err(failure) = pg.alive(self.life) {
            return Some(Err(failure));
        }
        if pg.silent {
            return None;
        }
        if pg.slot.as_ref().is_none_or(|slot| slot.lost.is_some()) {
            return Some(Err(Failure::Away("the server ended the session".to_owned())));
        }
        let Some(one) = pg.log.get(self.next) else {
            if pg.lsn > self.alive_until {
                self.alive_until = pg.lsn;
                return Some(Ok(Event::KeepAlive { wal_end: pg.lsn }));
            }
            return None;
        };
        if self.within == 0 {
            self.within = 1;
            return Some(Ok(Event::Begin { commit_lsn: one.commit_lsn, commit_us: one.commit_us }));
        }
        if let Some((lsn, _, message, relation)) = one.changes.get(self.within - 1) {
            let before = self.described.insert(relation.oid, Arc::clone(relation));
            if before.is_none_or(|before| before != *relation) {
                let message = pgoutput::describe(relation).into();
                return Some(Ok(Event::Change { lsn: 0, message }));
            }
            self.within += 1;
            return Some(Ok(Event::Change { lsn: *lsn, message: message.clone() }));
        }
        (self.next, self.within) = (self.next + 1, 0);
        Some(Ok(Event::Commit { lsn: one.commit_lsn, end_lsn: one.end_lsn }))
    }
}

impl Stream for DoubleStream {
    fn next(&mut self) -> impl Future<Output = Result<Event, Failure>> {
        std::future::poll_fn(move |_| self.event().map_or(Poll::Pending, Poll::Ready))
    }

    fn next_at_once(&mut self) -> Option<Result<Event, Failure>> {
        self.event()
    }

    fn acknowledge(&mut self, lsn: u64) {
        let mut pg = self.pg.lock();
        if pg.alive(self.life).is_err() {
            return;
        }
        self.told = self.told.max(lsn);
        let (told, end) = (self.told, pg.lsn);
        assert!(told <= end, "acknowledged {told:x}, which the server does not have yet");
        if let Some(slot) = pg.slot.as_mut().filter(|slot| slot.active == Some(self.session)) {
            slot.confirmed = slot.confirmed.max(told);
        }
    }

    fn told(&self) -> u64 {
        self.told
    }

    async fn close(self) {}
}

impl Drop for DoubleStream {
    fn drop(&mut self) {
        let mut pg = self.pg.lock();
        if let Some(slot) = pg.slot.as_mut().filter(|slot| slot.active == Some(self.session)) {
            slot.active = None;
        }
    }
}
