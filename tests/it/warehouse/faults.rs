//! Every fault by script, crashes between any two commits, poison, and a server that is away.

use std::collections::BTreeMap;

use nova::app;
use nova::event::Id;
use nova::pipeline::progress::PartitionStatus;
use nova::pipeline::writer::Message;
use nova::warehouse::{Target, outbox};
use nova_storage::schema::DEAD;
use nova_storage::testing::Recorder;

use super::super::support::clickhouse::{Fake, Fault, version_at};
use super::super::support::{Listed, capture, dump, run, store_over};
use super::{events, setup, times};

/// The accepted ids once each, whatever else happened.
fn assert_exactly_once(fake: &Fake, applied: u64, what: &str) {
    let times = times(fake.ids("post_events"));
    assert_eq!(times.len() as u64, applied, "{what}: ids");
    assert!(times.values().all(|times| *times == 1), "{what}: a row was stored twice");
}

#[test]
fn n3_n9_every_scripted_fault_leaves_each_accepted_event_once_and_no_dead_letter() {
    let scripts: [(&str, Vec<Option<Fault>>); 7] = [
        ("reject", vec![Some(Fault::Reject); 3]),
        ("close before", vec![Some(Fault::CloseBefore); 3]),
        ("fail after write", vec![Some(Fault::FailAfterWrite); 3]),
        ("overload", vec![Some(Fault::Code(252)), Some(Fault::Code(241)), Some(Fault::Code(439))]),
        ("outage codes", [159, 202, 209, 210, 425, 999].map(|code| Some(Fault::Code(code))).to_vec()),
        ("stall, then repaired", [60, 81, 16, 20, 497, 516, 192].map(|code| Some(Fault::Code(code))).to_vec()),
        ("unknown code, then fine", vec![Some(Fault::Code(4_711)); 3]),
    ];
    for (what, script) in scripts {
        let (fake, (records, applied)) = (Fake::start(), events(3_000, 11));
        fake.script(script);
        let setup = setup("events", &fake.url, "nova");
        let backend = Recorder::new();
        let dead = |statuses: &[PartitionStatus]| statuses.iter().map(|status| status.row.outcomes[5]).sum::<u64>();
        let statuses = run(&setup, store_over(backend.clone()), records);
        assert_exactly_once(&fake, applied, what);
        let store = store_over(backend.image(backend.syncs(), 0));
        let read = store.read().unwrap();
        let conflicts: u64 = statuses.iter().map(|status| status.row.conflicts).sum();
        assert_eq!(read.len(DEAD).unwrap(), dead(&statuses) + conflicts, "{what}: an outage made dead letters");
        assert!(outbox::sealed(&read, Target::Events, 10).unwrap().is_empty(), "{what}: something is left");
    }
}

#[test]
fn n8_the_same_token_always_comes_with_the_same_bytes_and_holds_their_hash() {
    let (fake, (records, _)) = (Fake::start(), events(3_000, 12));
    fake.script([Some(Fault::FailAfterWrite), Some(Fault::Reject), Some(Fault::CloseBefore)]);
    run(&setup("events", &fake.url, "nova"), store_over(Recorder::new()), records);
    let inner = fake.inner.lock();
    assert!(inner.inserts.len() >= 4);
    let mut known = BTreeMap::new();
    for (token, hash) in &inner.inserts {
        assert!(token.starts_with("nova:") && token.ends_with(&format!("{hash:032x}")), "{token}");
        assert_eq!(known.insert(token, hash).unwrap_or(hash), hash);
    }
}

/// Durability is frozen at every sync of a run; each time a new process goes on from there, against the same server.
#[test]
fn n3_n5_a_crash_between_any_two_commits_doubles_and_loses_nothing() {
    let (records, applied) = events(600, 13);
    let first = Fake::start();
    first.script([Some(Fault::FailAfterWrite)]);
    let backend = Recorder::new();
    let moments = backend.clone();
    first.inner.lock().now = Box::new(move || moments.syncs());
    let mut setup = setup("events", &first.url, "nova");
    // Small batches, so that commits, inserts and acknowledgements mix.
    let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
    let running = opened.start(Box::new(Listed::new(records.clone(), 60)), &setup).unwrap();
    let inbox = running.inbox.clone();
    let sealer = std::thread::spawn(move || while inbox.send(Message::Seal).is_ok() {});
    running.finish(|_| {}).unwrap();
    sealer.join().unwrap();
    assert_exactly_once(&first, applied, "uninterrupted");
    let syncs = backend.syncs();
    for sync in (4..syncs).step_by((syncs / 25).max(1)) {
        let fake = Fake::start();
        fake.inner.lock().seed(&first.inner.lock(), sync);
        setup.clickhouse.as_mut().unwrap().url.clone_from(&fake.url);
        run(&setup, store_over(backend.image(sync, 7)), records.clone());
        assert_exactly_once(&fake, applied, &format!("sync {sync}"));
    }
}

