//! Positions in logs: the numbers of partitions, seeks, and decisions that hold again after a rebuild.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use nova::app::{self, Opened, Setup};
use nova::event::{Outcome, Record, Table, TopicPartition};
use nova::pipeline::decided::Decision;
use nova::pipeline::ingest::Ingest;
use nova::pipeline::rebuild::rebuild;
use nova::pipeline::writer::{Command, CommandError, Message, SEEK_MAX};
use nova::source::{PollLimits, Polled, Progress as _, Source, SourceError};
use nova_storage::testing::Recorder;
use parking_lot::Mutex;
use proptest::prelude::*;

use crate::support::{dump, setup, store_over};

/// Logs that can be read from any offset. A poll of the logs returns one record of the chosen partition.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    logs: BTreeMap<TopicPartition, Vec<Record>>,
    /// The next offset of each partition, and whether the partition is paused.
    at: BTreeMap<TopicPartition, (i64, bool)>,
    /// The partition that the next poll of the logs reads. `None` means that the next poll reads any partition that has
    /// more records.
    turn: Option<TopicPartition>,
}

impl Logs {
    fn new(records: Vec<Record>) -> Logs {
        let mut inner = Inner::default();
        for record in records {
            let name = TopicPartition::new(&*record.topic, record.partition);
            inner.at.entry(name.clone()).or_insert((record.offset, false));
            inner.logs.entry(name).or_default().push(record);
        }
        Logs(Arc::new(Mutex::new(inner)))
    }

    /// Makes the next poll read the partition `name`.
    fn turn(&self, name: &TopicPartition) {
        self.0.lock().turn = Some(name.clone());
    }
}

impl Source for Logs {
    fn poll(&mut self, _limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        let Inner { logs, at, turn } = &mut *self.0.lock();
        let turn = turn.take();
        for (name, records) in logs {
            let (next, paused) = at[name];
            let record = records.iter().find(|record| record.offset >= next).filter(|_| !paused);
            if let Some(record) = record.filter(|_| turn.as_ref().is_none_or(|turn| turn == name)) {
                at.insert(name.clone(), (record.offset + 1, false));
                out.push(record.clone());
                return Ok(Polled::Records);
            }
        }
        Ok(Polled::Idle)
    }

    fn pause(&mut self, partition: &TopicPartition) -> Result<(), SourceError> {
        self.0.lock().at.get_mut(partition).unwrap().1 = true;
        Ok(())
    }

    fn resume(&mut self, partition: &TopicPartition, from: i64) -> Result<(), SourceError> {
        self.0.lock().at.insert(partition.clone(), (from, false));
        Ok(())
    }
}

/// The two threads of the batch loop. The test runs each step of the two threads itself.
struct Stepped {
    opened: Opened,
    ingest: Ingest,
    inbox: Receiver<Message>,
}

impl Stepped {
    fn new(setup: &Setup, backend: &Recorder, logs: &Logs) -> Stepped {
        let opened = app::open_store(setup, store_over(backend.clone())).unwrap();
        let mut source = logs.clone();
        let names: Vec<_> = logs.0.lock().logs.keys().cloned().collect();
        for name in names {
            let first = logs.0.lock().logs[&name][0].offset;
            source.resume(&name, opened.shared.next_offset(&name).unwrap_or(first)).unwrap();
        }
        // The channel to the writer holds more messages than any test sends, so ingest never waits.
        let (out, inbox) = crossbeam_channel::bounded(10_000);
        let ingest = Ingest::new(Box::new(source), setup.decoder(), Arc::clone(&opened.shared), out);
        Stepped { opened, ingest, inbox }
    }

    fn poll(&mut self) {
        self.ingest.step().unwrap();
    }

    fn write(&mut self, command: Option<Command>) {
        let mut queue: Vec<_> = self.inbox.try_iter().chain(command.map(Message::Command)).collect();
        self.opened.writer.process(&mut queue).unwrap();
    }

    /// Makes steps until no more records come.
    fn rest(&mut self) {
        for _ in 0..200 {
            self.poll();
            self.write(None);
        }
    }

