//! Tests of HTTP/2 with prior knowledge.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{Instant, advance, timeout};

use super::{END, IDLE, PATHS, World, essences, paused, shown};

#[test]
fn http_2_with_prior_knowledge_answers_as_http_1_1_does() {
    paused(async |world: &World| {
        let (mut client, connection) =
            http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(world.connect())).await.unwrap();
        let connection = tokio::spawn(connection);
        let token = world.token(1);
        let ask = |path: &str| {
            let request = Request::get(format!("http://x{path}")).header("authorization", format!("Bearer {token}"));
            request.body(Empty::new()).unwrap()
        };
        let answers =
            PATHS.iter().filter(|path| path.parse::<http::uri::PathAndQuery>().is_ok() && path.starts_with('/'));
        for path in answers.filter(|path| !path.contains("tream?limit")) {
            let response = client.send_request(ask(path)).await.unwrap();
            let (status, nosniff) = (response.status(), response.headers().get("x-content-type-options").cloned());
            let body = shown(&response.into_body().collect().await.unwrap().to_bytes());
            let data =
                format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
            let expected = essences(&world.talk(data.as_bytes()).await.0, &[false]).remove(0);
            assert!(expected.0.contains(status.as_str()), "{path}: {status} {expected:?}");
            assert_eq!((body, nosniff.is_some()), (expected.2, true), "{path}");
        }
        // The client sends many requests at once, and cancels some of them.
        let many: Vec<_> = (0..300).map(|_| client.send_request(ask("/health/live"))).collect();
        for (number, answer) in many.into_iter().enumerate() {
            match number % 3 {
                0 => drop(answer),
                _ => assert_eq!(answer.await.unwrap().status(), StatusCode::OK),
            }
        }
        // An idle HTTP/2 connection lives as long as an idle HTTP/1.1 connection, and ends without an error.
        advance(IDLE - Duration::from_secs(1)).await;
        assert_eq!(client.send_request(ask("/health/live")).await.unwrap().status(), StatusCode::OK);
        let begun = Instant::now();
        assert!(timeout(END, connection).await.unwrap().unwrap().is_ok());
        assert!(begun.elapsed() <= IDLE + Duration::from_secs(1), "{:?}", begun.elapsed());
    });
}
