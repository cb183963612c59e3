//! The Kafka source with librdkafka's in-process broker: positions, rebalances, and replaced logs.

mod corners;
mod group;
mod partitions;
mod real;
mod stops;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use nova::app::{self, Running, Setup};
use nova::event::{Record, TopicPartition};
use nova::pipeline::progress::{PartitionStatus, Shared};
use nova::pipeline::writer::{Command, Message};
use nova::source::Progress as _;
use nova::source::kafka::{KafkaSettings, KafkaSource, KafkaStatus, ProduceError, Producer};
use nova_storage::testing::Recorder;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};

use super::support::{self, store_over};

const TOPIC: &str = "events";
const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    cluster_with(TOPIC, PARTITIONS)
}

fn cluster_with(topic: &str, partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(topic, partitions, 1).unwrap();
    cluster
}

fn settings(brokers: &str) -> KafkaSettings {
    KafkaSettings { brokers: brokers.to_owned(), group_id: "nova".to_owned(), ..KafkaSettings::default() }
}

/// Produces the client events of the mix from number `from` on; each event keeps its partition.
fn produce(brokers: &str, from: usize, count: usize) {
    put(brokers, &support::events::mix((from + count) as u64, 5).0[from..]);
}

/// Produces records to their topics and partitions. The broker assigns the offsets of the records.
fn put(brokers: &str, records: &[Record]) {
    put_with(brokers, records, &[]);
}

/// Produces records like `put`, with settings of the producer.
fn put_with(brokers: &str, records: &[Record], settings: &[(&str, &str)]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    for (name, value) in settings {
        config.set(*name, *value);
    }
    let producer: BaseProducer = config.create().unwrap();
    send(&producer, records);
    producer.flush(PATIENCE).unwrap();
}

fn send(producer: &BaseProducer, records: &[Record]) {
    for record in records {
        let message: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&record.topic).partition(record.partition);
        let mut message = message.payload(record.value.as_ref().unwrap()).timestamp(record.timestamp_ms);
        message.key = record.key.as_deref();
        producer.send(message).map_err(|(error, _)| error).unwrap();
        producer.poll(Duration::ZERO);
    }
}

fn start(backend: &Recorder, brokers: &str) -> (Running, Arc<Shared>, Arc<KafkaStatus>) {
    let setup: Setup = support::setup("events");
    let opened = app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap();
    start_over(setup, opened, brokers)
}

fn start_over(setup: Setup, opened: app::Opened, brokers: &str) -> (Running, Arc<Shared>, Arc<KafkaStatus>) {
    follow(setup, opened, &settings(brokers), TOPIC)
}

/// Starts the batch loop for one topic.
fn follow(
    setup: Setup,
    opened: app::Opened,
    settings: &KafkaSettings,
    topic: &str,
) -> (Running, Arc<Shared>, Arc<KafkaStatus>) {
    let (shared, status) = (Arc::clone(&opened.shared), Arc::<KafkaStatus>::default());
    let topics = [topic.to_owned()];
    let source = KafkaSource::new(settings, &topics, Arc::clone(&shared) as _, Arc::clone(&status)).unwrap();
    (opened.start(Box::new(source), &setup).unwrap(), shared, status)
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = nova::clock::monotonic_now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn consumed(shared: &Shared) -> u64 {
    shared.partitions().iter().map(|status| status.row.consumed).sum()
}

/// Moves a partition to an offset, as `nova cdc seek` does.
fn seek(running: &Running, partition: TopicPartition, next: i64) {
    let (told, answer) = crossbeam_channel::bounded(1);
    let reply = Box::new(move |result| told.send(result).unwrap());
    let command = Command::Seek { partition, next, actor: "test".to_owned(), reply };
    running.inbox.send(Message::Command(command)).unwrap();
    answer.recv().unwrap().unwrap();
}

fn committed(brokers: &str) -> Vec<(i32, i64)> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "nova").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range(TOPIC, 0, PARTITIONS - 1);
    let committed = consumer.committed_offsets(list, PATIENCE).unwrap();
    let offset = |offset| if let Offset::Offset(offset) = offset { offset } else { 0 };
    committed.elements().iter().map(|one| (one.partition(), offset(one.offset()))).collect()
}

fn assert_whole(statuses: &[PartitionStatus], count: u64) {
    assert_eq!(statuses.iter().map(|status| status.row.consumed).sum::<u64>(), count);
    // No record is missing: the number of consumed records equals the number of offsets.
    for status in statuses {
        assert_eq!(status.row.next as u64, status.row.consumed, "{}", status.name);
        assert_eq!(status.hold, None);
    }
}

