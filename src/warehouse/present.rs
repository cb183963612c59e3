//! Asks ClickHouse which rows of a batch a table has, if it is unknown how the insert ended.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::event::Id;
use crate::mutant::{self, Mutant};

use super::columns::Columns;
use super::rows;
use super::shared::SenderParts;
use super::target::Target;
use super::verdict::Failure;

/// Rows of one batch that one insert sends together.
pub(super) struct Piece {
    pub batch: u64,
    pub columns: Columns,
    pub rows: Bytes,
}

/// Says which rows of a piece are in the table.
pub(super) enum Present {
    None,
    All,
    /// Only these rows of the piece are missing in the table.
    Some(Bytes),
}

/// Kills a batch's inserts that are still running, because ClickHouse stores rows twice if an insert arrives after its
/// token was forgotten.
pub(super) async fn end_attempts(parts: &SenderParts, target: Target, batch: u64) -> Result<(), Failure> {
    if mutant::is(Mutant::LeaveRunning) {
        return Ok(());
    }
    parts.clickhouse.end_inserts(&format!("nova-{:016x}-{target}-{batch}-", parts.store_id)).await?;
    parts.status.answered();
    Ok(())
}

/// Kills the batch's inserts that are still running, and then asks ClickHouse once which rows of the piece are in the
/// table.
pub(super) async fn present(parts: &SenderParts, target: Target, piece: &Piece) -> Result<Present, Failure> {
    end_attempts(parts, target, piece.batch).await?;
    parts.clickhouse.catch_up(target).await?;
    // The id of an event is unique only for one user.
    let sql = format!(
        "SELECT DISTINCT toString(event_id), toString(user_id) FROM {target} WHERE _nova_store = {} AND _nova_batch = {}",
        parts.store_id, piece.batch
    );
    let found = parts.clickhouse.rows(&sql).await?;
    parts.status.answered();
    let id = |text: Option<&String>| Id::parse(text?.as_bytes()).ok();
    let found: BTreeSet<_> = found.iter().filter_map(|row| Some((id(row.first())?, id(row.get(1))?))).collect();
    let mut rest = Vec::new();
    for range in rows::split(&piece.columns, &piece.rows).unwrap_or_default() {
        let row = &piece.rows[range];
        if !found.contains(&rows::event_key(row)) {
            rest.extend_from_slice(row);
        }
    }
    Ok(match rest.len() {
        0 => Present::All,
        rest if rest == piece.rows.len() => Present::None,
        _ => Present::Some(rest.into()),
    })
}
