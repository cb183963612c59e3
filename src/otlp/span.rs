//! Spans, and the messages to the thread that sends spans.

use std::sync::atomic::AtomicU64;

/// The maximum number of spans that wait for the sending thread. When the maximum number of spans waits, nova drops and
/// counts any further span.
pub const QUEUE_MAX_SPANS: usize = 2_048;

/// The value of a span's attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(i64),
}

/// The ids of a span, as W3C Trace Context defines them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub trace_id: u128,
    pub span_id: u64,
}

impl Place {
    /// Returns the ids of a new span whose parent is this span.
    pub(super) fn child(self) -> Place {
        Place { span_id: fastrand::u64(1..), ..self }
    }
}

/// A span of a trace: a finished piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub place: Place,
    pub parent: Option<u64>,
    pub name: String,
    pub kind: Kind,
    /// The start of the span in epoch nanoseconds.
    pub start_ns: u64,
    pub end_ns: u64,
    pub failed: bool,
    pub attributes: Vec<(&'static str, Value)>,
}

/// The kind of a span in OpenTelemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Internal,
    Server,
    Client,
}

/// The rows of a commit that wait for ClickHouse.
pub(super) struct Waits {
    pub place: Place,
    /// The number of the next batch of events after the commit. The rows of the commit are in batches with lower
    /// numbers.
    pub next_batch: u64,
    /// The time at which the wait for ClickHouse began, in epoch nanoseconds.
    pub since_ns: u64,
}

/// A message to the thread that sends spans.
pub(super) enum Told {
    Span(Span),
    Waits(Waits),
}

/// Returns the number of the next batch of events, and the lowest number of a batch that waits for ClickHouse; if none
/// waits, both numbers are equal. Returns `None` if the node sends no rows to ClickHouse.
pub type Delivered = Box<dyn Fn() -> Option<(u64, u64)> + Send + Sync>;

/// The number of spans by outcome: sent or dropped.
#[derive(Debug, Default)]
pub struct Counts {
    pub sent: AtomicU64,
    pub dropped: AtomicU64,
}
