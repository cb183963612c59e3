//! The control routes below `/_test`, which only a server for tests has. The effect of a call is complete before its
//! answer.

pub(super) mod control;
mod handlers;
mod shapes;
mod tokens;

pub use self::control::{Refused, Testing};
pub(super) use self::handlers::{
    LOG_MAX, advance, captures, clock, fault, log, reset, rows, set_clock, settle, snapshot, token,
};
pub use self::shapes::{
    Advance, ClickHouseFault, ClockSet, ClockTold, Counted, Fault, Logged, LoggedPage, PartitionCounted, Settled,
    SnapshotTold, TestLog,
};
pub(super) use self::shapes::{CapturesTaken, SnapshotNamed, TestToken, TokenAsked};
