//! A byte stream with timeouts. No client can keep a connection open for ever by sending a request byte by byte, by not
//! reading the answer, or by vanishing.
//!
//! The timeout depends on the phase of the connection ([`Pace`]), which the code that serves the connection sets. The
//! read lane, hyper's HTTP/1.1 and hyper's HTTP/2 have the same timeouts.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

/// The longest time from the first byte of a request to the end of its head, and from the connection's start to its
/// first byte. If too many connections are open, an idle connection also ends after this time.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// nova ends a connection if no byte of a body or an answer moves for this time.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The event that a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The connection waits for the first byte of the first request.
    New,
    /// The connection waits for the first byte of the next request.
    Idle,
    /// The connection waits for the rest of a request's head.
    Head,
    /// The connection waits for a request's body, or until the client takes an answer.
    Busy,
    /// The connection waits for the next frame of HTTP/2, and no request is open.
    Quiet,
}

impl Phase {
    const ALL: [Phase; 5] = [Phase::New, Phase::Idle, Phase::Head, Phase::Busy, Phase::Quiet];
}

/// The phase of one connection, which the byte stream shares with the code that serves the connection.
#[derive(Clone, Default)]
pub(crate) struct Pace(Arc<Shared>);

/// The shared part of a [`Pace`].
#[derive(Default)]
struct Shared {
    /// The number of a [`Phase`]; 0 is [`Phase::New`].
    phase: AtomicU8,
    /// The notification that an HTTP/2 connection has been quiet for its timeout.
    quiet: Notify,
}

impl Pace {
    pub fn set(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.0.phase.load(Ordering::Relaxed)) % Phase::ALL.len()]
    }

    /// Waits until an HTTP/2 connection has been quiet for its timeout. When an HTTP/2 connection has been quiet for
    /// its timeout, nova sends GOAWAY.
    pub async fn quiet(&self) {
        self.0.quiet.notified().await;
    }
}

/// The rules for how long nova keeps an idle connection.
pub(crate) struct Idle {
    pub time: Duration,
    /// Returns whether many connections were open at any moment since the given time. If many connections were open,
    /// an idle connection ends after [`HEAD_TIMEOUT`].
    pub crowd: Box<dyn Fn(Instant) -> bool + Send + Sync>,
}

/// A byte stream with timeouts.
pub(crate) struct Patient<S> {
    stream: S,
    pace: Pace,
    idle: Idle,
    /// The beginning of the present wait for the client.
    waits: Option<Instant>,
    /// Whether too many connections were open at any time since the wait began. The flag stays true when the number of
    /// connections falls. If the flag became false, nova would keep the remaining idle connections after the first idle
    /// connections have ended.
    crowded: bool,
    timer: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    pub fn new(stream: S, pace: Pace, idle: Idle) -> Patient<S> {
        Patient { stream, pace, idle, waits: None, crowded: false, timer: Box::pin(tokio::time::sleep(HEAD_TIMEOUT)) }
    }

    /// Notes that nova has answered a request, and that the connection waits for the next request. `part` says whether
    /// a part of the next request has arrived.
    pub fn answered(&mut self, part: bool) {
        self.waits = None;
        self.crowded = false;
        self.pace.set(if part { Phase::Head } else { Phase::Idle });
    }

    fn patience(&mut self, phase: Phase, since: Instant) -> Duration {
        self.crowded |= matches!(phase, Phase::Idle | Phase::Quiet) && (self.idle.crowd)(since);
        match phase {
            Phase::New | Phase::Head => HEAD_TIMEOUT,
            Phase::Busy => STALL_TIMEOUT,
            Phase::Idle | Phase::Quiet if self.crowded => self.idle.time.min(HEAD_TIMEOUT),
            Phase::Idle | Phase::Quiet => self.idle.time,
        }
    }

    /// Notes that bytes have moved. `waits` is the beginning of the next wait for the client, if it is known.
    fn moved(&mut self, waits: Option<Instant>) {
        // The timeout of a request's head does not restart with each piece of the head.
        if self.pace.phase() != Phase::Head {
            self.waits = waits;
            self.crowded = false;
        }
    }

