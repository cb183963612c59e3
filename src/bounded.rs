//! Limits the length of the answers of servers that nova asks. The connection has the limit, so that no reader of an
//! answer can forget the limit. The limit applies above TLS, to heads, chunk framing and bodies alike, whatever the
//! status of the answer is.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Uri;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower_service::Service;

/// The maximum number of bytes that one read takes.
const READ_BYTES: usize = 16 << 10;
/// An answer is refused if its head is incomplete after this many bytes.
const HEAD_MAX_BYTES: usize = 64 << 10;
/// An answer of ClickHouse with the status 200 and this header is a refusal.
const CLICKHOUSE_REFUSAL: &[u8] = b"\r\nx-clickhouse-exception-code:";

/// The limit for the length of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// No answer may have a body of more bytes than this.
    Each(usize),
    /// No refusal of ClickHouse may have more bytes than this. Answers with rows have no limit in the connection,
    /// because their readers have limits of their own.
    Refusals(usize),
}

impl Bound {
    fn bytes(self) -> usize {
        let (Bound::Each(body) | Bound::Refusals(body)) = self;
        body + HEAD_MAX_BYTES
    }
}

/// A connector whose connections limit the length of answers.
#[derive(Clone, Debug)]
pub struct Bounded<C> {
    connector: C,
    bound: Bound,
}

impl<C> Bounded<C> {
    pub fn new(connector: C, bound: Bound) -> Bounded<C> {
        Bounded { connector, bound }
    }
}

type Connecting<S, E> = Pin<Box<dyn Future<Output = Result<Answers<S>, E>> + Send>>;

impl<C> Service<Uri> for Bounded<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
{
    type Response = Answers<C::Response>;
    type Error = C::Error;
    type Future = Connecting<C::Response, C::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, bound) = (self.connector.call(uri), self.bound);
        Box::pin(async move { connecting.await.map(|stream| Answers::new(stream, bound)) })
    }
}

/// A connection that fails when an answer is longer than the limit. A write marks the beginning of a new answer,
/// because HTTP/1.1 has one request at a time.
pub struct Answers<S> {
    stream: S,
    bound: Bound,
    /// The number of bytes of the current answer that were read.
    read: usize,
    /// The part of the current answer's head that was read, as far as it is needed.
    head: Vec<u8>,
    /// Whether the current answer may have any length.
    rows: bool,
    buffer: Box<[u8]>,
}

impl<S> Answers<S> {
    fn new(stream: S, bound: Bound) -> Answers<S> {
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        Answers { stream, bound, read: 0, head: Vec::new(), rows: false, buffer }
    }

    fn asked(&mut self) {
        (self.read, self.rows) = (0, false);
        self.head.clear();
    }

    /// Counts bytes of the current answer, and fails if the answer is too long.
    fn count(&mut self, length: usize) -> io::Result<()> {
        if self.rows {
            return Ok(());
        }
        self.read = self.read.saturating_add(length);
        if let Bound::Refusals(_) = self.bound
            && self.head.len() < HEAD_MAX_BYTES
        {
            self.head.extend_from_slice(&self.buffer[..length]);
            self.rows = begins_rows(&self.head);
        }
        if self.rows || self.read <= self.bound.bytes() {
            return Ok(());
        }
        let (Bound::Each(most) | Bound::Refusals(most)) = self.bound;
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("an answer of more than {most} bytes")))
    }
}

/// Whether `read` contains a complete head of an answer with rows.
fn begins_rows(read: &[u8]) -> bool {
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = read[..end].to_ascii_lowercase();
    let refusal = head.windows(CLICKHOUSE_REFUSAL.len()).any(|part| part == CLICKHOUSE_REFUSAL);
    head.split(|byte| *byte == b' ').nth(1) == Some(b"200") && !refusal
}

impl<S: Read + Unpin> Read for Answers<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let most = this.buffer.len().min(buffer.remaining());
        let mut part = ReadBuf::new(&mut this.buffer[..most]);
        ready!(Pin::new(&mut this.stream).poll_read(context, part.unfilled()))?;
        let length = part.filled().len();
        this.count(length)?;
        buffer.put_slice(&this.buffer[..length]);
        Poll::Ready(Ok(()))
    }
}

impl<S: Write + Unpin> Write for Answers<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.asked();
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.asked();
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}

impl<S: Connection> Connection for Answers<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Returns how many bytes of each answer the connection passes on. Each answer belongs to a request of its own.
    fn through(bound: Bound, answers: &[(&str, usize)]) -> Vec<Result<usize, io::ErrorKind>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(1 << 20);
            let mut near = TokioIo::new(Answers::new(TokioIo::new(near), bound));
            let mut out = Vec::new();
            for (head, length) in answers {
                let sent = [head.as_bytes(), b"\r\n\r\n", &vec![b'x'; *length]].concat();
                let ask = async {
                    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
                    let (mut read, mut buffer) = (0, vec![0; 10_000]);
                    while read < sent.len() {
                        match near.read(&mut buffer).await {
                            Ok(length) => read += length,
                            Err(error) => return Err(error.kind()),
                        }
                    }
                    Ok(read - head.len() - 4)
                };
                let answer = async {
                    far.read_exact(&mut [0; 18]).await.unwrap();
                    far.write_all(&sent).await.unwrap();
                };
                out.push(tokio::join!(ask, answer).0);
            }
            out
        })
    }

    #[test]
    fn no_answer_is_longer_than_it_may_be_and_each_has_its_own_bound() {
        const MAX: usize = 100_000;
        let long = MAX + HEAD_MAX_BYTES;
        let too_long = Err(io::ErrorKind::InvalidData);
        for head in ["HTTP/1.1 200 OK", "HTTP/1.1 500 Oh", "HTTP/1.1 404 No\r\nA: b", "nonsense"] {
            let found = through(Bound::Each(MAX), &[(head, MAX), (head, MAX), (head, long)]);
            assert_eq!(found, [Ok(MAX), Ok(MAX), too_long], "{head}");
        }
    }

    #[test]
    fn rows_are_of_any_length_and_refusals_are_not() {
        const MAX: usize = 1_000;
        let long = MAX + HEAD_MAX_BYTES;
        for (head, rows) in [
            ("HTTP/1.1 200 OK\r\nX-ClickHouse-Summary: {}", true),
            ("HTTP/1.1 200 OK\r\nx-ClickHouse-exception-code: 60", false),
            ("HTTP/1.1 500 Internal\r\nX-Y: 200", false),
            ("HTTP/1.1 404 200", false),
            ("nonsense 200", true),
        ] {
            let expected = if rows { Ok(long) } else { Err(io::ErrorKind::InvalidData) };
            assert_eq!(through(Bound::Refusals(MAX), &[(head, MAX), (head, long)]), [Ok(MAX), expected], "{head}");
        }
    }
}
