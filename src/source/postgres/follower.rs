//! Follows a replication slot: the follower compares the server with the store's position, reads a snapshot if one is
//! needed, streams, and acknowledges only what the store has committed. The follower is one task on the session's
//! thread, and shares the link with ingest. All input and output of the follower, including time, goes through
//! [`Server`].

mod snapshot;
mod streaming;

use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::event::{Table, Tables, TopicPartition};
use crate::source::{Cookie, Fault, Progress};

use super::finding::{Code, Finding};
use super::fitness::{self, unfit};
use super::link::{Chunk, Link, Order};
use super::position::{Phase, Position};
use super::redefined::redefined;
use super::server::{Clock as _, Failure, Server};
use super::slot::{Seen, Verdict, judge};
use super::status::{PostgresStatus, State};

/// How often the follower checks the slot and the publication.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The pauses after several failed sessions in a row.
const RETRY: Backoff = Backoff { first: Duration::from_millis(200), last: Duration::from_secs(5) };
/// How long a session must last so that it ends a series of failures.
const LONG_SESSION: Duration = Duration::from_secs(10);
/// How often the follower checks whether an awaited commit is done.
const COMMIT_LOOK_EVERY: Duration = Duration::from_millis(10);

/// The slot and the publication to follow, and the settings for following them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowSettings {
    pub slot: String,
    pub publication: String,
    /// Whether nova reads all tables again without a person's order if the slot is lost. nova does so at most three
    /// times an hour.
    pub resnapshot: bool,
    /// The largest amount of log, in MiB, that the server may keep for the slot before nova drops the slot. 0 means no
    /// limit.
    pub max_held_wal_mib: u32,
}

/// Why a session with the PostgreSQL server ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Ingest has ordered the session to begin reading at a new position, or the process ends.
    Void,
    Failed(Failure),
    /// A problem of the server must be corrected before nova can read.
    Unfit(Finding),
    /// A person must decide how nova continues.
    Stopped(Finding),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Ended {
        match failure {
            Failure::Found(finding) if finding.repair.is_empty() => Ended::Unfit(*finding),
            Failure::Found(finding) => Ended::Stopped(*finding),
            failure => Ended::Failed(failure),
        }
    }
}

/// The follower of a replication slot.
pub struct Follower<S: Server> {
    server: S,
    clock: S::Clock,
    link: Arc<Link>,
    progress: Arc<dyn Progress>,
    partition: TopicPartition,
    settings: FollowSettings,
    status: Arc<PostgresStatus>,
    /// The newest position that was handed over to ingest. `None` means that the store's position applies, because
    /// nothing was handed over yet.
    last: Option<Position>,
    /// The position from which the present session began to read.
    begun: Option<Position>,
    /// The offset after the last record that was handed over in the present generation of the link.
    handed_over: i64,
    generation: u64,
}

impl<S: Server> Follower<S> {
    pub fn new(
        server: S,
        link: Arc<Link>,
        progress: Arc<dyn Progress>,
        settings: FollowSettings,
        status: Arc<PostgresStatus>,
    ) -> Follower<S> {
        let (clock, partition) = (server.clock(), super::link::partition(&settings.slot));
        Follower {
            server,
            clock,
            link,
            progress,
            partition,
            settings,
            status,
            last: None,
            begun: None,
            handed_over: 0,
            generation: 0,
        }
    }

    /// Runs sessions with the server until ingest closes the link.
    pub async fn run(mut self) {
        let mut failures = 0u32;
        while !self.link.is_closing() {
            self.obey();
            let began = self.clock.elapsed();
            let wait = match self.session().await {
                Err(Ended::Void) | Ok(()) => continue,
                Err(Ended::Failed(failure)) => {
                    // A failure after a long session does not belong to an earlier series of failures, so the pause is
                    // short again.
                    failures = if self.clock.elapsed() - began > LONG_SESSION { 0 } else { failures };
                    let wait = RETRY.wait(failures);
                    tracing::warn!("postgres: {failure}; tried again in {} ms", wait.as_millis());
                    PostgresStatus::count(&self.status.reconnects, 1);
                    self.status.set(State::Away(failure.finding()));
                    failures = failures.saturating_add(1);
                    wait
                }
                Err(Ended::Unfit(finding)) => {
                    tracing::warn!("postgres: {finding}");
                    self.status.set(State::Unfit(finding));
                    LOOK_EVERY
                }
                Err(Ended::Stopped(finding)) => {
                    let fault = Fault { partition: self.partition.clone(), reason: finding.to_string() };
                    self.status.set(State::Stopped(finding));
                    self.link.fault(self.generation, fault);
                    self.stand().await;
                    continue;
                }
            };
            self.pause(wait).await;
        }
        self.status.set(State::Closed);
        self.link.close();
    }

