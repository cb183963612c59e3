//! How far each partition is behind its log.

use std::collections::BTreeSet;

use crate::event::TopicPartition;
use crate::source::postgres::status::State;

use super::Watch;

/// Of one partition in Kafka.
pub(super) struct Lag {
    /// Records that were not read yet.
    pub records: i64,
    /// How old the oldest of them may be.
    pub age_ms: i64,
    /// Records between what retention deletes next and what is read next.
    pub headroom_records: i64,
}

/// Of every partition; `None` where Kafka has not told its end, and for the local log.
pub(super) fn of(watch: &Watch) -> Vec<(TopicPartition, Option<Lag>)> {
    let watermarks = watch.kafka.as_ref().map(|kafka| kafka.watermarks()).unwrap_or_default();
    let now_ms = watch.clock.now_ms();
    let partitions = watch.shared.partitions().into_iter().map(|status| {
        let (name, row) = (status.name, status.row);
        let lag = watermarks.get(&name).map(|marks| {
            let (records, age_ms) = marks.lag(row.next, row.arrival_ms, now_ms);
            Lag { records, age_ms, headroom_records: marks.headroom(row.next) }
        });
        (name, lag)
    });
    partitions.collect()
}

/// How old the oldest record may be that was not read yet, milliseconds, over the partitions that are read. One that
/// stands (for a person, for a registry, for an error) says nothing of how much the node can do; readiness names it.
pub(super) fn oldest_ms(watch: &Watch) -> i64 {
    let held = watch.shared.partitions().into_iter().filter(|status| status.hold.is_some()).map(|status| status.name);
    let mut stands: BTreeSet<_> = held.chain(watch.shared.waits().into_iter().map(|(name, _)| name)).collect();
    if let Some(kafka) = &watch.kafka {
        stands.extend(kafka.stopped().into_keys());
    }
    let slot_ms = watch.postgres.as_ref().map_or(0, |postgres| {
        let view = postgres.view();
        // What stands for a person or a server says nothing of how much the node can do.
        if view.state == State::Streaming { view.lag_ms(watch.clock.now_ms()) } else { 0 }
    });
    oldest_of(of(watch), &stands).max(slot_ms)
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
        let lag = |age_ms| Some(Lag { records: 1, age_ms, headroom_records: 0 });
        let lags = || vec![(name("events"), lag(2_000)), (name("cdc.posts"), lag(900_000)), (name("local"), None)];
        assert_eq!(oldest_of(lags(), &BTreeSet::new()), 900_000);
        assert_eq!(oldest_of(lags(), &BTreeSet::from([name("cdc.posts")])), 2_000);
    }
}
