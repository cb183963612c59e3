//! Checks whether each partition moves. librdkafka repeats some failed requests for ever and reports no error. While
//! librdkafka repeats such a request, it does not learn the ends of the logs. Therefore nova itself requests the ends of
//! the logs, for a few partitions each second. If a partition has unread records but its position does not move
//! although the source is polled, nova reports the partition and makes a new client.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::event::TopicPartition;

use super::context::Context;

/// How often nova requests the ends of some logs.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// nova requests the end of each log once within this number of rounds.
const TURNS: usize = 10;
const ASK_TIMEOUT: Duration = Duration::from_millis(500);
/// If the pause between two polls is longer than this, the waiting times of all partitions begin again, because the
/// consumer did not cause the pause.
const POLL_GAP_MAX: Duration = Duration::from_secs(1);
/// How long a partition with unread records may stand still before nova reports it.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// How long a partition with unread records may stand still before nova makes a new client. The time is long, because a
/// large batch may take long.
const RENEW_AFTER: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Seen {
    position: i64,
    /// The end of the log at the last request, or −1 if the end was not requested yet.
    end: i64,
    since: Instant,
}

/// The positions of all partitions, which show whether a partition moves.
#[derive(Debug)]
pub(super) struct Watch {
    seen: BTreeMap<TopicPartition, Seen>,
    polled_at: Instant,
    ask_at: Instant,
    renewed_at: Instant,
    /// The partition whose end was requested last.
    last: Option<TopicPartition>,
}

impl Watch {
    pub fn new(now: Instant) -> Watch {
        Watch { seen: BTreeMap::new(), polled_at: now, ask_at: now, renewed_at: now, last: None }
    }

    /// Notes that the source is polled now. The source calls `polled` before each poll.
    pub fn polled(&mut self, now: Instant) {
        if now.saturating_duration_since(self.polled_at) > POLL_GAP_MAX {
            self.seen.values_mut().for_each(|seen| seen.since = now);
        }
        self.polled_at = now;
    }

    /// Notes the next offsets of partitions. `positions` must not contain a paused partition.
    pub fn moved(&mut self, positions: &BTreeMap<TopicPartition, i64>, now: Instant) {
        self.seen.retain(|name, _| positions.contains_key(name));
        for (name, position) in positions {
            let seen = self.seen.entry(name.clone());
            let seen = seen.or_insert(Seen { position: *position, end: -1, since: now });
            if seen.position != *position || seen.end <= *position {
                (seen.position, seen.since) = (*position, now);
            }
        }
    }

    /// Requests the ends of some logs if a request is due.
    pub fn ask(&mut self, consumer: &BaseConsumer<Context>, now: Instant) {
        if now < self.ask_at {
            return;
        }
        self.ask_at = now + ASK_EVERY;
        for _ in 0..self.seen.len().div_ceil(TURNS) {
            let after = self.last.take();
            let mut later = self.seen.iter_mut().filter(|(name, _)| after.as_ref().is_none_or(|last| *name > last));
            let Some((name, seen)) = later.next() else { return };
            self.last = Some(name.clone());
            match consumer.fetch_watermarks(&name.topic, name.partition, ASK_TIMEOUT) {
                // If the log is empty because retention has deleted every record, no record is unread.
                Ok((low, end)) => seen.end = if low < end { end } else { -1 },
                // An unreachable broker must not cost a timeout for each of its partitions. The status of the brokers
                // reports an unreachable broker.
                Err(_) => return,
            }
        }
    }

    /// Returns the partitions that have unread records and do not move, each with a description.
    pub fn stalled(&self, now: Instant) -> BTreeMap<TopicPartition, String> {
        let stands = self.seen.iter().filter(|(_, seen)| seen.stands(now) >= STALLED_AFTER);
        let reason = |(name, seen): (&TopicPartition, &Seen)| {
            let (Seen { position, end, .. }, stands_s) = (seen, seen.stands(now).as_secs());
            let reason = format!(
                "{name}: stands at offset {position} for {stands_s} s although its log ends at {end}: Kafka brings \
                 nothing and says no error; nova connects again every {} s. Look at the brokers' log",
                RENEW_AFTER.as_secs()
            );
            (name.clone(), reason)
        };
        stands.map(reason).collect()
    }

    /// Whether it is time to make a new Kafka client.
    pub fn renew(&mut self, now: Instant) -> bool {
        let due = self.seen.values().any(|seen| seen.stands(now) >= RENEW_AFTER)
            && now.saturating_duration_since(self.renewed_at) >= RENEW_AFTER;
        if due {
            self.renewed_at = now;
        }
        due
    }
}

impl Seen {
    fn stands(&self, now: Instant) -> Duration {
        if self.end > self.position { now.saturating_duration_since(self.since) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic_now;

    fn after(seconds: u64, begun: Instant) -> Instant {
        begun + Duration::from_secs(seconds)
    }

    /// A partition at offset 5 that is polled every half second for some seconds, and whose log ends at `end`.
    fn watched(begun: Instant, seconds: u64, end: i64, position: impl Fn(u64) -> i64) -> Watch {
        let mut watch = Watch::new(begun);
        let name = TopicPartition::new("cdc.posts", 0);
        for half in 0..=seconds * 2 {
            let now = begun + Duration::from_millis(500 * half);
            watch.polled(now);
            watch.moved(&BTreeMap::from([(name.clone(), position(half))]), now);
            watch.seen.values_mut().for_each(|seen| seen.end = end);
        }
        watch
    }

    #[test]
    fn only_a_partition_that_stands_before_its_end_is_stalled() {
        let begun = monotonic_now();
        let mut stands = watched(begun, 70, 9, |_| 5);
        let reason = &stands.stalled(after(70, begun))[&TopicPartition::new("cdc.posts", 0)];
        assert!(reason.contains("offset 5") && reason.contains("ends at 9"), "{reason}");
        assert!(stands.renew(after(70, begun)) && !stands.renew(after(71, begun)));
        for mut moves in [watched(begun, 70, 5, |_| 5), watched(begun, 70, 1_000, |half| 5 + (half / 10) as i64)] {
            assert!(moves.stalled(after(70, begun)).is_empty() && !moves.renew(after(70, begun)));
        }
        // If the source was not polled, the standstill of the partition is not Kafka's fault.
        let mut late = watched(begun, 9, 9, |_| 5);
        late.polled(after(600, begun));
        assert!(late.stalled(after(601, begun)).is_empty());
        // A partition that is paused or belongs to another member is not among the positions.
        stands.moved(&BTreeMap::new(), after(70, begun));
        assert!(stands.stalled(after(80, begun)).is_empty());
    }
}
