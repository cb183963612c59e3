use super::*;
use nova_storage::Store;
use nova_storage::testing::Recorder;
use nova_storage::testing::mutate::{check_values, mutated};
use proptest::prelude::*;
use std::collections::HashMap;
use xxhash_rust::xxh3::xxh3_128;

const HORIZON_MS: i64 = 24 * 3_600_000;

fn store() -> Store {
    Store::open_backend(Recorder::new(), &nova_storage::Options::default()).unwrap()
}

fn entry(id: u32, payload: u64) -> Entry {
    Entry::new(xxh3_128(&id.to_le_bytes()), payload)
}

/// Returns times in which the watermark and the node's clock are equal and arrivals have no upper limit.
fn at(now_ms: i64) -> Times {
    Times { watermark_ms: now_ms, now_ms, latest_ms: i64::MAX, horizon_ms: HORIZON_MS }
}

fn commit(dedup: &mut Dedup, store: &Store, times: Times) {
    let write = store.write().unwrap();
    dedup.commit(&write, times).unwrap();
    write.commit().unwrap();
}

fn reload(dedup: &Dedup, store: &Store) -> Dedup {
    Dedup::load(&store.read().unwrap(), dedup.floor_ms()).unwrap()
}

/// Adds one entry in each hour of the node's clock, and this hour is also the entry's arrival.
fn hours(dedup: &mut Dedup, store: &Store, hours: std::ops::Range<i64>) {
    for hour in hours {
        dedup.insert(entry(hour as u32, 0), hour * SEGMENT_MAX_MS);
        commit(dedup, store, at(hour * SEGMENT_MAX_MS));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Compares the dedup set with a map. The test uses any ids and payloads, arrivals that jump forward and back by an
    /// hour, segments that are sealed by age, and restarts at any point.
    #[test]
    fn n5_an_id_is_new_once_within_the_horizon(
        steps in proptest::collection::vec(
            (0u32..40, 0u64..2, -1_800_000i64..7_200_000, any::<bool>(), 0u8..10), 1..200
        ),
    ) {
        let store = store();
        let mut dedup = Dedup::load(&store.read().unwrap(), 0).unwrap();
        let mut model: HashMap<u32, u64> = HashMap::new();
        let mut now_ms = 1_000_000_000;
        for (id, payload, step_ms, flush, restart) in steps {
            // The time moves forward in small steps and back in large ones.
            now_ms += if step_ms < 0 { step_ms * 2 } else { step_ms / 50 };
            let seen = dedup.check(entry(id, payload), &store.read().unwrap()).unwrap();
            let expected = match model.get(&id) {
                None => Seen::New,
                Some(first) if *first == payload => Seen::Duplicate,
                Some(_) => Seen::Conflict,
            };
            prop_assert_eq!(seen, expected);
            if seen == Seen::New {
                dedup.insert(entry(id, payload), now_ms);
                model.insert(id, payload);
            }
            if flush || restart == 0 {
                commit(&mut dedup, &store, at(now_ms));
                prop_assert_eq!(dedup.keys(), model.len() as u64);
            }
            if restart == 0 {
                dedup = Dedup::load(&store.read().unwrap(), dedup.floor_ms()).unwrap();
                prop_assert_eq!(dedup.keys(), model.len() as u64);
            }
        }
    }

    #[test]
    fn mutated_segments_are_errors_or_segments_with_these_bytes(
        entries in proptest::collection::btree_map(any::<u32>(), any::<u64>(), 1..40), arrival_ms: i64, seed: u64,
    ) {
        let mut open = Open::new(0);
        for (id, payload) in &entries {
            open.insert(entry(*id, *payload), arrival_ms);
            open.batch.push(entry(*id, *payload));
        }
        open.opened_ms = Some(arrival_ms);
        let batch = |bytes: &[u8]| {
            let mut open = Open::new(0);
            decode_batch(bytes, &mut open)?;
            Ok((open.table.len(), open.opened_ms, bytes[1..].to_vec()))
        };
        let again = |(_, _, rest): &(usize, Option<i64>, Vec<u8>)| [&[BATCH_VERSION], rest.as_slice()].concat();
        check_values(&encode_batch(&open), seed, batch, again);

        let store = store();
        let write = store.write().unwrap();
        let all: Vec<_> = open.table.into_iter().collect();
        let sealed = Sealed::write(7, all, arrival_ms, arrival_ms, &write).unwrap();
        write.commit().unwrap();
        let stored = store.read().unwrap().get(nova_storage::schema::DEDUP_SEGMENT, 7).unwrap().unwrap();
        let of = |bytes: &[u8]| sealed::decode(7, bytes).map(|sealed| sealed.encode());
        check_values(&stored, seed, of, Vec::clone);
        drop(sealed);

        let chunk = store.read().unwrap().get(nova_storage::schema::DEDUP_KEYS, (7, 0)).unwrap().unwrap();
        for (number, (id, payload)) in (0..).zip(&entries) {
            let wanted = entry(*id, *payload);
            prop_assert_eq!(sealed::find(&chunk, wanted), Ok(Some(wanted)));
            let mutant = mutated(&chunk, seed.wrapping_add(number));
            if let Ok(Some(found)) = sealed::find(&mutant, wanted) {
                prop_assert!(found.same_event(wanted));
            }
        }
    }
}

#[test]
fn what_is_dropped_raises_the_floor_above_its_arrivals() {
    let store = store();
    let mut dedup = Dedup::load(&store.read().unwrap(), 0).unwrap();
    for hour in 0..30i64 {
        for id in 0..10 {
            dedup.insert(entry(hour as u32 * 10 + id, 0), hour * SEGMENT_MAX_MS + i64::from(id) * 400_000);
        }
        commit(&mut dedup, &store, at(hour * SEGMENT_MAX_MS));
    }
    assert!(dedup.floor_ms() > 0 && dedup.floor_ms() <= 30 * SEGMENT_MAX_MS - HORIZON_MS);
    let read = store.read().unwrap();
    for hour in 0..30i64 {
        for id in 0..10 {
            let arrival_ms = hour * SEGMENT_MAX_MS + i64::from(id) * 400_000;
            let seen = dedup.check(entry(hour as u32 * 10 + id as u32, 0), &read).unwrap();
            assert!(seen == Seen::Duplicate || arrival_ms < dedup.floor_ms());
        }
    }
    assert!(dedup.keys() < 290, "old segments are dropped");
}

/// In an earlier version the open segment was loaded under the number 0, and its blobs stayed for ever.
#[test]
fn the_open_segment_keeps_its_number_when_every_sealed_one_is_gone() {
    let store = store();
    let mut dedup = Dedup::load(&store.read().unwrap(), 0).unwrap();
    let short = |now_ms| Times { horizon_ms: 4 * SEGMENT_MAX_MS, ..at(now_ms) };
    dedup.insert(entry(1, 0), 0);
    commit(&mut dedup, &store, short(0));
    dedup.insert(entry(2, 0), SEGMENT_MAX_MS);
    commit(&mut dedup, &store, short(SEGMENT_MAX_MS));
    let later_ms = 6 * SEGMENT_MAX_MS;
    for id in 3..6 {
        dedup.insert(entry(id, 0), later_ms);
        commit(&mut dedup, &store, short(later_ms));
        dedup = reload(&dedup, &store);
        assert_eq!((dedup.open.segment, dedup.keys()), (1, u64::from(id) - 2));
    }
    dedup.insert(entry(6, 0), later_ms + SEGMENT_MAX_MS);
    commit(&mut dedup, &store, short(later_ms + SEGMENT_MAX_MS));
    let dedup = reload(&dedup, &store);
    assert_eq!((dedup.open.segment, dedup.keys()), (2, 4));
}

/// In an earlier version, one record whose time was days ahead made nova forget everything before that time.
#[test]
fn n14_what_records_claim_forgets_nothing_before_the_nodes_clock_has_passed_the_horizon_too() {
    let store = store();
    let mut dedup = Dedup::load(&store.read().unwrap(), i64::MIN).unwrap();
    let far_ms = 400 * HORIZON_MS;
    hours(&mut dedup, &store, 0..20);
    dedup.insert(entry(1_000, 0), far_ms);
    let now_ms = 20 * SEGMENT_MAX_MS;
    commit(&mut dedup, &store, Times { watermark_ms: far_ms, ..at(now_ms) });
    assert_eq!((dedup.keys(), dedup.floor_ms()), (21, i64::MIN));
    // nova forgets nothing after a week in which the node was down, and nothing after a change of the node's clock.
    dedup = reload(&dedup, &store);
    commit(&mut dedup, &store, Times { watermark_ms: far_ms, ..at(now_ms + 7 * HORIZON_MS) });
    let floor_ms = dedup.floor_ms();
    assert!(floor_ms < now_ms - 16 * SEGMENT_MAX_MS, "of the last hours nothing is forgotten: {floor_ms}");
}

#[test]
fn n14_what_a_wrong_clock_put_into_the_future_heals_when_it_is_set_right() {
    let store = store();
    let mut dedup = Dedup::load(&store.read().unwrap(), i64::MIN).unwrap();
    let far = 10_000;
    hours(&mut dedup, &store, far..far + 3);
    assert_eq!(dedup.sealed.len(), 1);
    dedup.floor_ms = far * SEGMENT_MAX_MS;
    let right = |hour: i64| Times { latest_ms: (hour + 1) * SEGMENT_MAX_MS, ..at(hour * SEGMENT_MAX_MS) };
    for hour in 1..40 {
        dedup.insert(entry(hour as u32, 0), hour * SEGMENT_MAX_MS);
        dedup.heal_floor(right(hour));
        commit(&mut dedup, &store, right(hour));
        dedup = reload(&dedup, &store);
        assert!(dedup.floor_ms() <= hour.max(1) * SEGMENT_MAX_MS, "in hour {hour}");
    }
    let read = store.read().unwrap();
    assert!(dedup.sealed.iter().all(|segment| segment.max_ms <= 40 * SEGMENT_MAX_MS));
    assert_eq!(dedup.check(entry(far as u32, 0), &read).unwrap(), Seen::New, "forgotten like everything else");
    assert_eq!(dedup.check(entry(39, 0), &read).unwrap(), Seen::Duplicate);
}

#[test]
fn segments_are_bounded_however_little_time_has_passed() {
    let store = store();
    let mut dedup = Dedup::load(&store.read().unwrap(), i64::MIN).unwrap();
    let hours = SEALED_MAX_SEGMENTS as i64 * 3;
    for hour in 0..hours {
        dedup.insert(entry(hour as u32, 0), hour * SEGMENT_MAX_MS);
        let write = store.write().unwrap();
        dedup.seal(&write, 0).unwrap();
        dedup.drop_old(&write, Times { now_ms: 0, ..at(hour * SEGMENT_MAX_MS) }).unwrap();
        write.commit().unwrap();
    }
    assert_eq!(dedup.sealed.len(), SEALED_MAX_SEGMENTS);
    assert_eq!(dedup.floor_ms(), (hours - SEALED_MAX_SEGMENTS as i64 - 1) * SEGMENT_MAX_MS + 1);
}

#[test]
fn a_full_segment_is_sealed_and_found_again_with_its_conflicts() {
    let store = store();
    let mut dedup = Dedup::load(&store.read().unwrap(), 0).unwrap();
    let many = SEGMENT_MAX_KEYS as u32 + 10;
    for id in 0..many {
        dedup.insert(entry(id, 7), 1);
        if id % 50_000 == 49_999 || id + 1 == many {
            commit(&mut dedup, &store, at(1));
        }
    }
    assert_eq!(dedup.sealed.len(), 1);
    let dedup = Dedup::load(&store.read().unwrap(), 0).unwrap();
    let read = store.read().unwrap();
    for id in (0..many).step_by(997) {
        assert_eq!(dedup.check(entry(id, 7), &read).unwrap(), Seen::Duplicate);
        assert_eq!(dedup.check(entry(id, 8), &read).unwrap(), Seen::Conflict);
        assert_eq!(dedup.check(entry(id + many, 7), &read).unwrap(), Seen::New);
    }
    assert_eq!(dedup.keys(), u64::from(many));
    assert!(dedup.mem_bytes() < 3 * many as usize, "{} bytes", dedup.mem_bytes());
}

#[test]
fn delivered_events_are_new_and_known_as_delivered_until_the_horizon_is_past() {
    let store = store();
    let (read, write) = (store.read().unwrap(), store.write().unwrap());
    let mut writer = DeliveredWriter::new(&read, 0).unwrap();
    for id in 0..1_000 {
        writer.insert(entry(id, 0), i64::from(id), &write).unwrap();
    }
    writer.finish(&write).unwrap();
    write.commit().unwrap();
    let mut dedup = Dedup::load(&store.read().unwrap(), 0).unwrap();
    let read = store.read().unwrap();
    for id in [0, 999] {
        assert_eq!(dedup.check(entry(id, 1), &read).unwrap(), Seen::New);
        assert!(dedup.delivered(entry(id, 1), &read).unwrap(), "whatever the payload");
    }
    assert!(!dedup.delivered(entry(1_000, 0), &read).unwrap());
    assert_eq!((dedup.keys(), dedup.open.segment), (0, 0));
    commit(&mut dedup, &store, at(HORIZON_MS + 999));
    assert!(dedup.delivered(entry(7, 0), &store.read().unwrap()).unwrap());
    commit(&mut dedup, &store, at(HORIZON_MS + 1_000));
    assert!(!dedup.delivered(entry(7, 0), &store.read().unwrap()).unwrap());
    assert_eq!(dedup.floor_ms(), 1_000, "what may still come of that time is late");
    assert_eq!(Dedup::load(&store.read().unwrap(), 0).unwrap().delivered.len(), 0);
}
