//! Answers of any length for people with the role admin: rows, a backup, or a comparison with ClickHouse. A thread for
//! blocking work makes a long answer piece by piece. The caller gets a whole answer or a broken connection, and never a
//! short answer that looks whole.
//!
//! The body may begin with line feeds, which show that nova is still making the answer; neither JSON nor a store begins
//! with a line feed. If nova cannot begin an answer, the body is one JSON object with the member `failed`. If nova
//! cannot finish an answer, the connection breaks off.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::error::Problem;
use super::gate::ReadFailed;
use super::pieces::{Body, Broken, Events};

/// The maximum number of long answers at the same time. A long answer holds a transaction, which pins pages of the
/// store's file.
pub const PUMPED_MAX: usize = 2;
/// The size of one piece of a long answer in bytes.
const PIECE_BYTES: usize = 64 << 10;
/// The most pieces of a long answer that wait for the caller.
const QUEUE_MAX_PIECES: usize = 2;
/// nova disconnects a caller who takes no piece for this time.
const SLOW: Duration = Duration::from_secs(20);
/// The interval of the line feeds before a long answer begins. Without data a connection ends after half a minute.
const PING: Duration = Duration::from_secs(5);
/// An answer that takes longer than this breaks off, because its transaction must not pin pages for ever.
const LONGEST: Duration = Duration::from_secs(1_800);

/// The number of long answers that may still begin.
pub(super) struct Pumps(Arc<Semaphore>);

impl Default for Pumps {
    fn default() -> Pumps {
        Pumps(Arc::new(Semaphore::new(PUMPED_MAX)))
    }
}

/// The output into which the thread writes the answer.
struct Pieces {
    sender: mpsc::Sender<Result<Bytes, Broken>>,
    runtime: Handle,
    closed: watch::Receiver<bool>,
    piece: Vec<u8>,
    /// Whether the thread has handed over a piece of the answer.
    begun: bool,
}

impl Pieces {
    fn hand_over(&mut self) -> io::Result<()> {
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        self.begun = true;
        let (sender, closed) = (&self.sender, &mut self.closed);
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => Err(io::Error::other("the node stops")),
                sent = tokio::time::timeout(SLOW, sender.send(Ok(piece))) => match sent {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => Err(io::Error::other("the caller has gone")),
                    Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
                },
            }
        })
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.hand_over()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.hand_over() }
    }
}

/// Answers with the output of `make`. `closed` ends the answer when the node ends. If nova is already making
/// [`PUMPED_MAX`] long answers, it refuses the request.
pub(super) fn answer(
    pumps: &Pumps,
    closed: watch::Receiver<bool>,
    kind: &'static str,
    make: impl FnOnce(&mut dyn Write) -> Result<(), ReadFailed> + Send + 'static,
) -> Result<Response<Body>, Problem> {
    let busy = Problem::Unavailable("as many long answers as may be are being made; ask again");
    let permit = Arc::clone(&pumps.0).try_acquire_owned().map_err(|_| busy)?;
    let (sender, pieces) = mpsc::channel(QUEUE_MAX_PIECES);
    let runtime = Handle::current();
    let mut out = Pieces { sender, runtime, closed, piece: Vec::new(), begun: false };
    tokio::task::spawn_blocking(move || {
        let held: OwnedSemaphorePermit = permit;
        let done = make(&mut out).and_then(|()| out.flush().map_err(|error| ReadFailed(error.into())));
        if let Err(error) = done {
            tracing::warn!("an answer of an admin request broke off: {error}");
            out.piece.clear();
            if out.begun {
                let _ = out.sender.blocking_send(Err(Broken));
            } else {
                let failed = json!({ "failed": error.to_string() });
                // The caller may have closed the connection, so a failed write is no error.
                let _ = writeln!(out, "{failed}").and_then(|()| out.flush());
            }
        }
        drop((out, held));
    });
    let mut response = Response::new(Body::Right(Events::made(pieces, (PING, LONGEST))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    type Made = Result<(), ReadFailed>;

    fn failed(why: &'static str) -> ReadFailed {
        ReadFailed(why.into())
    }

    /// The body that a caller receives, or `None` if the connection breaks off.
    fn collected(make: impl FnOnce(&mut dyn Write) -> Made + Send + 'static) -> Option<Bytes> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (pumps, (_open, closed)) = (Pumps::default(), watch::channel(false));
            let response = answer(&pumps, closed, "text/plain", make).unwrap();
            response.into_body().collect().await.ok().map(|body| body.to_bytes())
        })
    }

    #[test]
    fn an_answer_is_whole_or_breaks_off_and_one_that_is_not_begun_says_why() {
        let long = |out: &mut dyn Write| -> Made {
            (0..10_000).try_for_each(|n| writeln!(out, "line {n}")).map_err(|error| ReadFailed(error.into()))
        };
        let whole = collected(long).unwrap();
        assert_eq!(whole.iter().filter(|byte| **byte == b'\n').count(), 10_000);
        assert_eq!(collected(|_| Ok(())).unwrap(), "");
        let broken = collected(move |out| long(out).and(Err(failed("the disk is gone"))));
        assert_eq!(broken, None);
        let short = collected(|out| writeln!(out, "a part").map_err(|_| failed("write")).and(Err(failed("no disk"))));
        assert_eq!(short.unwrap(), "{\"failed\":\"no disk\"}\n", "what was not handed over is forgotten");
    }

    #[test]
    fn as_many_as_may_are_made_and_the_end_of_the_node_ends_them() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (pumps, (stop, closed)) = (Pumps::default(), watch::channel(false));
            let endless = |out: &mut dyn Write| -> Made {
                loop {
                    out.write_all(&[0; PIECE_BYTES]).map_err(|error| ReadFailed(error.into()))?;
                }
            };
            let begin = || answer(&pumps, closed.clone(), "text/plain", endless);
            let open: Vec<_> = (0..PUMPED_MAX).map(|_| begin().unwrap().into_body()).collect();
            assert!(matches!(begin(), Err(Problem::Unavailable(_))));
            stop.send_replace(true);
            for body in open {
                assert!(body.collect().await.is_err());
            }
        });
    }

    #[test]
    fn while_an_answer_is_made_its_reader_is_told_so() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (sender, pieces) = mpsc::channel(1);
            let mut body = Events::made(pieces, (PING, LONGEST));
            for _ in 0..3 {
                assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "\n");
            }
            sender.try_send(Ok(Bytes::from_static(b"begun"))).unwrap();
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "begun");
            // After its beginning the answer has no line feeds, and after the longest time the answer breaks off.
            assert!(body.frame().await.unwrap().is_err());
            drop(sender);
        });
    }
}