#[test]
fn n4_the_store_decides_where_reading_goes_on_and_kafkas_offset_never_exceeds_it() {
    let cluster = cluster();
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, 0, 2_000);
    let setup = support::setup("events");
    let backend = Recorder::new();
    let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
    let (running, shared, _) = start_over(setup, opened, &brokers);
    until("2 000 records", || consumed(&shared) == 2_000);
    until("a commit", || committed(&brokers).iter().map(|(_, offset)| offset).sum::<i64>() == 2_000);
    shared.stop();
    assert_whole(&running.finish(|_| {}).unwrap(), 2_000);
    // nova continues from the store's offsets in the same group, even if the broker has forgotten the committed
    // offsets.
    produce(&brokers, 2_000, 1_000);
    let (running, shared, _) = start(&backend, &brokers);
    until("1 000 more records", || consumed(&shared) == 3_000);
    for (partition, offset) in committed(&brokers) {
        let next = shared.next_offset(&TopicPartition::new(TOPIC, partition)).unwrap();
        assert!(offset <= next, "partition {partition}: {offset} is committed, the store has {next}");
    }
    shared.stop();
    let statuses = running.finish(|_| {}).unwrap();
    assert_whole(&statuses, 3_000);
    assert!(statuses.iter().all(|status| status.redelivered <= 1), "one record proves that the log is the same");
}

#[test]
fn a_rebalance_in_mid_stream_drains_fences_and_loses_nothing() {
    let cluster = cluster();
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, 0, 3_000);
    let setup = support::setup("events");
    let opened = app::open_store(&setup, store_over(Recorder::new())).unwrap();
    let (running, shared, status) = start_over(setup, opened, &brokers);
    until("the first records", || consumed(&shared) > 0);
    // A second member of the group gets a partition, and leaves the group.
    let mut other = settings_of_another(&brokers);
    let other: BaseConsumer = other.set("auto.offset.reset", "earliest").create().unwrap();
    other.subscribe(&[TOPIC]).unwrap();
    until("fewer partitions of ours", || {
        drop(other.poll(Duration::from_millis(50)));
        status.assigned() < PARTITIONS as usize
    });
    produce(&brokers, 3_000, 1_500);
    drop(other);
    until("all records", || consumed(&shared) == 4_500);
    shared.stop();
    assert_whole(&running.finish(|_| {}).unwrap(), 4_500);
}

/// Case 42 of `docs/testing.md`: the group has removed the member, as happens after a long standstill. The member loses
/// its partitions, and gets them back.
#[test]
fn lost_partitions_are_read_on_from_the_store_without_a_hole() {
    let cluster = cluster();
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, 0, 3_000);
    let setup = support::setup("events");
    let opened = app::open_store(&setup, store_over(Recorder::new())).unwrap();
    // A static member, like the consumer of a node, need not wait for its old session to end.
    let settings = KafkaSettings { instance_id: Some("nova-1".to_owned()), ..settings(&brokers) };
    let (running, shared, status) = follow(setup, opened, &settings, TOPIC);
    until("the records", || consumed(&shared) == 3_000 && status.figures().rebalances == 1);
    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    until("the loss", || status.figures().rebalances > 1);
    produce(&brokers, 3_000, 1_500);
    until("the rest", || consumed(&shared) == 4_500);
    for (partition, offset) in committed(&brokers) {
        assert!(offset <= shared.next_offset(&TopicPartition::new(TOPIC, partition)).unwrap());
    }
    shared.stop();
    assert_whole(&running.finish(|_| {}).unwrap(), 4_500);
}

fn settings_of_another(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", "nova")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "100");
    config.set("partition.assignment.strategy", "cooperative-sticky").set("enable.auto.commit", "false");
    config
}

