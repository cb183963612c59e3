//! The thread that sends spans to the collector.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as ProtoStatus;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as ProtoSpan, Status};
use prost::Message as _;
use tokio::runtime::Runtime;

use crate::backoff::Backoff;
use crate::http_client::{HttpClient, HttpError, Limits, address};
use crate::tls::Trust;

use super::settings::{Encoding, OtlpSettings};
use super::span::{Counts, Delivered, Kind, QUEUE_MAX_SPANS, Span, Told, Value, Waits};

/// The maximum number of bytes of a collector's answer.
const ANSWER_MAX_BYTES: usize = 64 << 10;
/// How often the thread checks whether ClickHouse has acknowledged rows.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The maximum number of times that nova sends one request if the collector cannot accept the request.
const TRIES_MAX: u32 = 4;
/// The waits between two attempts of a request to the collector.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), last: Duration::from_secs(2) };
/// The flag `sampled` of W3C Trace Context.
const SAMPLED: u32 = 1;

pub(super) struct Exporter {
    settings: OtlpSettings,
    queue: Receiver<Told>,
    delivered: Arc<Delivered>,
    now_ns: Arc<dyn Fn() -> u64 + Send + Sync>,
    counts: Arc<Counts>,
    runtime: Runtime,
    client: HttpClient,
    address: Uri,
    headers: HeaderMap,
    /// The committed rows that wait for ClickHouse, in the order of their commits.
    waits: VecDeque<Waits>,
    /// The spans that wait until a batch is full or its delay is over.
    spans: Vec<Span>,
}

