//! Reads the stream of a slot, from START_REPLICATION to the end of the session.

use std::time::Duration;

use crate::source::postgres::fitness::unfit;
use crate::source::postgres::link::Chunk;
use crate::source::postgres::lsn::lsn_text;
use crate::source::postgres::numbering::Numbering;
use crate::source::postgres::position::Position;
use crate::source::postgres::server::{Clock as _, Event, Failure, Server, Stream as _};
use crate::source::postgres::slot::{Seen, Verdict, judge, other_log};
use crate::source::postgres::status::{PostgresStatus, State};

use super::{Ended, Follower, LOOK_EVERY, namespaces, oids};

/// How often the follower acknowledges commits and checks deadlines.
const TICK: Duration = Duration::from_millis(50);
/// How often the follower commits a position up to which the log had nothing to send.
const IDLE_EVERY: Duration = Duration::from_secs(10);
/// The longest silence of the server after which a session still counts as alive. The session sets `wal_sender_timeout`
/// to half of the longest silence, and the server sends something at least twice within `wal_sender_timeout`. A session
/// that receives nothing for the longest silence is dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The maximum number of events that the follower takes in a row before it checks the orders of ingest and the
/// deadlines.
const RUN_MAX_EVENTS: usize = 512;
/// The follower hands a chunk over when the chunk has this number of records or of bytes. A smaller chunk is handed
/// over when no further event is ready.
const CHUNK_MAX_RECORDS: usize = 1_024;
const CHUNK_MAX_BYTES: usize = 1 << 20;
/// How long the end of a session waits until the last feedback is sent, and then until the server shows the sent
/// feedback.
const FAREWELL_MAX: Duration = Duration::from_secs(3);

/// Records that the follower collects before it hands them over to ingest.
#[derive(Default)]
struct Pending {
    chunk: Chunk,
    bytes: usize,
    /// The position after the records, if a transaction has ended since the last hand-over.
    position: Option<Position>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.chunk.records.is_empty() && self.position.is_none()
    }

    fn is_full(&self) -> bool {
        self.chunk.records.len() >= CHUNK_MAX_RECORDS || self.bytes >= CHUNK_MAX_BYTES
    }
}

impl<S: Server> Follower<S> {
    /// Streams from the given position until the session ends.
    pub(super) async fn stream(&mut self, position: Position, seen: &Seen) -> Result<(), Ended> {
        // If the slot is older than the position, the server sends some records a second time, and each of these
        // records must be the same both times.
        let confirmed_lsn = seen.slot.as_ref().and_then(|slot| slot.confirmed_lsn).unwrap_or(u64::MAX);
        let older = confirmed_lsn < position.end_lsn;
        let from = if older { confirmed_lsn.max(position.commit_lsn) } else { position.end_lsn };
        // Until the repeated records have been compared, the follower acknowledges nothing more, because the slot would
        // not send acknowledged changes a second time.
        let acknowledged = self.committed_lsn().min(confirmed_lsn);
        let stream = self.server.start(from, acknowledged).await?;
        tracing::info!(
            slot = self.settings.slot,
            from = lsn_text(from),
            offset = position.offset,
            "postgres: streaming"
        );
        self.begun = Some(position.clone());
        self.last = Some(position.clone());
        self.status.set(State::Streaming);
        let numbering = Numbering::new(self.partition.clone(), position.offset, namespaces(seen));
        let numbering = numbering.of(oids(seen), position.copied);
        let comes_again = older && position.commit_lsn > 0 && confirmed_lsn <= position.commit_lsn;
        let known = if comes_again { Known::Expected } else { Known::Not };
        let known_lsn = if older { position.end_lsn } else { 0 };
        let pending = Pending::default();
        let mut reading =
            Reading { stream, numbering, position, pending, idle_lsn: 0, begun: (0, 0), known, known_lsn };
        let ended = self.read_on(&mut reading).await;
        let Reading { stream, known_lsn, .. } = reading;
        if self.link.is_closing() {
            match known_lsn {
                0 => self.farewell(stream).await,
                _ => stream.close().await,
            }
            return Ok(());
        }
        stream.close().await;
        ended
    }

