//! Tests of invariants that only this file names, and tests of faults that were found.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nova::app;
use nova::event::{Action, Outcome, Record, Table, TopicPartition};
use nova::pipeline::QUEUE_MAX_MESSAGES;
use nova::pipeline::TruncatePolicy;
use nova::pipeline::decided::Decision;
use nova::pipeline::ingest::Ingest;
use nova::pipeline::writer::{Command, Message};
use nova::source::{PollLimits, Polled, Progress as _, Source, SourceError};
use nova::state::{CountedFrom, PostNo};
use nova_storage::testing::Recorder;

use crate::support::events::mix;
use crate::support::{Listed, capture, dump, run, setup, store_over};

/// N4: the store decides where reading continues. nova reports progress after the commit, and the reported progress is
/// never ahead of the store.
#[test]
fn n4_progress_never_runs_ahead_of_the_store() {
    let setup = setup("envelope.jsonl");
    let backend = Recorder::new();
    let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
    let running = opened.start(Box::new(Listed::new(mix(5_000, 1).0, 50)), &setup).unwrap();
    let shared = std::sync::Arc::clone(&running.shared);
    let mut seen = 0;
    let statuses = running
        .finish(|_| {
            let told = shared.next_offset(&TopicPartition::new("events", 0)).unwrap_or(0);
            let image = backend.image(backend.syncs(), 0);
            let durable = app::open_store(&setup, store_over(image)).unwrap().shared.partitions();
            let durable = durable.iter().find(|status| status.name.partition == 0).map_or(0, |status| status.row.next);
            assert!(told <= durable, "told {told}, durable {durable}");
            seen += 1;
        })
        .unwrap();
    assert!(seen > 0 && statuses.len() == 3);
}

/// A source that never ends, and that counts its polls.
struct Endless(Arc<AtomicUsize>);

impl Source for Endless {
    fn poll(&mut self, _limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        let polls = self.0.fetch_add(1, Ordering::SeqCst) as i64;
        out.extend((0..10).map(|n| event(polls * 10 + n, 1, 1, 1)));
        Ok(Polled::Records)
    }
    fn pause(&mut self, _partition: &TopicPartition) -> Result<(), SourceError> {
        Ok(())
    }
    fn resume(&mut self, _partition: &TopicPartition, _from: i64) -> Result<(), SourceError> {
        Ok(())
    }
}

/// N12: if the writer stands still, the source is no longer polled after a bounded number of polls.
#[test]
fn n12_what_waits_for_the_writer_is_bounded() {
    let polls = Arc::new(AtomicUsize::new(0));
    let opened = app::open_store(&setup("events"), store_over(Recorder::new())).unwrap();
    let (out, inbox) = crossbeam_channel::bounded(QUEUE_MAX_MESSAGES);
    let decoder = setup("events").decoder();
    let ingest = Ingest::new(Box::new(Endless(polls.clone())), decoder, Arc::clone(&opened.shared), out);
    let thread = std::thread::spawn(move || ingest.run());
    while inbox.len() < QUEUE_MAX_MESSAGES {
        std::thread::yield_now();
    }
    opened.shared.stop();
    thread.join().unwrap().unwrap();
    assert!(polls.load(Ordering::SeqCst) <= QUEUE_MAX_MESSAGES + 1);
    assert_eq!(inbox.len(), QUEUE_MAX_MESSAGES);
}

/// In an earlier version of nova, the writer waited for its own write transaction, and the process never ended.
#[test]
fn a_writer_with_nothing_to_commit_makes_a_checkpoint_that_is_due_since_the_crash() {
    let mut setup = setup("events");
    let backend = Recorder::new();
    let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
    let source = Box::new(Listed::new(mix(500, 1).0, 500));
    opened.start(source, &setup).unwrap().finish(|_| {}).unwrap();
    setup.settings.checkpoint_min_bytes = 1;
    // The crash is at the latest moment at which the store has a journal.
    let crashed = |sync| app::open_store(&setup, store_over(backend.image(sync, 0))).unwrap();
    let mut moments = (1..=backend.syncs()).rev().map(crashed);
    let mut opened = moments.find(|opened| opened.recovery.journal_batches > 0).unwrap();
    let (told, done) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || {
        let _ = told.send(opened.writer.process(&mut vec![Message::Stop]).unwrap());
    });
    assert_eq!(done.recv_timeout(std::time::Duration::from_secs(60)), Ok(true), "the writer blocks itself");
}

