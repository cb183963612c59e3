//! If nova cannot read the records of a partition, that partition waits and reports the reason, and all other
//! partitions continue.

use nova::decode::FileSchemas;
use nova::pipeline::writer::{Command, Message};

use super::*;

const LIKES: &str = "cdc.likes";
const REPAIRED: &[u8] =
    br#"{"id":"30000000-0000-4000-8000-000000000001","user_id":"00000000-0000-4000-8000-000000000001",
    "post_id":"20000000-0000-4000-8000-000000000001","created_at":1795132800000000,"__deleted":"false","__lsn":5}"#;

/// Returns a schema (number 7) that declares a time as a string.
fn mismatched() -> Arc<FileSchemas> {
    let field = |name: &str| format!(r#"{{"name":"{name}","type":"string"}}"#);
    let fields = ["id", "user_id", "post_id", "created_at"].map(field).join(",");
    let text = format!(r#"{{"schemas":{{"7":{{"type":"record","name":"Value","fields":[{fields}]}}}}}}"#);
    Arc::new(FileSchemas::parse(&text).unwrap())
}

/// Case 71 of `docs/testing.md`: an incompatible schema stalls its topic with a remedy, and makes no dead letters.
#[test]
fn an_incompatible_schema_holds_up_its_topic_alone_until_a_person_seeks_over_it() {
    let cluster = cluster();
    cluster.create_topic(LIKES, 1, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let like = |value: Vec<u8>| Record {
        topic: LIKES.into(),
        partition: 0,
        offset: 0,
        timestamp_ms: support::events::BEGIN_MS,
        key: Some(r#"{"id":"30000000-0000-4000-8000-000000000001"}"#.into()),
        value: Some(value.into()),
        headers: Vec::new(),
        defect: None,
        origin: None,
        lsn_delta: 0,
    };
    let texts = [&b"30000000-0000-4000-8000-000000000001"[..]; 4];
    let datum = texts.iter().flat_map(|text| [&[2 * text.len() as u8], *text].concat());
    let row: Vec<u8> = [0, 0, 0, 0, 7].into_iter().chain(datum).collect();
    put(&brokers, &(0..200).map(|_| like(row.clone())).collect::<Vec<_>>());
    produce(&brokers, 0, 500);
    let mut setup = support::setup("events");
    setup.schemas = mismatched();
    setup.settings.breaker_dead_in_a_row = Some(100);
    let backend = Recorder::new();
    let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
    let (shared, status) = (Arc::clone(&opened.shared), Arc::<KafkaStatus>::default());
    let topics = [TOPIC.to_owned(), LIKES.to_owned()];
    let source = KafkaSource::new(&settings(&brokers), &topics, Arc::clone(&shared) as _, status).unwrap();
    let running = opened.start(Box::new(source), &setup).unwrap();
    until("the events", || consumed(&shared) == 500);
    until("the wait to be told", || !shared.waits().is_empty());
    let (name, reason) = shared.waits().remove(0);
    assert_eq!(name, TopicPartition::new(LIKES, 0));
    assert!(reason.starts_with("SchemaMismatch: schema 7 writes likes.created_at"), "{reason}");
    shared.stop();
    let statuses = running.finish(|_| {}).unwrap();
    assert!(statuses.iter().all(|status| *status.name.topic == *TOPIC || status.row.consumed == 0));

    // A seek skips the records of the incompatible schema, and the records after them are read.
    put(&brokers, &[like(REPAIRED.to_vec())]);
    let image = backend.image(backend.syncs(), 0);
    let mut opened = app::open_store(&setup, store_over(image)).unwrap();
    let seek = |topic: &str, expected: bool| {
        let (partition, actor) = (TopicPartition::new(topic, 0), "test".to_owned());
        let reply = Box::new(move |result: Result<(), _>| assert_eq!(result.is_ok(), expected));
        Message::Command(Command::Seek { partition, next: 200, actor, reply })
    };
    opened.writer.process(&mut vec![seek(LIKES, true), seek("orders", false)]).unwrap();
    let again = KafkaSettings { group_id: "again".to_owned(), ..settings(&brokers) };
    let (running, shared, _) = follow(setup, opened, &again, LIKES);
    until("the like after them", || consumed(&shared) == 501);
    assert!(shared.waits().is_empty());
    shared.stop();
    running.finish(|_| {}).unwrap();
}
