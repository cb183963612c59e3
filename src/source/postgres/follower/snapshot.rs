//! A snapshot of tables: every row at the position where a slot begins, between two marks in the stream of records.
//! After a crash or a failure a snapshot begins again from its first row. Rows that an interrupted snapshot has read
//! are overwritten, and rows that no longer exist are swept.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::event::{Origin, OriginKind, Record, SnapshotMark, Table, Tables};
use crate::source::postgres::around;
use crate::source::postgres::finding::{Code, Finding};
use crate::source::postgres::fitness::unfit;
use crate::source::postgres::hazards;
use crate::source::postgres::link::Chunk;
use crate::source::postgres::lsn::lsn_text;
use crate::source::postgres::numbering::Numbering;
use crate::source::postgres::position::{Phase, Position};
use crate::source::postgres::server::{Clock as _, Copy as _, Failure, Made, Server};
use crate::source::postgres::slot::{Published, Seen};
use crate::source::postgres::status::{PostgresStatus, Snapshot, State};

use super::{Ended, Follower, LOOK_EVERY};

/// Parent tables come first, so that nova knows the users before their posts.
const ORDER: [Table; 5] = [Table::Users, Table::Posts, Table::Follows, Table::Comments, Table::Likes];
/// The maximum number of records in one chunk of a snapshot.
const CHUNK_MAX_RECORDS: usize = 1_024;
const CHUNK_MAX_BYTES: usize = 512 << 10;
/// The largest length of a line of COPY that arrives in several messages, in bytes.
const LINE_MAX_BYTES: usize = 64 << 20;
/// The smallest percentage of `max_slot_wal_keep_size` that may be left before nova aborts a snapshot.
const BUDGET_MIN_PERCENT: i64 = 20;

impl<S: Server> Follower<S> {
    /// Reads the given tables, and returns the position from which the stream continues. If all tables are read, nova
    /// makes a new slot for them. If some tables are read, nova takes their snapshot with a temporary slot, and then
    /// continues the stream from its earlier position. Changes in the stream that the snapshot already contains are
    /// skipped, because they may be outdated ([`Position::copied`]). The result also has the state of the server after
    /// the snapshot.
    pub(super) async fn snapshot(
        &mut self,
        position: Position,
        seen: &Seen,
        tables: Tables,
    ) -> Result<(Position, Seen), Ended> {
        let all = tables == Tables::ALL;
        let published = seen.published_of(tables);
        self.can_copy(seen, published)?;
        PostgresStatus::count(&self.status.snapshots, 1);
        self.status.set(State::Snapshot(Snapshot::default()));
        let mut position = Position { offset: self.next_offset(), ..position };
        // Before nova makes the slot, the store must know that the slot is nova's own, because nova drops its own slot
        // after a crash.
        match all {
            true => position.phase = Phase::Snapshot,
            false => position.wanted = position.wanted.union(tables),
        }
        self.commit(&position).await?;
        if all && seen.slot.is_some() {
            self.server.drop_slot().await?;
        }
        let status = Arc::clone(&self.status);
        let blocked = move |blocked| status.set(State::Snapshot(Snapshot { blocked, ..Snapshot::default() }));
        let made = self.server.make_slot(!all, blocked).await?;
        tracing::info!(
            tables = published.iter().count(),
            at = lsn_text(made.consistent_lsn),
            "postgres: reading a snapshot"
        );
        let mut numbering = Numbering::new(self.partition.clone(), position.offset, Default::default());
        let copied = self.copy_all(seen, published, made, &mut numbering).await;
        self.server.end_snapshot().await;
        copied?;
        let after = self.server.look().await?;
        self.saw(&after);
        self.same_publication(seen, &after, published)?;
        let position = read_to_its_end(position, &after, (all, published), made, numbering.next());
        let mark = Origin {
            kind: OriginKind::Snapshot(SnapshotMark::End(published)),
            commit_us: made.at_us,
            base_lsn: made.consistent_lsn,
        };
        let mut records = Vec::new();
        numbering.read(&Arc::new(mark), None, &mut records);
        let position = Position { offset: numbering.next(), ..position };
        let cookie = Some(self.cookie(&position));
        self.hand_over(Chunk { records, cookie }, Some(&position)).await?;
        tracing::info!(slot = self.settings.slot, "postgres: the snapshot was read");
        Ok((position, after))
    }

