//! The effect of a fault of the stand-in for ClickHouse, which ends the waits for rows that the fault keeps back.

use crate::breaker::BreakerState;

/// The number of requests that must meet a fault before it is certain that it keeps the rows from being delivered:
/// those that open the breaker, one for each table that may be in progress, and one more.
pub(super) const MET_ENOUGH: u64 = 12;
/// The number of requests that must meet a fault before the state of the breaker tells about that fault. An open
/// breaker lets one request through at a time, so the result of the first is known when the second comes.
pub(super) const MET_JUDGED: u64 = 2;

/// The effect of a fault since it was set. What an earlier fault caused, such as an open breaker, does not count.
#[derive(Clone, Debug)]
pub(super) struct Felt {
    /// The number of requests that met the fault.
    pub met: u64,
    /// Whether no request that meets the fault delivers rows. A server that is only slow takes them.
    pub keeps_rows: bool,
    /// The text of the fault's answers, if they have one.
    pub words: Option<String>,
}

impl Felt {
    /// Whether the fault keeps back the rows of all tables.
    pub fn keeps_all(&self, breaker: BreakerState) -> bool {
        let opened = self.met >= MET_JUDGED && breaker != BreakerState::Closed;
        opened || (self.keeps_rows && self.met >= MET_ENOUGH)
    }

    /// Whether the fault is the reason of a table's stall. The reason then has the fault's words.
    pub fn stalls(&self, reason: Option<&str>) -> bool {
        let named = self.words.as_deref().zip(reason).is_some_and(|(words, reason)| reason.contains(words));
        self.met > 0 && named
    }
}
