//! The body of an answer that nova sends piece by piece: a stream of events, or a long answer.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};
use http_body_util::{Either, Full};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

/// Asks nginx, and proxies that follow its example, to forward events at once (`proxy_buffering`).
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The body of an answer: either whole, or in pieces.
pub type Body = Either<Full<Bytes>, Events>;

/// This error says that nova could not complete an answer. The connection then breaks off.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer could not be made to its end")]
pub struct Broken;

/// A body of pieces. nova sends each piece when it comes, as fast as hyper takes the pieces.
pub struct Events {
    pieces: mpsc::Receiver<Result<Bytes, Broken>>,
    making: Option<Making>,
}

/// The timers of an answer that has an end: when the next line feed is due, and when the answer breaks off.
struct Making {
    ping: Duration,
    /// When the next line feed is due, or `None` after the answer has begun, because a line feed would become a part of
    /// the answer.
    next: Option<Pin<Box<Sleep>>>,
    ends: Pin<Box<Sleep>>,
}

impl Events {
    /// The body of an event stream, which sends its own pings.
    fn endless(pieces: mpsc::Receiver<Result<Bytes, Broken>>) -> Events {
        Events { pieces, making: None }
    }

    /// The body of a long answer. The body has a line feed at each interval `ping` until the answer begins, and breaks
    /// off after `longest`.
    pub(super) fn made(pieces: mpsc::Receiver<Result<Bytes, Broken>>, (ping, longest): (Duration, Duration)) -> Events {
        let after = |time| Box::pin(tokio::time::sleep(time));
        Events { pieces, making: Some(Making { ping, next: Some(after(ping)), ends: after(longest) }) }
    }
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Poll::Ready(piece) = self.pieces.poll_recv(cx) {
            if let Some(making) = &mut self.making {
                making.next = None;
            }
            return Poll::Ready(piece.map(|piece| piece.map(Frame::data)));
        }
        let Some(making) = &mut self.making else { return Poll::Pending };
        if making.ends.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Broken)));
        }
        let Some(next) = &mut making.next else { return Poll::Pending };
        if next.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        next.as_mut().reset(Instant::now() + making.ping);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"\n")))))
    }
}

/// The answer with an event stream, whose server-sent events no proxy may store or delay.
pub(super) fn answer(events: mpsc::Receiver<Result<Bytes, Broken>>) -> Response<Body> {
    let mut response = Response::new(Body::Right(Events::endless(events)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}