    /// Checks before the copy begins that the server has room for a slot, that the role may read the columns, and that
    /// no policy hides rows.
    fn can_copy(&self, seen: &Seen, tables: Tables) -> Result<(), Ended> {
        let unreadable = |table: Table| hazards::unreadable(seen.published(table)?, &seen.limits.role);
        let refused = || tables.iter().find_map(unreadable).or_else(|| around::uncopyable(seen, tables));
        match hazards::no_room(seen).or_else(refused) {
            Some(finding) => Err(Ended::Unfit(finding)),
            None => Ok(()),
        }
    }

    /// Checks that the publication did not change during the snapshot, because nova would not know the changes of
    /// tables that were unpublished for a time.
    fn same_publication(&self, before: &Seen, after: &Seen, tables: Tables) -> Result<(), Ended> {
        if let Some(finding) = unfit(after, &self.settings.slot, &self.settings.publication) {
            return Err(Ended::Unfit(finding));
        }
        let (before, after) = (before.identities(), after.identities());
        match tables.iter().find(|table| before[*table as usize] != after[*table as usize]) {
            None => Ok(()),
            Some(table) => {
                let text = format!("the publication of {table} changed during the snapshot, which begins again");
                Err(Failure::Away(text).into())
            }
        }
    }

    async fn copy_all(
        &mut self,
        seen: &Seen,
        tables: Tables,
        made: Made,
        numbering: &mut Numbering,
    ) -> Result<(), Ended> {
        let origin = |kind| Arc::new(Origin { kind, commit_us: made.at_us, base_lsn: made.consistent_lsn });
        let mut records = Vec::new();
        numbering.read(&origin(OriginKind::Snapshot(SnapshotMark::Begin(tables))), None, &mut records);
        self.hand_over(Chunk { records, cookie: None }, None).await?;
        let estimated = |table: Table| seen.published(table).map_or(0, |published| published.estimated_rows.max(0));
        let estimated_rows = tables.iter().map(estimated).sum::<i64>().unsigned_abs();
        let mut pace = Pace { began: self.clock.elapsed(), looked: self.clock.elapsed(), rows: 0, estimated_rows };
        for table in ORDER.into_iter().filter(|table| tables.contains(*table)) {
            let Some(published) = seen.published(table) else { continue };
            self.copy(table, published, &origin, numbering, &mut pace).await?;
        }
        Ok(())
    }

    async fn copy(
        &mut self,
        table: Table,
        published: &Published,
        origin: &impl Fn(OriginKind) -> Arc<Origin>,
        numbering: &mut Numbering,
        pace: &mut Pace,
    ) -> Result<(), Ended> {
        let mut copy = self.server.copy(published).await?;
        let origin = origin(OriginKind::Copied(Arc::new(copy.columns().clone())));
        let (mut lines, mut chunk, mut bytes) = (Lines::default(), Vec::new(), 0);
        while let Some(data) = copy.next().await? {
            let mut read = |line: Bytes| {
                bytes += line.len();
                numbering.read(&origin, Some(line), &mut chunk);
            };
            lines.split(data, &mut read)?;
            if chunk.len() >= CHUNK_MAX_RECORDS || bytes >= CHUNK_MAX_BYTES {
                self.told_of(table, std::mem::take(&mut chunk), pace).await?;
                bytes = 0;
            }
        }
        lines.end()?;
        self.told_of(table, chunk, pace).await
    }

    /// Hands the rows of a table over to ingest, and reports the progress.
    async fn told_of(&mut self, table: Table, records: Vec<Record>, pace: &mut Pace) -> Result<(), Ended> {
        pace.rows += records.len() as u64;
        PostgresStatus::count(&self.status.snapshot_rows, records.len() as u64);
        self.hand_over(Chunk { records, cookie: None }, None).await?;
        let now = self.clock.elapsed();
        self.status.set(State::Snapshot(pace.shown(table, now)));
        if now - pace.looked >= LOOK_EVERY {
            pace.looked = now;
            let Snapshot { rows, estimated_rows, rows_per_s, left_s, .. } = pace.shown(table, now);
            tracing::info!(%table, rows, estimated_rows, rows_per_s, left_s, "postgres: the snapshot is read");
            self.within_budget().await?;
        }
        Ok(())
    }

    /// Checks the limit on the log that the server must keep from the slot's beginning until the snapshot has been
    /// read.
    async fn within_budget(&mut self) -> Result<(), Ended> {
        let Ok(seen) = self.server.look().await else { return Ok(()) };
        if let Some(finding) = super::too_much_held(&seen, &self.settings) {
            return Err(Ended::Stopped(finding));
        }
        let Some(slot) = &seen.slot else { return Ok(()) };
        let Some(safe_bytes) = slot.safe_wal_bytes else { return Ok(()) };
        let held_bytes = i64::try_from(slot.held_bytes(seen.flush_lsn)).unwrap_or(i64::MAX);
        if safe_bytes.saturating_mul(100) >= safe_bytes.saturating_add(held_bytes).saturating_mul(BUDGET_MIN_PERCENT) {
            return Ok(());
        }
        let detail = format!(
            "{} MiB of the log are left before the server gives up the slot, and the snapshot is not read yet",
            safe_bytes >> 20
        );
        let remedy = "Raise max_slot_wal_keep_size, then: nova cdc resnapshot";
        Err(Ended::Stopped(Finding::new(Code::KeepSize, detail, remedy)))
    }
}

