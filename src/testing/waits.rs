//! Waits until what is on its way in a node has arrived.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use crate::breaker::BreakerState;
use crate::clock::monotonic_now;
use crate::event::Record;
use crate::http::Edge;
use crate::http::testing::Refused;
use crate::pipeline::writer::Message;
use crate::warehouse::status::Status;

use super::stand_in::StandIn;

/// How long a call waits for what is on its way.
const SETTLE_WAIT: Duration = Duration::from_secs(30);
/// How often it is looked whether rows are delivered.
const LOOK_EVERY: Duration = Duration::from_millis(1);

fn late(what: &str) -> Refused {
    Refused::Late(format!("{what} within {} s", SETTLE_WAIT.as_secs()))
}

/// Hands records to the source, once those before them are taken.
pub(super) fn hand_over(edge: &Edge, records: Vec<Record>) -> Result<(), Refused> {
    let captures = edge.intake.captures.as_ref().ok_or_else(|| Refused::No("takes no captures".to_owned()))?;
    captures.hand_over(records, SETTLE_WAIT).map_err(|_| late("records are not taken"))
}

/// Waits until the writer has done everything that it was sent before.
pub(super) fn barrier(inbox: &Sender<Message>, make: fn(Sender<()>) -> Message) -> Result<(), Refused> {
    let (told, done) = bounded(1);
    send(inbox, make(told))?;
    done.recv_timeout(SETTLE_WAIT).map_err(|_| late("the writer is not done"))
}

/// Waits until the stand-in for ClickHouse has the rows, or until it is plain that a fault keeps them here.
pub(super) fn delivered(stand_in: &StandIn, edge: &Edge, inbox: &Sender<Message>) -> Result<(), Refused> {
    let Some(status) = &edge.watch.warehouse else { return Ok(()) };
    send(inbox, Message::Seal)?;
    barrier(inbox, Message::Barrier)?;
    until("rows are not delivered", || stand_in.refused() || arrived(status, stand_in.faulty()))
}

/// Waits until rows can be delivered: a fault that is put in before is one of the start, which is told otherwise.
pub(super) fn prepared(edge: &Edge) -> Result<(), Refused> {
    let Some(status) = &edge.watch.warehouse else { return Ok(()) };
    until("the stand-in for ClickHouse is not ready", || status.prepared.load(Ordering::Relaxed))
}

fn until(otherwise: &str, done: impl Fn() -> bool) -> Result<(), Refused> {
    let (_nobody, tick) = bounded::<()>(0);
    let deadline = monotonic_now() + SETTLE_WAIT;
    while !done() {
        if monotonic_now() >= deadline {
            return Err(late(otherwise));
        }
        // Nobody sends: a wait of this length.
        let _ = tick.recv_timeout(LOOK_EVERY);
    }
    Ok(())
}

/// Whether no row waits; where there is a fault, whether those that wait do so for a reason that is shown.
fn arrived(status: &Status, faulty: bool) -> bool {
    let shown = status.breaker_state() != BreakerState::Closed || status.unprepared().is_some();
    let settled = |waiting_rows: u64, stalled: bool| waiting_rows == 0 || (faulty && stalled);
    (faulty && shown) || status.targets().iter().all(|one| settled(one.waiting_rows, one.stalled.is_some()))
}

fn send(inbox: &Sender<Message>, message: Message) -> Result<(), Refused> {
    inbox.send_timeout(message, SETTLE_WAIT).map_err(|_| late("the writer is not done"))
}
