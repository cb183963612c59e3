//! Spans, and what else the thread that sends them is told.

use std::sync::atomic::AtomicU64;

/// Spans that wait for the thread; more are dropped and counted.
pub const QUEUE_MAX_SPANS: usize = 2_048;

/// What a span says of its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(i64),
}

/// The ids of a span, as W3C Trace Context has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub trace_id: u128,
    pub span_id: u64,
}

impl Place {
    /// A new span of the same trace.
    pub(super) fn child(self) -> Place {
        Place { span_id: fastrand::u64(1..), ..self }
    }
}

/// A piece of work that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub place: Place,
    pub parent: Option<u64>,
    pub name: String,
    pub kind: Kind,
    /// Epoch nanoseconds.
    pub start_ns: u64,
    pub end_ns: u64,
    pub failed: bool,
    pub attributes: Vec<(&'static str, Value)>,
}

/// What kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Internal,
    Server,
    Client,
}

/// Rows that were committed and wait for ClickHouse.
pub(super) struct Waits {
    pub place: Place,
    /// So many rows of events were emitted when these were.
    pub emitted: u64,
    /// Epoch nanoseconds.
    pub since_ns: u64,
}

/// What is handed over to the thread.
pub(super) enum Told {
    Span(Span),
    Waits(Waits),
}

/// How many rows of events there were and how many are done with, since the store was made; `None` where none are sent.
pub type Delivered = Box<dyn Fn() -> Option<(u64, u64)> + Send + Sync>;

/// Spans by what became of them.
#[derive(Debug, Default)]
pub struct Counts {
    pub sent: AtomicU64,
    pub dropped: AtomicU64,
}
