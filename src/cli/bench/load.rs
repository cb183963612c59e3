//! A load generator with one thread and many connections that are kept alive. A connection sends its next request when
//! it has received the whole answer to its previous request. HTTP and Redis use the same loop, so that their rates can
//! be compared.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cli::error::CliError;
use crate::cli::runtime::runtime;
use crate::clock::monotonic_now;

/// The maximum number of response times that one connection keeps in one run. After this number of response times, the
/// connection only counts the answers.
const TIMES_MAX: usize = 1 << 22;
const READ_BYTES: usize = 64 << 10;
const ANSWER_MAX_BYTES: usize = 64 << 20;
/// The longest time that the bench waits for an answer before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// The protocol of a connection, by which the bench finds the end of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// The framing of HTTP/1.1 with `Content-Length`.
    Http,
    /// The Redis serialization protocol, version 2: simple and bulk strings, integers, errors.
    Resp,
}

impl Framing {
    /// The places where the body of the answer begins and where the answer ends, or `None` if the answer is incomplete.
    fn whole(self, bytes: &[u8]) -> Option<(usize, usize)> {
        match self {
            Framing::Http => {
                let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
                let length = memmem::find(&bytes[..head], b"content-length: ");
                let length = length.map_or(0, |at| digits(&bytes[at + "content-length: ".len()..head]));
                Some((head, head + length))
            }
            Framing::Resp => {
                let head = memmem::find(bytes, b"\r\n")? + 2;
                match bytes.first() {
                    Some(b'$') if bytes.get(1) != Some(&b'-') => Some((head, head + digits(&bytes[1..head]) + 2)),
                    _ => Some((head, head)),
                }
            }
        }
    }

    fn good(self, answer: &[u8]) -> bool {
        match self {
            // A status of 2xx and the status 304 are good answers.
            Framing::Http => answer.starts_with(b"HTTP/1.1 2") || answer.starts_with(b"HTTP/1.1 304"),
            Framing::Resp => !answer.starts_with(b"-") && !answer.starts_with(b"$-"),
        }
    }
}

fn digits(bytes: &[u8]) -> usize {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: usize, digit| number.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
}

/// One connection of the load generator.
pub(super) struct Connection {
    stream: TcpStream,
    framing: Framing,
    read: Vec<u8>,
}

/// The bytes of a whole answer, and the bytes of its body.
#[derive(Clone, Copy)]
pub(super) struct Answer<'a> {
    pub whole: &'a [u8],
    pub body: &'a [u8],
}

impl Connection {
    pub(super) async fn open(addr: SocketAddr, framing: Framing) -> Result<Connection, CliError> {
        let stream = TcpStream::connect(addr).await;
        let stream = stream.map_err(|error| CliError::Failed(format!("{addr} cannot be reached: {error}")))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, framing, read: Vec::with_capacity(READ_BYTES) })
    }

    /// Sends a request and waits for its answer. An answer with an error status is an error.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<Answer<'_>, CliError> {
        self.stream.write_all(request).await?;
        self.read.clear();
        let mut whole = None;
        let (begin, end) = loop {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(CliError::Failed("the server closed a connection of the bench".to_owned()));
            }
            whole = whole.or_else(|| self.framing.whole(&self.read));
            match whole {
                Some((begin, end)) if end <= self.read.len() => break (begin, end),
                Some((_, end)) if end > ANSWER_MAX_BYTES => {
                    return Err(CliError::Failed(format!("an answer of more than {ANSWER_MAX_BYTES} bytes")));
                }
                _ => {}
            }
        };
        let answer = &self.read[..end];
        if !self.framing.good(answer) {
            let text = String::from_utf8_lossy(&answer[..end.min(1_000)]);
            return Err(CliError::Failed(format!("the server answers the bench with {text}")));
        }
        Ok(Answer { whole: answer, body: &answer[begin..] })
    }
}

