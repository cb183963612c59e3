//! N14: no time that comes from outside changes what nova remembers, forgets or lists (`docs/cdc.md`, "Clocks").

use std::sync::Arc;

use nova::app::{self, Opened};
use nova::arrival::TimeOf;
use nova::clock::Clock;
use nova::event::{Action, Id, NO_TIMESTAMP, Outcome, Record};
use nova::feed::trending::overrides::Overrides;
use nova::feed::trending::{Entry, Window, rank};
use nova::pipeline::meta::Meta;
use nova::source::capture::CaptureSource;
use nova::state::PostNo;
use nova_storage::testing::Recorder;
use proptest::prelude::*;
use serde_json::json;

use crate::support::{Listed, setup, state_bytes, store_over};

const T: i64 = 1_763_600_000_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// The numbers of two posts: `HONEST` gets honest events, and `STRANGE` gets events with wrong times.
const HONEST: u128 = 2;
const STRANGE: u128 = 9;

fn record(topic: &str, partition: i32, timestamp_ms: i64, key: Option<Id>, value: serde_json::Value) -> Record {
    Record {
        topic: topic.into(),
        partition,
        offset: 0,
        timestamp_ms,
        key: key.map(|id| json!({ "id": id.to_string() }).to_string().into()),
        value: Some(value.to_string().into()),
        headers: Vec::new(),
        defect: None,
        origin: None,
        lsn_delta: 0,
    }
}

/// Returns an impression by a user who has only this event, so that the impression counts.
fn event(partition: i32, timestamp_ms: i64, event_time_ms: i64, id: u128, post: u128) -> Record {
    let (event_id, user_id, post_id) = (Id::from_u128(id), Id::from_u128((1 << 64) + id), Id::from_u128(post));
    let value = json!({
        "event_id": event_id.to_string(), "user_id": user_id.to_string(), "post_id": post_id.to_string(),
        "action": "impression", "event_time": event_time_ms,
    });
    record("events", partition, timestamp_ms, None, value)
}

/// Returns a view of a post, which counts in trending.
fn view(timestamp_ms: i64, event_time_ms: i64, id: u128, post: u128) -> Record {
    let mut record = event(0, timestamp_ms, event_time_ms, id, post);
    let text = String::from_utf8(record.value.unwrap().to_vec()).unwrap().replace("impression", "view");
    record.value = Some(text.into());
    record
}

fn post(id: u128) -> Record {
    let (id, author, at) = (Id::from_u128(id), Id::from_u128(1).to_string(), "2025-11-20T00:00:00Z");
    let after = json!({
        "id": id.to_string(), "user_id": author, "caption": null, "image_key": "k", "image_sizes": null,
        "status": "published", "created_at": at, "updated_at": at, "soft_delete": null,
    });
    let value = json!({ "op": "c", "source": { "lsn": 5, "ts_us": T * 1_000 }, "after": after });
    record("cdc.posts", 0, T, Some(id), value)
}

fn like(timestamp_ms: i64, created_at_us: i64, id: u128, post: u128) -> Record {
    let (id, post_id) = (Id::from_u128(id), Id::from_u128(post).to_string());
    let after = json!({
        "id": id.to_string(), "user_id": Id::from_u128(1).to_string(), "post_id": post_id, "created_at": created_at_us,
    });
    let value = json!({ "op": "c", "source": { "lsn": 9, "ts_us": T * 1_000 }, "after": after });
    record("cdc.likes", 0, timestamp_ms, Some(id), value)
}

/// Gives each record its offset in its partition.
fn numbered(mut records: Vec<Record>) -> Vec<Record> {
    let mut next = std::collections::BTreeMap::<(Arc<str>, i32), i64>::new();
    for record in &mut records {
        let offset = next.entry((Arc::clone(&record.topic), record.partition)).or_default();
        record.offset = *offset;
        *offset += 1;
    }
    records
}

/// The time at which nova reads the records of a test.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reading {
    /// nova reads each record when it arrives. The test's source sets the node's clock to the times of the honest
    /// records.
    Live,
    /// nova reads the records a year after they arrived.
    Later,
    Replay,
}

