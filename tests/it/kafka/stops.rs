//! Errors that stop a partition, and seeks that begin exactly at their offset.

use super::*;

/// In this test every fetch fails, and librdkafka does not say which partition the error is about.
#[test]
fn a_partition_that_cannot_be_fetched_says_why_and_goes_on_when_it_can() {
    let cluster = cluster();
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, 0, 300);
    let setup = support::setup("events");
    let opened = app::open_store(&setup, store_over(Recorder::new())).unwrap();
    let (running, shared, status) = start_over(setup, opened, &brokers);
    until("the records", || consumed(&shared) == 300);
    let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_MSG; 60];
    cluster.request_errors(RDKafkaApiKey::Fetch, &errors);
    produce(&brokers, 300, 600);
    until("the stop", || !status.stopped().is_empty());
    for (name, stop) in status.stopped() {
        let (next, reason) = (shared.next_offset(&name).unwrap(), stop.reason(&name));
        assert_eq!(stop.offset, next, "{reason}");
        assert!(reason.contains("CRC") || reason.contains("InvalidMessage"), "{reason}");
    }
    // The broker answers fetch requests again.
    cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    until("the rest", || consumed(&shared) == 900);
    until("nothing to stand", || status.stopped().is_empty());
    shared.stop();
    assert_whole(&running.finish(|_| {}).unwrap(), 900);
}

/// After a seek, nova fetches no record before the offset, because a record before the offset may be the reason for the
/// seek.
#[test]
fn a_seek_begins_exactly_at_its_offset_also_at_the_next_start() {
    let cluster = cluster_with(TOPIC, 1);
    let brokers = cluster.bootstrap_servers();
    let (records, _) = support::events::mix(300, 5);
    put(&brokers, &records.iter().map(|one| Record { partition: 0, ..one.clone() }).collect::<Vec<_>>());
    let (setup, backend) = (support::setup("events"), Recorder::new());
    let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
    let partition = TopicPartition::new(TOPIC, 0);
    let first = KafkaSettings { group_id: "first".to_owned(), ..settings(&brokers) };
    let (running, shared, _) = follow(setup, opened, &first, TOPIC);
    until("the records", || consumed(&shared) == 300);
    seek(&running, partition.clone(), 200);
    until("the records from there", || consumed(&shared) == 400);
    seek(&running, partition.clone(), 250);
    shared.stop();
    running.finish(|_| {}).unwrap();
    let (setup, image) = (support::setup("events"), backend.image(backend.syncs(), 0));
    let mut opened = app::open_store(&setup, store_over(image)).unwrap();
    let reply = Box::new(|result: Result<(), _>| assert!(result.is_ok()));
    let command = Command::Seek { partition: partition.clone(), next: 220, actor: "test".to_owned(), reply };
    opened.writer.process(&mut vec![Message::Command(command)]).unwrap();
    let again = KafkaSettings { group_id: "again".to_owned(), ..settings(&brokers) };
    let before = opened.shared.partitions().remove(0).row.consumed;
    let (running, shared, _) = follow(setup, opened, &again, TOPIC);
    until("the records from 220", || consumed(&shared) == before + 80);
    shared.stop();
    let statuses = running.finish(|_| {}).unwrap();
    assert_eq!(statuses[0].redelivered, 0, "no record before the offset was asked for");
    assert_eq!(statuses[0].row.next, 300);
}
