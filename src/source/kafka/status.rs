//! The state of the Kafka brokers, for readiness and metrics.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use rdkafka::Statistics;
use rdkafka::statistics::Window;

use crate::event::TopicPartition;

use super::stops::Stop;

/// The maximum number of brokers for which nova reports figures. In a cluster with more brokers, nova reports the
/// brokers with the smallest ids.
pub const BROKERS_MAX: usize = 32;

/// The state of the log of an assigned partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// `low` is the first offset of the log, and `high` is the offset after the last readable record. Records of an
    /// open transaction are not readable. A value of −1 or less means that the offset is unknown.
    pub low: i64,
    pub high: i64,
    /// All records of the partition before `read_to` have been read. After the last record there may be offsets that no
    /// consumer gets, such as the marker at the end of a transaction or the records of an aborted transaction. The
    /// value −1 means that the offset is unknown.
    pub read_to: i64,
    /// The last time at which every record of the log had been read, in epoch milliseconds. All unread records of the
    /// partition arrived after `caught_up_ms`.
    pub caught_up_ms: Option<i64>,
    /// When this process first saw the partition, in epoch milliseconds.
    pub seen_ms: i64,
}

impl Watermarks {
    /// Returns the number of unread records, and the largest possible age of the oldest unread record in milliseconds.
    /// `next` is the next offset to read. `arrival_ms` is the arrival of the record before `next`, or 0 if there is no
    /// such record.
    pub fn lag(&self, next: i64, arrival_ms: i64, now_ms: i64) -> (i64, i64) {
        let behind = (self.high - next.max(self.read_to)).max(0);
        // The age of a log's first record is unknown before the record is read.
        let read_ms = if arrival_ms > 0 { arrival_ms } else { self.seen_ms };
        let since_ms = self.caught_up_ms.map_or(read_ms, |caught_up_ms| caught_up_ms.max(arrival_ms));
        (behind, if behind > 0 { (now_ms - since_ms).max(0) } else { 0 })
    }

    /// Returns the number of records between the record that retention deletes next and the next record to read. If the
    /// headroom is 0, retention deletes records that were not read.
    pub fn headroom(&self, next: i64) -> i64 {
        next.max(self.read_to) - self.low.max(0)
    }
}

/// The number of partitions that this node reads, and the number of partitions that the topics have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    pub assigned: usize,
    /// The number of existing partitions of the topics, or 0 before the first count.
    pub existing: usize,
}

/// The figures of one Kafka broker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BrokerFigures {
    pub up: bool,
    /// The percentiles of the round-trip time of requests within the last interval, in seconds.
    pub rtt_p50_seconds: f64,
    pub rtt_p99_seconds: f64,
    /// The longest time in seconds for which the broker throttled an answer within the last interval.
    pub throttle_seconds: f64,
    /// The number of requests to the broker that failed or timed out.
    pub errors: u64,
    pub disconnects: u64,
}

/// The part of the consumer's statistics that nova exports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Whether at least one broker is connected.
    pub up: bool,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub received_messages: u64,
    pub rebalances: u64,
    /// The number of bytes that librdkafka has fetched ahead of ingest.
    pub ahead_bytes: u64,
    /// The figures of each broker, by the broker's id.
    pub brokers: BTreeMap<i32, BrokerFigures>,
}

/// If a broker is in one of these states (`rd_kafka_broker_state_names`), librdkafka sends requests to the broker.
const CONNECTED: [&str; 3] = ["UP", "UPDATE", "REAUTH"];
/// The number of statistics reports (one a second) for which a broker without a connection still counts as connected,
/// because it may be reconnecting. A broker closes connections that were idle for ten minutes, and connections break on
/// a busy machine.
const RECONNECT_LOOKS_MAX: u32 = 5;