#[test]
fn a_topic_that_was_created_again_is_held_with_the_way_out_and_the_others_go_on() {
    let first = cluster();
    produce(&first.bootstrap_servers(), 0, 3_000);
    let setup = support::setup("events");
    let backend = Recorder::new();
    let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
    let (running, shared, _) = start_over(setup, opened, &first.bootstrap_servers());
    until("3 000 records", || consumed(&shared) == 3_000);
    shared.stop();
    running.finish(|_| {}).unwrap();
    drop(first);
    // On every partition, the new log is shorter than the log that nova has read.
    let second = cluster();
    produce(&second.bootstrap_servers(), 0, 300);
    let (running, shared, _) = start(&backend, &second.bootstrap_servers());
    until("the holds", || shared.partitions().iter().all(|status| status.hold.is_some()));
    for status in shared.partitions() {
        let reason = status.hold.unwrap();
        assert!(reason.starts_with("log-recreated") && reason.contains("nova cdc seek"), "{reason}");
    }
    shared.stop();
    assert_eq!(running.finish(|_| {}).unwrap().iter().map(PartitionStatus::consumed).sum::<u64>(), 0);
    // The new log is longer than the log that nova has read. The record before the store's offset shows that the log is
    // not the log that nova has read.
    let third = cluster();
    produce(&third.bootstrap_servers(), 2_000, 4_000);
    let (running, shared, _) = start(&backend, &third.bootstrap_servers());
    until("the holds", || shared.partitions().iter().all(|status| status.hold.is_some()));
    assert_eq!(consumed(&shared), 3_000);
    shared.stop();
    running.finish(|_| {}).unwrap();
}

#[test]
fn without_a_broker_nothing_is_accepted_and_with_one_what_was_accepted_is_there() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let events = || (0..50u128).map(|n| (nova::event::Id::from_u128(n), "{}".into())).collect::<Vec<_>>();
    let nowhere = Producer::new(&settings("127.0.0.1:1"), TOPIC).unwrap();
    assert!(runtime.block_on(nowhere.append(events(), 1_795_132_800_000)).is_err());
    // The test sends more events than may wait for the broker.
    let many = (0..100_001u128).map(|n| (nova::event::Id::from_u128(n), "{}".into())).collect();
    assert_eq!(runtime.block_on(nowhere.append(many, 1_795_132_800_000)), Err(ProduceError::Full));
    let cluster = cluster();
    let producer = Producer::new(&settings(&cluster.bootstrap_servers()), TOPIC).unwrap();
    runtime.block_on(producer.append(events(), 1_795_132_800_000)).unwrap();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "x")
        .create()
        .unwrap();
    let large = vec![(nova::event::Id::from_u128(1), vec![b' '; 2 << 20].into())];
    assert_eq!(runtime.block_on(producer.append(large, 1_795_132_800_000)), Err(ProduceError::TooLarge));
    // Case 48 of `docs/testing.md`: nova waits out a short lack of in-sync replicas, and does not acknowledge events
    // during a long lack.
    let few = |times| {
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
        cluster.request_errors(RDKafkaApiKey::Produce, &vec![error; times]);
        runtime.block_on(producer.append(events(), 1_795_132_800_000))
    };
    assert_eq!(few(3), Ok(()));
    assert_eq!(few(10_000), Err(ProduceError::Unacknowledged));
    let high = |partition| consumer.fetch_watermarks(TOPIC, partition, PATIENCE).unwrap().1;
    assert_eq!((0..PARTITIONS).map(high).sum::<i64>(), 100, "what was refused is not there");
}

#[test]
fn a_rebuild_reads_everything_again_and_comes_to_the_same_state() {
    let cluster = cluster();
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, 0, 2_000);
    let backend = Recorder::new();
    let opened = app::open_store(&support::setup("events"), store_over(backend.clone())).unwrap();
    let (running, shared, _) = start_over(support::setup("events"), opened, &brokers);
    until("2 000 records", || consumed(&shared) == 2_000);
    shared.stop();
    running.finish(|_| {}).unwrap();
    let image = |backend: &Recorder| backend.image(backend.syncs(), 0);
    let before = app::open_store(&support::setup("events"), store_over(image(&backend))).unwrap();
    // If a user has viewed a post twice, the order of the partitions decides which of the two views counts.
    let counts = |opened: &app::Opened| support::events::days(&opened.state.read());
    let known = counts(&before);
    assert!(!known.is_empty());
    drop(before);
    let rebuilt = image(&backend);
    assert_eq!(nova::pipeline::rebuild::rebuild(&store_over(rebuilt.clone()), None).unwrap(), 3);
    let rebuilt = image(&rebuilt);
    let opened = app::open_store(&support::setup("events"), store_over(rebuilt.clone())).unwrap();
    assert!(counts(&opened).is_empty(), "nothing was emptied");
    let (running, shared, _) = start_over(support::setup("events"), opened, &brokers);
    until("2 000 records again", || consumed(&shared) == 2_000);
    shared.stop();
    assert_whole(&running.finish(|_| {}).unwrap(), 2_000);
    let after = app::open_store(&support::setup("events"), store_over(image(&rebuilt))).unwrap();
    assert_eq!(counts(&after), known);
}