/// Runs the pipeline over the records to their end, and returns the store after that.
fn read(reading: Reading, records: &[Record], honest_end_ms: i64) -> (Opened, Recorder) {
    let (mut setup, backend) = (setup("events"), Recorder::new());
    setup.clock = Clock::manual(if reading == Reading::Live { T } else { T + 366 * DAY_MS });
    setup.settings.time_of = if reading == Reading::Replay { TimeOf::File } else { TimeOf::Node };
    let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
    let steps =
        Steps { inner: Listed::new(records.to_vec(), 40), clock: setup.clock.clone(), live: reading == Reading::Live };
    opened.start(Box::new(steps), &setup).unwrap().finish(|_| {}).unwrap();
    if reading == Reading::Live {
        setup.clock.set(honest_end_ms);
    }
    (app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap(), backend)
}

/// A source that sets the clock to the time of each honest record. Honest records have a header as a mark.
struct Steps {
    inner: Listed,
    clock: Clock,
    live: bool,
}

impl nova::source::Source for Steps {
    fn poll(
        &mut self,
        limits: &nova::source::PollLimits,
        out: &mut Vec<Record>,
    ) -> Result<nova::source::Polled, nova::source::SourceError> {
        let polled = self.inner.poll(limits, out)?;
        let honest = out.iter().filter(|record| !record.headers.is_empty()).map(|record| record.timestamp_ms).max();
        if let Some(at_ms) = honest.filter(|_| self.live) {
            self.clock.set(at_ms);
        }
        Ok(polled)
    }
    fn pause(&mut self, name: &nova::event::TopicPartition) -> Result<(), nova::source::SourceError> {
        self.inner.pause(name)
    }
    fn resume(&mut self, name: &nova::event::TopicPartition, from: i64) -> Result<(), nova::source::SourceError> {
        self.inner.resume(name, from)
    }
}

fn honest(mut record: Record) -> Record {
    record.headers.push(("honest".into(), "".into()));
    record
}

fn count(opened: &Opened, outcome: Outcome) -> u64 {
    opened.shared.partitions().iter().map(|status| status.row.outcomes[outcome as usize]).sum()
}

/// Returns the counts of the honest post, and its entry in each trending list at `now_ms`.
fn served(opened: &Opened, now_ms: i64) -> ([i64; 5], Vec<Option<Entry>>) {
    let state = opened.state.read();
    let number = state.post_ids.number(Id::from_u128(HONEST)).unwrap();
    let entry = |window| {
        let list = rank(&state, window, now_ms, &Overrides::default());
        list.entries.into_iter().find(|entry| entry.post == Id::from_u128(HONEST))
    };
    (state.posts.totals(number), Window::ALL.map(entry).to_vec())
}

/// The case that a user reported: a day of events that arrive three hours late, and one event whose time is days ahead.
#[test]
fn n14_one_record_of_the_future_makes_no_honest_event_late() {
    const EVENTS: i64 = 1_440;
    let end_ms = T + DAY_MS;
    for (number, days) in [0.5, 1.0, 3.0, 400.0, 30_000.0].into_iter().enumerate() {
        for reading in [Reading::Live, Reading::Later, Reading::Replay] {
            let partition = (number % 2) as i32;
            let place = [0, EVENTS as usize / 2, EVENTS as usize][number % 3];
            let mut records: Vec<_> = (0..EVENTS)
                .map(|n| (T + n * 60_000, n as u128))
                .map(|(at_ms, n)| honest(event(0, at_ms, at_ms - 3 * HOUR_MS, 1 + n, HONEST)))
                .collect();
            let ahead_ms = T + (days * DAY_MS as f64) as i64;
            records.insert(place, event(partition, ahead_ms, ahead_ms, 1_000_000, STRANGE));
            let (opened, _) = read(reading, &numbered(records), end_ms);
            let what = format!("{days} days ahead in partition {partition} at {place}, {reading:?}");
            assert_eq!(count(&opened, Outcome::Late), 0, "{what}");
            let state = opened.state.read();
            let number = state.post_ids.number(Id::from_u128(HONEST)).unwrap();
            assert_eq!(state.posts.totals(number)[Action::Impression as usize], EVENTS, "{what}");
        }
    }
}

