//! Reads the present rows of the source's tables from ClickHouse, for a rebuild that makes ClickHouse equal to the
//! source.

use crate::event::{Id, Table};

use super::clickhouse::ClickHouse;
use super::rows;
use super::target::Target;
use super::verdict::Failure;

/// The bytes of a key in RowBinary.
const WIDTH: usize = 16;

/// Returns the highest epoch among a table's versions, or 0 if the table is empty. The epoch is in the upper 16 bits of
/// a version's 128 bits.
pub async fn epoch(clickhouse: &ClickHouse, table: Table) -> Result<u16, Failure> {
    let target = Target::Rows(table);
    clickhouse.catch_up(target).await?;
    let sql = format!("SELECT toUInt64(bitShiftRight(max(_version), 112)) FROM {target}");
    let epoch = clickhouse.number(&sql).await?;
    u16::try_from(epoch).map_err(|_| Failure::Refused { code: None, text: format!("expected 16 bits, got {epoch}") })
}

/// Calls `each` with the key of every live row of a table, in any order, while the answer arrives.
pub async fn keys<E: From<Failure>>(
    clickhouse: &ClickHouse,
    table: Table,
    mut each: impl FnMut(Id) -> Result<(), E>,
) -> Result<(), E> {
    let sql = format!("SELECT id FROM {} FINAL WHERE _deleted = 0", Target::Rows(table));
    clickhouse.fixed_rows(&sql, WIDTH, |row| each(rows::id(row))).await
}