/// A function that appends the bytes of the request with the given number: 0, 1, 2 and so on.
pub(super) type Requests = Box<dyn Fn(u64, &mut Vec<u8>) + Send + Sync>;

/// A kind of requests, and the server to which the bench sends them.
pub(super) struct Target {
    pub what: &'static str,
    pub addr: SocketAddr,
    pub framing: Framing,
    pub requests: Requests,
    /// The number of the next request.
    next: AtomicU64,
}

impl Target {
    pub(super) fn new(what: &'static str, addr: SocketAddr, framing: Framing, requests: Requests) -> Arc<Target> {
        Arc::new(Target { what, addr, framing, requests, next: AtomicU64::new(0) })
    }
}

/// The result of one run of the load generator.
#[derive(Default)]
pub(super) struct Measured {
    pub answers: u64,
    pub elapsed: Duration,
    /// The times from each request to the end of its answer, in microseconds.
    pub times_us: Vec<u32>,
}

impl Measured {
    /// The number of answers a second.
    pub(super) fn rate(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Sends requests for the given time. The generator opens the connections before the clock starts.
pub(super) fn run(target: &Arc<Target>, connections: usize, time: Duration) -> Result<Measured, CliError> {
    let runtime = runtime()?;
    let asked = async {
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            open.push(Connection::open(target.addr, target.framing).await?);
        }
        let began = monotonic_now();
        let spawn = |connection| tokio::spawn(ask_until(connection, Arc::clone(target), began + time));
        let tasks: Vec<_> = open.into_iter().map(spawn).collect();
        let mut measured = Measured::default();
        for task in tasks {
            let (answers, times_us) =
                task.await.map_err(|_| CliError::Failed("a task of the bench ended".to_owned()))??;
            measured.answers += answers;
            measured.times_us.extend(times_us);
        }
        measured.elapsed = began.elapsed();
        Ok(measured)
    };
    runtime
        .block_on(async { tokio::time::timeout(time + PATIENCE, asked).await })
        .map_err(|_| CliError::Failed(format!("{}: no answer within {} s", target.what, PATIENCE.as_secs())))?
}

async fn ask_until(mut connection: Connection, target: Arc<Target>, end: Instant) -> Result<(u64, Vec<u32>), CliError> {
    let (mut answers, mut times_us, mut request) = (0, Vec::new(), Vec::new());
    loop {
        request.clear();
        (target.requests)(target.next.fetch_add(1, Ordering::Relaxed), &mut request);
        let began = monotonic_now();
        if began >= end {
            return Ok((answers, times_us));
        }
        connection.ask(&request).await?;
        answers += 1;
        if times_us.len() < TIMES_MAX {
            times_us.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_answer_is_whole_at_its_last_byte_and_its_end_is_known_from_its_head(
            body in proptest::collection::vec(any::<u8>(), 0..300),
            more in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let http = [format!("HTTP/1.1 200 OK\r\ncontent-type: x\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes(), body.clone()].concat();
            let resp = [format!("${}\r\n", body.len()).into_bytes(), body.clone(), b"\r\n".to_vec()].concat();
            for (framing, answer, tail) in [(Framing::Http, http, 0), (Framing::Resp, resp, 2)] {
                let begin = answer.len() - body.len() - tail;
                prop_assert!(framing.good(&answer));
                let sent = [&answer[..], &more].concat();
                for so_far in 0..sent.len() {
                    let known = framing.whole(&sent[..so_far]);
                    prop_assert_eq!(known, (so_far >= begin).then_some((begin, answer.len())));
                }
            }
        }
    }

    #[test]
    fn errors_are_not_answers() {
        assert!(!Framing::Http.good(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"));
        assert!(!Framing::Resp.good(b"$-1\r\n"));
        assert!(!Framing::Resp.good(b"-ERR no\r\n"));
        assert!(Framing::Resp.good(b"+OK\r\n"));
        assert_eq!(Framing::Resp.whole(b"+OK\r\n"), Some((5, 5)));
    }
}