    /// Takes an order of ingest from the link, if ingest has given one.
    fn obey(&mut self) {
        let (generation, order) = self.link.begin();
        self.generation = generation;
        match order {
            None => {}
            Some(Order::Restart) => (self.last, self.handed_over) = (None, 0),
            Some(Order::Renumber { next }) => {
                self.last = self.begun.take().map(|begun| Position { offset: next, ..begun });
            }
        }
    }

    /// Waits until a person acts, and checks at intervals how much log the server keeps for the slot.
    async fn stand(&mut self) {
        while self.link.is_current(self.generation) {
            if let Ok(seen) = self.server.look().await {
                self.saw(&seen);
                let active = seen.slot.as_ref().is_none_or(|slot| slot.active_pid.is_some());
                if !active && let Some(finding) = too_much_held(&seen, &self.settings) {
                    tracing::error!("postgres: {finding}");
                    if let Err(failure) = self.server.drop_slot().await {
                        tracing::error!("postgres: the slot cannot be dropped: {failure}");
                    }
                }
            }
            self.pause(LOOK_EVERY).await;
        }
    }

    /// Waits until the link has a request, or for at most the time `wait`.
    async fn pause(&self, wait: Duration) {
        let slept = self.clock.sleep(wait);
        tokio::pin!(slept);
        while self.link.is_current(self.generation) {
            tokio::select! {
                biased;
                () = &mut slept => return,
                () = self.link.woken.notified() => {}
            }
        }
    }

    /// Runs one session with the server, from its first check to its end.
    async fn session(&mut self) -> Result<(), Ended> {
        let seen = self.server.look().await?;
        self.saw(&seen);
        if let Some(finding) = unfit(&seen, &self.settings.slot, &self.settings.publication) {
            return Err(Ended::Unfit(finding));
        }
        let position = self.position()?;
        let forked = match &position {
            Some(position) => self.forked(position, &seen).await?,
            None => false,
        };
        let (position, seen) = match judge(position.as_ref(), &seen, forked, &self.settings.slot) {
            Verdict::Stop(finding) => self.repair(position, &seen, finding).await?,
            Verdict::Snapshot => self.snapshot(position.unwrap_or_default(), &seen, Tables::ALL).await?,
            Verdict::GoOn { wanted } => {
                let mut position = Position { timeline: seen.timeline, ..position.unwrap_or_default() };
                position.learn(seen.shapes(), seen.partitions_behind(position.partitions));
                // If a person has ordered nova to read a table, nova reads the table as soon as it is published.
                match seen.published_of(wanted).is_empty() {
                    true => (position, seen),
                    false => self.snapshot(position, &seen, wanted).await?,
                }
            }
        };
        match self.stream(position, &seen).await {
            // Only the stream shows whether the server has the log that was read, and whether a foreign table has had
            // the name of a followed table for a time.
            Err(Ended::Stopped(finding)) if matches!(finding.code, Code::Behind | Code::PublicationChanged) => {
                let position = self.position()?;
                let (position, seen) = self.repair(position, &seen, finding).await?;
                self.stream(position, &seen).await
            }
            ended => ended,
        }
    }

    /// Reads the tables again if nova cannot continue from the position and the settings allow it.
    async fn repair(
        &mut self,
        position: Option<Position>,
        seen: &Seen,
        finding: Finding,
    ) -> Result<(Position, Seen), Ended> {
        if !self.settings.resnapshot || finding.repair.is_empty() {
            return Err(Ended::Stopped(finding));
        }
        let mut position = position.unwrap_or_default();
        if !position.begin_automatic(self.clock.now_ms()) {
            return Err(Ended::Stopped(finding));
        }
        tracing::error!("postgres: {finding}. All of it is read again (postgres.on_slot_lost)");
        self.snapshot(position, seen, finding.repair).await
    }

    /// Returns the newest position that was handed over, or the store's position if nothing was handed over.
    fn position(&self) -> Result<Option<Position>, Ended> {
        if self.last.is_some() {
            return Ok(self.last.clone());
        }
        let Some(cookie) = self.progress.cookie(&self.partition) else { return Ok(None) };
        let position = Position::decode(&cookie).map_err(|error| {
            let detail = format!("the store's position: {error}");
            Ended::Stopped(Finding::new(Code::Position, detail, "Or read all tables again: nova cdc resnapshot"))
        })?;
        // If ingest has already consumed records after the position, these records come again with the same offsets.
        Ok(Some(position))
    }

    /// Returns the LSN of the store's position, or 0 before the end of a first snapshot, because nothing of a first
    /// snapshot may be acknowledged.
    fn committed_lsn(&self) -> u64 {
        let position = self.progress.cookie(&self.partition).and_then(|cookie| Position::decode(&cookie).ok());
        position.filter(|position| position.phase == Phase::Stream).map_or(0, |position| position.end_lsn)
    }

