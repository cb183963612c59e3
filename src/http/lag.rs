//! How far each partition is behind its log.

use std::collections::BTreeSet;

use crate::event::TopicPartition;
use crate::source::postgres::status::State;

use super::edge::Watch;

/// Of one partition in Kafka, or of the slot.
pub(super) struct Lag {
    /// Records that were not read yet; `None` of a slot, whose log is counted in bytes.
    pub records: Option<i64>,
    /// How old the oldest of them may be.
    pub age_ms: i64,
    /// Records between what retention deletes next and what is read next.
    pub headroom_records: Option<i64>,
}

/// Of every partition; `None` where Kafka or PostgreSQL has not told its end, and for the local log.
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

/// How old the oldest record may be that was not read yet, milliseconds, over the partitions that are read. One that
/// stands (for a person, for a registry, for an error) says nothing of how much the node can do; readiness names it.
pub(super) fn oldest_ms(watch: &Watch) -> i64 {
    let held = watch.shared.partitions().into_iter().filter(|status| status.hold.is_some()).map(|status| status.name);
    let mut stands: BTreeSet<_> = held.chain(watch.shared.waits().into_iter().map(|(name, _)| name)).collect();
    if let Some(kafka) = &watch.kafka {
        stands.extend(kafka.stopped().into_keys());
    }
    if let Some(postgres) = watch.postgres.as_ref().filter(|postgres| postgres.view().state != State::Streaming) {
        stands.insert(postgres.partition().clone());
    }
    // Also before any partition is known.
    oldest_of(of(watch), &stands).max(of_test(watch))
}

/// How far a test says that the source is behind, milliseconds.
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
