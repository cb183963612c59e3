//! A connector that was paused, stopped or failed. A node that reads the connector's topics reports the state of the
//! connector, and the command that repairs it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::api::client::Client;
use crate::support::program::Serving;

/// A double of Kafka Connect's REST API with one connector, `nova`, in a state that the test sets.
struct Connect {
    addr: SocketAddr,
    status: Arc<Mutex<Option<Value>>>,
}

impl Connect {
    fn start(status: Value) -> Connect {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (addr, status) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Some(status))));
        let told = Arc::clone(&status);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut line = String::new();
                BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
                let (code, body) = match told.lock().as_ref() {
                    Some(status) if line.starts_with("GET /connectors/nova/status ") => ("200 OK", status.to_string()),
                    _ => ("404 Not Found", r#"{"error_code":404,"message":"none"}"#.to_owned()),
                };
                let head =
                    format!("HTTP/1.1 {code}\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
                // The client that sent the request may have closed its connection.
                let _ = write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}");
            }
        });
        Connect { addr, status }
    }
}

fn status(connector: &str, task: Value) -> Value {
    json!({ "name": "nova", "connector": { "state": connector, "worker_id": "a:8083" }, "tasks": [task], "type": "source" })
}

fn metric(node: &Serving) -> Option<String> {
    let text = String::from_utf8(Client::connect(node.addr).get("/metrics", "").body).unwrap();
    text.lines().find_map(|line| line.strip_prefix("nova_connector_up ")).map(str::to_owned)
}

/// Returns what `/health/ready` says about the connector after nova has asked Kafka Connect. The job asks Kafka Connect
/// at the start of the node, and again every 10 s.
fn told(connect: &Connect) -> (Vec<String>, Option<String>) {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://{}/", connect.addr);
    // The test runs no Kafka broker, because nova reads the connector's state without one.
    let node = Serving::start(
        &dir.path().join("data"),
        &[("NOVA_KAFKA_BROKERS", "127.0.0.1:1"), ("NOVA_CDC_CONNECT_URL", &url), ("NOVA_CDC_CONNECTOR", "nova")],
    );
    let up = std::iter::from_fn(|| Some(metric(&node))).find(Option::is_some).flatten();
    let reasons = node.ready()["reasons"].as_array().unwrap().clone();
    let reasons = reasons.iter().filter_map(Value::as_str).filter(|reason| reason.starts_with("connector: "));
    (reasons.map(str::to_owned).collect(), up)
}

#[test]
fn a_connector_that_does_not_run_is_a_reason_and_a_metric() {
    let connect = Connect::start(status("RUNNING", json!({ "id": 0, "state": "RUNNING" })));
    assert_eq!(told(&connect), (vec![], Some("1".to_owned())));
    let trace = "org.apache.kafka.connect.errors.ConnectException: failed\n\tat a.b\nCaused by: permission denied for table users";
    for (told_by_connect, words, way_out) in [
        (status("PAUSED", json!({ "id": 0, "state": "PAUSED" })), "is PAUSED", "/connectors/nova/resume"),
        (json!({ "connector": { "state": "STOPPED" }, "tasks": [] }), "is STOPPED", "/connectors/nova/resume"),
        (
            status("RUNNING", json!({ "id": 0, "state": "FAILED", "trace": trace })),
            "the task of nova is FAILED: Caused by: permission denied",
            "/connectors/nova/restart?",
        ),
    ] {
        *connect.status.lock() = Some(told_by_connect);
        let (reasons, up) = told(&connect);
        assert!(reasons.len() == 1 && reasons[0].contains(words) && reasons[0].contains(way_out), "{reasons:?}");
        assert!(reasons[0].contains("curl -X P"), "{reasons:?}");
        assert_eq!(up.as_deref(), Some("0"));
    }
    *connect.status.lock() = None;
    let (reasons, up) = told(&connect);
    assert!(reasons.len() == 1 && reasons[0].contains("no connector nova"), "{reasons:?}");
    assert_eq!(up.as_deref(), Some("0"));
}