    async fn read_on(&mut self, reading: &mut Reading<S::Stream>) -> Result<(), Ended> {
        // After the check of the slot, somebody may have moved the slot, or replaced it by a new slot with the same
        // name, and nova would skip changes. Once the stream has started, nobody can move or replace the slot.
        let seen = self.server.look().await?;
        self.compare(&seen, &mut reading.position)?;
        let clock = self.clock.clone();
        let (mut heard, mut idled, mut looked) = (clock.elapsed(), clock.elapsed(), clock.elapsed());
        loop {
            let room = self.link.has_room();
            if !room {
                // The follower reads no events while the link is full, so the silence is not the server's fault.
                heard = clock.elapsed();
            }
            tokio::select! {
                biased;
                event = reading.stream.next(), if room => {
                    reading.take(event?)?;
                    heard = clock.elapsed();
                    self.take_more(reading)?;
                }
                () = std::future::ready(()), if !reading.pending.is_empty() => self.flush(reading),
                () = self.link.woken.notified() => {}
                () = clock.sleep(TICK) => {}
            }
            self.still_wanted()?;
            if reading.pending.is_full() {
                self.flush(reading);
            }
            self.acknowledge(reading);
            if clock.elapsed() - heard >= SILENCE_MAX {
                PostgresStatus::count(&self.status.stalls, 1);
                let silence_s = SILENCE_MAX.as_secs();
                return Err(Failure::Away(format!("the stream brought nothing for {silence_s} s")).into());
            }
            if clock.elapsed() - idled >= IDLE_EVERY && reading.is_idle() {
                idled = clock.elapsed();
                reading.stand_at_idle();
            }
            if clock.elapsed() - looked >= LOOK_EVERY {
                looked = clock.elapsed();
                self.look_again(&mut reading.position).await?;
            }
        }
    }

    /// Takes the events that have already arrived, without checking the orders of ingest and the deadlines between two
    /// events.
    fn take_more(&self, reading: &mut Reading<S::Stream>) -> Result<(), Ended> {
        for _ in 0..RUN_MAX_EVENTS {
            if reading.pending.is_full() {
                break;
            }
            let Some(event) = reading.stream.next_at_once() else { break };
            reading.take(event?)?;
        }
        Ok(())
    }

    fn flush(&mut self, reading: &mut Reading<S::Stream>) {
        let Pending { mut chunk, position, .. } = std::mem::take(&mut reading.pending);
        if let Some(position) = position {
            chunk.cookie = Some(self.cookie(&position));
            self.last = Some(position);
        }
        self.push(chunk);
    }

    /// Reports the store's position to the server, and publishes the distance from the end of the log.
    fn acknowledge(&self, reading: &mut Reading<S::Stream>) {
        let (committed_lsn, now_ms) = (self.committed_lsn(), self.clock.now_ms());
        if reading.known_lsn == 0 {
            reading.stream.acknowledge(committed_lsn);
        }
        let (told_lsn, idle_lsn, end_lsn) = (reading.stream.told(), reading.idle_lsn, reading.position.end_lsn);
        // Up to `idle_lsn` the log has nothing to send, or everything that was sent is committed.
        let nothing_waits = committed_lsn >= end_lsn && !reading.numbering.is_open();
        self.status.update(|view| {
            view.received_lsn = end_lsn.max(idle_lsn);
            view.server_lsn = view.server_lsn.max(view.received_lsn);
            (view.committed_lsn, view.told_lsn) = (committed_lsn, told_lsn);
            if nothing_waits {
                view.committed_lsn = committed_lsn.max(idle_lsn);
            }
            if view.committed_lsn >= view.server_lsn {
                view.caught_up_ms = now_ms;
            }
        });
    }

    /// Checks the slot and the publication while the stream runs. If the server does not answer the check, the stream
    /// continues.
    async fn look_again(&mut self, position: &mut Position) -> Result<(), Ended> {
        let seen = match self.server.look().await {
            Ok(seen) => seen,
            Err(failure) => {
                tracing::warn!("postgres: the slot cannot be looked at: {failure}");
                return Ok(());
            }
        };
        self.compare(&seen, position)
    }

    /// Checks that the position still belongs to the slot, and that the slot can be followed.
    fn compare(&mut self, seen: &Seen, position: &mut Position) -> Result<(), Ended> {
        self.saw(seen);
        if let Some(finding) = unfit(seen, &self.settings.slot, &self.settings.publication) {
            return Err(Ended::Unfit(finding));
        }
        // The server learns only positions that the store has committed, so the position to compare must not be older
        // than the store's position.
        let held = Position { end_lsn: position.end_lsn.max(self.committed_lsn()), ..position.clone() };
        match judge(Some(&held), seen, false, &self.settings.slot) {
            // If the settings allow reading the tables again, the next session reads them.
            Verdict::Stop(_) if self.settings.resnapshot => return Err(Ended::Void),
            Verdict::Stop(finding) => return Err(Ended::Stopped(finding)),
            // A person has ordered nova to read a table that is now in the publication, so the next session reads the
            // table.
            Verdict::GoOn { wanted } if !seen.published_of(wanted).is_empty() => return Err(Ended::Void),
            Verdict::GoOn { .. } | Verdict::Snapshot => {}
        }
        position.learn(seen.shapes(), seen.partitions_behind(position.partitions));
        match super::too_much_held(seen, &self.settings) {
            Some(finding) => Err(Ended::Stopped(finding)),
            None => Ok(()),
        }
    }