#[test]
fn poison_is_found_by_experiment_and_every_other_row_lands_once() {
    let (fake, (records, applied)) = (Fake::start(), events(4_000, 14));
    // About one in 500.
    let refuses = |row: &[u8]| xxhash_rust::xxh3::xxh3_64(&row[..16]).is_multiple_of(500);
    fake.inner.lock().refuses = Some(refuses);
    let backend = Recorder::new();
    run(&setup("events", &fake.url, "nova"), store_over(backend.clone()), records);
    let store = store_over(backend.image(backend.syncs(), 0));
    let read = store.read().unwrap();
    let mut poison = Vec::new();
    read.scan(DEAD, 0u64.., |_, bytes| {
        let letter = nova_storage::codec::DeadLetter::decode(bytes).unwrap();
        if letter.stage == "warehouse" {
            assert!(letter.topic == "post_events" && letter.detail.contains("Code: 469"), "{}", letter.detail);
            poison.push(Id::parse(&letter.key.unwrap()).unwrap());
        }
        true
    })
    .unwrap();
    assert!(!poison.is_empty() && poison.len() < 40);
    assert_exactly_once(&fake, applied - poison.len() as u64, "poison");
    assert!(times(poison).values().all(|times| *times == 1), "a poison row is a dead letter once");
}

#[test]
fn rows_of_an_old_unconfirmed_batch_are_looked_for_before_they_are_sent_again() {
    let (fake, (records, applied)) = (Fake::start(), events(500, 15));
    // The server forgets tokens at once: only the look can tell.
    fake.inner.lock().window_max = 0;
    fake.script([Some(Fault::FailAfterWrite), Some(Fault::FailAfterWrite)]);
    let mut setup = setup("events", &fake.url, "nova");
    setup.pace.safe_horizon_ms = -1;
    run(&setup, store_over(Recorder::new()), records);
    assert_exactly_once(&fake, applied, "forgotten tokens");
}

#[test]
fn source_rows_reduce_to_the_tables_of_the_source() {
    let fake = Fake::start();
    fake.script([Some(Fault::FailAfterWrite), None, Some(Fault::Reject), Some(Fault::Code(252))]);
    let setup = setup("random-envelope.jsonl.gz", &fake.url, "nova");
    let backend = Recorder::new();
    run(&setup, store_over(backend.clone()), capture("random-envelope.jsonl.gz"));
    let mut plain = super::super::support::setup("random-envelope.jsonl.gz");
    plain.settings.truncate = setup.settings.truncate;
    let opened = app::open_store(&plain, store_over(backend.image(backend.syncs(), 0))).unwrap();
    for (table, lines) in nova::event::Table::ALL.iter().zip(dump(&opened)) {
        let target = Target::Rows(*table);
        let (mut latest, inner) = (BTreeMap::<Id, (u128, u8)>::new(), fake.inner.lock());
        for row in inner.rows(target.name()) {
            let at = version_at(target, row);
            let version = u128::from_le_bytes(row[at..at + 16].try_into().unwrap());
            let entry = latest.entry(nova::warehouse::rows::id(row)).or_default();
            *entry = (*entry).max((version, row[at + 16]));
        }
        let live = latest.values().filter(|(_, deleted)| *deleted == 0).count();
        assert_eq!(live, lines.len(), "{table}");
    }
}

#[test]
fn a_full_outbox_pauses_consumption_and_goes_on_when_there_is_room() {
    let (fake, (records, applied)) = (Fake::start(), events(30_000, 16));
    fake.inner.lock().always = Some(Fault::Reject);
    let mut setup = setup("events", &fake.url, "nova");
    setup.settings.outbox_max_bytes = 256 << 10;
    let opened = app::open_store(&setup, store_over(Recorder::new())).unwrap();
    let (shared, status) = (std::sync::Arc::clone(&opened.shared), opened.warehouse.clone().unwrap());
    let running = opened.start(Box::new(Listed::new(records, 200)), &setup).unwrap();
    let inbox = running.inbox.clone();
    while !shared.over_quota() {
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
    let consumed = || shared.partitions().iter().map(PartitionStatus::consumed).sum::<u64>();
    assert!(consumed() < 30_000 && status.waiting_bytes() < 4 << 20);
    inbox.send(Message::Seal).unwrap();
    fake.inner.lock().always = None;
    running.finish(|_| drop(inbox.send(Message::Seal))).unwrap();
    assert_eq!(consumed(), 30_000);
    assert_exactly_once(&fake, applied, "after the pause");
}
