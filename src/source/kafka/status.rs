//! What is known of the brokers, for readiness and metrics.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use rdkafka::Statistics;
use rdkafka::statistics::Window;

use crate::event::TopicPartition;

use super::stops::Stop;

/// Brokers that have figures of their own; of a larger cluster those with the smallest ids.
pub const BROKERS_MAX: usize = 32;

/// What is known of an assigned partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset and the one after the last that may be read (an open transaction's records may not); −1 or less
    /// where it is not known.
    pub low: i64,
    pub high: i64,
    /// Up to here nothing is unread: behind the last record there may be offsets that no consumer is given (the marker
    /// at the end of a transaction, the records of one that was aborted). −1 where it is not known.
    pub read_to: i64,
    /// When everything had been read, last, epoch milliseconds: what is unread came after it.
    pub caught_up_ms: Option<i64>,
    /// When this process learned of the partition, epoch milliseconds.
    pub seen_ms: i64,
}

impl Watermarks {
    /// Records that were not read yet, and how old the oldest of them may be, milliseconds; `next` is the offset that
    /// is read next, `arrival_ms` the arrival of the record before it, 0 where there is none.
    pub fn lag(&self, next: i64, arrival_ms: i64, now_ms: i64) -> (i64, i64) {
        let behind = (self.high - next.max(self.read_to)).max(0);
        // How old the first record of a log is nobody knows before it is read.
        let read_ms = if arrival_ms > 0 { arrival_ms } else { self.seen_ms };
        let since_ms = self.caught_up_ms.map_or(read_ms, |caught_up_ms| caught_up_ms.max(arrival_ms));
        (behind, if behind > 0 { (now_ms - since_ms).max(0) } else { 0 })
    }

    /// Records between what retention deletes next and what is read next: none left, and the next are lost.
    pub fn headroom(&self, next: i64) -> i64 {
        next.max(self.read_to) - self.low.max(0)
    }
}

/// How many of the existing partitions are read by this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    pub assigned: usize,
    /// Partitions of the topics, 0 before they were counted.
    pub existing: usize,
}

/// Of one broker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BrokerFigures {
    pub up: bool,
    /// Of requests within the last interval, seconds.
    pub rtt_p50_seconds: f64,
    pub rtt_p99_seconds: f64,
    /// The broker's longest delay of an answer for a quota, within the last interval, seconds.
    pub throttle_seconds: f64,
    /// Failed or timed out requests.
    pub errors: u64,
    pub disconnects: u64,
}

/// The consumer's statistics that are exported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Whether any broker is connected.
    pub up: bool,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub received_messages: u64,
    pub rebalances: u64,
    /// Bytes fetched ahead of ingest.
    pub ahead_bytes: u64,
    /// By broker id.
    pub brokers: BTreeMap<i32, BrokerFigures>,
}

/// States of a broker in which librdkafka sends it requests (`rd_kafka_broker_state_names`).
const CONNECTED: [&str; 3] = ["UP", "UPDATE", "REAUTH"];
/// Looks, one a second, for which a broker that was connected may be connecting again: a broker closes connections that
/// were idle for ten minutes, and a machine that is busy loses some.
const RECONNECT_LOOKS_MAX: u32 = 5;

/// librdkafka's statistics, as far as they are exported.
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
    /// Looks until a broker counts as gone; 0 also before one was ever connected.
    up_looks: u32,
}

/// Told by librdkafka once a second.
#[derive(Debug, Default)]
pub struct KafkaStatus {
    told: Mutex<Told>,
    /// Commits of the store's offsets to the broker.
    pub commits: AtomicU64,
}

/// A partition, the bounds of its log, and the store's next offset.
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

    /// Up to where nothing is unread, of the partitions where that is known.
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

    /// Partitions that an error of the consumer stopped.
    pub fn stopped(&self) -> BTreeMap<TopicPartition, Stop> {
        self.told.lock().stopped.clone()
    }

    /// Partitions that have unread records and bring none, with what is known of them in words for a person.
    pub fn stalled(&self) -> BTreeMap<TopicPartition, String> {
        self.told.lock().stalled.clone()
    }

    /// Of every assigned partition.
    pub fn watermarks(&self) -> BTreeMap<TopicPartition, Watermarks> {
        self.told.lock().watermarks.clone()
    }

    pub fn assignment(&self) -> Assignment {
        self.told.lock().assignment
    }

    pub fn figures(&self) -> Figures {
        self.told.lock().figures.clone()
    }

    /// Partitions that this node reads.
    pub fn assigned(&self) -> usize {
        self.assignment().assigned
    }

    /// Whether a broker is connected, or was a moment ago.
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
        // Never caught up: as old as the last record read.
        assert_eq!(tell(10, Some(4), 100_000).lag(4, 70_000, 100_000), (6, 30_000));
        assert_eq!(tell(10, Some(10), 101_000).lag(10, 90_000, 101_500), (0, 0));
        // An hour of silence, then one record: it is new, whatever the one before it was.
        tell(10, Some(10), 3_701_000);
        assert_eq!(tell(11, Some(10), 3_702_000).lag(10, 90_000, 3_702_000), (1, 1_000));
        // Not known yet.
        let none = Watermarks { low: -1001, high: -1001, read_to: -1, caught_up_ms: None, seen_ms: 0 };
        assert_eq!((none.lag(5, 0, 9), none.headroom(5)), ((0, 0), 5));
    }

    /// At the first start over topics that exist nothing was read: that is no lag of half a century, for which feeds are refused.
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
        // A seek: it is not known any more.
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
