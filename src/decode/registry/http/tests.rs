use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use super::*;

/// A registry that gives its prepared answers one after another, and repeats the last answer.
struct Fake {
    url: String,
    asked: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start(answers: Vec<(u16, &'static str)>) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (asked, heads) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (count, log) = (Arc::clone(&asked), Arc::clone(&heads));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let n = count.fetch_add(1, Ordering::SeqCst);
                let (status, body) = answers[n.min(answers.len() - 1)];
                answer(stream.unwrap(), status, body, &log);
            }
        });
        Fake { url, asked, heads }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream, status: u16, body: &str, log: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    log.lock().push(String::from_utf8(head).unwrap());
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
}

fn schemas(url: &str) -> (HttpSchemas, Arc<AtomicI64>) {
    let now = Arc::new(AtomicI64::new(1_000_000));
    let theirs = Arc::clone(&now);
    let settings = RegistrySettings {
        url: url.to_owned(),
        ca_file: None,
        basic_auth: Some(("nova".to_owned(), "secret".to_owned())),
        timeout: Duration::from_secs(5),
    };
    (HttpSchemas::start(settings, move || theirs.load(Ordering::SeqCst)).unwrap(), now)
}

/// Asks for a schema until the thread has the answer. On a loaded machine a test may need more than one lookup until
/// the answer comes.
fn ask(schemas: &HttpSchemas, id: u32) -> SchemaLookup {
    loop {
        match schemas.schema(id) {
            SchemaLookup::Unavailable(detail) if detail == "it has been asked for" => {}
            answer => return answer,
        }
    }
}

const LONG: &str = r#"{"schema":"\"long\""}"#;
const MISSING: &str = r#"{"error_code":40403,"message":"Schema not found"}"#;

#[test]
fn a_look_at_what_is_known_does_not_ask_the_registry() {
    let fake = Fake::start(vec![(200, LONG)]);
    let (schemas, _) = schemas(&fake.url);
    assert!(matches!(schemas.known(7), SchemaLookup::Unavailable(detail) if detail.contains("not known here yet")));
    assert_eq!(fake.asked(), 0);
    assert!(matches!(ask(&schemas, 7), SchemaLookup::Found(_)));
    assert!(matches!(schemas.known(7), SchemaLookup::Found(_)));
    assert_eq!(fake.asked(), 1);
}

#[test]
fn a_schema_is_fetched_once_with_the_credentials() {
    let fake = Fake::start(vec![(200, LONG)]);
    let (schemas, _) = schemas(&fake.url);
    for _ in 0..3 {
        assert!(matches!(ask(&schemas, 7), SchemaLookup::Found(schema) if *schema == apache_avro::Schema::Long));
    }
    assert_eq!(fake.asked(), 1);
    let head = fake.heads.lock()[0].to_lowercase();
    assert!(head.starts_with("get /schemas/ids/7 http/1.1"), "{head}");
    assert!(head.contains("authorization: basic bm92ytpzzwnyzxq="), "{head}");
}

#[test]
fn a_registry_that_fails_is_left_alone_for_a_while_and_nothing_is_unknown() {
    let fake = Fake::start(vec![(503, ""), (404, "<html>"), (401, ""), (500, MISSING), (200, "{}"), (200, LONG)]);
    let (schemas, now) = schemas(&fake.url);
    for (failure, pause_ms) in [200, 400, 800, 1_600, 3_200].into_iter().enumerate() {
        assert_eq!(schemas.health(), BreakerState::Closed);
        for _ in 0..3 {
            assert!(matches!(ask(&schemas, 7), SchemaLookup::Unavailable(_)));
        }
        now.fetch_add(pause_ms - 1, Ordering::SeqCst);
        assert!(matches!(ask(&schemas, 7), SchemaLookup::Unavailable(_)));
        assert_eq!(fake.asked(), failure + 1);
        if failure == 4 {
            assert_eq!(schemas.health(), BreakerState::Open);
        }
        now.fetch_add(1, Ordering::SeqCst);
    }
    assert_eq!(schemas.health(), BreakerState::HalfOpen);
    assert!(matches!(ask(&schemas, 7), SchemaLookup::Found(_)));
    assert_eq!(schemas.health(), BreakerState::Closed);
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_nova_from_asking() {
    let fake = Fake::start(vec![(503, ""), (200, LONG)]);
    let (schemas, now) = schemas(&fake.url);
    assert!(matches!(ask(&schemas, 7), SchemaLookup::Unavailable(_)));
    now.fetch_sub(500_000, Ordering::SeqCst);
    assert!(matches!(ask(&schemas, 7), SchemaLookup::Found(_)));
}

#[test]
fn an_unknown_id_waits_for_its_grace_and_is_asked_for_again() {
    let fake = Fake::start(vec![(404, MISSING), (404, MISSING), (404, MISSING), (200, LONG)]);
    let (schemas, now) = schemas(&fake.url);
    assert!(matches!(ask(&schemas, 9), SchemaLookup::Unavailable(_)));
    now.fetch_add(MISSING_GRACE_MS - 1, Ordering::SeqCst);
    assert!(matches!(ask(&schemas, 9), SchemaLookup::Unavailable(_)));
    now.fetch_add(MISSING_RETRY_MS, Ordering::SeqCst);
    assert!(matches!(ask(&schemas, 9), SchemaLookup::Unknown));
    assert!(matches!(ask(&schemas, 9), SchemaLookup::Unknown));
    assert_eq!(fake.asked(), 3);
    now.fetch_add(MISSING_RETRY_MS, Ordering::SeqCst);
    assert!(matches!(ask(&schemas, 9), SchemaLookup::Found(_)));
}

#[test]
fn what_is_no_schema_of_a_row_is_unusable() {
    for body in [
        r#"{"schema":"syntax","schemaType":"PROTOBUF"}"#,
        r#"{"schema":"\"long\"","references":[{"name":"a"}]}"#,
        r#"{"schema":"{"}"#,
        r#"{"schema":"{\"type\":\"nope\"}"}"#,
    ] {
        let fake = Fake::start(vec![(200, body)]);
        let (schemas, _) = schemas(&fake.url);
        assert!(matches!(ask(&schemas, 1), SchemaLookup::Unusable(_)), "{body}");
    }
}

#[test]
fn nobody_there_is_unavailable() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (schemas, _) = schemas(&format!("http://{free}"));
    assert!(matches!(ask(&schemas, 1), SchemaLookup::Unavailable(detail) if detail.contains("cannot be reached")));
}

#[test]
fn an_address_that_cannot_work_is_refused_at_once_and_shows_no_password() {
    for url in ["", "localhost:8081", "ftp://r:8081", "http://", "https://u:hunter2@r:8081", "http://r/?a=b"] {
        let timeout = Duration::from_secs(1);
        let settings = RegistrySettings { url: url.to_owned(), ca_file: None, basic_auth: None, timeout };
        let error = HttpSchemas::start(settings, || 0).map(drop).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
