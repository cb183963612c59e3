//! Tests of what the in-process broker cannot do, against a real Kafka if `NOVA_TEST_KAFKA` names one.

use nova_storage::testing::Recorder;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use nova::source::kafka::Owner;

use super::*;

/// A topic in a real Kafka that only one test uses, with the means to change it.
pub(super) struct Real {
    pub settings: KafkaSettings,
    pub topic: String,
    admin: AdminClient<DefaultClientContext>,
    options: AdminOptions,
    runtime: tokio::runtime::Runtime,
}

impl Real {
    /// Makes a topic in the real Kafka. `last` is the last part of the topic's name, which says what the topic
    /// contains.
    pub fn topic(last: &str, partitions: i32) -> Option<Real> {
        Real::topic_with(last, partitions, &[])
    }

    /// Makes a topic like `topic`, with settings of the topic.
    pub fn topic_with(last: &str, partitions: i32, config: &[(&str, &str)]) -> Option<Real> {
        let Some(brokers) = crate::support::environment("NOVA_TEST_KAFKA") else {
            eprintln!("skipped: NOVA_TEST_KAFKA is not set");
            return None;
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let group_id = format!("nova-test-{}", uuid::Uuid::new_v4());
        let topic = format!("{group_id}.{last}");
        let settings = KafkaSettings { group_id, ..settings(&brokers) };
        let admin = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let real = Real { settings, topic, admin, options, runtime };
        let new = NewTopic::new(&real.topic, partitions, TopicReplication::Fixed(1));
        real.make(config.iter().fold(new, |new, (name, value)| new.set(name, value)));
        Some(real)
    }

    fn create_other(&self, topic: &str, partitions: i32) {
        self.make(NewTopic::new(topic, partitions, TopicReplication::Fixed(1)));
    }

    fn make(&self, new: NewTopic<'_>) {
        let made = self.runtime.block_on(self.admin.create_topics(&[new], &self.options)).unwrap();
        assert!(made[0].is_ok(), "{made:?}");
    }

    /// Deletes the topic, and makes it again as soon as the broker allows it.
    pub fn make_again(&self, partitions: i32) {
        self.runtime.block_on(self.admin.delete_topics(&[&self.topic], &self.options)).unwrap();
        until("the topic to be made again", || {
            let new = NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(1));
            self.runtime.block_on(self.admin.create_topics(&[new], &self.options)).unwrap()[0].is_ok()
        });
        // The broker still accepts records for the deleted log for a moment.
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &self.settings.brokers).create().unwrap();
        until("the new log", || client.fetch_watermarks(&self.topic, 0, PATIENCE).is_ok_and(|bounds| bounds == (0, 0)));
    }

    fn grow(&self, partitions: usize) {
        let more = NewPartitions::new(&self.topic, partitions);
        let grown = self.runtime.block_on(self.admin.create_partitions(&[more], &self.options)).unwrap();
        assert!(grown[0].is_ok(), "{grown:?}");
    }

    /// Replaces the topic of the records by the topic of the test.
    pub fn moved(&self, records: impl IntoIterator<Item = Record>) -> Vec<Record> {
        let topic: Arc<str> = self.topic.as_str().into();
        records.into_iter().map(|record| Record { topic: Arc::clone(&topic), ..record }).collect()
    }

    pub fn put(&self, records: impl IntoIterator<Item = Record>) {
        put(&self.settings.brokers, &self.moved(records));
    }

    pub fn follow(&self, backend: &Recorder, settings: &KafkaSettings) -> (Running, Arc<Shared>, Arc<KafkaStatus>) {
        let setup = support::setup("events");
        let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
        follow(setup, opened, settings, &self.topic)
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(self.admin.delete_topics(&[&self.topic], &self.options));
    }
}

pub(super) fn stop(running: Running, shared: &Shared) {
    shared.stop();
    running.finish(|_| {}).unwrap();
}

pub(super) fn held(shared: &Shared) -> Option<Arc<str>> {
    shared.partitions().into_iter().find_map(|status| status.hold)
}

/// Case 47 of `docs/testing.md`: a topic of a table gets more partitions while nova reads it.
#[test]
fn partitions_added_under_a_running_node_halt_the_table() {
    let Some(real) = Real::topic("users", 1) else { return };
    real.put((0..20).map(|n| partitions::user(0, n, "first", Some(100))));
    // The consumer is a static member of its group, like the consumer of a node.
    let settings = KafkaSettings { instance_id: Some("nova-1".to_owned()), ..real.settings.clone() };
    let (running, shared, status) = real.follow(&Recorder::new(), &settings);
    until("the rows", || consumed(&shared) == 20);
    real.grow(3);
    until("the halt", || status.assigned() == 3 && held(&shared).is_some());
    real.put((0..5).map(|n| partitions::user(2, n, "later", Some(200))));
    partitions::resume(&running).unwrap();
    until("what was held", || consumed(&shared) == 25);
    let known = || status.watermarks().values().filter(|marks| marks.high >= 0).count();
    until("the figures", || known() == 3 && status.figures().received_messages >= 25);
    for (name, marks) in status.watermarks() {
        let next = shared.next_offset(&name).unwrap_or(0);
        assert_eq!((marks.lag(next, 0, i64::MAX / 2), marks.headroom(next)), ((0, 0), next), "{name}");
    }
    let figures = status.figures();
    assert!(figures.rebalances > 0 && figures.sent_bytes > 0 && figures.brokers.values().any(|broker| broker.up));
    assert!(figures.brokers.values().any(|broker| broker.rtt_p99_seconds > 0.0), "{figures:?}");
    stop(running, &shared);
}

