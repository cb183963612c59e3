//! What a record says, or why it cannot be read now.

use super::fault::Fault;
use crate::event::{Change, ClientEvent, Ignored, SnapshotMark, Wait};

/// What a record says.
#[derive(Debug)]
pub(super) enum Fact {
    Change(Change),
    Event(ClientEvent),
    Ignore(Ignored),
    Snapshot(SnapshotMark),
}

/// Why a record cannot be read now.
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
