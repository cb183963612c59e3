//! Every fault that a script can make, crashes between any two commits, poisonous rows, and a server that cannot be
//! reached.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nova::app;
use nova::event::Id;
use nova::pipeline::progress::PartitionStatus;
use nova::pipeline::writer::Message;
use nova::warehouse::clickhouse::Password;
use nova::warehouse::{Target, outbox};
use nova_storage::schema::DEAD;
use nova_storage::testing::Recorder;

use super::super::support::clickhouse::{Fake, Fault, version_at};
use super::super::support::{Listed, capture, dump, run, store_over};
use super::{events, setup, times};

/// Checks that every accepted id is stored exactly once, whatever else has happened.
pub(super) fn assert_exactly_once(fake: &Fake, applied: u64, what: &str) {
    let times = times(fake.ids("post_events"));
    assert_eq!(times.len() as u64, applied, "{what}: ids");
    assert!(times.values().all(|times| *times == 1), "{what}: a row was stored twice");
}

#[test]
fn n3_n9_every_scripted_fault_leaves_each_accepted_event_once_and_no_dead_letter() {
    let scripts: [(&str, Vec<Option<Fault>>); 10] = [
        ("reject", vec![Some(Fault::Reject); 3]),
        ("close before", vec![Some(Fault::CloseBefore); 3]),
        ("fail after write", vec![Some(Fault::FailAfterWrite); 3]),
        ("overload", vec![Some(Fault::Code(252)), Some(Fault::Code(241)), Some(Fault::Code(439))]),
        ("outage codes", [159, 202, 209, 210, 425, 999].map(|code| Some(Fault::Code(code))).to_vec()),
        ("stall, then repaired", [60, 81, 16, 20, 497, 516, 192].map(|code| Some(Fault::Code(code))).to_vec()),
        ("unknown code, then fine", vec![Some(Fault::Code(4_711)); 3]),
        ("no answer", vec![Some(Fault::Hang); 2]),
        ("a view fails", vec![Some(Fault::View); 3]),
        ("lands after the retry", vec![Some(Fault::Zombie); 3]),
    ];
    for (what, script) in scripts {
        let (fake, (records, applied)) = (Fake::start(), events(3_000, 11));
        fake.script(script);
        let mut setup = setup("events", &fake.url, "nova");
        if what == "no answer" {
            setup.clickhouse.as_mut().unwrap().timeout = Duration::from_millis(300);
        }
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
    for (token, body, rows) in &inner.inserts {
        assert!(token.starts_with("nova:") && token.ends_with(&format!("{rows:032x}")), "{token}");
        assert_eq!(known.insert(token, body).unwrap_or(body), body);
    }
}

/// The test freezes the disk at every sync of a run. From each frozen disk a new process continues, with the ClickHouse
/// server of the run.
#[test]
fn n3_n5_a_crash_between_any_two_commits_doubles_and_loses_nothing() {
    let (records, applied) = events(600, 13);
    let first = Fake::start();
    first.script([Some(Fault::FailAfterWrite)]);
    let backend = Recorder::new();
    let moments = backend.clone();
    first.inner.lock().now = Box::new(move || moments.syncs());
    let mut setup = setup("events", &first.url, "nova");
    // The batches are small, so that commits, inserts and acknowledgements alternate.
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
    // The constraint refuses about one row in 500.
    let refuses = |row: &[u8]| xxhash_rust::xxh3::xxh3_64(&row[..16]).is_multiple_of(500);
    fake.inner.lock().refuses = Some(refuses);
    // While the server cannot be reached, nova suspects no row.
    fake.script(vec![Some(Fault::Reject); 6]);
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

/// The server forgets tokens immediately, and nova immediately searches for doubtful rows.
#[test]
fn n5_rows_of_an_unconfirmed_batch_are_looked_for_when_its_token_may_be_forgotten() {
    for (what, fault, uncertain) in [
        ("present", Fault::FailAfterWrite, true),
        ("absent", Fault::CloseBefore, false),
        ("still running", Fault::Zombie, false),
        ("in the table and not in a view", Fault::View, true),
        ("refused by a proxy", Fault::Reject, false),
    ] {
        let (fake, (records, applied)) = (Fake::start(), events(500, 15));
        fake.inner.lock().window_max = 0;
        fake.script([Some(fault), Some(fault)]);
        let mut setup = setup("events", &fake.url, "nova");
        setup.pace.safe_horizon_ms = -1;
        let opened = app::open_store(&setup, store_over(Recorder::new())).unwrap();
        let status = opened.warehouse.clone().unwrap();
        let running = opened.start(Box::new(Listed::new(records, 700)), &setup).unwrap();
        running.finish(|_| {}).unwrap();
        assert_exactly_once(&fake, applied, what);
        assert_eq!(status.uncertain_batches.load(Ordering::Relaxed) > 0, uncertain, "{what}");
    }
}

/// Case 29 of `docs/testing.md`: the password of the server changes, and nova's password file changes a little later.
#[test]
fn a_rotated_password_stalls_every_table_until_its_file_has_the_new_one() {
    let (fake, (records, applied)) = (Fake::start(), events(500, 12));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    let mut setup = setup("events", &fake.url, "nova");
    setup.clickhouse.as_mut().unwrap().password = Some(Password::File(file.clone()));
    fake.inner.lock().password = Some("new".to_owned());
    std::fs::write(&file, "old\n").unwrap();
    let opened = app::open_store(&setup, store_over(Recorder::new())).unwrap();
    let status = opened.warehouse.clone().unwrap();
    let running = opened.start(Box::new(Listed::new(records, 700)), &setup).unwrap();
    while status.complaints().is_empty() {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert!(fake.ids("post_events").is_empty() && fake.inner.lock().strangers > 0);
    std::fs::write(&file, "new\nwhat comes after the first line\n").unwrap();
    running.finish(|_| {}).unwrap();
    assert_exactly_once(&fake, applied, "with the new password");
}

/// A process ends with many sealed batches in its outbox. The process that continues searches only for the rows of
/// batches that were being sent.
#[test]
fn n5_of_what_an_earlier_process_left_only_the_head_is_looked_for() {
    let (fake, (records, applied)) = (Fake::start(), events(2_000, 18));
    fake.inner.lock().always = Some(Fault::Reject);
    let mut setup = setup("events", &fake.url, "nova");
    setup.drain.idle = Duration::ZERO;
    let backend = Recorder::new();
    // Each run of nova seals the rows of its records in a batch.
    for part in records.chunks(50) {
        run(&setup, store_over(backend.clone()), part.to_vec());
    }
    let left = outbox::sealed(&store_over(backend.image(backend.syncs(), 0)).read().unwrap(), Target::Events, 1_000);
    assert!(left.unwrap().len() >= 30);
    {
        let mut inner = fake.inner.lock();
        inner.always = None;
        inner.probes.clear();
    }
    setup.pace.safe_horizon_ms = -1;
    setup.drain.idle = Duration::from_secs(60);
    run(&setup, store_over(backend), Vec::new());
    assert_exactly_once(&fake, applied, "after the outage");
    let probes = fake.inner.lock().probes.len();
    assert!((1..=22).contains(&probes), "{probes} batches were looked for");
}

/// A process stored the rows in ClickHouse and died. ClickHouse forgot the token of the rows during an outage.
#[test]
fn n5_an_outage_that_outlasts_the_memory_of_tokens_doubles_nothing() {
    let (fake, (records, applied)) = (Fake::start(), events(500, 19));
    let mut setup = setup("events", &fake.url, "nova");
    let backend = Recorder::new();
    fake.inner.lock().always = Some(Fault::FailAfterWrite);
    // No insert succeeds, so the end of the process waits for the whole time `idle`. The time `idle` is enough for one
    // attempt to insert.
    setup.drain.idle = Duration::from_secs(2);
    run(&setup, store_over(backend.clone()), records);
    assert!(!fake.ids("post_events").is_empty());
    {
        let mut inner = fake.inner.lock();
        (inner.always, inner.window_max) = (Some(Fault::Reject), 0);
    }
    setup.drain.idle = Duration::from_secs(60);
    let opened = app::open_store(&setup, store_over(backend)).unwrap();
    let running = opened.start(Box::new(Listed::new(Vec::new(), 1)), &setup).unwrap();
    while fake.inner.lock().inserts.len() < 4 {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    setup.clock.set(setup.clock.now_ms() + nova::warehouse::sender::SAFE_HORIZON_MS + 1);
    fake.inner.lock().always = None;
    running.finish(|_| {}).unwrap();
    assert_exactly_once(&fake, applied, "after the outage");
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

#[test]
fn a_batch_holds_rows_of_one_month() {
    let fake = Fake::start();
    let at = |time: &str| time.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let edge_ms = at("2026-12-01T00:00:00Z");
    let records: Vec<_> = (0..200)
        .map(|n| {
            let at_ms = edge_ms + if n % 2 == 0 { n } else { -n };
            let value = format!(
                r#"{{"event_id":"{}","user_id":"{}","post_id":"{}","action":"view","event_time":{at_ms}}}"#,
                Id::from_u128(n as u128 + 1),
                Id::from_u128(1),
                Id::from_u128(2)
            );
            nova::event::Record {
                topic: "events".into(),
                partition: 0,
                offset: n,
                timestamp_ms: edge_ms + 1_000,
                key: None,
                value: Some(value.into()),
                headers: Vec::new(),
                defect: None,
                origin: None,
                lsn_delta: 0,
            }
        })
        .collect();
    run(&setup("events", &fake.url, "nova"), store_over(Recorder::new()), records);
    assert_exactly_once(&fake, 200, "two months");
    for stored in &fake.inner.lock().stored {
        let month = |row: &Vec<u8>| i64::from_le_bytes(row[16..24].try_into().unwrap()) >= edge_ms;
        assert!(stored.rows.iter().all(|row| month(row) == month(&stored.rows[0])));
    }
}

#[test]
fn an_insert_pins_what_defaults_and_profiles_could_change() {
    let (fake, (records, _)) = (Fake::start(), events(100, 20));
    run(&setup("events", &fake.url, "nova"), store_over(Recorder::new()), records);
    let inner = fake.inner.lock();
    assert!(!inner.targets.is_empty());
    for pinned in [
        "async_insert=0",
        "wait_end_of_query=1",
        "insert_deduplicate=1",
        "deduplicate_blocks_in_dependent_materialized_views=1",
        "input_format_parallel_parsing=0",
        "max_insert_threads=1",
        "insert_deduplication_token=nova",
        "event_id%2C+event_time%2C+user_id",
    ] {
        assert!(inner.targets.iter().all(|target| target.contains(pinned)), "{pinned}: {}", inner.targets[0]);
    }
}

/// nova sends no rows to a table that the lint refuses. nova reports the refusal even if there is nothing to deliver,
/// and sends the rows once the table is repaired.
#[test]
fn what_the_lint_refuses_is_told_at_the_start_and_waits_until_it_is_repaired() {
    let fixed = ("FROM system.settings", "async_insert\t1\t1\n");
    let window = (
        "FROM system.tables",
        "post_events\tMergeTree\tid\tMergeTree SETTINGS non_replicated_deduplication_window = 0\n",
    );
    for (answer, code, other) in [(fixed, "setting-fixed", None), (window, "dedup-window", Some("table-missing"))] {
        let (fake, (records, applied)) = (Fake::start(), events(300, 21));
        fake.inner.lock().answers.push(answer);
        let setup = setup("events", &fake.url, "nova");
        let backend = Recorder::new();
        let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
        let status = opened.warehouse.clone().unwrap();
        let running = opened.start(Box::new(Listed::new(Vec::new(), 1)), &setup).unwrap();
        while status.findings().is_empty() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let codes: std::collections::BTreeSet<_> = status.findings().iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [code].into_iter().chain(other).collect());
        assert!(status.complaints()[0].contains("; "), "{:?}", status.complaints());
        running.finish(|_| {}).unwrap();

        let opened = app::open_store(&setup, store_over(backend)).unwrap();
        let status = opened.warehouse.clone().unwrap();
        let running = opened.start(Box::new(Listed::new(records, 700)), &setup).unwrap();
        while status.targets()[Target::Events.index()].stalled.is_none() {
            running.inbox.send(Message::Seal).unwrap();
            std::thread::park_timeout(Duration::from_millis(1));
        }
        assert!(fake.inner.lock().inserts.is_empty(), "{code}: rows were sent");
        fake.inner.lock().answers.clear();
        running.finish(|_| {}).unwrap();
        assert_exactly_once(&fake, applied, code);
    }
}

/// The outbox contains the rows of ten minutes of traffic. The test compares the rate at which the rows are delivered
/// with the rate at which they arrive.
#[test]
fn what_a_long_outage_left_drains_at_five_times_the_rate_of_its_arrival() {
    const RATE_PER_S: u64 = 100;
    const OUTAGE_S: u64 = 600;
    let (fake, (records, applied)) = (Fake::start(), events(RATE_PER_S * OUTAGE_S, 22));
    fake.inner.lock().always = Some(Fault::Reject);
    let setup = setup("events", &fake.url, "nova");
    let opened = app::open_store(&setup, store_over(Recorder::new())).unwrap();
    let (shared, status) = (std::sync::Arc::clone(&opened.shared), opened.warehouse.clone().unwrap());
    let running = opened.start(Box::new(Listed::new(records, 200)), &setup).unwrap();
    let consumed = || shared.partitions().iter().map(PartitionStatus::consumed).sum::<u64>();
    while consumed() < RATE_PER_S * OUTAGE_S {
        assert!(!shared.over_quota());
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert_eq!(status.waiting_rows(), applied);
    fake.inner.lock().always = None;
    let back = nova::clock::monotonic_now();
    running.finish(|_| {}).unwrap();
    assert_exactly_once(&fake, applied, "after the outage");
    // With the shipped settings, the sender may be in its longest pause when the server comes back.
    let longest_pause = nova::warehouse::sender::Pace::default().backoff.last;
    let drained_per_s = applied as f64 / (back.elapsed() + longest_pause).as_secs_f64();
    assert!(drained_per_s >= 5.0 * RATE_PER_S as f64, "{drained_per_s:.0} rows a second");
}
