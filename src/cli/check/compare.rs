//! The stored rows against ClickHouse's `*_current` views: counts and checksums of the versions, table by table.

use crate::app::Opened;
use crate::event::Table;
use crate::pipeline::rows::StoredRow;
use crate::warehouse::Target;
use crate::warehouse::clickhouse::ClickHouse;
use crate::warehouse::lint::missing_batches;

use super::super::CliError;
use super::Finding;

/// A table's live rows: how many, and the exclusive or of their versions' low halves.
type Sum = (u64, u64);

pub(super) async fn findings(opened: &Opened, clickhouse: &ClickHouse) -> Result<Vec<Finding>, CliError> {
    let mut found = Vec::new();
    for table in Table::ALL {
        let ours = stored(opened, table)?;
        let sql = format!(
            "SELECT count(), groupBitXor(reinterpretAsUInt64(_version)) FROM {} FINAL WHERE _deleted = 0",
            Target::Rows(table)
        );
        let rows = clickhouse.rows(&sql).await.map_err(|failure| CliError::Failed(failure.to_string()))?;
        let field = |index: usize| rows.first().and_then(|row| row.get(index)?.parse().ok()).unwrap_or(0u64);
        let theirs: Sum = (field(0), field(1));
        if ours != theirs {
            let what = if ours.0 == theirs.0 { "as many, of other versions" } else { "another number" };
            found.push(Finding::new(
                "rows-differ",
                format!("{table}: nova has {} live rows, ClickHouse {} ({what})", ours.0, theirs.0),
                "if the outbox is empty, rows are from before clickhouse.url was set: nova rebuild sends every row of \
                 the source again",
            ));
        }
    }
    let store = opened.writer.store_id();
    let marks = opened.warehouse.as_ref().map(|status| status.marks()).unwrap_or_default();
    let missing = missing_batches(clickhouse, store, &marks).await;
    let missing = missing.map_err(|failure| CliError::Failed(failure.to_string()))?;
    found.extend(missing.map(|one| Finding::new(one.code, one.detail, one.remedy)));
    let sql = format!("SELECT count() FROM {} WHERE _nova_store = {store}", Target::Events);
    let theirs = clickhouse.number(&sql).await.map_err(|failure| CliError::Failed(failure.to_string()))?;
    let events = opened.warehouse.as_ref().map(|status| status.targets()[usize::from(Target::Events.number())].clone());
    let ours = events.map_or(0, |events| events.acknowledged);
    if ours != theirs {
        found.push(Finding::new(
            "events-differ",
            format!("post_events: {ours} rows were acknowledged, {theirs} are there"),
            "more: rows were restored or inserted by hand; fewer: partitions were dropped, or ClickHouse was restored \
             from a backup",
        ));
    }
    Ok(found)
}

fn stored(opened: &Opened, table: Table) -> Result<Sum, CliError> {
    let (mut sum, mut failed) = ((0, 0), None);
    let scanned = opened.writer.scan(table, |bytes| match StoredRow::decode(bytes) {
        Ok(row) if row.cells.is_some() => sum = (sum.0 + 1, sum.1 ^ row.version.number() as u64),
        Ok(_) => {}
        Err(error) => failed = Some(error),
    });
    scanned.map_err(|error| CliError::Failed(error.to_string()))?;
    failed.map_or(Ok(sum), |error| Err(CliError::Failed(error.to_string())))
}
