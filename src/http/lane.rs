//! The short lane answers reads: requests that have no body and whose answer is ready at once. The lane parses and
//! answers a read without hyper, and sends the answers to several waiting requests with one write. For each request,
//! hyper would need as much time as nova needs for a page from a snapshot (`docs/performance.md`). The first request of
//! any other kind moves the connection to hyper for the rest of the connection's life. So only hyper handles bodies,
//! streams, upgrades and malformed requests.

#![warn(clippy::indexing_slicing)]

use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Empty;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::watch;

use super::body::Asked;
use super::head::{HEAD_MAX_BYTES, HEADERS_MAX};
use super::patience::Patient;
use super::pieces::Body;
use super::request::{self, Own};
use super::sites::Sites;
use super::{console, encoding, host, percent, route};

/// The minimum number of free bytes in the buffer at the beginning of each read from the connection.
const READ_BYTES: usize = 4 << 10;
/// When the answers in the buffer have this many bytes, the lane writes them, even if more requests wait. A connection
/// keeps no buffer that is larger than this.
const WRITE_MAX_BYTES: usize = 32 << 10;

/// The lane answers this number of requests of one connection, and then lets the thread serve its other connections.
const TURN_REQUESTS: usize = 8;

/// The lane does not copy these headers, because no route of the lane reads them. One route is an exception: it reads
/// [`ACCEPT`].
const UNREAD: [HeaderName; 6] = [HOST, USER_AGENT, ACCEPT, ACCEPT_LANGUAGE, CONNECTION, COOKIE];

/// The first bytes from a client of HTTP/2 (RFC 9113 §3.4). A client with prior knowledge sends the preface without an
/// upgrade.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The length of a frame's head (RFC 9113 §4.1). The head has the length, the type, the flags and the stream of the
/// frame.
const FRAME_HEAD_BYTES: usize = 9;
/// The type of the frame that must follow the preface, on stream 0.
const SETTINGS: u8 = 4;

/// A byte stream together with the bytes that the lane has already read from it.
pub(super) struct Rest<S> {
    read: Bytes,
    stream: S,
}

impl<S> Rest<S> {
    /// A byte stream from which the lane has read nothing.
    pub fn unread(stream: S) -> Rest<S> {
        Rest { read: Bytes::new(), stream }
    }
}

/// The way in which a connection continues after the short lane.
pub(super) enum After<S> {
    Ended,
    /// The connection continues as HTTP/1.1.
    Http1(Rest<S>),
    /// The connection is HTTP/2.
    Http2(Rest<S>),
}

/// Serves a connection until it ends or moves to hyper. The function fails if the byte stream fails. A timeout closes
/// the connection without an error.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: Patient<S>,
    peer: IpAddr,
    sites: &Sites,
    mut stop: watch::Receiver<bool>,
) -> io::Result<After<Patient<S>>> {
    let (mut read, mut write, mut date) = (BytesMut::new(), Vec::new(), Date::default());
    let mut stopped = pin!(stop.wait_for(|stop| *stop));
    let mut first = true;
    loop {
        match preface(&read) {
            Preface::Whole if first => return Ok(After::Http2(Rest { read: read.freeze(), stream })),
            Preface::Part if first => {}
            // A client that does not speak HTTP/2 would not understand an answer in frames (RFC 9113 §3.4).
            Preface::Broken if first => return Ok(After::Ended),
            _ => {
                let answered = answer(&mut stream, &mut read, (&mut write, &mut date), (sites, peer)).await?;
                first &= !answered.any;
                if answered.over {
                    return Ok(After::Http1(Rest { read: read.freeze(), stream }));
                }
            }
        }
        read.reserve(READ_BYTES);
        let more = tokio::select! {
            biased;
            more = stream.read_buf(&mut read) => more?,
            _ = &mut stopped => 0,
        };
        if more == 0 {
            stream.shutdown().await?;
            return Ok(After::Ended);
        }
    }
}

/// The result of answering the requests in the buffer.
struct Answered {
    any: bool,
    /// Whether the next request is not for the lane.
    over: bool,
}

/// Answers every complete request in the buffer.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Patient<S>,
    read: &mut BytesMut,
    (write, date): (&mut Vec<u8>, &mut Date),
    (sites, peer): (&Sites, IpAddr),
) -> io::Result<Answered> {
    let mut turn = 0;
    let over = loop {
        match parse(read) {
            Ok(Some((request, length))) => {
                read.advance(length);
                let answer =
                    request::answer(&sites.now(), peer, request.map(|()| Asked::Left(Empty::new())), None).await;
                encode(answer, date, write);
            }
            Ok(None) => break false,
            Err(Other) => break true,
        }
        if write.len() >= WRITE_MAX_BYTES {
            flush(stream, write).await?;
        }
        turn += 1;
        if turn % TURN_REQUESTS == 0 {
            tokio::task::yield_now().await;
        }
    };
    if !write.is_empty() {
        flush(stream, write).await?;
    }
    if turn > 0 {
        stream.answered(!read.is_empty());
    }
    Ok(Answered { any: turn > 0, over })
}

