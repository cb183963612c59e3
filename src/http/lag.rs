//! How far each partition is behind its log.

use crate::event::TopicPartition;

use super::Edge;

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
pub(super) fn of(edge: &Edge) -> Vec<(TopicPartition, Option<Lag>)> {
    let watermarks = edge.kafka.as_ref().map(|kafka| kafka.watermarks()).unwrap_or_default();
    let now_ms = edge.clock.now_ms();
    let partitions = edge.shared.partitions().into_iter().map(|status| {
        let (name, row) = (status.name, status.row);
        let lag = watermarks.get(&name).map(|marks| {
            let (records, age_ms) = marks.lag(row.next, row.arrival_ms, now_ms);
            Lag { records, age_ms, headroom_records: marks.headroom(row.next) }
        });
        (name, lag)
    });
    partitions.collect()
}

/// How old the oldest record may be that was not read yet, over all partitions, milliseconds.
pub(super) fn oldest_ms(edge: &Edge) -> i64 {
    of(edge).into_iter().filter_map(|(_, lag)| Some(lag?.age_ms)).max().unwrap_or(0)
}