    /// Returns the offset of the next record that neither the store nor ingest has.
    fn next_offset(&self) -> i64 {
        self.progress.next_offset(&self.partition).unwrap_or(0).max(self.handed_over)
    }

    async fn forked(&mut self, position: &Position, seen: &Seen) -> Result<bool, Failure> {
        let same = position.timeline == seen.timeline || position.phase == Phase::Snapshot;
        if same || position.system_id != seen.system_id {
            return Ok(false);
        }
        if seen.timeline < position.timeline {
            return Ok(true);
        }
        let branched_at = self.server.branched_at(position.timeline, seen.timeline).await?;
        Ok(branched_at.is_none_or(|branched_at| position.end_lsn > branched_at))
    }

    fn saw(&self, seen: &Seen) {
        let (committed_lsn, now_ms) = (self.committed_lsn(), self.clock.now_ms());
        let mut found = fitness::findings(seen, &self.settings.slot, &self.settings.publication);
        // At its beginning the session reports a position that cannot be decoded, so this check ignores the error.
        let position = self.position().ok().flatten();
        found.extend(position.and_then(|position| redefined(&position, seen)));
        let mut new = Vec::new();
        self.status.update(|view| {
            view.seen = seen.clone();
            new = view.warn(std::mem::take(&mut found));
            view.server_lsn = view.server_lsn.max(seen.flush_lsn);
            view.committed_lsn = committed_lsn;
            if committed_lsn >= view.server_lsn {
                view.caught_up_ms = now_ms;
            }
        });
        new.iter().for_each(|finding| tracing::warn!("postgres: {finding}"));
    }

    /// Returns a position in the form that a batch of records carries.
    fn cookie(&self, position: &Position) -> Cookie {
        Cookie { partition: self.partition.clone(), offset: position.offset, bytes: position.encode().into() }
    }

    /// Hands a chunk of records over as soon as the link has room, and remembers the position.
    async fn hand_over(&mut self, chunk: Chunk, position: Option<&Position>) -> Result<(), Ended> {
        while !self.link.has_room() {
            self.still_wanted()?;
            self.link.woken.notified().await;
        }
        self.still_wanted()?;
        if let Some(position) = position {
            self.last = Some(position.clone());
        }
        self.push(chunk);
        Ok(())
    }

    fn push(&mut self, chunk: Chunk) {
        self.handed_over = chunk.records.last().map_or(self.handed_over, |last| last.offset + 1);
        self.link.push(self.generation, chunk);
    }

    fn still_wanted(&self) -> Result<(), Ended> {
        if self.link.is_current(self.generation) { Ok(()) } else { Err(Ended::Void) }
    }

    /// Puts a position into the store, and waits until it is committed.
    async fn commit(&mut self, position: &Position) -> Result<(), Ended> {
        let cookie = self.cookie(position);
        let bytes = Arc::clone(&cookie.bytes);
        let chunk = Chunk { records: Vec::new(), cookie: Some(cookie) };
        self.hand_over(chunk, Some(position)).await?;
        while self.progress.cookie(&self.partition).as_ref() != Some(&bytes) {
            self.still_wanted()?;
            self.clock.sleep(COMMIT_LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// Returns the finding that the server keeps more of the log for the slot than the settings allow. The server's free
/// disk space is more important than the slot, so nova drops the slot.
fn too_much_held(seen: &Seen, settings: &FollowSettings) -> Option<Finding> {
    /// The percentage of the limit from which on the finding is a warning.
    const WARN_PERCENT: u64 = 80;
    let limit_mib = u64::from(settings.max_held_wal_mib);
    let held_mib = seen.slot.as_ref()?.held_bytes(seen.flush_lsn) >> 20;
    if limit_mib == 0 || held_mib * 100 < limit_mib * WARN_PERCENT {
        return None;
    }
    if held_mib < limit_mib {
        let slot = &settings.slot;
        tracing::error!(slot, held_mib, limit_mib, "the server keeps much of its log for the slot");
        return None;
    }
    let detail =
        format!("the server keeps {held_mib} MiB of its log for the slot {}, at most {limit_mib} may", settings.slot);
    let remedy = "nova drops the slot (postgres.max_held_wal_mib). To read all tables again: nova cdc resnapshot";
    Some(Finding::new(Code::HeldWal, detail, remedy).repaired_by(Tables::ALL))
}

/// Returns the `pg_class.oid` of each followed table, in the order of [`Table::ALL`]. The oid is 0 if the table is not
/// published.
fn oids(seen: &Seen) -> [u32; Table::ALL.len()] {
    Table::ALL.map(|table| seen.published(table).map_or(0, |published| published.oid))
}

/// Returns the schema of each followed table, in the order of [`Table::ALL`].
fn namespaces(seen: &Seen) -> [Option<String>; Table::ALL.len()] {
    Table::ALL.map(|table| seen.published(table).map(|published| published.namespace.clone()))
}