/// Reads the exported figures from librdkafka's statistics.
pub(super) fn figures(statistics: &Statistics) -> Figures {
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let seconds = |window: &Option<Window>, value: fn(&Window) -> i64, unit: f64| {
        window.as_ref().map_or(0.0, |window| value(window) as f64 * unit)
    };
    let mut brokers = BTreeMap::new();
    for broker in statistics.brokers.values().filter(|broker| broker.nodeid >= 0) {
        let figures = BrokerFigures {
            up: CONNECTED.contains(&broker.state.as_str()),
            rtt_p50_seconds: seconds(&broker.rtt, |rtt| rtt.p50, 1e-6),
            rtt_p99_seconds: seconds(&broker.rtt, |rtt| rtt.p99, 1e-6),
            throttle_seconds: seconds(&broker.throttle, |throttle| throttle.max, 1e-3),
            errors: broker.txerrs + broker.rxerrs + broker.req_timeouts,
            disconnects: count(broker.disconnects.unwrap_or(0)),
        };
        brokers.insert(broker.nodeid, figures);
    }
    let up = brokers.values().any(|broker| broker.up);
    while brokers.len() > BROKERS_MAX {
        brokers.pop_last();
    }
    let ahead = statistics.topics.values().flat_map(|topic| topic.partitions.values());
    Figures {
        up,
        sent_bytes: count(statistics.tx_bytes),
        received_bytes: count(statistics.rx_bytes),
        received_messages: count(statistics.rxmsgs),
        rebalances: statistics.cgrp.as_ref().map_or(0, |group| count(group.rebalance_cnt)),
        ahead_bytes: ahead.map(|partition| partition.fetchq_size).sum(),
        brokers,
    }
}

#[derive(Debug, Default)]
struct Told {
    watermarks: BTreeMap<TopicPartition, Watermarks>,
    read_to: BTreeMap<TopicPartition, i64>,
    stopped: BTreeMap<TopicPartition, Stop>,
    stalled: BTreeMap<TopicPartition, String>,
    assignment: Assignment,
    figures: Figures,
    /// The number of statistics reports that are left until the broker counts as gone. `up_looks` is 0 before any
    /// broker was connected.
    up_looks: u32,
}

/// The state that librdkafka reports once a second.
#[derive(Debug, Default)]
pub struct KafkaStatus {
    told: Mutex<Told>,
    /// The number of times that the store's offsets were committed to the broker.
    pub commits: AtomicU64,
}

/// A partition, the first and last offset of its log, and the store's next offset.
type Seen = (TopicPartition, (i64, i64), Option<i64>);

impl KafkaStatus {
    pub(super) fn told(&self, seen: Vec<Seen>, assignment: Assignment, figures: Figures, now_ms: i64) {
        let mut told = self.told.lock();
        let known = std::mem::take(&mut told.watermarks);
        for (name, (low, high), next) in seen {
            let before = known.get(&name);
            let seen_ms = before.map_or(now_ms, |marks| marks.seen_ms);
            let read_to = told.read_to.get(&name).copied().unwrap_or(-1);
            let caught_up = high >= 0 && next.unwrap_or(0).max(read_to) >= high;
            let caught_up_ms = if caught_up { Some(now_ms) } else { before.and_then(|marks| marks.caught_up_ms) };
            told.watermarks.insert(name, Watermarks { low, high, read_to, caught_up_ms, seen_ms });
        }
        told.up_looks = match figures.up {
            true => 1 + RECONNECT_LOOKS_MAX,
            false => told.up_looks.saturating_sub(1),
        };
        (told.assignment, told.figures) = (assignment, figures);
    }

    /// Sets [`Watermarks::read_to`] of every partition. The value is −1 for a partition that the argument lacks.
    pub(super) fn set_read_to(&self, read_to: BTreeMap<TopicPartition, i64>) {
        let mut told = self.told.lock();
        for (name, marks) in &mut told.watermarks {
            marks.read_to = read_to.get(name).copied().unwrap_or(-1);
        }
        told.read_to = read_to;
    }

    pub(super) fn set_stopped(&self, stopped: &BTreeMap<TopicPartition, Stop>) {
        self.told.lock().stopped.clone_from(stopped);
    }

    pub(super) fn set_stalled(&self, stalled: BTreeMap<TopicPartition, String>) {
        self.told.lock().stalled = stalled;
    }

    /// Returns the partitions that an error of the consumer stopped.
    pub fn stopped(&self) -> BTreeMap<TopicPartition, Stop> {
        self.told.lock().stopped.clone()
    }

    /// Returns the partitions that have unread records and deliver none, each with a description for a person.
    pub fn stalled(&self) -> BTreeMap<TopicPartition, String> {
        self.told.lock().stalled.clone()
    }

    /// Returns the state of the log of every assigned partition.
    pub fn watermarks(&self) -> BTreeMap<TopicPartition, Watermarks> {
        self.told.lock().watermarks.clone()
    }

    pub fn assignment(&self) -> Assignment {
        self.told.lock().assignment
    }

