//! Tests of what people do with dead letters, and of what limits the number of dead letters.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::TryRecvError;
use nova::app::{self, Opened, Setup};
use nova::clock::Clock;
use nova::decode::{NoSchemas, Topics};
use nova::event::{Action, Id, Outcome, Record, Table};
use nova::pipeline::writer::{Command, CommandError, Message, Replayed, Tried};
use nova::pipeline::{TruncatePolicy, dead};
use nova_storage::schema::AUDIT;
use nova_storage::testing::Recorder;
use nova_storage::{Options, Store};

use crate::api::client::Live;
use crate::support::events::mix;
use crate::support::{self, Listed, dump, run, setup, state_bytes, store_over};

const T: i64 = 1_795_132_800_000;
const HOUR_MS: i64 = 3_600_000;

fn record(topic: &str, partition: i32, offset: i64, value: impl Into<Bytes>) -> Record {
    Record {
        topic: topic.into(),
        partition,
        offset,
        timestamp_ms: T,
        key: Some(format!(r#"{{"id":"{}"}}"#, Id::from_u128(7)).into()),
        value: Some(value.into()),
        headers: Vec::new(),
        defect: None,
        origin: None,
        lsn_delta: 0,
    }
}

fn user(offset: i64, name: &str, lsn: u64) -> Record {
    let id = Id::from_u128(7);
    let times = support::rows::USER_COLUMNS;
    let value = format!(r#"{{"id":"{id}","username":"{name}",{times},"__deleted":"false","__lsn":{lsn}}}"#);
    record("cdc.users", 0, offset, value)
}

/// Returns an impression by a user who has only this event, so that the impression counts.
fn view(offset: i64, id: u128) -> Record {
    let (event, user, post) = (Id::from_u128(id), Id::from_u128((1 << 64) + id), Id::from_u128(2));
    let value = format!(
        r#"{{"event_id":"{event}","user_id":"{user}","post_id":"{post}","action":"impression","event_time":{T}}}"#
    );
    record("events", 0, offset, value)
}

/// Makes a store with the given records, and with dead letters whose cause is repaired.
fn buried(records: Vec<Record>, letters: &[Record]) -> (Setup, Recorder) {
    let (setup, backend) = (setup("letters"), Recorder::new());
    run(&setup, store_over(backend.clone()), records);
    let image = backend.image(backend.syncs(), 0);
    bury(&image, letters);
    (setup, image)
}

fn bury(image: &Recorder, letters: &[Record]) {
    support::bury(&store_over(image.clone()), letters);
}

fn replay(opened: &mut Opened, ids: &[u64], force: Option<&[u64]>) -> Vec<Result<Replayed, CommandError>> {
    let (told, answer) = crossbeam_channel::bounded(1);
    let reply = Box::new(move |results| told.send(results).unwrap());
    let force = force.map(|sent| sent.iter().copied().collect());
    let command = Command::ReplayDead { ids: ids.to_vec(), actor: "test".to_owned(), force, reply };
    opened.writer.process(&mut vec![Message::Command(command)]).unwrap();
    let results: Vec<(u64, _)> = answer.recv().unwrap();
    results.into_iter().map(|(_, result)| result).collect()
}

fn tried(opened: &mut Opened, ids: &[u64]) -> Vec<Result<Tried, CommandError>> {
    let (told, answer) = crossbeam_channel::bounded(1);
    let reply = Box::new(move |results| told.send(results).unwrap());
    let command = Command::TryDead { ids: ids.to_vec(), force: None, reply };
    opened.writer.process(&mut vec![Message::Command(command)]).unwrap();
    let results: Vec<(u64, _)> = answer.recv().unwrap();
    results.into_iter().map(|(_, result)| result).collect()
}

fn waiting(opened: &Opened) -> usize {
    dead::page(&opened.store.read().unwrap(), None, 1_000).unwrap().len()
}

fn impressions(opened: &Opened) -> i64 {
    let state = opened.state.read();
    state.post_ids.number(Id::from_u128(2)).map_or(0, |post| state.posts.totals(post)[Action::Impression as usize])
}

#[test]
fn a_second_replay_finds_nothing_and_changes_nothing() {
    let (setup, backend) = buried(vec![view(0, 1)], &[view(1, 2), view(2, 1)]);
    let mut opened = app::open_store(&setup, store_over(backend)).unwrap();
    let gone = |outcome| Ok(Replayed::Gone(outcome));
    // A person can name a dead letter twice in one command.
    let first = replay(&mut opened, &[0, 0, 1], None);
    assert_eq!(first, [gone(Outcome::Applied), Err(CommandError::NoSuchLetter(0)), gone(Outcome::Duplicate)]);
    let before = state_bytes(&opened);
    assert_eq!((impressions(&opened), waiting(&opened)), (2, 0));
    let again = replay(&mut opened, &[0, 1], None);
    assert_eq!(again, [0, 1].map(|id| Err(CommandError::NoSuchLetter(id))));
    assert_eq!(state_bytes(&opened), before);
}

#[test]
fn a_dry_run_tells_what_the_replay_then_does_and_does_nothing() {
    let mut no_json = record("cdc.users", 0, 9, "no json");
    no_json.key = None;
    let mut other = user(4, "other", 40);
    other.key = Some(format!(r#"{{"id":"{}"}}"#, Id::from_u128(8)).into());
    let value = String::from_utf8(other.value.take().unwrap().to_vec()).unwrap();
    other.value = Some(value.replace(&Id::from_u128(7).to_string(), &Id::from_u128(8).to_string()).into());
    let letters = [view(1, 2), view(2, 1), user(1, "old", 10), user(6, "newer", 99), other, no_json];
    let (setup, backend) = buried(vec![view(0, 1), user(5, "new", 90)], &letters);
    let mut opened = app::open_store(&setup, store_over(backend)).unwrap();
    let ids: Vec<u64> = (0..7).collect();
    let before = state_bytes(&opened);
    let told = tried(&mut opened, &ids);
    assert_eq!(tried(&mut opened, &ids), told);
    assert!(state_bytes(&opened) == before && waiting(&opened) == 6, "nothing is done");
    let would: Vec<_> = told.iter().map(|one| one.as_ref().ok().and_then(|tried| tried.outcome)).collect();
    let expected = [Outcome::Applied, Outcome::Duplicate, Outcome::Stale, Outcome::Applied, Outcome::Applied];
    assert_eq!(would[..5], expected.map(Some));
    let why = &told[5].as_ref().unwrap().why;
    assert!(would[5].is_none() && !why.is_empty(), "{told:?}");
    assert_eq!(told[6], Err(CommandError::NoSuchLetter(6)));
    let done = replay(&mut opened, &ids, None);
    assert_eq!(done[..5], expected.map(|outcome| Ok(Replayed::Gone(outcome))));
    assert_eq!(done[5..], [Ok(Replayed::StillDead), Err(CommandError::NoSuchLetter(6))]);
}

/// In an earlier version of nova, a truncate that was replayed late deleted nothing, and left the queue as applied.
#[test]
fn a_truncate_among_the_dead_letters_is_kept_unless_truncates_are_ignored() {
    let value = r#"{"before":null,"after":null,"source":{"lsn":99,"ts_ms":1795132800000},"op":"t"}"#;
    let letters = [Record { key: None, ..record("cdc.users", 0, 9, value) }];
    for policy in [TruncatePolicy::Apply, TruncatePolicy::Quarantine, TruncatePolicy::Ignore] {
        let (mut setup, backend) = buried(vec![user(5, "new", 90)], &letters);
        setup.settings.truncate = policy;
        let mut opened = app::open_store(&setup, store_over(backend)).unwrap();
        let told = tried(&mut opened, &[0]);
        let done = replay(&mut opened, &[0], None);
        match policy {
            TruncatePolicy::Ignore => {
                assert_eq!(told[0].as_ref().unwrap().outcome, Some(Outcome::Ignored));
                assert_eq!((done, waiting(&opened)), (vec![Ok(Replayed::Gone(Outcome::Ignored))], 0));
            }
            TruncatePolicy::Apply | TruncatePolicy::Quarantine => {
                let refused = CommandError::Truncates(0, Table::Users);
                assert!(refused.to_string().contains("nova cdc resnapshot users"), "{refused}");
                assert_eq!((told, done), (vec![Err(refused.clone())], vec![Err(refused)]));
                assert_eq!(waiting(&opened), 1);
            }
        }
        assert_eq!(dump(&opened)[Table::Users as usize].len(), 1);
    }
}

/// In an earlier version of nova, the dry run of one letter changed what the writer knew about the topic's format. A
/// second letter, with a null value, then became a delete.
#[test]
fn a_dry_run_of_one_letter_changes_nothing_about_another() {
    let mut null = record("cdc.users", 0, 1, "");
    (null.key, null.value) = (Some(format!(r#"{{"id":"{}"}}"#, Id::NIL).into()), None);
    let (setup, backend) = buried(vec![view(0, 1)], &[null, user(2, "a", 10)]);
    let mut opened = app::open_store(&setup, store_over(backend)).unwrap();
    let first = tried(&mut opened, &[0]);
    assert_eq!(first[0].as_ref().unwrap().outcome, None);
    assert_eq!(tried(&mut opened, &[1])[0].as_ref().unwrap().outcome, Some(Outcome::Applied));
    assert_eq!(tried(&mut opened, &[0]), first);
    assert_eq!(replay(&mut opened, &[0], None), [Ok(Replayed::StillDead)]);
}

#[test]
fn a_replayed_change_that_is_older_than_the_row_is_stale() {
    let (setup, backend) = buried(vec![user(5, "new", 90)], &[user(1, "old", 10)]);
    let mut opened = app::open_store(&setup, store_over(backend)).unwrap();
    assert_eq!(replay(&mut opened, &[0], None), [Ok(Replayed::Gone(Outcome::Stale))]);
    let row = dump(&opened)[Table::Users as usize].remove(0);
    assert!(row.contains(r#""new""#), "{row}");
}

/// The dead letter has the higher LSN, but after the epoch was raised, every change is newer than the rows from before
/// the raise.
#[test]
fn a_change_of_the_log_before_that_is_replayed_after_the_epoch_was_raised_is_stale() {
    let letters = [user(3, "letter", 5_000)];
    let (old, new) = (user(2, "old", 4_900), user(5, "new", 90));
    let stories = [(vec![user(5, "new", 5_100)], None), (vec![old], Some(new))];
    for (mut records, after) in stories {
        let (setup, backend) = buried(records.clone(), &letters);
        records.extend(after);
        let mut opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
        let bump = Command::BumpEpoch { table: Table::Users, actor: "test".to_owned(), reply: Box::new(|_| ()) };
        opened.writer.process(&mut vec![Message::Command(bump)]).unwrap();
        let running = opened.start(Box::new(Listed::new(records, 100)), &setup).unwrap();
        running.finish(|_| {}).unwrap();
        let mut opened = app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap();
        assert_eq!(replay(&mut opened, &[0], None), [Ok(Replayed::Gone(Outcome::Stale))]);
        let row = dump(&opened)[Table::Users as usize].remove(0);
        assert!(row.contains(r#""new""#), "{row}");
    }
}

#[test]
fn an_event_from_before_the_dedup_horizon_is_replayed_only_by_force() {
    // The events are spread over ninety hours, with a commit for each hour. At the end nova has forgotten the ids of
    // the first events.
    let hours = (0..90i64).map(|hour| {
        let (event, at_ms) = (view(hour, 100 + hour as u128), T + hour * HOUR_MS);
        let value = String::from_utf8(event.value.unwrap().to_vec()).unwrap();
        let value = value.replace(&T.to_string(), &at_ms.to_string());
        Record { value: Some(value.into()), timestamp_ms: at_ms, ..view(hour, 0) }
    });
    let (setup, backend) = (setup("letters"), Recorder::new());
    let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
    let source = Listed::live(hours.collect(), 1, &setup.clock);
    opened.start(Box::new(source), &setup).unwrap().finish(|_| {}).unwrap();
    let image = backend.image(backend.syncs(), 0);
    bury(&image, &[view(200, 7), view(201, 7), view(202, 8)]);
    let mut opened = app::open_store(&setup, store_over(image)).unwrap();
    let before = impressions(&opened);
    let refused = replay(&mut opened, &[0], None);
    assert_eq!(refused, [Err(CommandError::BeyondHorizon(0))]);
    assert!(refused[0].as_ref().unwrap_err().to_string().contains("--force"));
    assert_eq!((impressions(&opened), waiting(&opened)), (before, 3));
    let forced = replay(&mut opened, &[0, 1, 2], Some(&[2]));
    assert_eq!(forced[..2], [Outcome::Applied, Outcome::Duplicate].map(|outcome| Ok(Replayed::Gone(outcome))));
    assert_eq!((&forced[2], waiting(&opened)), (&Err(CommandError::Sent(2)), 1), "ClickHouse has it");
    replay(&mut opened, &[2], Some(&[]));
    assert_eq!((impressions(&opened), waiting(&opened)), (before + 2, 0));
}

#[test]
fn a_discard_is_kept_with_who_and_why() {
    let (setup, backend) = buried(vec![view(0, 1)], &[view(1, 2)]);
    let mut opened = app::open_store(&setup, store_over(backend)).unwrap();
    let mut discard = |expected: bool| {
        let reply = Box::new(move |result: Result<(), _>| assert_eq!(result.is_ok(), expected));
        let (actor, reason) = ("ann".to_owned(), "test data".to_owned());
        let command = Command::DiscardDead { id: 0, actor, reason, reply };
        opened.writer.process(&mut vec![Message::Command(command)]).unwrap();
    };
    discard(true);
    discard(false);
    assert_eq!(waiting(&opened), 0);
    let mut entries = Vec::new();
    let read = opened.store.read().unwrap();
    read.scan(AUDIT, 0u64.., |_, entry| {
        entries.push(String::from_utf8_lossy(entry).into_owned());
        true
    })
    .unwrap();
    assert_eq!(entries.len(), 1, "{entries:?}");
    for part in ["ann", "dlq-discard", "test data"] {
        assert!(entries[0].contains(part), "{part} is not in {entries:?}");
    }
}

#[test]
fn a_crash_in_mid_replay_leaves_a_letter_in_the_queue_or_applied_and_never_both() {
    let letters: Vec<_> = (0..20).map(|n| view(1 + n, 10 + n as u128)).collect();
    let (setup, backend) = buried(vec![view(0, 1)], &letters);
    let mut opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
    let before = backend.syncs();
    for ids in [0..7, 7..13, 13..20u64] {
        let results = replay(&mut opened, &ids.collect::<Vec<_>>(), None);
        assert!(results.iter().all(|result| *result == Ok(Replayed::Gone(Outcome::Applied))));
    }
    drop(opened);
    let mut seen = std::collections::BTreeSet::new();
    for sync in before..=backend.syncs() {
        for seed in 0..3 {
            let opened = app::open_store(&setup, store_over(backend.image(sync, seed))).unwrap();
            assert_eq!(impressions(&opened), 1 + 20 - waiting(&opened) as i64, "frozen at sync {sync}");
            seen.insert(waiting(&opened));
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 7, 13, 20]);
}

fn held<'s>(statuses: &'s [nova::pipeline::progress::PartitionStatus], topic: &str) -> Vec<&'s str> {
    statuses.iter().filter(|one| *one.name.topic == *topic).filter_map(|one| one.hold.as_deref()).collect()
}

#[test]
fn at_the_quota_of_dead_letters_only_partitions_that_add_to_them_stand_still() {
    let mut setup = setup("letters");
    setup.settings.dead_max_letters = 5;
    let mut records: Vec<_> = (0..9).map(|offset| record("cdc.users", 0, offset, "?")).collect();
    records.extend((0..9).map(|offset| view(offset, 1 + offset as u128)));
    let backend = Recorder::new();
    let statuses = run(&setup, store_over(backend.clone()), records);
    let reasons = held(&statuses, "cdc.users");
    assert!(reasons.len() == 1 && reasons[0].starts_with("dead-letter-quota: 5"), "{reasons:?}");
    assert_eq!(statuses.iter().map(|status| status.count(Outcome::Dead)).sum::<u64>(), 5);
    assert_eq!(statuses.iter().map(|status| status.count(Outcome::Applied)).sum::<u64>(), 9);
    assert!(held(&statuses, "events").is_empty());
}

/// Case 72 of `docs/testing.md`: a topic that has become unreadable stops as a whole, and all readable topics continue.
#[test]
fn torture_72_a_broken_topic_buries_a_hundred_records_in_all_its_partitions_and_stops() {
    let mut setup = setup("letters");
    setup.settings.breaker_dead_in_a_row = Some(100);
    let mut records = Vec::new();
    for offset in 0..300 {
        // The first ten records of each partition are readable.
        let broken =
            |partition| if offset < 10 { user(0, "u", 5).value.unwrap() } else { format!("?{partition}").into() };
        records.extend((0..3).map(|partition| record("cdc.users", partition, offset, broken(partition))));
        records.push(view(offset, 1 + offset as u128));
        // Bad events between good events stop no partition, however many bad events there are.
        let good = view(0, 5_000 + offset as u128).value.unwrap();
        records.push(record("events", 1, offset, if offset % 3 == 0 { "?".into() } else { good }));
    }
    let backend = Recorder::new();
    let statuses = run(&setup, store_over(backend.clone()), records.clone());
    let dead = |topic: &str| -> u64 {
        statuses.iter().filter(|one| *one.name.topic == *topic).map(|one| one.count(Outcome::Dead)).sum()
    };
    assert_eq!((dead("cdc.users"), dead("events")), (100, 100));
    let reasons = held(&statuses, "cdc.users");
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(reasons.iter().all(|reason| reason.starts_with("topic-breaker: 100") && reason.contains("nova cdc seek")));
    assert!(held(&statuses, "events").is_empty());
    assert_eq!(statuses.iter().map(|one| one.count(Outcome::Applied)).sum::<u64>(), 500 + 1);
    // After the repair, the topic continues at the offset where it stopped. Records that cannot be decoded even after
    // the repair are skipped.
    let image = backend.image(backend.syncs(), 0);
    let mut opened = app::open_store(&setup, store_over(image.clone())).unwrap();
    for partition in 0..3 {
        let partition = nova::event::TopicPartition::new("cdc.users", partition);
        let reply = Box::new(|result: Result<(), CommandError>| result.unwrap());
        let command = Command::Seek { partition, next: 300, actor: "test".to_owned(), reply };
        opened.writer.process(&mut vec![Message::Command(command)]).unwrap();
    }
    drop(opened);
    let good: Vec<_> = (0..3).map(|n| Record { partition: n, ..user(300, "repaired", 9 + n as u64) }).collect();
    let statuses = run(&setup, store_over(image.image(image.syncs(), 0)), good);
    assert_eq!(statuses.iter().map(|one| one.count(Outcome::Applied)).sum::<u64>(), 3);
}

/// nova reports a missing NOT NULL column to a person within seconds, with the name of the column.
#[test]
fn what_is_put_aside_is_told_with_its_cause_and_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let topics = Topics { last_part: true, ..Topics::default() };
    let mut setup = Setup::new(dir.path(), topics, Arc::new(NoSchemas));
    setup.clock = Clock::manual(T);
    let nameless = |offset: i64| {
        let (id, times) = (Id::from_u128(7), support::rows::USER_COLUMNS);
        record(
            "cdc.users",
            0,
            offset,
            format!(r#"{{"id":"{id}",{times},"__deleted":"false","__lsn":{}}}"#, 20 + offset),
        )
    };
    let opened = app::open(&setup).unwrap();
    let shared = Arc::clone(&opened.shared);
    let records = vec![user(0, "a", 10), nameless(1), nameless(2)];
    let running = opened.start(Box::new(Listed::new(records, 10)), &setup).unwrap();
    let told = |letters: u64| {
        while shared.dead_letters() != letters {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        shared.partitions()[0].last_dead.as_ref().map(|last| last.to_string())
    };
    let last = told(2).unwrap();
    for part in ["offset 2: schema-mismatch: ", "users.username", "nova dlq show 1", "nova dlq replay 1"] {
        assert!(last.contains(part), "{part}: {last}");
    }
    let (reply, answer) = crossbeam_channel::bounded(1);
    let reply = Box::new(move |result| reply.send(result).unwrap());
    let command = Command::DiscardDead { id: 1, actor: "test".to_owned(), reason: "a test".to_owned(), reply };
    running.inbox.send(Message::Command(command)).unwrap();
    assert_eq!((answer.recv().unwrap(), told(1)), (Ok(()), None));
    running.finish(|_| {}).unwrap();

    let live = Live::of(dir, &setup);
    let answer = live.client().get("/health/ready", "");
    let expected = serde_json::json!(["dead letters that wait: 1; nova dlq list"]);
    assert_eq!((answer.status, &answer.json()["dead_letters"]), (200, &expected));
}

#[test]
fn torture_17_a_listing_during_heavy_writes_leaves_the_file_bounded() {
    let letters: Vec<Record> = (0..5_000).map(|offset| view(1_000_000 + offset, 7)).collect();
    let file_bytes = |listing: bool| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nova.redb");
        let setup = setup("letters");
        let store = Store::open(&path, &Options::default(), |_| {}).unwrap();
        support::bury(&store, &letters);
        let opened = app::open_store(&setup, store).unwrap();
        let store = Arc::clone(&opened.store);
        let running = opened.start(Box::new(Listed::new(mix(30_000, 5).0, 100)), &setup).unwrap();
        let (going, ended) = crossbeam_channel::bounded::<()>(0);
        let reader = std::thread::spawn(move || {
            let mut after = None;
            while listing && ended.try_recv() == Err(TryRecvError::Empty) {
                after = dead::page(&store.read().unwrap(), after, 1_000).unwrap().last().map(|(id, _)| *id);
            }
        });
        running.finish(|_| {}).unwrap();
        drop(going);
        reader.join().unwrap();
        std::fs::metadata(&path).unwrap().len()
    };
    let (alone, listed) = (file_bytes(false), file_bytes(true));
    assert!(listed < 2 * alone, "{listed} bytes, and {alone} without a reader");
}
