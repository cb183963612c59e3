//! Checks whether each partition moves. librdkafka repeats some failed requests for ever without an error, and its
//! knowledge of a log's end comes from the same requests. So the end of each log is requested in another way, a few
//! partitions a second. A partition that stands before its end although the source is polled is reported, and a new
//! client is used.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::event::TopicPartition;

use super::context::Context;

/// How often some of the ends are requested.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The number of turns in which all partitions are covered.
const TURNS: usize = 10;
const ASK_TIMEOUT: Duration = Duration::from_millis(500);
/// After a longer pause between two polls the times of all partitions begin again, because the consumer did not cause
/// the pause.
const POLL_GAP_MAX: Duration = Duration::from_secs(1);
/// A partition that stands before its end for this long is reported.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// After this time a new client is used. A large batch may take long.
const RENEW_AFTER: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Seen {
    position: i64,
    /// The end of the log at the last request, or −1 before.
    end: i64,
    since: Instant,
}

/// The movement of all partitions.
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

    /// Notes a poll. It is called before each poll.
    pub fn polled(&mut self, now: Instant) {
        if now.saturating_duration_since(self.polled_at) > POLL_GAP_MAX {
            self.seen.values_mut().for_each(|seen| seen.since = now);
        }
        self.polled_at = now;
    }

    /// Notes the next offsets of partitions. Paused ones are not among them.
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

    /// Requests some ends when it is time.
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
                // Retention has deleted everything, so the next record to read is at the end.
                Ok((low, end)) => seen.end = if low < end { end } else { -1 },
                // An unreachable broker is reported elsewhere, and must not cost a timeout for each of its partitions.
                Err(_) => return,
            }
        }
    }

    /// The partitions that stand before their end.
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

    /// Whether it is time for a new client.
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

    /// A partition at offset 5, polled every half second for some seconds, with the end `end`.
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
        // Nobody polled, which is not Kafka's fault.
        let mut late = watched(begun, 9, 9, |_| 5);
        late.polled(after(600, begun));
        assert!(late.stalled(after(601, begun)).is_empty());
        // The partition is paused, or belongs to another member.
        stands.moved(&BTreeMap::new(), after(70, begun));
        assert!(stands.stalled(after(80, begun)).is_empty());
    }
}
