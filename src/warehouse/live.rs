//! Reads from ClickHouse the rows of a store as numbers that can be compared with the store's own numbers.

use std::collections::BTreeMap;

use crate::event::Table;

use super::clickhouse::ClickHouse;
use super::target::Target;
use super::verdict::Failure;

/// The number of microseconds in an hour.
pub const HOUR_US: i64 = 3_600_000_000;

/// The number of live rows, and the XOR of the lower half of every live row's version.
pub type Sum = (u64, u64);
/// The sums of the live rows by hours since the epoch, where an hour is rounded towards the epoch. The key `None` of
/// the sums is for rows that have no time.
pub type Hours = BTreeMap<Option<i64>, Sum>;

/// Returns the sums of a table's live rows by the hour in which the rows were created.
pub async fn live_rows(clickhouse: &ClickHouse, table: Table) -> Result<Hours, Failure> {
    let sql = format!(
        "SELECT intDiv(toUnixTimestamp64Micro(created_at), {HOUR_US}) AS hour, count(), \
         groupBitXor(reinterpretAsUInt64(_version)) FROM {} FINAL WHERE _deleted = 0 GROUP BY hour",
        Target::Rows(table)
    );
    let rows = clickhouse.rows(&sql).await?;
    let number = |row: &[String], index: usize| row.get(index).and_then(|text| text.parse().ok()).unwrap_or(0u64);
    let hour = |row: &[String]| row.first().and_then(|text| text.parse().ok());
    Ok(rows.iter().map(|row| (hour(row), (number(row, 1), number(row, 2)))).collect())
}

/// Returns the number of a store's events in ClickHouse.
pub async fn event_rows(clickhouse: &ClickHouse, store_id: u64) -> Result<u64, Failure> {
    clickhouse.number(&format!("SELECT count() FROM {} WHERE _nova_store = {store_id}", Target::Events)).await
}
