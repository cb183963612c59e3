//! Tests of a topic that gets more partitions. A topic of events continues, and a topic of a table waits for a person.

use nova::event::{Id, Outcome, Table};
use nova::pipeline::writer::{Command, CommandError, Message};

use super::*;

const USERS: &str = "cdc.users";

/// Returns a user's row in the form in which Debezium flattens it.
pub(super) fn user(partition: i32, number: u128, name: &str, lsn: Option<u64>) -> Record {
    let id = Id::from_u128(number);
    let version = lsn.map_or(String::new(), |lsn| format!(r#","__deleted":"false","__lsn":{lsn}"#));
    Record {
        topic: USERS.into(),
        partition,
        offset: 0,
        timestamp_ms: support::events::BEGIN_MS,
        key: Some(format!(r#"{{"id":"{id}"}}"#).into()),
        value: Some(format!(r#"{{"id":"{id}","username":"{name}",{}{version}}}"#, support::rows::USER_COLUMNS).into()),
        headers: Vec::new(),
        defect: None,
        origin: None,
        lsn_delta: 0,
    }
}

pub(super) fn resume(running: &Running) -> Result<(), CommandError> {
    let (told, answer) = crossbeam_channel::bounded(1);
    let reply = Box::new(move |result| told.send(result).unwrap());
    let command = Command::Resume { table: Table::Users, truncate: None, actor: "test".to_owned(), reply };
    running.inbox.send(Message::Command(command)).unwrap();
    answer.recv().unwrap()
}

fn count(shared: &Shared, outcome: Outcome) -> u64 {
    shared.partitions().iter().map(|status| status.row.outcomes[outcome as usize]).sum()
}

fn image(backend: &Recorder) -> Recorder {
    backend.image(backend.syncs(), 0)
}

fn open(backend: &Recorder) -> app::Opened {
    app::open_store(&support::setup("events"), store_over(backend.clone())).unwrap()
}

fn run_users(backend: &Recorder, brokers: &str) -> (Running, Arc<Shared>) {
    let (running, shared, _) = follow(support::setup("events"), open(backend), &anew(brokers), USERS);
    (running, shared)
}

/// Returns settings with a new consumer group for each call. The in-process broker keeps a member that has left until
/// its session times out.
fn anew(brokers: &str) -> KafkaSettings {
    KafkaSettings { group_id: uuid::Uuid::new_v4().to_string(), ..settings(brokers) }
}

fn stop(running: Running, shared: &Shared) {
    shared.stop();
    running.finish(|_| {}).unwrap();
}

fn usernames(backend: &Recorder) -> Vec<String> {
    let rows = &support::dump(&open(backend))[Table::Users as usize];
    let name = |row: &String| serde_json::from_str::<serde_json::Value>(row).unwrap()["username"].to_string();
    rows.iter().map(name).collect()
}

/// Case 46 of `docs/testing.md`: a topic of events gets more partitions.
#[test]
fn more_partitions_of_events_are_read_on_and_dedup_knows_what_others_delivered() {
    let (records, _) = support::events::mix(1_500, 5);
    let first = cluster_with(TOPIC, 3);
    put(&first.bootstrap_servers(), &records);
    let backend = Recorder::new();
    let (running, shared, _) = start_over(support::setup("events"), open(&backend), &first.bootstrap_servers());
    until("all records", || consumed(&shared) == 1_500);
    let applied = count(&shared, Outcome::Applied);
    stop(running, &shared);
    drop(first);
    // The topic has its old log and three additional partitions, to which the test sends every event once more.
    let second = cluster_with(TOPIC, 6);
    put(&second.bootstrap_servers(), &records);
    let again: Vec<_> = records.iter().map(|one| Record { partition: one.partition + 3, ..one.clone() }).collect();
    put(&second.bootstrap_servers(), &again);
    let backend = image(&backend);
    let (running, shared, _) = start_over(support::setup("events"), open(&backend), &second.bootstrap_servers());
    until("what came again", || consumed(&shared) == 3_000);
    assert_eq!(count(&shared, Outcome::Applied), applied, "an event counts once, whatever partition it is in");
    assert_eq!(shared.partitions().len(), 6);
    assert!(shared.partitions().iter().all(|status| status.hold.is_none()));
    stop(running, &shared);
}

/// Case 47 of `docs/testing.md`: a topic of a table gets more partitions.
#[test]
fn more_partitions_of_a_table_halt_it_until_accepted_and_then_rows_converge() {
    let rows: Vec<_> = (0..40).map(|n| user(0, n, "first", Some(100 + n as u64))).collect();
    let one = cluster_with(USERS, 1);
    put(&one.bootstrap_servers(), &rows);
    let backend = Recorder::new();
    let (running, shared) = run_users(&backend, &one.bootstrap_servers());
    until("the rows", || consumed(&shared) == 40);
    stop(running, &shared);
    drop(one);
    let three = cluster_with(USERS, 3);
    let brokers = three.bootstrap_servers();
    put(&brokers, &rows);
    // The new partitions contain later versions of some rows, and older versions of other rows that are delivered
    // again.
    put(&brokers, &(0..10).map(|n| user(1, n, "later", Some(900))).collect::<Vec<_>>());
    put(&brokers, &(10..20).map(|n| user(2, n, "older", Some(5))).collect::<Vec<_>>());
    let backend = image(&backend);
    let (running, shared) = run_users(&backend, &brokers);
    until("the halt", || shared.partitions().iter().any(|status| status.hold.is_some()));
    let reason = shared.partitions()[0].hold.clone().unwrap();
    assert!(reason.contains("3 partitions and was read with 1") && reason.contains("cdc resume users"), "{reason}");
    stop(running, &shared);
    assert_eq!(consumed(&shared), 40, "nothing is consumed before a person accepts");
    // The next process keeps the halt of the topic, and reports it before any record comes.
    let backend = image(&backend);
    let opened = open(&backend);
    assert_eq!(opened.shared.partitions()[0].hold.as_deref(), Some(&*reason));
    let (running, shared, _) = follow(support::setup("events"), opened, &anew(&brokers), USERS);
    resume(&running).unwrap();
    until("what was held", || consumed(&shared) == 60);
    assert!(shared.partitions().iter().all(|status| status.hold.is_none()));
    stop(running, &shared);
    let names = usernames(&image(&backend));
    let named = |name: &str| names.iter().filter(|known| known.contains(name)).count();
    assert_eq!([named("later"), named("first"), named("older")], [10, 30, 0]);
    // The decision of a person also holds after a restart.
    let backend = image(&backend);
    let (running, shared) = run_users(&backend, &brokers);
    put(&brokers, &[user(1, 99, "new", Some(901))]);
    until("one more", || consumed(&shared) == 61);
    stop(running, &shared);
}

#[test]
fn a_repartitioned_table_without_lsn_is_not_resumed() {
    let rows: Vec<_> = (0..10).map(|n| user(0, n, "first", None)).collect();
    let one = cluster_with(USERS, 1);
    put(&one.bootstrap_servers(), &rows);
    let backend = Recorder::new();
    let (running, shared) = run_users(&backend, &one.bootstrap_servers());
    until("the rows", || consumed(&shared) == 10);
    stop(running, &shared);
    drop(one);
    let two = cluster_with(USERS, 2);
    put(&two.bootstrap_servers(), &rows);
    put(&two.bootstrap_servers(), &[user(1, 1, "later", None)]);
    let backend = image(&backend);
    let (running, shared) = run_users(&backend, &two.bootstrap_servers());
    until("the halt", || shared.partitions().iter().any(|status| status.hold.is_some()));
    let refused = resume(&running).unwrap_err();
    assert!(
        matches!(&refused, CommandError::NoOrder(Table::Users, why) if why.to_string().contains("nova rebuild")),
        "{refused}"
    );
    assert!(shared.partitions()[0].hold.is_some());
    stop(running, &shared);
    // The table is read again from a new snapshot, and then continues.
    let rebuilt = image(&backend);
    nova::pipeline::rebuild::rebuild(&store_over(rebuilt.clone()), None).unwrap();
    let (running, shared) = run_users(&image(&rebuilt), &two.bootstrap_servers());
    until("everything again", || consumed(&shared) == 11);
    stop(running, &shared);
}
