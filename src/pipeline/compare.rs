//! Compares the stored rows with ClickHouse's `*_current` views. For each table and each hour in which rows were
//! created, the comparison uses the count and the checksum of the rows' versions. While a writer runs, the comparison
//! leaves out hours whose rows changed between two reads of the store.

use std::time::Duration;

use nova_storage::codec::CodecError;
use nova_storage::{ReadError, Store};

use crate::event::{Cell, Table};
use crate::warehouse::Target;
use crate::warehouse::clickhouse::ClickHouse;
use crate::warehouse::lint::missing_batches;
use crate::warehouse::live::{HOUR_US, Hours, event_rows, live_rows};
use crate::warehouse::rows::stored_micros;
use crate::warehouse::status::{Status, TargetStatus};
use crate::warehouse::verdict::Failure;

use super::meta::Meta;
use super::seen::Seen;
use super::stored::StoredRow;

/// The maximum time that a running node gets to deliver the rows that the first read found.
const DELIVERY_MAX: Duration = Duration::from_secs(60);
const DELIVERY_TICK: Duration = Duration::from_millis(100);

/// The reason for which the stored rows could not be compared with the rows in ClickHouse.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("ClickHouse cannot be asked: {0}")]
    Asked(#[from] Failure),
}

/// A difference between the stored rows and the rows in ClickHouse, and how to repair it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The code of the difference, which is short and never changes.
    pub code: &'static str,
    pub detail: String,
    pub remedy: String,
}

/// The result of a comparison of the store with ClickHouse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub findings: Vec<Difference>,
    /// The number of hours, over all tables, that were not compared, because rows that were created in these hours
    /// changed during the comparison.
    pub changing_hours: usize,
}

/// Compares the store with ClickHouse. `delivers` says whether a node runs on this store. If a node runs, the
/// comparison waits until the node has delivered its rows.
pub async fn compare(
    store: &Store,
    status: &Status,
    clickhouse: &ClickHouse,
    delivers: bool,
) -> Result<Compared, CompareError> {
    let seen = || -> Result<Seen, CompareError> { Ok(Seen::load(store.read()?)?) };
    let (first, before) = (hours(&seen()?)?, events(status));
    if delivers {
        delivered(status).await;
    }
    let mut theirs = Vec::new();
    for table in Table::ALL {
        theirs.push(live_rows(clickhouse, table).await?);
    }
    let store_id = Meta::load(&store.read()?)?.map_or(0, |meta| meta.store_id);
    let missing = missing_batches(clickhouse, store_id, &status.marks()).await?;
    let count = event_rows(clickhouse, store_id).await?;
    let (second, after) = (hours(&seen()?)?, events(status));
    let mut compared = Compared::default();
    for (((table, ours), again), theirs) in Table::ALL.iter().zip(first).zip(second).zip(theirs) {
        let (ours, theirs, changing) = steady(ours, &again, theirs);
        compared.changing_hours += changing;
        compared.findings.extend(differs(*table, &ours, &theirs));
    }
    compared.findings.extend(missing.map(|one| Difference { code: one.code, detail: one.detail, remedy: one.remedy }));
    let most = after.emitted.saturating_sub(after.dead);
    if !(before.acknowledged..=most).contains(&count) {
        compared.findings.push(Difference {
            code: "events-differ",
            detail: format!("post_events: {} rows were acknowledged, {count} are there", before.acknowledged),
            remedy: "more: rows were restored or inserted by hand; fewer: partitions were dropped, or ClickHouse was \
                     restored from a backup"
                .to_owned(),
        });
    }
    Ok(compared)
}

fn events(status: &Status) -> TargetStatus {
    status.targets()[Target::Events.index()].clone()
}

/// Waits until all rows that are now in the outbox are delivered, or until the time limit has passed.
async fn delivered(status: &Status) {
    let next = status.targets().map(|target| target.next_batch);
    let done = || status.targets().iter().zip(next).all(|(target, next)| target.delivered_below(next));
    let waits = async {
        while !done() {
            tokio::time::sleep(DELIVERY_TICK).await;
        }
    };
    // If ClickHouse still lacks rows after the time limit, the comparison reports these rows as a difference.
    let _ = tokio::time::timeout(DELIVERY_MAX, waits).await;
}

/// Returns the hours whose rows in the store did not change between two reads, with the figures of the store and of
/// ClickHouse. Also returns the number of hours that changed. nova asks ClickHouse between the two reads of the store,
/// after ClickHouse has received the rows of the first read.
fn steady(mut ours: Hours, again: &Hours, mut theirs: Hours) -> (Hours, Hours, usize) {
    let all: std::collections::BTreeSet<_> = ours.keys().chain(again.keys()).copied().collect();
    let changed: Vec<_> = all.into_iter().filter(|hour| ours.get(hour) != again.get(hour)).collect();
    for hour in &changed {
        ours.remove(hour);
        theirs.remove(hour);
    }
    (ours, theirs, changed.len())
}

fn differs(table: Table, ours: &Hours, theirs: &Hours) -> Option<Difference> {
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
    Some(Difference {
        code: "rows-differ",
        detail: format!(
            "{table}: nova has {} live rows, ClickHouse {}; {} of {} hours of creation differ, the first from {name} ({what})",
            count(ours),
            count(theirs),
            different.len(),
            all.len()
        ),
        remedy:
            "if the outbox is empty, rows are from before clickhouse.url was set, or ClickHouse lost them: stop nova, \
                 then nova rebuild --reconcile sends every row of the source again, and deletes for those that are not \
                 there any more"
                .to_owned(),
    })
}

/// For each table, the hours in which rows were created. The tables are in the order of [`Table::ALL`].
fn hours(seen: &Seen) -> Result<Vec<Hours>, CompareError> {
    Table::ALL.iter().map(|table| stored(seen, *table)).collect()
}

fn stored(seen: &Seen, table: Table) -> Result<Hours, CompareError> {
    let created = table.columns().iter().position(|column| column.name == "created_at").unwrap_or(usize::MAX);
    let nullable = table.columns().get(created).is_none_or(|column| column.nullable);
    let (mut hours, mut failed) = (Hours::new(), None);
    let mut add = |bytes: &[u8]| -> Result<(), CodecError> {
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
    seen.scan(table, |bytes| {
        failed = add(bytes).err();
        failed.is_none()
    })?;
    failed.map_or(Ok(hours), |error| Err(ReadError::from(error).into()))
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

    #[test]
    fn hours_that_change_between_two_looks_are_not_judged() {
        let ours = Hours::from([(Some(1), (3, 5)), (Some(2), (2, 9)), (Some(3), (1, 1))]);
        let again = Hours::from([(Some(1), (3, 5)), (Some(2), (2, 8)), (Some(4), (1, 1))]);
        let theirs = Hours::from([(Some(1), (3, 6)), (Some(2), (1, 1)), (Some(4), (9, 9)), (Some(5), (1, 1))]);
        let (ours, theirs, changing) = steady(ours, &again, theirs);
        assert_eq!((ours, changing), (Hours::from([(Some(1), (3, 5))]), 3));
        assert_eq!(theirs, Hours::from([(Some(1), (3, 6)), (Some(5), (1, 1))]), "a row that only they have is told");
    }
}
