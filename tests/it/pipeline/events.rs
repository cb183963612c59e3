//! A stream of client events that contains duplicates, conflicts and malformed events.

use nova::app;
use nova::event::{Action, Outcome};
use nova::pipeline::dead;
use nova_storage::testing::Recorder;

use crate::support::events::{days, mix};
use crate::support::{run, setup, store_over};

#[test]
fn n5_a_hundred_thousand_events_give_exactly_the_expected_counts_and_dead_letters() {
    let (records, expected) = mix(100_000, 7);
    let setup = setup("events");
    let backend = Recorder::new();
    let statuses = run(&setup, store_over(backend.clone()), records);
    let count = |outcome| statuses.iter().map(|status| status.count(outcome)).sum::<u64>();
    assert_eq!(count(Outcome::Applied), expected.applied);
    assert_eq!(count(Outcome::Duplicate), expected.duplicate);
    assert_eq!(count(Outcome::Dead), expected.dead);
    assert_eq!(count(Outcome::Late) + count(Outcome::Stale) + count(Outcome::Ignored), 0);
    let conflicts: u64 = statuses.iter().map(|status| status.row.conflicts).sum();
    assert_eq!(conflicts, expected.conflicts);

    let opened = app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap();
    let state = opened.state.read();
    let mut accepted = [0; Action::ALL.len()];
    expected.accepted.iter().for_each(|((_, action), count)| accepted[*action as usize] += count);
    let figures = days(&state);
    assert_eq!(Action::ALL.map(|action| figures.values().map(|events| events[action as usize]).sum::<u64>()), accepted);
    for ((post, action), count) in &expected.accepted {
        // An impression counts once for each user and day, like a view or a share.
        if *action == Action::Impression as u8 {
            let number = state.post_ids.number(*post).unwrap();
            assert!((1..=*count as i64).contains(&state.posts.totals(number)[0]));
        }
    }
    let read = opened.store.read().unwrap();
    let (mut letters, mut after) = (Vec::new(), None);
    loop {
        let page = dead::page(&read, after, 400).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.0);
        letters.extend(page);
    }
    let reasons = |reason: &str| letters.iter().filter(|(_, letter)| letter.reason == reason).count() as u64;
    // The first thousand conflicts of a partition all become dead letters.
    assert_eq!(reasons("conflict"), expected.conflicts);
    assert_eq!(letters.len() as u64, expected.dead + expected.conflicts);
    assert!(letters.iter().all(|(_, letter)| !letter.detail.is_empty() && letter.value.is_some()));
}
