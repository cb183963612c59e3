//! How far nova is behind the log of each partition.

use std::collections::BTreeSet;

use crate::event::TopicPartition;
use crate::source::postgres::status::State;

use super::edge::Watch;

/// The lag of one Kafka partition, or of the replication slot.
pub(super) struct Lag {
    /// The number of records that nova has not read yet. A replication slot has no number of records (`None`), because
    /// its log is counted in bytes.
    pub records: Option<i64>,
    /// The highest possible age of the oldest record that nova has not read yet.
    pub age_ms: i64,
    /// The number of records between the next record that Kafka's retention deletes and the next record that nova
    /// reads.
    pub headroom_records: Option<i64>,
}

/// The lag of every partition. The lag is `None` for the local log, and if Kafka or PostgreSQL has not reported the end
/// of its log yet.
pub(super) fn of(watch: &Watch) -> Vec<(TopicPartition, Option<Lag>)> {
    let watermarks = watch.kafka.as_ref().map(|kafka| kafka.watermarks()).unwrap_or_default();
    let now_ms = watch.clock.now_ms();
    let slot = watch.postgres.as_ref().map(|postgres| (postgres.partition().clone(), postgres.view()));
    let said = of_test(watch);
    let partitions = watch.shared.partitions().into_iter().map(|status| {
        let (name, row) = (status.name, status.row);
        let lag = watermarks.get(&name).map(|marks| {
            let (records, age_ms) = marks.lag(row.next, row.arrival_ms, now_ms);
            Lag { records: Some(records), age_ms, headroom_records: Some(marks.headroom(row.next)) }
        });
        let of_slot = slot.as_ref().filter(|(of, _)| *of == name).map(|(_, view)| {
            let age_ms = view.lag_ms(row.arrival_ms, now_ms);
            Lag { records: None, age_ms, headroom_records: None }
        });
        let of_test = (said > 0).then_some(Lag { records: None, age_ms: said, headroom_records: None });
        let lag = lag.or(of_slot).or(of_test);
        (name, lag)
    });
    partitions.collect()
}

/// The highest possible age, in milliseconds, of the oldest unread record in the partitions that nova reads. The
/// function ignores a partition that waits for a person, a registry or the end of an error, because such a partition
/// says nothing about the node's load. Readiness names the waiting partitions.
pub(super) fn oldest_ms(watch: &Watch) -> i64 {
    let held = watch.shared.partitions().into_iter().filter(|status| status.hold.is_some()).map(|status| status.name);
    let mut stands: BTreeSet<_> = held.chain(watch.shared.waits().into_iter().map(|(name, _)| name)).collect();
    if let Some(kafka) = &watch.kafka {
        stands.extend(kafka.stopped().into_keys());
    }
    if let Some(postgres) = watch.postgres.as_ref().filter(|postgres| postgres.view().state != State::Streaming) {
        stands.insert(postgres.partition().clone());
    }
    // A pretended lag applies even before nova knows any partition.
    oldest_of(of(watch), &stands).max(of_test(watch))
}

/// The pretended delay of the source in a server for tests, in milliseconds.
fn of_test(watch: &Watch) -> i64 {
    watch.testing.as_ref().map_or(0, |testing| testing.behind_ms())
}

fn oldest_of(lags: Vec<(TopicPartition, Option<Lag>)>, stands: &BTreeSet<TopicPartition>) -> i64 {
    let read = lags.into_iter().filter(|(name, _)| !stands.contains(name));
    read.filter_map(|(_, lag)| Some(lag?.age_ms)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_stands_does_not_age_the_node() {
        let name = |topic: &str| TopicPartition::new(topic, 0);
        let lag = |age_ms| Some(Lag { records: Some(1), age_ms, headroom_records: Some(0) });
        let lags = || vec![(name("events"), lag(2_000)), (name("cdc.posts"), lag(900_000)), (name("local"), None)];
        assert_eq!(oldest_of(lags(), &BTreeSet::new()), 900_000);
        assert_eq!(oldest_of(lags(), &BTreeSet::from([name("cdc.posts")])), 2_000);
    }
}