    fn seek(&mut self, name: &TopicPartition, next: i64) -> Result<(), CommandError> {
        let (told, answer) = crossbeam_channel::bounded(1);
        let reply = Box::new(move |result| told.send(result).unwrap());
        self.write(Some(Command::Seek { partition: name.clone(), next, actor: "test".to_owned(), reply }));
        answer.recv().unwrap()
    }

    fn held(&self) -> Vec<String> {
        self.opened.shared.partitions().iter().filter_map(|status| Some(status.hold.as_ref()?.to_string())).collect()
    }
}

fn record(topic: &str, partition: i32, offset: i64, key: Option<String>, value: String) -> Record {
    Record {
        topic: topic.into(),
        partition,
        offset,
        timestamp_ms: 1_795_132_800_000 + offset,
        key: key.map(Into::into),
        value: Some(value.into()),
        headers: Vec::new(),
        defect: None,
        origin: None,
        lsn_delta: 0,
    }
}

fn user(number: u64, lsn: u64) -> (Option<String>, String) {
    let id = nova::event::Id::from_u128(number.into());
    let columns = crate::support::rows::USER_COLUMNS;
    let row = format!(r#"{{"id":"{id}","username":"u{number}",{columns},"__deleted":"false","__lsn":{lsn}}}"#);
    (Some(format!(r#"{{"id":"{id}"}}"#)), row)
}

/// Returns records of six partitions, whose offsets tell the partitions apart. Even partitions contain rows, and odd
/// partitions contain garbage.
fn six() -> Vec<Record> {
    let mut records = Vec::new();
    for partition in 0..6i32 {
        for offset in 0..5i64 {
            let number = u64::from(partition as u32) * 100 + offset as u64;
            let (key, row) = user(number, number + 1);
            let value = if partition % 2 == 0 { row } else { "{".to_owned() };
            records.push(record("cdc.users", partition, i64::from(partition) * 1_000 + offset, key, value));
        }
    }
    records
}

#[derive(Clone, Debug)]
enum Move {
    Poll(i32),
    Write,
    Seek(i32, i64),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => (0..6i32).prop_map(Move::Poll),
        2 => Just(Move::Write),
        2 => (0..6i32, 0..5i64).prop_map(|(partition, offset)| Move::Seek(partition, offset)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In an earlier version of nova, ingest and the writer assigned numbers to partitions independently. A seek of an
    /// unknown partition got a number that ingest had given to a different partition.
    #[test]
    fn seeks_of_unknown_partitions_and_records_of_new_ones_never_mix_partitions_up(
        moves in proptest::collection::vec(moves(), 0..40),
    ) {
        let (setup, backend, logs) = (setup("rows"), Recorder::new(), Logs::new(six()));
        let mut stepped = Stepped::new(&setup, &backend, &logs);
        let name = |partition| TopicPartition::new("cdc.users", partition);
        for step in moves {
            match step {
                Move::Poll(partition) => {
                    logs.turn(&name(partition));
                    stepped.poll();
                }
                Move::Write => stepped.write(None),
                Move::Seek(partition, offset) => {
                    stepped.seek(&name(partition), i64::from(partition) * 1_000 + offset).unwrap();
                }
            }
        }
        stepped.rest();
        let statuses = stepped.opened.shared.partitions();
        prop_assert_eq!(statuses.len(), 6);
        for status in statuses {
            let partition = status.name.partition;
            prop_assert_eq!(status.row.next, i64::from(partition) * 1_000 + 5, "{}", partition);
            let dead = status.row.outcomes[Outcome::Dead as usize];
            prop_assert_eq!(dead, if partition % 2 == 0 { 0 } else { status.row.consumed }, "{}", partition);
        }
        // After a restart, each partition is still stored under its own name.
        drop(stepped);
        let stepped = Stepped::new(&setup, &backend.image(backend.syncs(), 0), &logs);
        for status in stepped.opened.shared.partitions() {
            prop_assert_eq!(status.row.next, i64::from(status.name.partition) * 1_000 + 5);
        }
    }
}

#[test]
fn a_seek_to_what_is_no_place_names_the_field_and_the_way_out() {
    let (setup, logs) = (setup("rows"), Logs::new(six()));
    let mut stepped = Stepped::new(&setup, &Recorder::new(), &logs);
    let mut refused = |topic: &str, partition, offset| {
        stepped.seek(&TopicPartition::new(topic, partition), offset).unwrap_err().to_string()
    };
    assert!(refused("cdc.users", -7, 3).starts_with("partition: -7 is none"));
    assert!(refused("events", -1, 3).starts_with("partition: -1 is none"), "there is no local log");
    for offset in [-5, i64::MIN, i64::MAX, SEEK_MAX + 1] {
        let words = refused("cdc.users", 0, offset);
        assert!(words.starts_with(&format!("offset: {offset} is none")) && words.contains("0 to"), "{words}");
    }
    assert!(refused("cdc.orders", 0, 3).contains("kafka.topic_prefix"));
    assert!(stepped.opened.shared.partitions().is_empty(), "what was refused left something");
    stepped.seek(&TopicPartition::new("cdc.users", 0), SEEK_MAX).unwrap();
}

/// In an earlier version of nova, each rebuild stopped a partition again at bad records that a person had already
/// skipped.
#[test]
fn a_stretch_that_was_given_up_is_passed_over_again_after_a_rebuild() {
    let mut setup = setup("rows");
    setup.settings.breaker_dead_in_a_row = Some(3);
    let good = |offset: i64| {
        let (key, row) = user(offset as u64, offset as u64 + 1);
        record("cdc.users", 0, offset, key, row)
    };
    let bad = |offset| record("cdc.users", 0, offset, None, "{".to_owned());
    let records = (0..4).map(good).chain((4..14).map(bad)).chain((14..17).map(good)).collect::<Vec<_>>();
    let (backend, logs, name) = (Recorder::new(), Logs::new(records.clone()), TopicPartition::new("cdc.users", 0));
    let mut stepped = Stepped::new(&setup, &backend, &logs);
    stepped.rest();
    assert!(stepped.held()[0].contains("topic-breaker") && stepped.held()[0].contains("nova cdc seek cdc.users 0"));
    // The first seek goes past some of the bad records, and the second seek goes past all bad records. The store keeps
    // the skipped offsets of both seeks as one range.
    stepped.seek(&name, 10).unwrap();
    stepped.rest();
    assert!(stepped.held()[0].contains("topic-breaker"));
    stepped.seek(&name, 14).unwrap();
    stepped.rest();
    assert_eq!((stepped.held().len(), dump(&stepped.opened)[0].len()), (0, 7));
    drop(stepped);
    for _ in 0..2 {
        rebuild(&store_over(backend.clone()), None).unwrap();
        let mut stepped = Stepped::new(&setup, &backend, &logs);
        stepped.rest();
        assert_eq!((stepped.held(), dump(&stepped.opened)[0].len()), (Vec::new(), 7));
    }
    // If a new log has the name of the old log, nova skips none of the new log's records.
    let other: Vec<_> = (0..17).map(|offset| Record { timestamp_ms: 1_795_000_000_000, ..good(offset) }).collect();
    rebuild(&store_over(backend.clone()), None).unwrap();
    let mut stepped = Stepped::new(&setup, &backend, &Logs::new(other));
    stepped.rest();
    assert_eq!(dump(&stepped.opened)[0].len(), 17);
    // After a seek backwards, nova reads every record again.
    drop(stepped);
    rebuild(&store_over(backend.clone()), None).unwrap();
    let mut stepped = Stepped::new(&setup, &backend, &logs);
    stepped.rest();
    stepped.seek(&name, 0).unwrap();
    stepped.rest();
    assert!(stepped.held()[0].contains("topic-breaker"), "{:?}", stepped.held());
}

/// In an earlier version of nova, a truncate about which a person had decided halted its table again after each
/// rebuild.
#[test]
fn a_decision_about_a_truncate_holds_again_after_a_rebuild() {
    let truncate = |offset: i64, lsn: u64| {
        let value =
            format!(r#"{{"before":null,"after":null,"source":{{"lsn":{lsn},"ts_ms":1795132800000}},"op":"t"}}"#);
        record("cdc.users", 0, offset, None, value)
    };
    let row = |offset: i64, lsn| {
        let (key, row) = user(offset as u64, lsn);
        record("cdc.users", 0, offset, key, row)
    };
    for (decision, left) in [(Decision::Apply, 1), (Decision::Ignore, 2)] {
        let setup = setup("rows");
        let mut records = vec![row(0, 5), truncate(1, 9), row(2, 12)];
        let (backend, logs) = (Recorder::new(), Logs::new(records.clone()));
        let mut stepped = Stepped::new(&setup, &backend, &logs);
        stepped.rest();
        assert!(stepped.held()[0].contains("cdc.users/0 at offset 1, LSN 9"), "{:?}", stepped.held());
        let mut resume = |truncate| {
            let (told, answer) = crossbeam_channel::bounded(1);
            let reply = Box::new(move |result| told.send(result).unwrap());
            stepped.write(Some(Command::Resume { table: Table::Users, truncate, actor: "test".to_owned(), reply }));
            answer.recv().unwrap()
        };
        assert_eq!(resume(None), Err(CommandError::Undecided(Table::Users)));
        assert_eq!(resume(Some(decision)), Ok(()));
        stepped.rest();
        assert_eq!(dump(&stepped.opened)[0].len(), left);
        drop(stepped);
        rebuild(&store_over(backend.clone()), None).unwrap();
        let mut stepped = Stepped::new(&setup, &backend, &logs);
        stepped.rest();
        assert_eq!((stepped.held(), dump(&stepped.opened)[0].len()), (Vec::new(), left), "{decision}");
        drop(stepped);
        // The decision of a person about a truncate also holds if that truncate comes again at a new offset, but does
        // not hold for a later truncate.
        records.extend([truncate(3, 9), truncate(4, 20)]);
        let mut stepped = Stepped::new(&setup, &backend, &Logs::new(records));
        stepped.rest();
        assert!(stepped.held()[0].contains("at offset 4, LSN 20"), "{:?}", stepped.held());
    }
}

/// In an earlier version of nova, after a person had decided that the source's log began again, each rebuild halted the
/// table again.
#[test]
fn a_decision_about_a_log_that_began_again_holds_again_after_a_rebuild() {
    let change = |offset: i64, op: &str, lsn: u64| {
        let (key, row) = user(0, lsn);
        let ts_ms = 1_795_132_800_000 + offset;
        let value = format!(r#"{{"before":null,"after":{row},"source":{{"lsn":{lsn},"ts_ms":{ts_ms}}},"op":"{op}"}}"#);
        record("cdc.users", 0, offset, key, value)
    };
    let setup = setup("rows");
    let records = vec![change(0, "c", 900), change(1, "u", 950), change(2, "u", 10), change(3, "u", 20)];
    let (backend, logs) = (Recorder::new(), Logs::new(records));
    let mut stepped = Stepped::new(&setup, &backend, &logs);
    stepped.rest();
    assert!(stepped.held()[0].contains("lsn_regression"), "{:?}", stepped.held());
    let reply = Box::new(|_| ());
    stepped.write(Some(Command::BumpEpoch { table: Table::Users, actor: "test".to_owned(), reply }));
    stepped.rest();
    let rows = dump(&stepped.opened)[0].clone();
    assert_eq!((stepped.held(), rows.len()), (Vec::new(), 1));
    drop(stepped);
    for _ in 0..2 {
        rebuild(&store_over(backend.clone()), None).unwrap();
        let mut stepped = Stepped::new(&setup, &backend, &logs);
        stepped.rest();
        assert_eq!((stepped.held(), dump(&stepped.opened)[0].clone()), (Vec::new(), rows.clone()));
    }
}

#[test]
fn a_decision_is_asked_for_truncates_alone() {
    let (setup, logs) = (setup("rows"), Logs::new(six()));
    let mut stepped = Stepped::new(&setup, &Recorder::new(), &logs);
    let actor = || "test".to_owned();
    stepped.write(Some(Command::Pause { table: Table::Users, actor: actor(), reply: Box::new(|()| ()) }));
    let reply = Box::new(|result: Result<(), CommandError>| {
        let words = result.unwrap_err().to_string();
        assert!(words.starts_with("truncate: no truncate halted users") && words.contains("paused by test"), "{words}");
    });
    let truncate = Some(Decision::Apply);
    stepped.write(Some(Command::Resume { table: Table::Users, truncate, actor: actor(), reply }));
}