    /// Becomes ready when no byte has moved for as long as `phase` allows. The timer ends early, so that the function
    /// can look whether too many connections are open now, and set the timer again. To save time, nova does not set the
    /// timer again whenever bytes move.
    fn expired(&mut self, phase: Phase, context: &mut Context<'_>) -> Poll<()> {
        let since = *self.waits.get_or_insert_with(Instant::now);
        let soonest = since + self.patience(phase, since).min(HEAD_TIMEOUT);
        if self.timer.deadline() > soonest {
            self.timer.as_mut().reset(soonest);
        }
        loop {
            ready!(self.timer.as_mut().poll(context));
            let (now, until) = (Instant::now(), since + self.patience(phase, since));
            if now >= until {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(until.min(now + HEAD_TIMEOUT));
        }
    }

    /// The result of a write to the client. The write fails if the client does not take the bytes in time.
    fn written<T>(&mut self, attempt: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if attempt.is_ready() {
            // The next wait begins now, so hyper, which already waits for a read, does not have to poll the read again.
            self.moved(Some(Instant::now()));
            return attempt;
        }
        ready!(self.expired(Phase::Busy, context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    /// Reads from the client. A timeout looks like the end of the client's data, so that hyper or the lane closes the
    /// connection without an error.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_read(context, buffer);
        let phase = self.pace.phase();
        if attempt.is_ready() {
            self.moved(None);
            if matches!(phase, Phase::New | Phase::Idle) {
                self.pace.set(Phase::Head);
            }
            return attempt;
        }
        ready!(self.expired(phase, context));
        if phase == Phase::Quiet {
            // The code that serves the connection sends GOAWAY. If the client ignores GOAWAY, the connection ends after
            // the timeout of an answer.
            self.waits = None;
            self.pace.set(Phase::Busy);
            self.pace.0.quiet.notify_one();
            ready!(self.expired(Phase::Busy, context));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(attempt, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A flush without data moves no byte, so it does not restart the timeout.
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_shutdown(context);
        self.written(attempt, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(attempt, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    const IDLE: Duration = Duration::from_secs(75);

    fn patient(crowd: &Arc<AtomicBool>) -> (Patient<DuplexStream>, DuplexStream, Pace) {
        let ((near, far), pace, crowd) = (tokio::io::duplex(8), Pace::default(), Arc::clone(crowd));
        let idle = Idle { time: IDLE, crowd: Box::new(move |_| crowd.load(Ordering::Relaxed)) };
        (Patient::new(near, pace.clone(), idle), far, pace)
    }

    fn paused(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(test);
    }

    /// Measures how long a read waits before it ends without a byte.
    async fn waited(patient: &mut Patient<DuplexStream>) -> Duration {
        let (begun, mut byte) = (Instant::now(), [0]);
        assert_eq!(patient.read(&mut byte).await.unwrap(), 0);
        begun.elapsed()
    }

    #[test]
    fn each_phase_has_its_time() {
        paused(async {
            for (phase, alone, crowded) in [
                (Phase::New, HEAD_TIMEOUT, HEAD_TIMEOUT),
                (Phase::Idle, IDLE, HEAD_TIMEOUT),
                (Phase::Head, HEAD_TIMEOUT, HEAD_TIMEOUT),
                (Phase::Busy, STALL_TIMEOUT, STALL_TIMEOUT),
                // In the phase `Quiet`, nova first sends GOAWAY to the client.
                (Phase::Quiet, IDLE + STALL_TIMEOUT, HEAD_TIMEOUT + STALL_TIMEOUT),
            ] {
                for (crowd, expected) in [(false, alone), (true, crowded)] {
                    let (mut near, _far, pace) = patient(&Arc::new(AtomicBool::new(crowd)));
                    pace.set(phase);
                    let took = waited(&mut near).await;
                    assert!(
                        took >= expected && took < expected + Duration::from_millis(5),
                        "{phase:?} {crowd} {took:?}"
                    );
                }
            }
        });
    }

    #[test]
    fn a_crowd_that_comes_ends_idle_connections_soon() {
        paused(async {
            let crowd = Arc::new(AtomicBool::new(false));
            let (mut near, _far, pace) = patient(&crowd);
            pace.set(Phase::Idle);
            let comes = async {
                tokio::time::advance(Duration::from_secs(31)).await;
                crowd.store(true, Ordering::Relaxed);
            };
            let (took, ()) = tokio::join!(waited(&mut near), comes);
            assert!(took <= Duration::from_secs(41), "{took:?}");
        });
    }

    /// In an earlier version of nova, when all but fifty of a thousand idle connections had ended, nova kept the last
    /// fifty.
    #[test]
    fn a_crowd_that_ends_first_keeps_nobody() {
        paused(async {
            let crowd = Arc::new(AtomicBool::new(true));
            let (mut near, _far, pace) = patient(&crowd);
            pace.set(Phase::Idle);
            let ends = async {
                tokio::time::advance(Duration::from_secs(5)).await;
                crowd.store(false, Ordering::Relaxed);
            };
            let (took, ()) = tokio::join!(waited(&mut near), ends);
            assert!(took <= HEAD_TIMEOUT + Duration::from_millis(5), "{took:?}");
        });
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_has_its_time_only_once() {
        paused(async {
            let (mut near, mut far, _) = patient(&Arc::default());
            let begun = Instant::now();
            let drip = async {
                while far.write_all(b"x").await.is_ok() {
                    tokio::time::advance(Duration::from_secs(1)).await;
                }
            };
            let read = async {
                let mut bytes = Vec::new();
                near.read_to_end(&mut bytes).await.unwrap();
                drop(near);
                begun.elapsed()
            };
            let (took, ()) = tokio::join!(read, drip);
            assert!(took >= HEAD_TIMEOUT && took < HEAD_TIMEOUT + Duration::from_secs(3), "{took:?}");
        });
    }

    #[test]
    fn an_answer_that_nobody_takes_fails() {
        paused(async {
            let (mut near, _far, _) = patient(&Arc::default());
            let begun = Instant::now();
            let stuck = near.write_all(&[0; 64]).await;
            let took = begun.elapsed();
            assert_eq!(stuck.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert!(took >= STALL_TIMEOUT && took < STALL_TIMEOUT + Duration::from_millis(5), "{took:?}");
        });
    }
}
