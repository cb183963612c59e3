use std::time::Duration;

use proptest::prelude::*;

use super::*;

const FAILURES: u32 = 5;
const PAUSE_MS: i64 = 1_000;

/// A breaker whose pauses all have one length.
fn plain() -> Breaker {
    let pauses = Backoff::always(Duration::from_millis(PAUSE_MS as u64));
    Breaker::new(BreakerSettings { failures_to_open: FAILURES, failures_to_pause: FAILURES, pauses })
}

/// A breaker that opened at this time.
fn opened(at_ms: i64) -> Breaker {
    let mut breaker = plain();
    for _ in 0..FAILURES {
        breaker.failed(at_ms);
    }
    breaker
}

#[test]
fn it_opens_after_failures_in_a_row_tries_once_and_closes_on_an_answer() {
    let mut breaker = plain();
    assert!((1..FAILURES).all(|_| breaker.admit(0) == 0 && !breaker.failed(0)));
    assert_eq!((breaker.admit(0), breaker.state(0)), (0, BreakerState::Closed));
    assert!(breaker.failed(10) && breaker.is_open());
    assert_eq!((breaker.admit(10), breaker.state(10)), (PAUSE_MS, BreakerState::Open));
    let later = 10 + PAUSE_MS;
    assert_eq!((breaker.admit(later - 1), breaker.state(later)), (1, BreakerState::HalfOpen));
    assert_eq!(breaker.admit(later), 0);
    assert_eq!((breaker.admit(later), breaker.pause_left_ms(later)), (PAUSE_MS / 10, 0), "one trial at a time");
    assert_eq!(breaker.state(later), BreakerState::HalfOpen);
    assert!(!breaker.failed(later), "it was open");
    assert!(breaker.admit(later + 1) > 0);
    assert_eq!(breaker.admit(later + PAUSE_MS), 0);
    breaker.answered();
    assert_eq!((breaker.admit(later), breaker.state(later)), (0, BreakerState::Closed));
    assert!(!breaker.failed(later) && !breaker.is_open(), "failures count anew");
}

#[test]
fn a_trial_without_a_result_does_not_hold_the_next_one_for_ever() {
    let mut breaker = opened(0);
    assert_eq!(breaker.admit(PAUSE_MS), 0);
    assert!(breaker.admit(PAUSE_MS + TRIAL_MAX_MS - 1) > 0);
    assert_eq!(breaker.admit(PAUSE_MS + TRIAL_MAX_MS), 0);
    assert!(breaker.admit(PAUSE_MS + TRIAL_MAX_MS) > 0);
}

#[test]
fn a_clock_that_is_set_back_lets_one_try() {
    let mut breaker = opened(1_000_000);
    assert!(breaker.admit(1_000_000) > 0);
    assert!(breaker.admit(-5) == 0 && breaker.admit(-5) > 0, "one tries");
    assert!(breaker.admit(-1_000_000) == 0 && breaker.admit(-1_000_000) > 0, "a trial is not waited for, either");
    breaker.failed(-1_000_000);
    assert_eq!(breaker.admit(-1_000_000), PAUSE_MS);
    assert_eq!(breaker.admit(PAUSE_MS - 1_000_000), 0);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(i64),
    SetBack(i64),
    Admit,
    Answer,
    Fail,
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..3_000i64).prop_map(Step::Pass),
        1 => (0..2 * TRIAL_MAX_MS).prop_map(Step::Pass),
        1 => (0..10_000i64).prop_map(Step::SetBack),
        4 => Just(Step::Admit),
        1 => Just(Step::Answer),
        4 => Just(Step::Fail),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn whatever_happens_it_pauses_tries_and_closes_by_its_rules(
        failures_to_open in 1..6u32,
        earlier in 0..5u32,
        first_ms in 1..2_000u64,
        more_ms in 0..60_000u64,
        begin_ms in -1_000_000..1_000_000i64,
        steps in any_steps(),
    ) {
        let failures_to_pause = failures_to_open.saturating_sub(earlier).max(1);
        let (first, last) = (Duration::from_millis(first_ms), Duration::from_millis(first_ms + more_ms));
        let pauses = Backoff { first, last };
        let mut breaker = Breaker::new(BreakerSettings { failures_to_open, failures_to_pause, pauses });
        let (mut now_ms, mut in_a_row, mut failed_ms, mut trial_ms) = (begin_ms, 0u32, 0i64, None::<i64>);
        for step in steps {
            // The state that the rules demand before the step of the test.
            let pause_ms = in_a_row.checked_sub(failures_to_pause).map_or(0, |before| pauses.wait_ms(before));
            let within = |from_ms: i64, length_ms: i64| (from_ms..from_ms + length_ms).contains(&now_ms);
            let trying = trial_ms.is_some_and(|begun_ms| within(begun_ms, TRIAL_MAX_MS));
            let resting = trial_ms.is_none() && within(failed_ms, pause_ms);
            let state = match resting {
                _ if in_a_row < failures_to_open => BreakerState::Closed,
                true => BreakerState::Open,
                false => BreakerState::HalfOpen,
            };
            prop_assert_eq!(breaker.state(now_ms), state);
            prop_assert_eq!(breaker.is_open(), in_a_row >= failures_to_open);
            prop_assert_eq!(breaker.pause_left_ms(now_ms), if resting { failed_ms + pause_ms - now_ms } else { 0 });
            match step {
                Step::Pass(ms) => now_ms += ms,
                Step::SetBack(ms) => now_ms -= ms,
                Step::Admit => {
                    let wait_ms = breaker.admit(now_ms);
                    prop_assert!((0..=pause_ms).contains(&wait_ms), "{wait_ms} ms in a pause of {pause_ms} ms");
                    prop_assert_eq!(wait_ms > 0, trying || resting, "{:?}", breaker);
                    if wait_ms == 0 && in_a_row >= failures_to_pause {
                        trial_ms = Some(now_ms);
                        prop_assert!(breaker.admit(now_ms) > 0, "one trial at a time");
                    } else if resting {
                        prop_assert_eq!(breaker.clone().admit(now_ms + wait_ms), 0, "who waits as told may try");
                    }
                }
                Step::Answer => {
                    breaker.answered();
                    (in_a_row, trial_ms) = (0, None);
                    prop_assert_eq!(breaker.admit(now_ms), 0);
                }
                Step::Fail => {
                    let opened = breaker.failed(now_ms);
                    in_a_row += 1;
                    (failed_ms, trial_ms) = (now_ms, None);
                    prop_assert_eq!(opened, in_a_row == failures_to_open);
                }
            }
        }
    }
}
