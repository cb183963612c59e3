//! Tests of a connection's timeouts, and of fairness between connections.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::{Instant, advance, timeout};

use super::{IDLE, WARM, World, paused};
use crate::http::patience::HEAD_TIMEOUT;

/// The status of the next answer, or `None` if nova closed the connection without an error.
async fn status(far: &mut DuplexStream) -> Option<u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(far.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    far.read_exact(&mut vec![0; length]).await.unwrap();
    head.split(' ').nth(1)?.parse().ok()
}

const LIVE: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn a_connection_that_is_used_again_within_the_idle_time_is_answered_and_ends_in_order_after_it() {
    paused(async |world: &World| {
        for first in [LIVE, WARM.as_bytes()] {
            let mut far = world.connect();
            far.write_all(first).await.unwrap();
            assert!(status(&mut far).await.is_some());
            for gap in [1, 15, 59, 61, 74] {
                advance(Duration::from_secs(gap)).await;
                far.write_all(LIVE).await.unwrap();
                assert_eq!(status(&mut far).await, Some(200), "after {gap} s");
            }
            let begun = Instant::now();
            assert_eq!(status(&mut far).await, None);
            let took = begun.elapsed();
            assert!(took >= IDLE && took <= IDLE + Duration::from_secs(1), "{took:?}");
        }
    });
}

#[test]
fn a_head_that_comes_byte_by_byte_ends_its_connection_on_either_way() {
    paused(async |world: &World| {
        for first in ["", "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n", WARM] {
            let mut far = world.connect();
            far.write_all(first.as_bytes()).await.unwrap();
            if !first.is_empty() {
                assert!(status(&mut far).await.is_some());
                advance(Duration::from_secs(50)).await;
            }
            let begun = Instant::now();
            far.write_all(b"GET /health/live HTTP/1.1\r\nX: ").await.unwrap();
            while far.write_all(b"x").await.is_ok() {
                advance(Duration::from_secs(1)).await;
            }
            assert!(begun.elapsed() <= HEAD_TIMEOUT + Duration::from_secs(3), "{:?}", begun.elapsed());
        }
    });
}

#[test]
fn a_connection_that_says_nothing_ends_soon() {
    paused(async |world: &World| {
        let (mut far, begun) = (world.connect(), Instant::now());
        assert_eq!(status(&mut far).await, None);
        assert!(begun.elapsed() <= HEAD_TIMEOUT + Duration::from_secs(1));
    });
}

#[test]
fn one_connection_that_pipelines_leaves_others_their_turn() {
    paused(async |world: &World| {
        const MANY: usize = 400;
        let (mut greedy, mut other) = (world.connect(), world.connect());
        greedy.write_all(&LIVE.repeat(MANY)).await.unwrap();
        other.write_all(LIVE).await.unwrap();
        assert_eq!(status(&mut other).await, Some(200));
        // nova answered the single request of one connection before all requests of the greedy connection.
        let mut out = vec![0; 1 << 20];
        let first = timeout(Duration::ZERO, greedy.read(&mut out)).await.map_or(0, |read| read.unwrap());
        let answered = out[..first].windows(9).filter(|nine| nine == b"HTTP/1.1 ").count();
        assert!(answered < MANY, "{answered} answers before the other's one");
        for _ in answered..MANY {
            assert_eq!(status(&mut greedy).await, Some(200));
        }
    });
}
