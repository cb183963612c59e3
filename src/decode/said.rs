//! The facts that a record states, or the reason for which it cannot be read now.

use super::fault::Fault;
use crate::event::{Change, ClientEvent, Ignored, SnapshotMark, Wait};

/// The facts that a record states.
#[derive(Debug)]
pub(super) enum Fact {
    Change(Change),
    Event(ClientEvent),
    Ignore(Ignored),
    Snapshot(SnapshotMark),
}

/// The reason for which a record cannot be read now.
#[derive(Debug)]
pub(super) enum Stop {
    Dead(Fault),
    Wait(Wait),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Dead(fault)
    }
}
