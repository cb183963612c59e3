use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;

const PATIENT: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

/// A server that answers each connection with this text. After the answer the server closes the connection if `closes`
/// is set; otherwise it waits until the client closes the connection.
fn server(answer: impl Into<String>, closes: bool) -> Uri {
    let answer: String = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = address(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(answer.as_bytes());
            while !closes && stream.read(&mut [0; 4_096]).is_ok_and(|read| read > 0) {}
        }
    });
    uri
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn client(uri: &Uri, time: Duration, answer_max_bytes: usize) -> HttpClient {
    HttpClient::new(uri, &Trust::Machine, Limits { time, answer_max_bytes, idle_connections: 0 }).unwrap()
}

fn get(uri: &Uri) -> Request<Full<Bytes>> {
    Request::get(uri.clone()).body(Full::default()).unwrap()
}

fn ask(uri: &Uri, time: Duration, answer_max_bytes: usize) -> Result<Answer, HttpError> {
    run(client(uri, time, answer_max_bytes).send(get(uri)))
}

#[test]
fn an_address_has_a_scheme_that_is_spoken_and_a_host() {
    for good in ["http://a", "https://a:8443/below?b=c", "HTTP://[::1]:80/"] {
        assert!(address(good).is_some(), "{good}");
    }
    for wrong in ["", "a:80", "ftp://a", "http://", "/a", "http://a b", "localhost", "http://user:password@a"] {
        assert_eq!(address(wrong), None, "{wrong}");
    }
}

#[test]
fn an_answer_is_returned_whole_with_its_status_unless_it_is_too_long() {
    let uri = server("HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nnone", true);
    let answer = ask(&uri, PATIENT, 1_000).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (StatusCode::NOT_FOUND, "none"));
    let length = 1 << 20;
    let long = server(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length)), true);
    let refused = ask(&long, PATIENT, 1_000).unwrap_err();
    assert!(matches!(refused, HttpError::BrokenOff { status: StatusCode::OK, .. }), "{refused}");
    assert!(refused.to_string().contains("an answer of more than 1000 bytes"), "{refused}");
    assert_eq!(ask(&long, PATIENT, length).unwrap().body.len(), length);
}

#[test]
fn the_time_limit_is_one_over_the_connection_the_head_and_the_body() {
    for begun in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nno"] {
        let late = ask(&server(begun, false), SHORT, 1_000).unwrap_err();
        assert_eq!(late.to_string(), "no answer within 50 ms", "{begun}");
    }
}

#[test]
fn who_is_not_there_cannot_be_reached_and_who_stops_broke_off() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = ask(&address(&format!("http://{free}")).unwrap(), PATIENT, 1_000).unwrap_err();
    assert!(nobody.to_string().starts_with("cannot be reached: "), "{nobody}");
    let half = server("HTTP/1.1 202 OK\r\nContent-Length: 4\r\n\r\nno", true);
    let broken = ask(&half, PATIENT, 1_000).unwrap_err();
    assert!(matches!(broken, HttpError::BrokenOff { status: StatusCode::ACCEPTED, .. }), "{broken}");
}

#[test]
fn a_long_answer_comes_in_pieces_until_its_end_or_a_silence() {
    const BEGIN: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n";
    let read = |uri: &Uri, silence: Duration| {
        run(async {
            let mut begun = client(uri, PATIENT, 1_000).begin(get(uri)).await.unwrap();
            let mut read = Vec::new();
            loop {
                match piece(&mut begun, silence).await {
                    Ok(Some(piece)) => read.extend_from_slice(&piece),
                    Ok(None) => return (read, None),
                    Err(error) => return (read, Some(error.to_string())),
                }
            }
        })
    };
    assert_eq!(read(&server(format!("{BEGIN}0\r\n\r\n"), true), PATIENT), (b"abcde".to_vec(), None));
    let (before, broken) = read(&server(BEGIN, true), PATIENT);
    assert!(before == b"abcde" && broken.as_ref().is_some_and(|words| words.starts_with("the answer broke off: ")));
    let (before, late) = read(&server(BEGIN, false), SHORT);
    assert_eq!((before, late.as_deref()), (b"abcde".to_vec(), Some("no answer within 50 ms")));
    // A caller may also read the rest of an answer with one call.
    let uri = server("HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\nwhy?", true);
    let client = client(&uri, PATIENT, 1_000);
    let answer = run(async { client.rest(client.begin(get(&uri)).await.unwrap()).await.unwrap() });
    assert_eq!((answer.status, answer.text().as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "why?"));
}
