//! Traces for an OpenTelemetry collector, over OTLP/HTTP: a request, the commit that made it durable, and the delivery
//! of its rows to ClickHouse. A separate thread sends the spans, so a caller that hands over a span does not wait. A
//! span contains names of routes, statuses, counts and times, and never any part of a token, a body or a row.

mod export;
mod settings;
mod span;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};

use self::export::Exporter;
use self::span::{Told, Waits};

pub use self::settings::{Encoding, OtlpSettings, PREFIX, Sampler};
pub use self::span::{Counts, Delivered, Kind, Place, QUEUE_MAX_SPANS, Span, Value};

/// Takes spans and hands them to the thread that sends them. When a `Tracer` is dropped, its thread sends the waiting
/// spans.
pub struct Tracer {
    queue: Option<Sender<Told>>,
    sampler: Sampler,
    delivered: Arc<Delivered>,
    now_ns: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

impl Tracer {
    /// Starts the thread that sends spans. `now_ns` returns the wall time in epoch nanoseconds.
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

    /// Whether nova sends a trace (see [`Sampler::takes`]).
    pub fn takes(&self, trace_id: u128, parent: Option<bool>) -> bool {
        self.sampler.takes(trace_id, parent)
    }

    pub fn tell(&self, span: Span) {
        self.hand_over(Told::Span(span));
    }

    /// Notes that a request's records were committed `waited_ns` after the request handed them to the pipeline. The
    /// span of the delivery is made when ClickHouse has acknowledged the rows.
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
        if let Some((next_batch, _)) = (self.delivered)() {
            self.hand_over(Told::Waits(Waits { place, next_batch, since_ns: end_ns }));
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
            // The thread sends the waiting spans when the queue is closed, which takes at most the time of one request
            // to the collector.
            let _ = thread.join();
        }
    }
}
