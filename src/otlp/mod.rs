//! Traces for a collector of OpenTelemetry, over OTLP/HTTP: a request, the commit that made it durable, and the delivery of
//! its rows to ClickHouse. A thread of its own sends them; whoever has a span hands it over and never waits. A span holds
//! names of routes, statuses, counts and times, never anything of a token, a body or a row.

mod export;
mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};

use self::export::Exporter;
pub use self::settings::{Encoding, OtlpSettings, PREFIX, Sampler};

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
    fn child(self) -> Place {
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
struct Waits {
    place: Place,
    /// So many rows of events were emitted when these were.
    emitted: u64,
    /// Epoch nanoseconds.
    since_ns: u64,
}

enum Told {
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

/// Where spans are handed over. Dropping it sends what waits.
pub struct Tracer {
    queue: Option<Sender<Told>>,
    sampler: Sampler,
    delivered: Arc<Delivered>,
    now_ns: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

impl Tracer {
    /// Starts the thread. `now_ns` is wall time, epoch nanoseconds.
    pub fn start(
        settings: &OtlpSettings,
        delivered: Delivered,
        now_ns: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> std::io::Result<Tracer> {
        let (sender, queue) = bounded(QUEUE_MAX_SPANS);
        let (counts, delivered) = (Arc::<Counts>::default(), Arc::new(delivered));
        let now_ns: Arc<dyn Fn() -> u64 + Send + Sync> = Arc::new(now_ns);
        let exporter =
            Exporter::new(settings, queue, (Arc::clone(&delivered), Arc::clone(&now_ns)), Arc::clone(&counts))?;
        let thread = std::thread::Builder::new().name("otlp".to_owned()).spawn(move || exporter.run())?;
        Ok(Tracer { queue: Some(sender), sampler: settings.sampler, delivered, now_ns, counts, thread: Some(thread) })
    }

    /// Whether a trace is told; see [`Sampler::takes`].
    pub fn takes(&self, trace_id: u128, parent: Option<bool>) -> bool {
        self.sampler.takes(trace_id, parent)
    }

    pub fn tell(&self, span: Span) {
        self.hand_over(Told::Span(span));
    }

    /// A request's records are committed: `waited_ns` after they were handed to the pipeline. Their delivery follows.
    pub fn committed(&self, request: Place, waited_ns: u64, records: usize) {
        let (place, end_ns) = (request.child(), (self.now_ns)());
        self.tell(Span {
            place,
            parent: Some(request.span_id),
            name: "commit".to_owned(),
            kind: Kind::Internal,
            start_ns: end_ns.saturating_sub(waited_ns),
            end_ns,
            failed: false,
            attributes: vec![("nova.records", Value::Number(i64::try_from(records).unwrap_or(i64::MAX)))],
        });
        if let Some((emitted, _)) = (self.delivered)() {
            self.hand_over(Told::Waits(Waits { place, emitted, since_ns: end_ns }));
        }
    }

    fn hand_over(&self, told: Told) {
        let full = self.queue.as_ref().is_none_or(|queue| queue.try_send(told).is_err());
        self.counts.dropped.fetch_add(u64::from(full), Ordering::Relaxed);
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It sends what waits, for as long as one request may take.
            let _ = thread.join();
        }
    }
}