/// Returns Debezium's record of a truncate as the last record of a partition of comments, with a later time than every
/// given record. If the truncate had an earlier time than a row of any partition, nova would treat it as a record of an
/// earlier log.
fn truncate(records: &[Record]) -> Record {
    let last = records.iter().rfind(|record| record.topic.ends_with(".comments")).unwrap();
    let (lsn, ts_ms) = (i64::MAX, records.iter().map(|record| record.timestamp_ms).max().unwrap() + 1);
    let value = format!(r#"{{"before":null,"after":null,"source":{{"lsn":{lsn},"ts_ms":{ts_ms}}},"op":"t"}}"#);
    Record { offset: last.offset + 1, key: None, value: Some(value.into()), ..last.clone() }
}

#[test]
fn a_truncate_halts_its_table_until_somebody_decides() {
    let setup = setup("random-envelope.jsonl.gz");
    let backend = Recorder::new();
    let mut records = capture("random-envelope.jsonl.gz");
    records.push(truncate(&records));
    let statuses = run(&setup, store_over(backend.clone()), records.clone());
    let held: Vec<_> = statuses.iter().filter(|status| status.hold.is_some()).collect();
    assert!(held.len() == 1 && held[0].hold.as_ref().unwrap().contains("truncate"), "{held:?}");
    let consumed: u64 = statuses.iter().map(|status| status.consumed()).sum();
    assert_eq!(consumed + 1, records.len() as u64, "the truncate itself is not consumed");

    // The next process keeps the halt of the table. The table continues after a person has decided about it.
    let image = backend.image(backend.syncs(), 0);
    let mut opened = app::open_store(&setup, store_over(image.clone())).unwrap();
    assert!(!dump(&opened)[Table::Comments as usize].is_empty());
    let resume = Command::Resume {
        table: Table::Comments,
        truncate: Some(Decision::Apply),
        actor: "test".to_owned(),
        reply: Box::new(|result| result.unwrap()),
    };
    opened.writer.process(&mut vec![Message::Command(resume)]).unwrap();
    drop(opened);
    let image = image.image(image.syncs(), 0);
    let statuses = run(&setup, store_over(image.clone()), records.clone());
    assert!(statuses.iter().all(|status| status.hold.is_none()));
    assert_eq!(statuses.iter().map(|status| status.row.consumed).sum::<u64>(), records.len() as u64);
    let opened = app::open_store(&setup, store_over(image.image(image.syncs(), 0))).unwrap();
    assert!(dump(&opened)[Table::Comments as usize].is_empty());
}

fn event(offset: i64, arrival_ms: i64, event_time_ms: i64, id: u128) -> Record {
    let value = format!(
        r#"{{"event_id":"{}","user_id":"{}","post_id":"{}","action":"view","event_time":{event_time_ms}}}"#,
        nova::event::Id::from_u128(id),
        nova::event::Id::from_u128(1),
        nova::event::Id::from_u128(2),
    );
    Record {
        topic: "events".into(),
        partition: 0,
        offset,
        timestamp_ms: arrival_ms,
        key: None,
        value: Some(value.into()),
        headers: Vec::new(),
        defect: None,
        origin: None,
        lsn_delta: 0,
    }
}

#[test]
fn an_event_older_than_a_day_at_its_arrival_is_late_and_one_from_the_future_counts_at_its_arrival() {
    const T: i64 = 1_795_132_800_000;
    const DAY: i64 = 86_400_000;
    let records = vec![
        event(0, T, T - DAY, 10),
        event(1, T, T - DAY - 1, 11),
        event(2, T, T + 2 * DAY, 12),
        event(3, T + 1, T - DAY + 5, 10),
    ];
    let backend = Recorder::new();
    let setup = setup("events");
    let statuses = run(&setup, store_over(backend.clone()), records);
    let row = &statuses[0];
    assert_eq!([row.count(Outcome::Applied), row.count(Outcome::Late), row.count(Outcome::Duplicate)], [2, 1, 1]);
    assert_eq!(row.row.conflicts, 1, "the same id with another time is a conflict");
    let opened = app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap();
    assert!(opened.state.read().posts.counted(PostNo::of(0), T / 60_000..T / 60_000 + 1)[1] == 1);
}

/// The counts of an action come from one kind of source: events or tables. A store can be opened with a different
/// source of counts only after a rebuild.
#[test]
fn likes_count_by_events_where_they_say_so_and_the_switch_is_not_turned_under_a_filled_store() {
    const T: i64 = 1_795_132_800_000;
    let like = |offset, id| {
        let view = event(offset, T, T, id);
        let value = String::from_utf8(view.value.unwrap().to_vec()).unwrap().replace("view", "like");
        Record { value: Some(value.into()), ..view }
    };
    let mut setup = setup("events");
    setup.state.likes = CountedFrom::Events;
    let backend = Recorder::new();
    // The test delivers two events of the same user and post, and then the first event again.
    let statuses = run(&setup, store_over(backend.clone()), vec![like(0, 1), like(1, 2), like(2, 1)]);
    assert_eq!([statuses[0].count(Outcome::Applied), statuses[0].count(Outcome::Duplicate)], [2, 1]);
    let image = || backend.image(backend.syncs(), 0);
    let likes = |opened: &app::Opened| opened.state.read().posts.totals(PostNo::of(0))[Action::Like as usize];
    assert_eq!(likes(&app::open_store(&setup, store_over(image())).unwrap()), 1);
    let mut other = setup;
    other.state.likes = CountedFrom::Cdc;
    let refused = app::open_store(&other, store_over(image())).map(drop).unwrap_err().to_string();
    assert!(refused.contains("engagement.likes") && refused.contains("nova rebuild"), "{refused}");
    let rebuilt = image();
    nova::pipeline::rebuild::rebuild(&store_over(rebuilt.clone()), None).unwrap();
    app::open_store(&other, store_over(rebuilt.image(rebuilt.syncs(), 0))).unwrap();
}

#[test]
fn another_capture_under_the_same_names_is_refused() {
    let setup = setup("events");
    let backend = Recorder::new();
    run(&setup, store_over(backend.clone()), vec![event(0, 1_795_132_800_000, 1_795_132_800_000, 1)]);
    let other =
        vec![event(0, 1_795_132_800_000, 1_795_132_800_000, 2), event(1, 1_795_132_800_000, 1_795_132_800_000, 3)];
    let opened = app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap();
    let running = opened.start(Box::new(Listed::new(other, 10)), &setup).unwrap();
    let statuses = running.finish(|_| {}).unwrap();
    let reason = statuses[0].hold.clone().unwrap();
    assert!(reason.contains("events/0") && reason.contains("--data") && reason.contains("nova cdc seek"), "{reason}");
    assert_eq!(statuses[0].consumed(), 0);
}

/// Case 61 of `docs/testing.md`: the connector produces its last messages again, at new offsets.
#[test]
fn a_connector_that_repeats_its_last_messages_flips_no_row() {
    let mut setup = setup("random-envelope.jsonl.gz");
    setup.settings.truncate = TruncatePolicy::Apply;
    let records = capture("random-envelope.jsonl.gz");
    let backend = Recorder::new();
    run(&setup, store_over(backend.clone()), records.clone());
    let opened = app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap();
    let before = dump(&opened);
    drop(opened);
    let mut again = records[records.len() - 3_000..].to_vec();
    again.iter_mut().for_each(|record| record.offset += 1_000_000);
    let image = backend.image(backend.syncs(), 0);
    let statuses = run(&setup, store_over(image.clone()), again);
    let count = |outcome| statuses.iter().map(|status| status.count(outcome)).sum::<u64>();
    assert_eq!(count(Outcome::Applied), 0);
    assert_eq!(count(Outcome::Stale) + count(Outcome::Duplicate) + count(Outcome::Ignored), 3_000);
    let opened = app::open_store(&setup, store_over(image.image(image.syncs(), 0))).unwrap();
    assert_eq!(dump(&opened), before);
}