#[derive(Clone, Debug)]
enum Strange {
    Event { partition: i32, log_ms: i64, event_ms: i64 },
    Like { log_ms: i64, created_us: i64 },
}

/// Draws times that a wrong clock may give.
fn any_time_ms() -> impl Strategy<Value = i64> {
    prop_oneof![
        any::<i64>(),
        Just(NO_TIMESTAMP),
        Just(0),
        Just(i64::MAX),
        (-4_000i64..30_000).prop_map(|days| T + days * DAY_MS),
        (-90i64..90).prop_map(|hours| T + hours * HOUR_MS),
    ]
}

fn strange() -> impl Strategy<Value = Strange> {
    let event = (0i32..3, any_time_ms(), any_time_ms()).prop_map(|(partition, log_ms, event_ms)| Strange::Event {
        partition,
        log_ms,
        event_ms,
    });
    let created = prop_oneof![any::<i64>(), any_time_ms().prop_map(|ms| ms.saturating_mul(1_000))];
    let like = (any_time_ms(), created).prop_map(|(log_ms, created_us)| Strange::Like { log_ms, created_us });
    prop_oneof![3 => event, 1 => like]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Strange events do not change the outcomes and lists of honest events, whatever times the strange events have and
    /// wherever they are in the log.
    #[test]
    fn n14_honest_events_are_as_without_any_others(
        steps in proptest::collection::vec((1i64..40, 0i64..20, 0i32..2, 0usize..10), 20..150),
        strangers in proptest::collection::vec((0usize..150, strange()), 0..60),
        reading in prop_oneof![Just(Reading::Live), Just(Reading::Later), Just(Reading::Replay)],
    ) {
        let (mut now_ms, mut records) = (T, vec![honest(post(HONEST)), honest(post(STRANGE))]);
        let mut sent: Vec<Record> = Vec::new();
        for ((minutes, age_hours, partition, again), id) in steps.into_iter().zip(1u128..) {
            now_ms += minutes * 60_000;
            // Some honest records are delivered a second time.
            let record = match sent.len().checked_sub(again + 1).filter(|_| again < 4) {
                Some(at) => Record { timestamp_ms: now_ms, partition, ..sent[at].clone() },
                None => honest(Record { partition, ..view(now_ms, now_ms - age_hours * HOUR_MS, id, HONEST) }),
            };
            sent.push(record.clone());
            records.push(record);
        }
        let (alone, _) = read(reading, &numbered(records.clone()), now_ms);
        for ((place, strange), id) in strangers.into_iter().zip(1_000_000u128..) {
            let record = match strange {
                Strange::Event { partition, log_ms, event_ms } => {
                    Record { partition, ..view(log_ms, event_ms, id, STRANGE) }
                }
                Strange::Like { log_ms, created_us } => like(log_ms, created_us, id, STRANGE),
            };
            // The strange record is put after the rows of the posts.
            records.insert(2 + place % (records.len() - 2), record);
        }
        let (among, backend) = read(reading, &numbered(records), now_ms);
        for at_ms in [now_ms - 3 * DAY_MS, now_ms - 5 * HOUR_MS, now_ms] {
            prop_assert_eq!(served(&among, at_ms), served(&alone, at_ms));
        }
        // N13: after a recovery, an event with a time in the future counts in the same place as before the recovery.
        let mut setup = setup("events");
        setup.clock = Clock::manual(now_ms);
        let again = |backend: &Recorder| app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap();
        let mut opened = again(&backend);
        prop_assert_eq!(state_bytes(&opened), state_bytes(&among));
        opened.writer.checkpoint().unwrap();
    }
}

