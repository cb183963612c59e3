//! The stored rows against ClickHouse's `*_current` views: counts and checksums of the versions, table by table, by the
//! hour in which rows were created.

use std::collections::BTreeMap;

use crate::app::Opened;
use crate::event::{Cell, Table};
use crate::pipeline::stored::StoredRow;
use crate::warehouse::Target;
use crate::warehouse::clickhouse::ClickHouse;
use crate::warehouse::lint::missing_batches;
use crate::warehouse::rows::stored_micros;

use super::super::CliError;
use super::Finding;

const HOUR_US: i64 = 3_600_000_000;

/// Live rows: how many, and the exclusive or of their versions' low halves.
type Sum = (u64, u64);
/// By hours since the epoch, cut towards it; `None` for rows without a time.
type Hours = BTreeMap<Option<i64>, Sum>;

pub(super) async fn findings(opened: &Opened, clickhouse: &ClickHouse) -> Result<Vec<Finding>, CliError> {
    let mut found = Vec::new();
    for table in Table::ALL {
        let sql = format!(
            "SELECT intDiv(toUnixTimestamp64Micro(created_at), {HOUR_US}) AS hour, count(), \
             groupBitXor(reinterpretAsUInt64(_version)) FROM {} FINAL WHERE _deleted = 0 GROUP BY hour",
            Target::Rows(table)
        );
        let rows = clickhouse.rows(&sql).await.map_err(|failure| CliError::Failed(failure.to_string()))?;
        let number = |row: &[String], index: usize| row.get(index).and_then(|text| text.parse().ok()).unwrap_or(0u64);
        let hour = |row: &[String]| row.first().and_then(|text| text.parse().ok());
        let theirs = rows.iter().map(|row| (hour(row), (number(row, 1), number(row, 2)))).collect();
        found.extend(differs(table, &stored(opened, table)?, &theirs));
    }
    let store = opened.writer.store_id();
    let marks = opened.warehouse.as_ref().map(|status| status.marks()).unwrap_or_default();
    let missing = missing_batches(clickhouse, store, &marks).await;
    let missing = missing.map_err(|failure| CliError::Failed(failure.to_string()))?;
    found.extend(missing.map(|one| Finding::new(one.code, one.detail, one.remedy)));
    let sql = format!("SELECT count() FROM {} WHERE _nova_store = {store}", Target::Events);
    let theirs = clickhouse.number(&sql).await.map_err(|failure| CliError::Failed(failure.to_string()))?;
    let events = opened.warehouse.as_ref().map(|status| status.targets()[Target::Events.index()].clone());
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

fn differs(table: Table, ours: &Hours, theirs: &Hours) -> Option<Finding> {
    let of = |hours: &Hours, hour| hours.get(hour).copied().unwrap_or_default();
    let all: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let different: Vec<_> = all.iter().filter(|hour| of(ours, hour) != of(theirs, hour)).collect();
    let first = different.first()?;
    let name = match first.and_then(|hour| jiff::Timestamp::from_second(hour.saturating_mul(3_600)).ok()) {
        Some(time) => time.to_string(),
        None => "no time".to_owned(),
    };
    let count = |hours: &Hours| hours.values().map(|(count, _)| count).sum::<u64>();
    let (here, there) = (of(ours, first).0, of(theirs, first).0);
    let what = if here == there { format!("{here}, of other versions") } else { format!("{here} and {there}") };
    Some(Finding::new(
        "rows-differ",
        format!(
            "{table}: nova has {} live rows, ClickHouse {}; {} of {} hours of creation differ, the first from {name} ({what})",
            count(ours),
            count(theirs),
            different.len(),
            all.len()
        ),
        "if the outbox is empty, rows are from before clickhouse.url was set, or ClickHouse lost them: nova rebuild \
         --reconcile sends every row of the source again, and deletes for those that are not there any more",
    ))
}

fn stored(opened: &Opened, table: Table) -> Result<Hours, CliError> {
    let created = table.columns().iter().position(|column| column.name == "created_at").unwrap_or(usize::MAX);
    let nullable = table.columns().get(created).is_none_or(|column| column.nullable);
    let (mut hours, mut failed) = (Hours::new(), None);
    let mut add = |bytes: &[u8]| -> Result<(), nova_storage::codec::CodecError> {
        let stored = StoredRow::decode(bytes)?;
        let Some(row) = stored.row()? else { return Ok(()) };
        let hour = match row.cells.get(created) {
            Some(Cell::Micros(micros)) => Some(stored_micros(*micros) / HOUR_US),
            _ => (!nullable).then_some(0),
        };
        let sum = hours.entry(hour).or_default();
        *sum = (sum.0 + 1, sum.1 ^ stored.version.number() as u64);
        Ok(())
    };
    let scanned = opened.writer.scan(table, |bytes| failed = failed.take().or(add(bytes).err()));
    scanned.map_err(|error| CliError::Failed(error.to_string()))?;
    failed.map_or(Ok(hours), |error| Err(CliError::Failed(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hour_that_differs_is_told_with_its_rows() {
        let ours = Hours::from([(None, (1, 7)), (Some(497_553), (3, 5)), (Some(497_554), (2, 9))]);
        assert_eq!(differs(Table::Likes, &ours, &ours.clone()), None);
        let mut theirs = ours.clone();
        theirs.insert(Some(497_553), (2, 5));
        theirs.remove(&Some(497_554));
        let found = differs(Table::Likes, &ours, &theirs).unwrap();
        assert_eq!(
            found.detail,
            "likes: nova has 6 live rows, ClickHouse 3; 2 of 3 hours of creation differ, the first from \
             2026-10-05T09:00:00Z (3 and 2)"
        );
        theirs.insert(None, (1, 8));
        let found = differs(Table::Likes, &ours, &theirs).unwrap();
        assert!(found.detail.ends_with("the first from no time (1, of other versions)"), "{}", found.detail);
    }
}
