//! Reconciles a store that is behind ClickHouse. The store is a restored backup, or a store that was emptied so that
//! nova reads everything again. If ClickHouse has the row of an event, nova notes that the event is delivered. When a
//! delivered event comes again, nova counts it once like every event, but does not send its row a second time (rule
//! N5).
//!
//! nova finds delivered events by their batch numbers. The backup already knows the batches that were settled in it. So
//! nova looks only for batches that were not settled in the backup, and for batches with later numbers.

use nova_storage::{ReadError, ReadTxn, Store, WriteError};

use crate::decode::client::dedup_key;
use crate::event::{Id, Table};
use crate::warehouse::clickhouse::ClickHouse;
use crate::warehouse::current;
use crate::warehouse::delivered;
use crate::warehouse::outbox::reconcile::{ReconcileError as OutboxReconcileError, Reconciled};
use crate::warehouse::outbox::{Outbox, OutboxError};
use crate::warehouse::rows;
use crate::warehouse::verdict::Failure;

use super::dedup::{Dedup, DeliveredWriter, Entry};
use super::meta::Meta;
use super::rebuild::Known;

/// The maximum number of delivered events that a store takes. `DELIVERED_MAX_EVENTS` events need 1.6 GB on disk, and
/// 200 MB of filters in memory.
pub const DELIVERED_MAX_EVENTS: u64 = 100_000_000;

/// The maximum number of rows of the source's tables that a rebuild reads from ClickHouse. `KNOWN_MAX_ROWS` rows need
/// 1.2 GB of memory.
pub const KNOWN_MAX_ROWS: usize = 50_000_000;

/// The reason for which a store could not be reconciled.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error("ClickHouse: {0}")]
    ClickHouse(#[from] Failure),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Outbox(#[from] OutboxReconcileError),
    #[error("nothing was ever committed to this store: ClickHouse cannot know it")]
    Empty,
    #[error("ClickHouse has more than {DELIVERED_MAX_EVENTS} events that this store does not know of")]
    TooMany,
    #[error("ClickHouse has more than {KNOWN_MAX_ROWS} live rows of the source's tables")]
    TooManyRows,
    #[error("ClickHouse listed {events} events and had counted {counted}: is something still writing? Try again")]
    Cut { events: u64, counted: u64 },
}

impl From<OutboxError> for ReconcileError {
    fn from(error: OutboxError) -> ReconcileError {
        ReconcileError::Outbox(error.into())
    }
}

/// The result of a reconciliation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The number of events that nova noted as delivered.
    pub delivered: u64,
    /// The number of rows that were removed from the outbox, because their events were delivered.
    pub dropped: u64,
    /// The number of rows that ClickHouse does not have and that still wait in the outbox.
    pub left: u64,
}

/// Reconciles a store that no other process has opened. If `everything` is set, nova compares all events, and not only
/// the events that were delivered since the store's last commit. After an error the store is unchanged, or it knows
/// some of the delivered events and can be reconciled again.
pub async fn reconcile(
    store: &Store,
    clickhouse: &ClickHouse,
    everything: bool,
    now_ms: i64,
) -> Result<Report, ReconcileError> {
    let (read, write) = (store.read()?, store.write()?);
    let store_id = Meta::load(&read)?.ok_or(ReconcileError::Empty)?.store_id;
    let load = |read: &ReadTxn| Outbox::load(read, store_id, Default::default());
    let from_batch = if everything { 0 } else { load(&read)?.unsettled_from() };
    let totals = delivered::totals(clickhouse, store_id, from_batch).await?;
    let (mut writer, mut events) = (DeliveredWriter::new(&read, now_ms)?, 0);
    if everything {
        writer.forget(&write)?;
    }
    delivered::delivered(clickhouse, store_id, from_batch, |one| {
        events += 1;
        if events > DELIVERED_MAX_EVENTS {
            return Err(ReconcileError::TooMany);
        }
        Ok(writer.insert(entry(one.user, one.event), one.arrival_ms, &write)?)
    })
    .await?;
    if events != totals.later_rows {
        return Err(ReconcileError::Cut { events, counted: totals.later_rows });
    }
    writer.finish(&write)?;
    write.commit()?;
    let (read, write) = (store.read()?, store.write()?);
    let (dedup, mut outbox) = (Dedup::load(&read, i64::MIN)?, load(&read)?);
    let has = |row: &[u8]| {
        let (event, user) = rows::event_key(row);
        dedup.delivered(entry(user, event), &read)
    };
    let Reconciled { dropped, left } = outbox.reconcile(&read, &write, &totals, has, now_ms)?;
    write.commit()?;
    Ok(Report { delivered: events, dropped, left })
}

/// Asks ClickHouse which rows of the source's tables it has, so that a rebuild can compare them.
pub async fn known(clickhouse: &ClickHouse) -> Result<Known, ReconcileError> {
    let mut known = Known::default();
    for (table, number) in Table::ALL.into_iter().zip(0..) {
        known.epochs[number] = current::epoch(clickhouse, table).await?;
        current::keys(clickhouse, table, |key| {
            known.rows.push((table, key));
            if known.rows.len() > KNOWN_MAX_ROWS { Err(ReconcileError::TooManyRows) } else { Ok(()) }
        })
        .await?;
    }
    Ok(known)
}

/// The dedup entry of a delivered event. nova does not compare the payload of a delivered event, because the row in
/// ClickHouse stays as it is.
fn entry(user: Id, event: Id) -> Entry {
    Entry::new(dedup_key(user, event), 0)
}