/// In the case that a user reported, only 180 of 9 500 views still counted. A like with a date in 2099 counts as if its
/// date were the time of its arrival.
#[test]
fn n14_a_like_of_2099_counts_at_its_arrival() {
    let lists = |created_us| {
        [Reading::Live, Reading::Later, Reading::Replay].map(|reading| {
            let records = vec![honest(post(HONEST)), honest(post(STRANGE)), like(T, created_us, 77, HONEST)];
            served(&read(reading, &numbered(records), T).0, T + DAY_MS)
        })
    };
    let sane = lists(T * 1_000);
    assert_eq!(sane[0].0[Action::Like as usize], 1);
    assert_eq!(lists(4_070_908_800_000_000), sane);
    // The number 9223372036825200000 is Debezium's encoding of an infinite timestamp.
    assert_eq!(lists(9_223_372_036_825_200_000), sane);
}

/// The clock of the test's machine was months ahead for a while, and a record with a wrong time had moved the store's
/// watermarks.
#[test]
fn n14_marks_of_a_wrong_clock_heal_when_it_is_set_right() {
    let (mut setup, backend) = (setup("events"), Recorder::new());
    setup.clock = Clock::manual(T + 200 * DAY_MS);
    let ahead: Vec<_> = (0..50).map(|n| event(0, T + 200 * DAY_MS + n, T, 1 + n as u128, HONEST)).collect();
    let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
    opened.start(Box::new(Listed::new(numbered(ahead), 10)), &setup).unwrap().finish(|_| {}).unwrap();
    let image = backend.image(backend.syncs(), 0);
    {
        let store = store_over(image.clone());
        let mut meta = Meta::load(&store.read().unwrap()).unwrap().unwrap();
        meta.dedup_floor_ms = T + 199 * DAY_MS;
        let write = store.write().unwrap();
        meta.save(&write).unwrap();
        write.commit().unwrap();
    }
    setup.clock.set(T);
    let opened = app::open_store(&setup, store_over(image.clone())).unwrap();
    assert!(opened.shared.partitions()[0].row.arrival_ms <= T + HOUR_MS);
    let mut later: Vec<_> =
        (1..400).map(|n| event(0, T + n * 300_000, T + n * 300_000, 100 + n as u128, HONEST)).collect();
    later.iter_mut().zip(50..).for_each(|(record, offset)| record.offset = offset);
    opened.start(Box::new(Listed::live(later, 20, &setup.clock)), &setup).unwrap().finish(|_| {}).unwrap();
    let opened = app::open_store(&setup, store_over(image.image(image.syncs(), 0))).unwrap();
    assert_eq!([Outcome::Applied, Outcome::Late].map(|outcome| count(&opened, outcome)), [399, 50]);
}

/// An earlier version of nova lost a row without a timestamp in its capture, although a row needs no timestamp.
#[test]
fn a_capture_line_without_a_time_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("no_time.jsonl");
    let mut lines = Vec::new();
    for (number, time) in
        ["", r#""timestamp_ms":-1,"#, r#""timestamp_ms":null,"#, r#""timestamp_ms":0,"#].iter().enumerate()
    {
        for (topic, record) in
            [("cdc.posts", post(2 + number as u128)), ("events", event(0, 0, T, 1 + number as u128, 2))]
        {
            let text =
                |bytes: &Option<bytes::Bytes>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let (key, value) = (json!(text(&record.key)), json!(text(&record.value)));
            lines.push(format!(
                r#"{{"topic":"{topic}","partition":0,"offset":{number},{time}"key":{key},"value":{value}}}"#
            ));
        }
    }
    std::fs::write(&path, lines.join("\n")).unwrap();
    let (mut setup, backend) = (setup("events"), Recorder::new());
    setup.settings.time_of = TimeOf::File;
    let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
    let source = CaptureSource::new(vec![path]).unwrap();
    opened.start(Box::new(source), &setup).unwrap().finish(|_| {}).unwrap();
    let opened = app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap();
    assert_eq!(count(&opened, Outcome::Applied), 8);
    let minute = T.div_euclid(60_000);
    assert_eq!(opened.state.read().posts.counted(PostNo::of(0), minute..minute + 1)[Action::Impression as usize], 4);
}
