//! What nova sends to an OpenTelemetry collector: one trace from the request to ClickHouse, without personal data.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use nova::event::Id;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::api::client::{Client, bearer};
use crate::support::clickhouse::Fake;
use crate::support::program::{Serving, nova, out};

/// The maximum number of received requests that wait until the test reads them.
const REQUESTS_MAX: usize = 64;

/// A double of an OpenTelemetry collector. The double of the collector keeps the head and the body of each request, and
/// answers the first requests with the given statuses.
struct Collector {
    addr: SocketAddr,
    requests: Receiver<(String, Vec<u8>)>,
}

impl Collector {
    fn start(statuses: Vec<u16>) -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (addr, (sender, requests)) = (listener.local_addr().unwrap(), sync_channel(REQUESTS_MAX));
        let statuses = Arc::new(Mutex::new(statuses));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (sender, statuses) = (sender.clone(), Arc::clone(&statuses));
                std::thread::spawn(move || Collector::serve(stream.unwrap(), &sender, &statuses));
            }
        });
        Collector { addr, requests }
    }

    fn serve(mut stream: TcpStream, sender: &SyncSender<(String, Vec<u8>)>, statuses: &Mutex<Vec<u16>>) -> Option<()> {
        loop {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).ok()?;
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).ok()?.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.trim().parse().ok()?;
            let mut body = vec![0; length];
            stream.read_exact(&mut body).ok()?;
            let status = statuses.lock().pop().unwrap_or(200);
            write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 2\r\n\r\n{{}}").ok()?;
            // Sending a received request fails if the test has ended, which is no error.
            let _ = sender.send((head, body));
        }
    }

    /// Reads spans until `enough` returns true. The double of the collector accepts OTLP as JSON.
    fn spans(&self, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let mut spans = Vec::new();
        while !enough(&spans) {
            let (head, body) = self.requests.recv_timeout(Duration::from_secs(60)).expect("no span comes");
            assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
            let told: Value = serde_json::from_slice(&body).unwrap();
            for resource in told["resourceSpans"].as_array().unwrap() {
                let name = &resource["resource"]["attributes"][0];
                assert_eq!(*name, json!({ "key": "service.name", "value": { "stringValue": "feeds" } }));
                for scope in resource["scopeSpans"].as_array().unwrap() {
                    spans.extend(scope["spans"].as_array().unwrap().iter().cloned());
                }
            }
        }
        spans
    }
}

const USER: &str = "0193a5f0-c2d1-7e2c-9f0e-5b0f6f2f8f3d";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn token(data: &std::path::Path) -> String {
    out(&nova(data, &["token", "--sub", USER])).trim().to_owned()
}

fn event(app_ver: &str) -> Vec<u8> {
    let now = nova::clock::Clock::System.now_ms();
    let event =
        json!({ "event_time": now, "post_id": Id::from_u128(7).to_string(), "action": "view", "app_ver": app_ver });
    json!({ "events": [event] }).to_string().into_bytes()
}

fn of<'a>(spans: &'a [Value], name: &str) -> Option<&'a Value> {
    spans.iter().find(|span| span["name"] == name)
}

#[test]
fn one_trace_goes_from_the_request_over_its_commit_to_clickhouse_without_anybodys_data() {
    const CANARY: &str = "canary-7c1f";
    let (dir, collector, clickhouse) = (tempfile::tempdir().unwrap(), Collector::start(vec![503]), Fake::start());
    let data = dir.path().join("data");
    let token = token(&data);
    let endpoint = format!("http://{}/", collector.addr);
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_SERVICE_NAME", "feeds"),
        ("NOVA_CLICKHOUSE_URL", clickhouse.url.as_str()),
    ];
    let node = Serving::start(&data, &env);
    let parent = format!("{}traceparent: 00-{TRACE}-{CALLER}-01\r\n", bearer(&token));
    let path = format!("/api/v1/events?{CANARY}={CANARY}");
    let taken = Client::connect(node.addr).ask("POST", &path, &parent, &event(CANARY));
    assert_eq!(taken.status, 202);
    let told = taken.header("traceparent").unwrap();
    assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-01"), "{told}");
    let spans = collector.spans(|spans| of(spans, "delivery").is_some() && of(spans, "POST /api/v1/events").is_some());
    let [request, commit, delivery] =
        ["POST /api/v1/events", "commit", "delivery"].map(|name| of(&spans, name).unwrap());
    assert_eq!((&request["parentSpanId"], &request["spanId"]), (&json!(CALLER), &json!(&told[36..52])));
    assert_eq!(commit["parentSpanId"], request["spanId"]);
    assert_eq!(delivery["parentSpanId"], commit["spanId"]);
    for span in [request, commit, delivery] {
        assert_eq!(span["traceId"], TRACE);
        let time = |name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
        assert!(
            time("startTimeUnixNano") <= time("endTimeUnixNano")
                && time("startTimeUnixNano") > 1_700_000_000_000_000_000
        );
    }
    let all = serde_json::to_string(&spans).unwrap();
    assert!(!all.contains(CANARY) && !all.contains(USER) && !all.contains(&token[..20]), "{all}");
    assert!(all.contains(r#"{"key":"http.response.status_code","value":{"intValue":"202"}}"#), "{all}");
    node.end();
}

#[test]
fn a_trace_that_its_caller_does_not_tell_is_not_told_and_the_end_sends_what_waits() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), Collector::start(vec![]));
    let data = dir.path().join("data");
    let token = token(&data);
    let endpoint = format!("http://{}", collector.addr);
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "3600000")];
    let node = Serving::start(&data, &env);
    let untold = format!("{}traceparent: 00-{TRACE}-{CALLER}-00\r\n", bearer(&token));
    assert!(Client::connect(node.addr).get("/api/v1/feed", &untold).header("traceparent").unwrap().ends_with("-00"));
    let own = Client::connect(node.addr).get("/api/v1/feed", &bearer(&token));
    assert!(own.header("traceparent").unwrap().ends_with("-01"));
    node.end();
    let (head, body) = collector.requests.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let times = |part: &[u8]| body.windows(part.len()).filter(|window| *window == part).count();
    assert_eq!(times(b"GET /api/v1/feed"), 1);
    let trace_id = u128::from_str_radix(&own.header("traceparent").unwrap()[3..35], 16).unwrap();
    assert_eq!(times(&trace_id.to_be_bytes()), 1);
    assert_eq!(times(&u128::from_str_radix(TRACE, 16).unwrap().to_be_bytes()), 0);
}

#[test]
fn a_protocol_that_nova_does_not_speak_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut command = crate::support::program::command(&data, &["serve", "--listen", "127.0.0.1:0"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317").env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let done = command.output().unwrap();
    let told = crate::support::program::told(&done);
    assert!(done.status.code() == Some(64) && told.contains("http/protobuf") && told.contains("4318"), "{done:?}");
    assert!(!data.exists());
}