/// Returns the position after a complete snapshot.
fn read_to_its_end(
    position: Position,
    seen: &Seen,
    (all, tables): (bool, Tables),
    made: Made,
    offset: i64,
) -> Position {
    let (identities, seen_shapes) = (seen.identities(), seen.shapes());
    let known = if all { Position::default() } else { position.clone() };
    let (mut published, mut copied, mut shapes) = (known.published, known.copied, known.shapes);
    let mut partitions = known.partitions;
    for table in tables.iter().map(|table| table as usize) {
        (published[table], shapes[table]) = (identities[table], seen_shapes[table]);
        partitions[table] = seen.published(Table::ALL[table]).map_or(0, Published::partitions_mark);
        // The stream of a new slot has no changes from before the copy.
        copied[table] = if all { 0 } else { made.consistent_lsn };
    }
    Position {
        phase: Phase::Stream,
        system_id: seen.system_id,
        timeline: seen.timeline,
        // After a snapshot of some tables, the stream continues at its earlier position. Only the stream of a new slot
        // begins at the position of the snapshot.
        end_lsn: if all { made.consistent_lsn } else { position.end_lsn },
        commit_lsn: if all { 0 } else { position.commit_lsn },
        commit_us: if all { 0 } else { position.commit_us },
        offset,
        published,
        copied,
        shapes,
        partitions,
        wanted: if all { Tables::NONE } else { position.wanted.without(tables) },
        automatic_ms: position.automatic_ms,
    }
}

/// The speed at which a snapshot is read.
struct Pace {
    began: Duration,
    looked: Duration,
    rows: u64,
    estimated_rows: u64,
}

impl Pace {
    fn shown(&self, table: Table, now: Duration) -> Snapshot {
        let ms = u64::try_from((now - self.began).as_millis()).unwrap_or(u64::MAX).max(1);
        let rows_per_s = self.rows.saturating_mul(1_000) / ms;
        let left = self.estimated_rows.saturating_sub(self.rows);
        let left_s = left.checked_div(rows_per_s);
        let (rows, estimated_rows, blocked) = (self.rows, self.estimated_rows, String::new());
        Snapshot { table: table.name(), rows, estimated_rows, rows_per_s, left_s, blocked }
    }
}

/// Joins messages of COPY to whole lines, wherever the lines are cut. PostgreSQL itself sends one line in each message.
#[derive(Default)]
struct Lines {
    begun: BytesMut,
}

impl Lines {
    fn split(&mut self, mut data: Bytes, each: &mut impl FnMut(Bytes)) -> Result<(), Failure> {
        while let Some(end) = memchr::memchr(b'\n', &data) {
            let line = data.split_to(end + 1);
            if self.begun.is_empty() {
                each(line);
            } else {
                self.begun.extend_from_slice(&line);
                each(self.begun.split().freeze());
            }
        }
        self.begun.extend_from_slice(&data);
        match self.begun.len() > LINE_MAX_BYTES {
            true => Err(Failure::Wrong(format!("a row has more than {LINE_MAX_BYTES} bytes in COPY"))),
            false => Ok(()),
        }
    }

    fn end(&self) -> Result<(), Failure> {
        match self.begun.is_empty() {
            true => Ok(()),
            false => Err(Failure::Away("COPY ended within a row".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_are_whole_however_they_are_cut(lines in prop::collection::vec("[a-z]{0,9}", 0..9), cuts: Vec<u8>) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let (mut read, mut split, mut rest) = (Vec::new(), Lines::default(), &text[..]);
            let mut each = |line: Bytes| read.push(String::from_utf8(line.to_vec()).unwrap());
            for cut in cuts {
                let (head, tail) = rest.split_at(rest.len().min(cut.into()));
                split.split(Bytes::copy_from_slice(head.as_bytes()), &mut each).unwrap();
                rest = tail;
            }
            split.split(Bytes::copy_from_slice(rest.as_bytes()), &mut each).unwrap();
            prop_assert!(split.end().is_ok());
            prop_assert_eq!(read.concat(), text);
        }
    }
}
