//! One consumer group belongs to one store. A node whose store does not own the group is refused, takes the group over,
//! or is a replica with a group of its own.

use std::collections::BTreeMap;

use nova::app::Node;
use nova::http::Log;
use nova::source::kafka::Owner;
use rdkafka::consumer::CommitMode;

use super::*;

fn settings_of(brokers: &str, owner: u64, take_over: bool) -> KafkaSettings {
    KafkaSettings { owner: Owner(owner), take_over, ..settings(brokers) }
}

fn fresh(settings: &KafkaSettings) -> (Running, Arc<Shared>, Arc<KafkaStatus>) {
    let setup = support::setup("events");
    let opened = app::open_store(&setup, store_over(Recorder::new())).unwrap();
    follow(setup, opened, settings, TOPIC)
}

/// Returns the committed offsets of the group, each with the mark of the store that committed it.
fn marks(brokers: &str) -> Vec<(i64, String)> {
    let consumer = member(brokers);
    let mut list = TopicPartitionList::new();
    list.add_partition_range(TOPIC, 0, PARTITIONS - 1);
    let committed = consumer.committed_offsets(list, PATIENCE).unwrap();
    committed.elements().iter().map(|one| (one.offset().to_raw().unwrap(), one.metadata().to_owned())).collect()
}

fn member(brokers: &str) -> BaseConsumer {
    ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "nova").create().unwrap()
}

/// Makes a cluster in which the store `owner` has committed offsets for the group.
fn left_by(owner: u64) -> (Cluster, String) {
    let cluster = cluster();
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, 0, 900);
    let mut list = TopicPartitionList::new();
    let mut entry = list.add_partition(TOPIC, 0);
    entry.set_offset(Offset::Offset(5)).unwrap();
    entry.set_metadata(format!("nova {owner:016x}"));
    member(&brokers).commit(&list, CommitMode::Sync).unwrap();
    (cluster, brokers)
}

/// Cases 12 and 15 of `docs/testing.md`: the consumer group does not belong to the store.
#[test]
fn a_second_store_in_the_same_group_is_refused_unless_it_takes_over() {
    let (_cluster, brokers) = left_by(1);
    let (running, shared, _) = fresh(&settings_of(&brokers, 2, false));
    let error = running.finish(|_| {}).map(drop).unwrap_err().to_string();
    assert_eq!(consumed(&shared), 0);
    for part in ["group nova belongs to another store, 0000000000000001", "kafka.replica", "--new-store"] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    assert_eq!(marks(&brokers)[0], (5, "nova 0000000000000001".to_owned()), "nothing was committed");

    let (_cluster, brokers) = left_by(1);
    let (running, shared, _) = fresh(&settings_of(&brokers, 3, true));
    until("900 records", || consumed(&shared) == 900);
    let ours = |(_, mark): &(i64, String)| mark == "nova 0000000000000003";
    until("the group to be the new store's", || marks(&brokers).iter().all(ours));
    shared.stop();
    assert_whole(&running.finish(|_| {}).unwrap(), 900);
}

fn node(dir: &std::path::Path, brokers: &str, replica: bool) -> Node {
    let mut setup = support::setup("events");
    setup.data_dir = dir.into();
    (setup.kafka, setup.replica) = (Some(settings(brokers)), replica);
    let opened = app::open(&setup).unwrap();
    app::start_node(&setup, opened, Duration::ZERO).unwrap()
}

fn stop(node: Node) {
    node.running.shared.stop();
    drop(node.edge);
    node.running.finish(|_| {}).unwrap();
}

fn counted(node: &Node) -> BTreeMap<i32, [u64; 5]> {
    support::events::days(&node.edge.serving.state.read())
}

#[test]
fn a_replica_reads_everything_in_a_group_of_its_own_and_its_callers_events_reach_the_primary() {
    let cluster = cluster();
    for table in nova::event::Table::ALL {
        cluster.create_topic(&format!("cdc.{table}"), 1, 1).unwrap();
    }
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, 0, 1_000);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (primary, replica) = (node(dirs[0].path(), &brokers, false), node(dirs[1].path(), &brokers, true));
    let have = |node: &Node, count| consumed(&node.edge.watch.shared) == count;
    until("both to have everything", || have(&primary, 1_000) && have(&replica, 1_000));
    // A client of the replica has sent the event.
    let Log::Kafka(log) = &replica.edge.intake.log else { panic!("not Kafka") };
    let (events, _) = support::events::mix(1_200, 5);
    let event = events[1_100].value.clone().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sent = log.append(vec![(nova::event::Id::from_u128(1), event)], events[1_100].timestamp_ms);
    runtime.block_on(sent).unwrap();
    until("both to have the event", || have(&primary, 1_001) && have(&replica, 1_001));
    assert_eq!(counted(&primary), counted(&replica));
    until("the primary's commits", || committed(&brokers).iter().map(|(_, offset)| offset).sum::<i64>() == 1_001);
    stop(replica);
    stop(primary);
}
