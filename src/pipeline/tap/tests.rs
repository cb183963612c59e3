use super::*;
use crate::clock::monotonic_now;

fn record(offset: i64, topic: &str, outcome: Outcome, user: u128) -> Tapped {
    let user = Id::from_u128(user);
    Tapped {
        topic: topic.into(),
        partition: 0,
        offset,
        timestamp_ms: 1,
        outcome,
        what: What::Event { user, post: Id::from_u128(7), action: Action::View },
        version: None,
        effect: String::new(),
        about: About { users: vec![user], posts: vec![Id::from_u128(7)] },
    }
}

fn heard(listening: &mut Listening) -> Vec<(i64, u64)> {
    std::iter::from_fn(|| listening.heard.try_recv().ok()).map(|heard| (heard.record.offset, heard.left_out)).collect()
}

fn nothing(_: usize) -> Option<Raw> {
    panic!("nobody asked for bytes");
}

#[test]
fn bytes_are_made_once_and_only_for_listeners_that_want_them_and_have_room() {
    let tap = Arc::<Tap>::default();
    let (mut bare, other) = (tap.listen(Filter::default(), false).unwrap(), Id::from_u128(8));
    assert!(!tap.wants_raw());
    let (mut one, mut two) =
        (tap.listen(Filter::default(), true).unwrap(), tap.listen(Filter::default(), true).unwrap());
    let of_another_post = Filter { post: Some(other), ..Filter::default() };
    let mut none = tap.listen(of_another_post, true).unwrap();
    assert!(tap.wants_raw());
    let many: Vec<_> = (0..150).map(|offset| record(offset, "events", Outcome::Applied, 3)).collect();
    let made = std::cell::Cell::new(0);
    let raw = |place: usize| {
        made.set(made.get() + 1);
        let value = RawPart { bytes: vec![b'x'; place], whole_bytes: place as u64 };
        Some(Raw { key: None, value: Some(value), headers: Vec::new(), headers_left_out: 0 })
    };
    let begin = monotonic_now();
    tap.tell(&many, 0, begin, raw);
    assert_eq!(made.get(), SAMPLE_PER_S);
    for listening in [&mut one, &mut two] {
        let heard = std::iter::from_fn(|| listening.heard.try_recv().ok());
        let lengths: Vec<_> = heard.map(|heard| heard.raw.unwrap().value.clone().unwrap().whole_bytes).collect();
        assert!(lengths.iter().copied().eq(0..u64::from(SAMPLE_PER_S)), "{lengths:?}");
    }
    assert!(bare.heard.try_recv().unwrap().raw.is_none() && none.heard.try_recv().is_err());
    drop((one, two, none));
    assert!(tap.wanted() && !tap.wants_raw());
    tap.tell(&many, 0, begin + SAMPLE_TIME, nothing);
}

#[test]
fn a_listener_gets_what_it_asked_for_and_counts_of_what_it_did_not_get() {
    let tap = Arc::<Tap>::default();
    assert!(!tap.wanted());
    let filter = Filter {
        topic: Some("likes".into()),
        outcome: Some(Outcome::Applied),
        user: Some(Id::from_u128(1)),
        post: Some(Id::from_u128(7)),
    };
    let (mut some, mut all) = (tap.listen(filter, false).unwrap(), tap.listen(Filter::default(), false).unwrap());
    assert!(tap.wanted());
    let records = [
        record(1, "cdc.likes", Outcome::Applied, 1),
        record(2, "cdc.likes", Outcome::Stale, 1),
        record(3, "cdc.likes", Outcome::Applied, 2),
        record(4, "cdc.posts", Outcome::Applied, 1),
    ];
    let begin = monotonic_now();
    tap.tell(&records, 0, begin, nothing);
    assert_eq!(heard(&mut some), [(1, 0)]);
    assert_eq!(heard(&mut all), [(1, 0), (2, 0), (3, 0), (4, 0)]);
    // The test commits more records than a listener gets in a second. The records above the limit are counted, and the
    // number is reported with the next record.
    let many: Vec<_> = (0..150).map(|offset| record(offset, "events", Outcome::Applied, 3)).collect();
    tap.tell(&many, 7, begin + SAMPLE_TIME, nothing);
    assert_eq!(heard(&mut all).len(), SAMPLE_PER_S as usize);
    tap.tell(&many[..1], 0, begin + SAMPLE_TIME * 2, nothing);
    assert_eq!(heard(&mut all), [(0, 57)]);
    // A listener that does not read loses the records that do not fit into its queue, and the writer does not wait for
    // the listener.
    for second in 3..10 {
        tap.tell(&many, 0, begin + SAMPLE_TIME * second, nothing);
    }
    let last = heard(&mut all);
    assert_eq!(last.len(), QUEUE_MAX_RECORDS);
    let others: Vec<_> = (0..TAPS_MAX - 2).map(|_| tap.listen(Filter::default(), false).unwrap()).collect();
    assert!(tap.listen(Filter::default(), false).is_none());
    drop((some, all, others));
    assert!(!tap.wanted());
}
