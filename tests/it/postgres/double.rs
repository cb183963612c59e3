//! The double of the PostgreSQL server for the follower: it answers one request at a time, and it has a snapshot, a
//! slot and the slot's stream.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use nova::event::Relation;
use nova::source::postgres::server::{Clock, Copy, Event, Failure, Made, Server, Stream};
use nova::source::postgres::slot::{Published, Seen};
use parking_lot::Mutex;

use super::pgoutput::{self, Values};
use super::walsender::{Pg, Rows, Slot};

/// The server as the follower sees it.
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

/// A future that is pending once, so that each step of the follower ends between two requests.
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
        // The server writes a log record of its own when it makes a slot.
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
    /// The rows that the open snapshot contains.
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
    /// The number of the next transaction, and the number of the next message within it. Message 0 of a transaction is
    /// Begin.
    next: usize,
    within: usize,
    /// The last description of each relation that the session has sent.
    described: BTreeMap<u32, Arc<Relation>>,
    /// The LSN in the last keepalive.
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
