//! Waits until a node has applied, committed and delivered everything that it accepted.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};

use crate::breaker::BreakerState;
use crate::clock::monotonic_now;
use crate::event::Record;
use crate::http::Edge;
use crate::http::testing::Refused;
use crate::pipeline::writer::Message;
use crate::warehouse::status::TargetStatus;

use super::felt::Felt;
use super::stand_in::StandIn;

/// The maximum time that a call of a control route waits. The edge ends a request after 30 s with an error. The wait of
/// a call is shorter than 30 s, so that the client gets the reason and not the error of the edge.
const SETTLE_WAIT: Duration = Duration::from_secs(20);
/// How often a wait looks whether rows are delivered.
const LOOK_EVERY: Duration = Duration::from_millis(1);

fn late(what: &str) -> Refused {
    Refused::Late(format!("{what} within {} s", SETTLE_WAIT.as_secs()))
}

/// Returns the deadline for all waits of a call that begins now.
pub(super) fn limit() -> Instant {
    monotonic_now() + SETTLE_WAIT
}

/// Hands records to the source after the source has taken all earlier records.
pub(super) fn hand_over(edge: &Edge, records: Vec<Record>, limit: Instant) -> Result<(), Refused> {
    let captures = edge.intake.captures.as_ref().ok_or_else(|| Refused::No("takes no captures".to_owned()))?;
    let most = limit.saturating_duration_since(monotonic_now());
    captures.hand_over(records, most).map_err(|_| late("records are not taken"))
}

/// Waits until the writer has handled all earlier messages.
pub(super) fn barrier(inbox: &Sender<Message>, make: fn(Sender<()>) -> Message, limit: Instant) -> Result<(), Refused> {
    let (told, done) = bounded(1);
    send(inbox, make(told), limit)?;
    done.recv_deadline(limit).map_err(|_| late("the writer is not done"))
}

/// Waits until the stand-in for ClickHouse has the rows that are committed now, or until it is certain that a fault
/// prevents their delivery.
pub(super) fn delivered(
    stand_in: &StandIn,
    edge: &Edge,
    inbox: &Sender<Message>,
    limit: Instant,
) -> Result<(), Refused> {
    let Some(status) = &edge.watch.warehouse else { return Ok(()) };
    // The wait for deliveries does not include rows that later calls commit, because the batch of such rows may stay
    // open while the clock stands still.
    let before = status.targets();
    send(inbox, Message::Seal, limit)?;
    barrier(inbox, Message::Barrier, limit)?;
    until("rows are not delivered", limit, || {
        // The state of the breaker is read after the requests are counted, so the state is at least as new as the
        // count.
        let felt = stand_in.felt();
        arrived(&before, &status.targets(), status.breaker_state(), felt.as_ref())
    })
}

/// Waits until the delivery has prepared the tables and can deliver rows. If a fault were set before the end of this
/// wait, nova would report a fault of the start.
pub(super) fn prepared(edge: &Edge) -> Result<(), Refused> {
    let Some(status) = &edge.watch.warehouse else { return Ok(()) };
    until("the stand-in for ClickHouse is not ready", limit(), || status.prepared.load(Ordering::Relaxed))
}

fn until(otherwise: &str, limit: Instant, done: impl Fn() -> bool) -> Result<(), Refused> {
    let (_nobody, tick) = bounded::<()>(0);
    while !done() {
        if monotonic_now() >= limit {
            return Err(late(otherwise));
        }
        // No thread sends on the channel, so the receive only waits for the given time.
        let _ = tick.recv_timeout(LOOK_EVERY);
    }
    Ok(())
}

/// Whether each table has the rows of `before`, or lacks them because of the present fault.
fn arrived(before: &[TargetStatus], now: &[TargetStatus], breaker: BreakerState, felt: Option<&Felt>) -> bool {
    let stalls = |now: &TargetStatus| felt.is_some_and(|felt| felt.stalls(now.stalled.as_deref()));
    let settled = |(before, now): (&TargetStatus, &TargetStatus)| now.delivered_below(before.next_batch) || stalls(now);
    felt.is_some_and(|felt| felt.keeps_all(breaker)) || before.iter().zip(now).all(settled)
}

fn send(inbox: &Sender<Message>, message: Message, limit: Instant) -> Result<(), Refused> {
    inbox.send_deadline(message, limit).map_err(|_| late("the writer is not done"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(next_batch: u64, first_waiting_batch: Option<u64>, stalled: Option<&str>) -> TargetStatus {
        let stalled = stalled.map(Into::into);
        TargetStatus { next_batch, first_waiting_batch, stalled, ..TargetStatus::default() }
    }

    #[test]
    fn the_wait_is_for_earlier_batches_and_not_for_later_ones() {
        let before = [status(7, Some(5), None), status(2, None, None)];
        let is = |now: [TargetStatus; 2]| arrived(&before, &now, BreakerState::Closed, None);
        assert!(!is([status(9, Some(6), None), status(2, None, None)]));
        assert!(is([status(9, Some(7), None), status(5, Some(2), None)]));
        assert!(is([status(9, None, None), status(5, Some(3), None)]));
    }

    #[test]
    fn a_fault_ends_the_wait_only_by_what_it_caused() {
        let (before, closed) = ([status(7, Some(3), None)], BreakerState::Closed);
        let now = [status(7, Some(3), Some("Code: 60. DB::Exception: no such table"))];
        let words = Some("Code: 60. DB::Exception: no such table".to_owned());
        let fault = Felt { met: 1, keeps_rows: true, words };
        assert!(arrived(&before, &now, closed, Some(&fault)));
        let others = [None, Some("Code: 241. DB::Exception: a test says so".to_owned())];
        for words in others {
            let fault = Felt { words, ..fault.clone() };
            assert!(!arrived(&before, &now, closed, Some(&fault)), "{fault:?}");
        }
        assert!(!arrived(&before, &now, closed, Some(&Felt { met: 0, ..fault })));
        assert!(!arrived(&before, &now, BreakerState::Open, None));
    }
}
