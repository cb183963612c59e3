//! Tests in which two batches of one table are sent at the same time.

use std::collections::BTreeSet;
use std::time::Duration;

use nova_storage::testing::Recorder;

use super::super::support::clickhouse::{Fake, Fault};
use super::super::support::{run, store_over};
use super::faults::assert_exactly_once;
use super::{events, setup};

/// Returns a store and a number of ids. The store's outbox has more than 30 sealed batches of events that no process
/// has sent, and the number says how many ids ClickHouse must get from these batches.
fn waiting(fake: &Fake, seed: u64) -> (Recorder, u64) {
    let (records, applied) = events(1_600, seed);
    fake.inner.lock().always = Some(Fault::Reject);
    let mut setup = setup("events", &fake.url, "nova");
    setup.drain.idle = Duration::ZERO;
    let backend = Recorder::new();
    // Each run of nova seals the rows of its records in a batch.
    records.chunks(50).for_each(|part| drop(run(&setup, store_over(backend.clone()), part.to_vec())));
    let mut inner = fake.inner.lock();
    (inner.always, inner.inserts) = (None, Vec::new());
    (backend, applied)
}

/// Returns the tokens of the inserts in the order of their arrival.
fn tokens(fake: &Fake) -> Vec<String> {
    fake.inner.lock().inserts.iter().map(|(token, ..)| token.clone()).collect()
}

#[test]
fn a_batch_that_gets_no_answer_does_not_hold_up_the_next_one() {
    let fake = Fake::start();
    let (backend, applied) = waiting(&fake, 21);
    fake.script([Some(Fault::Hang)]);
    let mut setup = setup("events", &fake.url, "nova");
    setup.clickhouse.as_mut().unwrap().timeout = Duration::from_secs(2);
    run(&setup, store_over(backend), Vec::new());
    let tokens = tokens(&fake);
    let again = tokens.iter().rposition(|token| *token == tokens[0]).unwrap();
    assert!(again > 4, "the batch without an answer was repeated before others were sent: {tokens:?}");
    assert_exactly_once(&fake, applied, "one hangs");
}

/// ClickHouse remembers the tokens of few inserts, and more inserts than that come between two attempts of a batch.
#[test]
fn n5_a_batch_that_others_overtook_is_looked_for_when_its_token_may_be_forgotten() {
    let fake = Fake::start();
    let (backend, applied) = waiting(&fake, 23);
    fake.script([Some(Fault::Hang)]);
    fake.inner.lock().window_max = 6;
    let mut setup = setup("events", &fake.url, "nova");
    setup.clickhouse.as_mut().unwrap().timeout = Duration::from_secs(2);
    setup.pace.overtaken_max = 5;
    run(&setup, store_over(backend), Vec::new());
    assert!(tokens(&fake).len() > 30);
    assert_exactly_once(&fake, applied, "others overtook a batch without an answer");
}

#[test]
fn while_a_batch_fails_at_most_one_other_batch_is_tried() {
    let fake = Fake::start();
    let (backend, applied) = waiting(&fake, 22);
    let refusals = 40;
    fake.script(vec![Some(Fault::Code(60)); refusals]);
    run(&setup("events", &fake.url, "nova"), store_over(backend), Vec::new());
    let tokens = tokens(&fake);
    let tried: BTreeSet<_> = tokens[..refusals].iter().collect();
    assert_eq!(tried.len(), 2, "{tried:?}");
    let second = tokens[..refusals].iter().filter(|token| **token != tokens[refusals - 1]).count();
    assert!(second <= 1, "both batches were repeated: {tokens:?}");
    assert!(tokens.iter().collect::<BTreeSet<_>>().len() > 30, "{tokens:?}");
    assert_exactly_once(&fake, applied, "all is refused first");
}