    /// Sends the last feedback, and waits until the server shows the sent feedback, before the connection is closed.
    async fn farewell(&mut self, mut stream: S::Stream) {
        let committed_lsn = self.committed_lsn();
        stream.acknowledge(committed_lsn);
        let deadline = self.clock.elapsed() + FAREWELL_MAX;
        let mut seen_lsn = 0;
        while self.clock.elapsed() < deadline && (stream.told() < committed_lsn || seen_lsn < committed_lsn) {
            tokio::select! {
                biased;
                // Events that arrive now are dropped, but the stream must still answer keepalives.
                told = stream.next() => if told.is_err() { break },
                () = self.clock.sleep(TICK) => {}
            }
            if stream.told() >= committed_lsn
                && let Ok(seen) = self.server.look().await
            {
                seen_lsn = seen.slot.and_then(|slot| slot.confirmed_lsn).unwrap_or(0);
            }
        }
        if seen_lsn < committed_lsn {
            tracing::warn!("postgres: the server has not confirmed the last position; it sends some changes again");
        }
        stream.close().await;
    }
}

/// The state of the streaming loop between two events.
struct Reading<T> {
    stream: T,
    numbering: Numbering,
    /// The end of the last whole transaction that the follower took.
    position: Position,
    pending: Pending,
    /// The server says that it has sent every change before this LSN.
    idle_lsn: u64,
    /// The LSN and the time of the present transaction's commit.
    begun: (u64, i64),
    known: Known,
    /// An earlier session has read every change before this LSN, but the slot may send these changes again. `known_lsn`
    /// becomes 0 when the stream has passed the changes of earlier sessions. When `known_lsn` is 0, nova knows that the
    /// server has the log that was read.
    known_lsn: u64,
}

/// Whether an earlier session has read the present transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Not,
    /// The next transaction must be the last transaction that was read.
    Expected,
    /// An earlier session has read the present transaction, so nothing of it is taken.
    Passing,
}

impl<T> Reading<T> {
    fn take(&mut self, event: Event) -> Result<(), Ended> {
        if self.known_lsn > 0 && self.passes(&event)? {
            return Ok(());
        }
        if let Event::Begin { commit_lsn, commit_us } = event {
            self.begun = (commit_lsn, commit_us);
        }
        if let Event::Change { message, .. } | Event::Message { content: message, .. } = &event {
            self.pending.bytes += message.len();
        }
        let told = match event {
            Event::Commit { end_lsn, .. } => Some(end_lsn),
            Event::KeepAlive { wal_end } => {
                self.idle_lsn = self.idle_lsn.max(wal_end);
                None
            }
            Event::Begin { .. } | Event::Change { .. } | Event::Message { .. } => None,
        };
        self.numbering.take(event, &mut self.pending.chunk.records)?;
        if let Some(end_lsn) = told {
            self.position.reach(end_lsn);
            (self.position.commit_lsn, self.position.commit_us) = self.begun;
            self.position.offset = self.numbering.next();
            self.pending.position = Some(self.position.clone());
        }
        Ok(())
    }

    /// Skips the last transaction that was read, and checks that no other transaction comes before the position. If the
    /// last transaction that was read does not come again, the server has a different log than before.
    fn passes(&mut self, event: &Event) -> Result<bool, Ended> {
        match event {
            Event::Begin { commit_lsn, commit_us } => match self.known {
                Known::Expected if (*commit_lsn, *commit_us) == (self.position.commit_lsn, self.position.commit_us) => {
                    self.known = Known::Passing;
                    Ok(true)
                }
                Known::Not if *commit_lsn >= self.known_lsn => {
                    self.known_lsn = 0;
                    Ok(false)
                }
                Known::Not | Known::Expected | Known::Passing => {
                    let what = format!("the server has another transaction at {}", lsn_text(*commit_lsn));
                    Err(Ended::Stopped(other_log(&what, &self.position)))
                }
            },
            Event::Commit { end_lsn, .. } => {
                self.known = Known::Not;
                self.known_lsn = if *end_lsn >= self.known_lsn { 0 } else { self.known_lsn };
                Ok(true)
            }
            // The server describes a relation only once in a session, so a description of a relation is never skipped.
            Event::Change { message, .. } => Ok(message.first() != Some(&b'R')),
            Event::Message { lsn, .. } => Ok(self.known != Known::Not || *lsn < self.known_lsn),
            Event::KeepAlive { wal_end } if *wal_end < self.known_lsn => Ok(false),
            Event::KeepAlive { .. } if self.known == Known::Expected => {
                let what = format!("the server has no transaction at {}", lsn_text(self.position.commit_lsn));
                Err(Ended::Stopped(other_log(&what, &self.position)))
            }
            Event::KeepAlive { .. } => {
                self.known_lsn = if self.known == Known::Not { 0 } else { self.known_lsn };
                Ok(false)
            }
        }
    }

    /// Whether the server's log has grown without changes to send.
    fn is_idle(&self) -> bool {
        self.known_lsn == 0
            && self.idle_lsn > self.position.end_lsn
            && !self.numbering.is_open()
            && self.pending.is_empty()
    }

    /// Takes the position up to which the server had nothing to send: the position is committed first, and only then
    /// acknowledged.
    fn stand_at_idle(&mut self) {
        self.position.reach(self.idle_lsn);
        self.position.offset = self.numbering.next();
        self.pending.position = Some(self.position.clone());
    }
}