    pub fn figures(&self) -> Figures {
        self.told.lock().figures.clone()
    }

    /// Returns the number of partitions that this node reads.
    pub fn assigned(&self) -> usize {
        self.assignment().assigned
    }

    /// Whether a Kafka broker is connected, or was connected a few seconds ago.
    pub fn up(&self) -> bool {
        self.told.lock().up_looks > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_connects_again_at_once_was_never_away() {
        let status = KafkaStatus::default();
        let look = |up| {
            status.told(Vec::new(), Assignment::default(), Figures { up, ..Figures::default() }, 0);
            status.up()
        };
        assert!(!look(false), "none was ever connected");
        assert!(look(true));
        assert!((0..RECONNECT_LOOKS_MAX).all(|_| look(false)));
        assert!(!look(false));
        assert!(look(true));
    }

    #[test]
    fn lag_in_time_counts_from_when_everything_had_been_read() {
        let status = KafkaStatus::default();
        let name = TopicPartition::new("cdc.posts", 0);
        let tell = |high, next, now_ms| {
            let seen = vec![(name.clone(), (0, high), next)];
            status.told(seen, Assignment::default(), Figures::default(), now_ms);
            status.watermarks()[&name]
        };
        // The partition never caught up, so the age of its lag is the age of the last record that was read.
        assert_eq!(tell(10, Some(4), 100_000).lag(4, 70_000, 100_000), (6, 30_000));
        assert_eq!(tell(10, Some(10), 101_000).lag(10, 90_000, 101_500), (0, 0));
        // One record arrives after an hour of silence. The lag begins at the arrival of the new record, and not at the
        // arrival of the record before it.
        tell(10, Some(10), 3_701_000);
        assert_eq!(tell(11, Some(10), 3_702_000).lag(10, 90_000, 3_702_000), (1, 1_000));
        // The bounds of the log are still unknown.
        let none = Watermarks { low: -1001, high: -1001, read_to: -1, caught_up_ms: None, seen_ms: 0 };
        assert_eq!((none.lag(5, 0, 9), none.headroom(5)), ((0, 0), 5));
    }

    /// At the first start with existing topics, no record has been read. An unread log must not count as a lag of half
    /// a century, because nova refuses to serve feeds at a large lag.
    #[test]
    fn a_log_of_which_nothing_was_read_is_as_old_as_it_is_known() {
        let status = KafkaStatus::default();
        let name = TopicPartition::new("cdc.posts", 0);
        for now_ms in [1_795_000_000_000, 1_795_000_004_000] {
            let seen = vec![(name.clone(), (0, 10), None)];
            status.told(seen, Assignment::default(), Figures::default(), now_ms);
        }
        assert_eq!(status.watermarks()[&name].lag(0, 0, 1_795_000_005_000), (10, 5_000));
    }

    #[test]
    fn offsets_that_no_consumer_is_given_are_not_unread() {
        let status = KafkaStatus::default();
        let name = TopicPartition::new("cdc.posts", 0);
        let tell = |high, next, now_ms| {
            let seen = vec![(name.clone(), (0, high), next)];
            status.told(seen, Assignment::default(), Figures::default(), now_ms);
        };
        let lag = |next, now_ms| status.watermarks()[&name].lag(next, 1_000, now_ms);
        tell(11, Some(10), 100_000);
        assert_eq!(lag(10, 100_000), (1, 99_000), "the marker at offset 10 is not known to be one");
        status.set_read_to(BTreeMap::from([(name.clone(), 11)]));
        assert_eq!(lag(10, 200_000), (0, 0));
        tell(11, Some(10), 300_000);
        tell(13, Some(10), 301_000);
        assert_eq!(lag(10, 301_500), (2, 1_500), "what is unread came after the last look");
        // After a seek, the offset before which everything was read is no longer known.
        status.set_read_to(BTreeMap::new());
        assert_eq!(lag(4, 301_500).0, 9);
    }

    #[test]
    fn brokers_are_bounded_and_bootstrap_addresses_are_none() {
        let mut statistics = Statistics::default();
        for id in -2..100 {
            let broker = rdkafka::statistics::Broker { nodeid: id, state: "UP".to_owned(), ..Default::default() };
            statistics.brokers.insert(format!("b:{id}"), broker);
        }
        let figures = figures(&statistics);
        assert_eq!(figures.brokers.len(), BROKERS_MAX);
        assert_eq!(figures.brokers.keys().next(), Some(&0));
    }
}
