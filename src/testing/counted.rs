//! Counts the outcomes of records by partition.

use crate::event::Outcome;
use crate::http::testing::{Counted, PartitionCounted};
use crate::pipeline::progress::PartitionStatus;

/// Returns the changes between two states of the partitions, for the partitions that changed or are held.
pub(super) fn between(before: &[PartitionStatus], after: &[PartitionStatus]) -> Vec<PartitionCounted> {
    let each = after.iter().enumerate().map(|(place, status)| {
        // A partition has the same index in both lists of partitions.
        let earlier = before.get(place);
        let count = |outcome| status.count(outcome) - earlier.map_or(0, |earlier| earlier.count(outcome));
        PartitionCounted {
            topic: status.name.topic.to_string(),
            partition: status.name.partition,
            next_offset: status.row.next,
            counts: Counted {
                consumed: status.consumed() - earlier.map_or(0, PartitionStatus::consumed),
                applied: count(Outcome::Applied),
                duplicate: count(Outcome::Duplicate),
                stale: count(Outcome::Stale),
                ignored: count(Outcome::Ignored),
                late: count(Outcome::Late),
                dead: count(Outcome::Dead),
                redelivered: status.redelivered - earlier.map_or(0, |earlier| earlier.redelivered),
            },
            held: status.hold.as_ref().map(ToString::to_string),
        }
    });
    each.filter(|one| one.counts != Counted::default() || one.held.is_some()).collect()
}
