//! `GET /api/v1/feed/trending/stream`: server-sent events (WHATWG HTML, 9.2). First a `snapshot`, then a `diff` at most
//! once a second, a comment as a ping after 15 s of silence. A diff is always against what this client was last given:
//! one that reads slowly skips lists, one that does not read at all is dropped.

use std::future::Future as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};
use hyper::body::Frame;
use rustc_hash::FxHashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, Sleep};

use crate::clock::Clock;
use crate::feed::trending::publish::{Board, Published};
use crate::feed::trending::{TRENDING_MAX, Window};

use super::error::Problem;
use super::places::{Place, Places};
use super::{Body, Serving, read};

/// Says to nginx, and to what follows its example, that events go on as they come (`proxy_buffering`).
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Clients at once.
pub const STREAMS_MAX: usize = 256;
/// Of them, those of one address.
pub const STREAMS_PER_ADDRESS_MAX: usize = 32;
/// Events that wait for a client.
const QUEUE_MAX_EVENTS: usize = 1;
const GAP: Duration = Duration::from_secs(1);
const PING: Duration = Duration::from_secs(15);
/// A client that takes nothing for so long is dropped.
const SLOW: Duration = Duration::from_secs(20);

/// Who listens, and the wish to end.
pub struct Streams {
    free: Arc<Semaphore>,
    addresses: Places,
    closed: watch::Sender<bool>,
}

impl Default for Streams {
    fn default() -> Streams {
        let free = Arc::new(Semaphore::new(STREAMS_MAX));
        Streams { free, addresses: Places::new(STREAMS_PER_ADDRESS_MAX), closed: watch::Sender::new(false) }
    }
}

impl Streams {
    /// Ends every stream, and lets no new one begin.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Turns true when every stream has to end.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Clients that listen.
    pub fn len(&self) -> usize {
        STREAMS_MAX - self.free.available_permits()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An answer that could not be made to its end: the connection breaks off.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer could not be made to its end")]
pub struct Broken;

/// The body: pieces as they come, for as long as hyper wants them.
pub struct Events {
    pieces: mpsc::Receiver<Result<Bytes, Broken>>,
    making: Option<Making>,
}

/// Of an answer that has an end: when its reader is told next that it is being made, and when it breaks off.
struct Making {
    ping: Duration,
    /// `None` once the answer has begun: a ping within it would be a part of it.
    next: Option<Pin<Box<Sleep>>>,
    ends: Pin<Box<Sleep>>,
}

impl Events {
    /// Of a stream, with its own pings.
    fn endless(pieces: mpsc::Receiver<Result<Bytes, Broken>>) -> Events {
        Events { pieces, making: None }
    }

    /// Of an answer: line feeds at this distance until it begins, and a break after so long.
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

pub(super) fn open(serving: &Serving, address: IpAddr, query: &str) -> Result<Response<Body>, Problem> {
    let (window, limit) = (read::window(&serving.trending, query)?, read::limit(query, TRENDING_MAX)?);
    let streams = &serving.streams;
    let too_many = || Problem::TooManyStreams { most: STREAMS_PER_ADDRESS_MAX };
    let place = streams.addresses.enter(address, STREAMS_PER_ADDRESS_MAX).ok_or_else(too_many)?;
    let full = Problem::Unavailable("too many streams are open");
    let permit = Arc::clone(&streams.free).try_acquire_owned().map_err(|_| full)?;
    let (sender, events) = mpsc::channel(QUEUE_MAX_EVENTS);
    let (trending, clock) = (Arc::clone(&serving.trending), serving.clock.clone());
    let stream = Stream { trending, clock, window, limit, sender, _held: (place, permit) };
    tokio::spawn(stream.run(streams.closing()));
    Ok(answer(events))
}

/// The answer of every stream: server-sent events that nobody on the way keeps or holds back.
pub(super) fn answer(events: mpsc::Receiver<Result<Bytes, Broken>>) -> Response<Body> {
    let mut response = Response::new(Body::Right(Events::endless(events)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

struct Stream {
    trending: Arc<Board>,
    clock: Clock,
    window: Window,
    limit: usize,
    sender: mpsc::Sender<Result<Bytes, Broken>>,
    _held: (Place, OwnedSemaphorePermit),
}

impl Stream {
    async fn run(self, mut closed: watch::Receiver<bool>) {
        let mut changes = self.trending.subscribe(self.window);
        let mut known = self.current();
        let mut event = snapshot(&known, self.limit);
        loop {
            let sent = tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => return,
                sent = tokio::time::timeout(SLOW, self.sender.send(Ok(event.into()))) => sent,
            };
            // Too slow, or gone.
            let Ok(Ok(())) = sent else { return };
            let last = Instant::now();
            let change = async {
                tokio::time::sleep_until(last + GAP).await;
                changes.changed().await
            };
            event = tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => return,
                // The client has gone: its place is free at once.
                () = self.sender.closed() => return,
                changed = tokio::time::timeout_at(last + PING, change) => match changed {
                    Ok(Err(_)) => return,
                    Err(_) => ": ping\n\n".to_owned(),
                    Ok(Ok(())) => {
                        // Not the list that was told: what was taken back since is not in this one.
                        let current = self.current();
                        let event = diff(&known, &current, self.limit);
                        known = current;
                        event
                    }
                },
            };
        }
    }

    fn current(&self) -> Arc<Published> {
        self.trending.get(self.window, self.clock.now_ms())
    }
}

fn snapshot(list: &Published, limit: usize) -> String {
    let page = list.page(0, limit, |_| true);
    format!("event: snapshot\nid: {:016x}\ndata: {}\n\n", list.generation, page.body)
}

/// The posts that are new or stand differently, and those that are gone from the first `limit`.
fn diff(before: &Published, after: &Published, limit: usize) -> String {
    let posts = |list: &Published| -> Vec<_> { list.list.entries.iter().take(limit).map(|entry| entry.post).collect() };
    let (old, new) = (posts(before), posts(after));
    let places: FxHashMap<_, usize> = old.iter().zip(0..).map(|(post, place)| (*post, place)).collect();
    let same = |place: usize| places.get(&new[place]).is_some_and(|at| before.post_json(*at) == after.post_json(place));
    let changed: Vec<_> = (0..new.len()).filter(|place| !same(*place)).map(|place| after.post_json(place)).collect();
    let removed: Vec<_> = old.iter().filter(|post| !new.contains(post)).map(|post| format!("\"{post}\"")).collect();
    format!(
        "event: diff\nid: {0:016x}\ndata: {{\"changed\":[{1}],\"removed\":[{2}],\"total_posts\":{3},\"generation\":\"{0:016x}\"}}\n\n",
        after.generation,
        changed.join(","),
        removed.join(","),
        after.list.total,
    )
}
