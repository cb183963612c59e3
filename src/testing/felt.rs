//! The effect of a fault in the stand-in for ClickHouse. A wait for rows ends when the fault is the reason that they
//! are not delivered.

use crate::breaker::BreakerState;
use crate::warehouse::Target;
use crate::warehouse::sender::{FAILURES_TO_OPEN, SENDING_MAX};

/// After this many requests have met a fault, it is certain that the fault keeps back the rows. `MET_ENOUGH` is the sum
/// of the requests that open the breaker, the requests in progress for all tables, and one more request.
pub(super) const MET_ENOUGH: u64 = FAILURES_TO_OPEN as u64 + (Target::COUNT * SENDING_MAX) as u64 + 1;
/// After this many requests have met a fault, the state of the breaker is a result of the fault. An open breaker lets
/// one request through at a time, so the result of the first request is known when the second request comes.
pub(super) const MET_JUDGED: u64 = 2;

/// The effect of a fault since the fault was set. The effects of an earlier fault, such as an open breaker, do not
/// count.
#[derive(Clone, Debug)]
pub(super) struct Felt {
    /// The number of requests that met the fault.
    pub met: u64,
    /// Whether a request that meets the fault delivers no rows. A stand-in that is only slow accepts the rows.
    pub keeps_rows: bool,
    /// The text of the fault's answers, if its answers have a text.
    pub words: Option<String>,
}

impl Felt {
    /// Whether the fault keeps back the rows of all tables.
    pub fn keeps_all(&self, breaker: BreakerState) -> bool {
        let opened = self.met >= MET_JUDGED && breaker != BreakerState::Closed;
        opened || (self.keeps_rows && self.met >= MET_ENOUGH)
    }

    /// Whether the fault is the reason why a table is stalled. If the fault is the reason, the reason's text contains
    /// the text of the fault's answers.
    pub fn stalls(&self, reason: Option<&str>) -> bool {
        let named = self.words.as_deref().zip(reason).is_some_and(|(words, reason)| reason.contains(words));
        self.met > 0 && named
    }
}