impl Exporter {
    pub fn new(
        settings: &OtlpSettings,
        queue: Receiver<Told>,
        (delivered, now_ns): (Arc<Delivered>, Arc<dyn Fn() -> u64 + Send + Sync>),
        counts: Arc<Counts>,
    ) -> io::Result<Exporter> {
        let address = address(&settings.endpoint)
            .ok_or_else(|| io::Error::other("the endpoint is not an http:// or https:// address with a host"))?;
        let limits = Limits { time: settings.timeout, answer_max_bytes: ANSWER_MAX_BYTES, idle_connections: 1 };
        let client = HttpClient::new(&address, &Trust::of(settings.ca_file.as_deref()), limits);
        let client = client.map_err(io::Error::other)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
            let mut value = HeaderValue::from_str(value).map_err(io::Error::other)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let kind = if settings.encoding == Encoding::Json { "application/json" } else { "application/x-protobuf" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (settings, waits, spans) = (settings.clone(), VecDeque::new(), Vec::new());
        Ok(Exporter { settings, queue, delivered, now_ns, counts, runtime, client, address, headers, waits, spans })
    }

    /// Runs until all senders of the queue are dropped, and then sends the waiting spans.
    pub fn run(mut self) {
        let mut begun: Option<Instant> = None;
        loop {
            let ended = match self.queue.recv_timeout(LOOK_EVERY) {
                Ok(told) => {
                    self.take(told);
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            self.look();
            if !self.spans.is_empty() {
                #[expect(clippy::disallowed_methods, reason = "traces know no other room than their own")]
                let since = *begun.get_or_insert_with(Instant::now);
                if ended || self.spans.len() >= self.settings.batch_spans || since.elapsed() >= self.settings.delay {
                    self.send(ended);
                    begun = None;
                }
            }
            if ended {
                return;
            }
        }
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::Span(span) => self.spans.push(span),
            Told::Waits(waits) if self.waits.len() < QUEUE_MAX_SPANS => self.waits.push_back(waits),
            // The commit gets no span of its delivery, because so many waiting commits mean that ClickHouse has been
            // out of reach for long.
            Told::Waits(_) => drop(self.counts.dropped.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Makes a span for each delivery that has finished.
    fn look(&mut self) {
        if self.waits.is_empty() {
            return;
        }
        let first_waiting = (self.delivered)().map_or(0, |(_, first_waiting)| first_waiting);
        let done = |waits: &mut Waits| waits.next_batch <= first_waiting;
        while let Some(Waits { place, since_ns, .. }) = self.waits.pop_front_if(done) {
            self.spans.push(Span {
                place: place.child(),
                parent: Some(place.span_id),
                name: "delivery".to_owned(),
                kind: Kind::Client,
                start_ns: since_ns,
                end_ns: (self.now_ns)(),
                failed: false,
                attributes: vec![("db.system.name", Value::Text("clickhouse".to_owned()))],
            });
        }
    }

    /// Sends all waiting spans. The last call of `send` is at the end of the process and makes no retries, because the
    /// process waits for the call.
    fn send(&mut self, last: bool) {
        let (all, mut lost) = (std::mem::take(&mut self.spans), false);
        for spans in all.chunks(self.settings.batch_spans) {
            if last && lost {
                self.counts.dropped.fetch_add(spans.len() as u64, Ordering::Relaxed);
                continue;
            }
            let body = encode(&self.settings, spans);
            let count = spans.len() as u64;
            match self.runtime.block_on(self.deliver(&body, if last { 1 } else { TRIES_MAX })) {
                Ok(()) => self.counts.sent.fetch_add(count, Ordering::Relaxed),
                Err(why) => {
                    lost = true;
                    tracing::warn!("spans were dropped: the collector at {}: {why}", self.settings.endpoint);
                    self.counts.dropped.fetch_add(count, Ordering::Relaxed)
                }
            };
        }
    }

    async fn deliver(&self, body: &Bytes, tries: u32) -> Result<(), String> {
        let mut tried = 0;
        loop {
            tried += 1;
            let (again, why) = match self.post(body.clone()).await {
                Ok(status) if status.is_success() => return Ok(()),
                // The specification of OTLP says that a client may retry after one of the statuses 429, 502, 503 and
                // 504.
                Ok(status) => (matches!(status.as_u16(), 429 | 502 | 503 | 504), format!("it answers {status}")),
                Err(error) => (true, error.to_string()),
            };
            if !again || tried >= tries {
                return Err(why);
            }
            tokio::time::sleep(BACKOFF.wait(tried - 1)).await;
        }
    }

    async fn post(&self, body: Bytes) -> Result<StatusCode, HttpError> {
        let mut request = Request::post(self.address.clone()).body(Full::new(body))?;
        *request.headers_mut() = self.headers.clone();
        match self.client.send(request).await {
            Ok(answer) => Ok(answer.status),
            // The status shows that the collector has decided about the spans, although its answer broke off.
            Err(HttpError::BrokenOff { status, .. }) => Ok(status),
            Err(error) => Err(error),
        }
    }
}

fn attribute(name: &str, value: ProtoValue) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn span(span: &Span) -> ProtoSpan {
    let kind = match span.kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
    };
    let attributes = span.attributes.iter().map(|(name, value)| match value {
        Value::Text(text) => attribute(name, ProtoValue::StringValue(text.clone())),
        Value::Number(number) => attribute(name, ProtoValue::IntValue(*number)),
    });
    let status = span.failed.then(|| Status { code: ProtoStatus::Error.into(), ..Status::default() });
    ProtoSpan {
        trace_id: span.place.trace_id.to_be_bytes().to_vec(),
        span_id: span.place.span_id.to_be_bytes().to_vec(),
        parent_span_id: span.parent.map_or(Vec::new(), |parent| parent.to_be_bytes().to_vec()),
        flags: SAMPLED,
        name: span.name.clone(),
        kind: kind.into(),
        start_time_unix_nano: span.start_ns,
        end_time_unix_nano: span.end_ns,
        attributes: attributes.collect(),
        status,
        ..ProtoSpan::default()
    }
}

fn encode(settings: &OtlpSettings, spans: &[Span]) -> Bytes {
    let text = |(name, value): &(String, String)| attribute(name, ProtoValue::StringValue(value.clone()));
    let resource = Resource { attributes: settings.resource.iter().map(text).collect(), ..Resource::default() };
    let (name, version) = ("nova".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let scope = InstrumentationScope { name, version, ..InstrumentationScope::default() };
    let spans = spans.iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let all = vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
    let request = ExportTraceServiceRequest { resource_spans: all };
    match settings.encoding {
        Encoding::Protobuf => request.encode_to_vec().into(),
        // The request can always be encoded as JSON, because it contains only plain values.
        Encoding::Json => serde_json::to_vec(&request).unwrap_or_default().into(),
    }
}
