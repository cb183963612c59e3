//! Reads from ClickHouse those events of `post_events` that belong to a store and that the store may not know.

use crate::event::Id;

use super::clickhouse::ClickHouse;
use super::rows;
use super::target::Target;
use super::verdict::Failure;

/// The counts of one store's rows in `post_events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub rows: u64,
    /// The highest batch number among the store's rows. The highest batch number is `None` if the table has no rows of
    /// the store.
    pub highest_batch: Option<u64>,
    /// The number of rows in the requested batch and all later batches.
    pub later_rows: u64,
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub user: Id,
    pub event: Id,
    /// The arrival of the event in epoch milliseconds.
    pub arrival_ms: i64,
}

/// The bytes of one event in RowBinary.
const WIDTH: usize = 40;

/// Ends inserts that an earlier process may have left running, and then counts the rows of the store.
pub async fn totals(clickhouse: &ClickHouse, store_id: u64, from_batch: u64) -> Result<Totals, Failure> {
    clickhouse.end_inserts(&format!("nova-{store_id:016x}-{}-", Target::Events)).await?;
    clickhouse.catch_up(Target::Events).await?;
    let sql = format!(
        "SELECT count(), max(_nova_batch), countIf(_nova_batch >= {from_batch}) FROM {} WHERE _nova_store = {store_id}",
        Target::Events
    );
    let answer = clickhouse.rows(&sql).await?;
    let field = |index: usize| answer.first().and_then(|row| row.get(index)?.parse::<u64>().ok());
    match (field(0), field(1), field(2)) {
        (Some(0), _, _) => Ok(Totals::default()),
        (Some(rows), Some(batch), Some(later_rows)) => Ok(Totals { rows, highest_batch: Some(batch), later_rows }),
        _ => Err(Failure::Refused { code: None, text: format!("expected three numbers, got {answer:?}") }),
    }
}

/// Calls `each` with every event of the store's batches from `from_batch` on, in any order, while the answer arrives.
pub async fn delivered<E: From<Failure>>(
    clickhouse: &ClickHouse,
    store_id: u64,
    from_batch: u64,
    mut each: impl FnMut(Delivered) -> Result<(), E>,
) -> Result<(), E> {
    let sql = format!(
        "SELECT user_id, event_id, ingested_at FROM {} WHERE _nova_store = {store_id} AND _nova_batch >= {from_batch}",
        Target::Events
    );
    let told = |row: &[u8]| {
        let arrival = row[32..].try_into().map_or(0, i64::from_le_bytes);
        each(Delivered { user: rows::id(row), event: rows::id(&row[16..]), arrival_ms: arrival })
    };
    clickhouse.fixed_rows(&sql, WIDTH, told).await
}