/// A static member gets its former partitions back at once. The consumer group does not notice topics that were created
/// while the member was away.
#[test]
fn a_topic_that_was_made_while_nova_was_away_is_read_after_its_return() {
    let Some(real) = Real::topic("events", 2) else { return };
    let users = format!("{}.users", real.settings.group_id);
    let (records, _) = support::events::mix(100, 5);
    real.put(records.iter().map(|one| Record { partition: one.partition % 2, ..one.clone() }));
    let settings = KafkaSettings { instance_id: Some("nova-1".to_owned()), ..real.settings.clone() };
    let start = |backend: &Recorder| {
        let setup = support::setup("events");
        let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
        let (shared, status) = (Arc::clone(&opened.shared), Arc::<KafkaStatus>::default());
        let topics = [users.clone(), real.topic.clone()];
        let source = KafkaSource::new(&settings, &topics, Arc::clone(&shared) as _, Arc::clone(&status)).unwrap();
        (opened.start(Box::new(source), &setup).unwrap(), shared, status)
    };
    let backend = Recorder::new();
    let (running, shared, _) = start(&backend);
    until("the events", || consumed(&shared) == 100);
    stop(running, &shared);
    real.create_other(&users, 3);
    let row = |n: u128| Record { topic: users.as_str().into(), ..partitions::user((n % 3) as i32, n, "u", Some(5)) };
    put(&settings.brokers, &(0..30).map(row).collect::<Vec<_>>());
    let (running, shared, status) = start(&backend.image(backend.syncs(), 0));
    until("the rows", || consumed(&shared) == 130);
    until("the figures", || status.assigned() == 5);
    stop(running, &shared);
    real.runtime.block_on(real.admin.delete_topics(&[&users], &real.options)).unwrap();
}

/// Case 43 of `docs/testing.md`: retention deletes records that nova has not read.
#[test]
fn what_retention_deleted_unread_is_told_and_never_stepped_over() {
    let Some(real) = Real::topic("events", 1) else { return };
    let (records, _) = support::events::mix(300, 5);
    let log = |range: std::ops::Range<usize>| records[range].iter().map(|one| Record { partition: 0, ..one.clone() });
    real.put(log(0..100));
    let backend = Recorder::new();
    let (running, shared, _) = real.follow(&backend, &real.settings);
    until("the first records", || consumed(&shared) == 100);
    stop(running, &shared);
    real.put(log(100..300));
    let mut until_offset = TopicPartitionList::new();
    until_offset.add_partition_offset(&real.topic, 0, Offset::Offset(250)).unwrap();
    real.runtime.block_on(real.admin.delete_records(&until_offset, &real.options)).unwrap();
    let backend = backend.image(backend.syncs(), 0);
    let (running, shared, _) = real.follow(&backend, &real.settings);
    until("the hold", || held(&shared).is_some());
    let reason = held(&shared).unwrap();
    assert!(reason.starts_with("log-gap") && reason.contains("deleted 150 offsets"), "{reason}");
    assert_eq!(consumed(&shared), 100);
    stop(running, &shared);
}

#[test]
fn a_second_store_is_refused_before_it_takes_a_partition() {
    let Some(real) = Real::topic("events", 2) else { return };
    let (records, _) = support::events::mix(100, 5);
    real.put(records.iter().map(|one| Record { partition: one.partition % 2, ..one.clone() }));
    let of = |owner| KafkaSettings { owner: Owner(owner), ..real.settings.clone() };
    let (first, shared, status) = real.follow(&Recorder::new(), &of(1));
    until("the records", || consumed(&shared) == 100);
    let commits = || status.commits.load(std::sync::atomic::Ordering::Relaxed);
    let begun = commits();
    until("its commits", || commits() > begun + 1);
    let (second, ..) = real.follow(&Recorder::new(), &of(2));
    let error = second.finish(|_| {}).map(drop).unwrap_err().to_string();
    assert!(error.contains("belongs to another store, 0000000000000001"), "{error}");
    let known = commits();
    until("the first to go on", || commits() > known + 1);
    assert_eq!((status.assigned(), status.figures().rebalances), (2, 1));
    stop(first, &shared);
}

/// Case 15 of `docs/testing.md`: a copy of the store on a second machine has the same member name in the group, and one
/// of the two processes ends.
#[test]
fn a_copy_of_the_store_is_fenced() {
    let Some(real) = Real::topic("events", 2) else { return };
    let (records, _) = support::events::mix(100, 5);
    real.put(records.iter().map(|one| Record { partition: one.partition % 2, ..one.clone() }));
    let settings = KafkaSettings { instance_id: Some("nova-1".to_owned()), ..real.settings.clone() };
    let backend = Recorder::new();
    let (first, shared, _) = real.follow(&backend, &settings);
    until("the records", || consumed(&shared) == 100);
    let (second, copied, status) = real.follow(&backend.image(backend.syncs(), 0), &settings);
    let error = first.finish(|_| {}).map(drop).unwrap_err().to_string();
    assert!(error.contains("fenced"), "{error}");
    until("the copy to have the partitions", || status.assigned() == 2);
    stop(second, &copied);
}
