//! Properties of Kafka that the in-process broker does not have: codecs, transactions, topics that are deleted and
//! created again, and records of any size.

use nova::event::Outcome;
use nova_storage::testing::Recorder;

use super::real::{Real, held, stop};
use super::*;

/// Returns client events of the mix, all for the first partition.
fn events(range: std::ops::Range<usize>) -> Vec<Record> {
    let (records, _) = support::events::mix(range.end as u64, 5);
    records[range].iter().map(|one| Record { partition: 0, ..one.clone() }).collect()
}

/// Returns the number of unread records of the first partition, and their age. If the store has never read the
/// partition, its position counts as offset 0.
fn lag(real: &Real, shared: &Shared, status: &KafkaStatus) -> Option<(i64, i64)> {
    let name = TopicPartition::new(real.topic.as_str(), 0);
    let marks = *status.watermarks().get(&name)?;
    (marks.high > 0).then(|| marks.lag(shared.next_offset(&name).unwrap_or(0), 0, i64::MAX / 2))
}

#[test]
fn every_codec_is_read_whether_the_producer_compresses_or_the_topic() {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let Some(real) = Real::topic("events", 1) else { return };
        let batches = [("compression.type", codec), ("linger.ms", "50")];
        put_with(&real.settings.brokers, &real.moved(events(0..200)), &batches);
        let (running, shared, _) = real.follow(&Recorder::new(), &real.settings);
        until(codec, || consumed(&shared) == 200);
        stop(running, &shared);
    }
    for codec in ["uncompressed", "gzip", "snappy", "lz4", "zstd"] {
        let Some(real) = Real::topic_with("events", 1, &[("compression.type", codec)]) else { return };
        real.put(events(0..200));
        let (running, shared, _) = real.follow(&Recorder::new(), &real.settings);
        until(codec, || consumed(&shared) == 200);
        stop(running, &shared);
    }
}

/// A topic that was deleted and made again has lost the log that nova has read, even if the new log is longer. Each
/// time, nova reads nothing of the new log before a person decides, and reads everything after the decision.
#[test]
fn a_topic_that_is_made_again_under_a_running_node_is_held_and_read_after_the_decision() {
    let Some(real) = Real::topic("events", 1) else { return };
    real.put(events(0..100));
    // The consumer is a static member of its group, like the consumer of a node.
    let settings = KafkaSettings { instance_id: Some("nova-1".to_owned()), ..real.settings.clone() };
    let (running, shared, status) = real.follow(&Recorder::new(), &settings);
    until("the events", || consumed(&shared) == 100);
    let (mut read, mut next) = (100, 100);
    // The new log is first longer than the old log, then shorter, then equally long, and finally empty.
    for length in [300, 40, 40, 0] {
        real.make_again(1);
        real.put(events(1_000..1_000 + length));
        until("the hold", || held(&shared).is_some());
        let reason = held(&shared).unwrap();
        assert!(reason.starts_with("log-recreated") && reason.contains("nova cdc seek"), "{reason}");
        assert!(reason.contains(&format!("up to {next}")), "{reason}");
        assert_eq!(consumed(&shared), read, "nothing of the new log is read");
        seek(&running, TopicPartition::new(real.topic.as_str(), 0), 0);
        real.put(events(2_000..2_010));
        (read, next) = (read + length as u64 + 10, length + 10);
        until("the new log", || consumed(&shared) == read);
        assert_eq!(held(&shared), None);
    }
    until("nothing unread", || lag(&real, &shared, &status) == Some((0, 0)));
    stop(running, &shared);
}

/// A transaction ends with a marker, which occupies an offset that no consumer gets.
#[test]
fn a_transactions_markers_and_aborted_records_are_not_unread() {
    let Some(real) = Real::topic("events", 1) else { return };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &real.settings.brokers).set("transactional.id", &real.settings.group_id);
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    let transaction = |records: Vec<Record>, commit: bool| {
        producer.begin_transaction().unwrap();
        send(&producer, &real.moved(records));
        producer.flush(PATIENCE).unwrap();
        match commit {
            true => producer.commit_transaction(PATIENCE).unwrap(),
            false => producer.abort_transaction(PATIENCE).unwrap(),
        }
    };
    let backend = Recorder::new();
    let high = |status: &KafkaStatus| status.watermarks().values().map(|marks| marks.high).max().unwrap_or(-1);
    transaction(events(0..10), true);
    let (running, shared, status) = real.follow(&backend, &real.settings);
    let done = |end: i64, shared: &Shared, status: &KafkaStatus| {
        until("nothing unread", || high(status) == end && lag(&real, shared, status) == Some((0, 0)));
    };
    done(11, &shared, &status);
    assert_eq!(
        shared.next_offset(&TopicPartition::new(real.topic.as_str(), 0)),
        Some(10),
        "the marker is at offset 10"
    );
    transaction(events(10..15), false);
    done(17, &shared, &status);
    assert_eq!(consumed(&shared), 10);
    stop(running, &shared);
    // After a restart or a seek nova does not know the last record, and the number of unread records is still correct.
    let (running, shared, status) = real.follow(&backend.image(backend.syncs(), 0), &real.settings);
    done(17, &shared, &status);
    seek(&running, TopicPartition::new(real.topic.as_str(), 0), 16);
    done(17, &shared, &status);
    transaction(events(15..20), true);
    until("the records behind", || consumed(&shared) == 15);
    done(23, &shared, &status);
    stop(running, &shared);
}

/// A value that Kafka accepts but that is too large for nova becomes a dead letter. The size limits in this test are
/// the limits of the shipped connector.
#[test]
fn a_value_over_the_limit_of_nova_is_a_dead_letter_and_not_the_end() {
    const MIB: usize = 1 << 20;
    let Some(real) = Real::topic_with("users", 1, &[("max.message.bytes", "34603008")]) else { return };
    let user = |bytes: usize, lsn| partitions::user(0, 1, &"x".repeat(bytes), Some(lsn));
    let producer = [("message.max.bytes", "33554432"), ("compression.type", "lz4"), ("message.timeout.ms", "60000")];
    put_with(
        &real.settings.brokers,
        &real.moved([user(15 * MIB, 1), user(20 * MIB, 2), user(31 * MIB, 3), user(9, 4)]),
        &producer,
    );
    let backend = Recorder::new();
    let (running, shared, _) = real.follow(&backend, &real.settings);
    until("all four", || consumed(&shared) == 4);
    let status = shared.partitions().remove(0);
    assert_eq!((status.count(Outcome::Dead), status.count(Outcome::Applied)), (2, 2));
    stop(running, &shared);
}
