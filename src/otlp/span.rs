//! Spans, and the other messages to the thread that sends them.

use std::sync::atomic::AtomicU64;

/// The most spans that wait for the thread. Further spans are dropped and counted.
pub const QUEUE_MAX_SPANS: usize = 2_048;

/// The value of an attribute of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(i64),
}

/// The ids of a span in W3C Trace Context's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub trace_id: u128,
    pub span_id: u64,
}

impl Place {
    /// A new span of the same trace, whose parent is this one.
    pub(super) fn child(self) -> Place {
        Place { span_id: fastrand::u64(1..), ..self }
    }
}

/// A finished piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub place: Place,
    pub parent: Option<u64>,
    pub name: String,
    pub kind: Kind,
    /// The beginning in epoch nanoseconds.
    pub start_ns: u64,
    pub end_ns: u64,
    pub failed: bool,
    pub attributes: Vec<(&'static str, Value)>,
}

/// The kind of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Internal,
    Server,
    Client,
}

/// Committed rows that wait for ClickHouse.
pub(super) struct Waits {
    pub place: Place,
    /// The number of emitted rows of events after this commit.
    pub emitted: u64,
    /// When the wait began, epoch nanoseconds.
    pub since_ns: u64,
}

/// A message to the thread.
pub(super) enum Told {
    Span(Span),
    Waits(Waits),
}

/// Returns how many rows of events were emitted and how many are finished, since the store was made. `None` if no rows
/// are sent.
pub type Delivered = Box<dyn Fn() -> Option<(u64, u64)> + Send + Sync>;

/// The number of spans by outcome.
#[derive(Debug, Default)]
pub struct Counts {
    pub sent: AtomicU64,
    pub dropped: AtomicU64,
}