enum Preface {
    No,
    Part,
    Whole,
    /// The bytes after the preface are not a SETTINGS frame.
    Broken,
}

/// Whether the bytes read so far are the beginning of HTTP/2.
fn preface(read: &[u8]) -> Preface {
    let Some(frame) = read.strip_prefix(PREFACE) else {
        return if !read.is_empty() && PREFACE.starts_with(read) { Preface::Part } else { Preface::No };
    };
    match frame.first_chunk::<FRAME_HEAD_BYTES>() {
        None => Preface::Part,
        Some([_, _, _, SETTINGS, _, 0, 0, 0, 0]) => Preface::Whole,
        Some(_) => Preface::Broken,
    }
}

async fn flush(stream: &mut (impl AsyncWrite + Unpin), write: &mut Vec<u8>) -> io::Result<()> {
    stream.write_all(write).await?;
    write.clear();
    write.shrink_to(WRITE_MAX_BYTES);
    Ok(())
}

/// The request is not for the lane.
struct Other;

/// The first request in the buffer and the length of its head, or `None` while the head is incomplete.
fn parse(read: &[u8]) -> Result<Option<(Request<()>, usize)>, Other> {
    if read.is_empty() {
        return Ok(None);
    }
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut []);
    match head.parse_with_uninit_headers(read, &mut headers) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_MAX_BYTES => {
            Ok(Some((plain(&head).ok_or(Other)?, length)))
        }
        Ok(httparse::Status::Partial) if read.len() < HEAD_MAX_BYTES => Ok(None),
        _ => Err(Other),
    }
}

/// The request that a head describes, or `None` if the request is not for the lane.
fn plain(head: &httparse::Request<'_, '_>) -> Option<Request<()>> {
    let method = match head.method? {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        _ => return None,
    };
    // The lane takes only HTTP/1.1 with a target in origin-form (RFC 9112 §3.2.1).
    let target = head.path.filter(|path| head.version == Some(1) && path.starts_with('/'))?;
    let path = percent::path(target.split('?').next().unwrap_or_default()).ok()?;
    // hyper sends the answers that may come piece by piece.
    if [route::STREAM, route::OVERVIEW_STREAM].contains(&&*path) || path.starts_with(route::ADMIN_PATHS) {
        return None;
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().ok()?;
    let headers = request.headers_mut();
    let mut hosts = 0;
    for header in head.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let about_body = [CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT, UPGRADE].contains(&name);
        if about_body || (name == CONNECTION && !header.value.eq_ignore_ascii_case(b"keep-alive")) {
            return None;
        }
        // nova reads cookies only in requests with the console's header, and hyper handles such requests.
        if name == console::HEADER {
            return None;
        }
        if name == HOST {
            hosts += 1;
            if !host::is_host(header.value) {
                return None;
            }
        }
        if !UNREAD.contains(&name) || (name == ACCEPT && path == route::METRICS) {
            headers.append(name, HeaderValue::from_bytes(header.value).ok()?);
        }
    }
    if hosts != 1 {
        return None;
    }
    Some(request)
}

/// Appends an answer in the form of RFC 9112. Only streams have no length, and no route of the lane answers with a
/// stream.
fn encode((response, own): (Response<Body>, Own), date: &mut Date, out: &mut Vec<u8>) {
    let (head, body) = response.into_parts();
    let body = match body {
        Body::Left(whole) => encoding::whole(&whole).unwrap_or_default(),
        Body::Right(_) => Bytes::new(),
    };
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.status.canonical_reason().unwrap_or_default().as_bytes());
    for (name, value) in &head.headers {
        field(name.as_str(), value.as_bytes(), out);
    }
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
    if !bodiless && !head.headers.contains_key(CONTENT_LENGTH) {
        field(CONTENT_LENGTH.as_str(), itoa::Buffer::new().format(body.len()).as_bytes(), out);
    }
    own.each(|name, value| field(name.as_str(), value.as_bytes(), out));
    field("date", date.at(own.day_ms).as_bytes(), out);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(&body);
}

fn field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    for part in [b"\r\n", name.as_bytes(), b": ", value] {
        out.extend_from_slice(part);
    }
}

/// The header `Date`, which is made once a second.
#[derive(Default)]
struct Date {
    second: u64,
    text: String,
}

impl Date {
    fn at(&mut self, now_ms: i64) -> &str {
        let second = now_ms.max(0) as u64 / 1_000;
        if self.second != second || self.text.is_empty() {
            self.second = second;
            self.text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        }
        &self.text
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rest<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rest<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
