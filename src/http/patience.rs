//! A stream with timeouts. A client that sends its request byte by byte, stops reading its answer, or vanished does not
//! hold a connection for ever.
//!
//! The timeout depends on what the connection waits for, so the code that serves it sets a phase ([`Pace`]). The read
//! lane, hyper's HTTP/1.1 and HTTP/2 thus have the same timeouts.

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

/// The limit from the first byte of a request to the end of its head, and from the connection to its first byte. An
/// idle connection of a crowd ends after the same time.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A body or an answer is given up if no byte moves for this long.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The connection waits for the first byte of the first request.
    New,
    /// The connection waits for the first byte of the next request.
    Idle,
    /// The connection waits for the rest of a head.
    Head,
    /// The connection waits for a body, or until the client takes an answer.
    Busy,
    /// The connection waits for the next frame of HTTP/2, and no request is open.
    Quiet,
}

impl Phase {
    const ALL: [Phase; 5] = [Phase::New, Phase::Idle, Phase::Head, Phase::Busy, Phase::Quiet];
}

/// The phase of one connection, shared by its stream and the code that serves it.
#[derive(Clone, Default)]
pub(crate) struct Pace(Arc<Shared>);

/// The shared part of a [`Pace`].
#[derive(Default)]
struct Shared {
    /// The number of a [`Phase`]; 0 is [`Phase::New`].
    phase: AtomicU8,
    /// Notified when HTTP/2 has been quiet for its timeout.
    quiet: Notify,
}

impl Pace {
    pub fn set(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.0.phase.load(Ordering::Relaxed)) % Phase::ALL.len()]
    }

    /// Ends when HTTP/2 has been quiet for its timeout. The client then gets GOAWAY.
    pub async fn quiet(&self) {
        self.0.quiet.notified().await;
    }
}

/// How long an idle connection is kept.
pub(crate) struct Idle {
    pub time: Duration,
    /// Whether there are now, or were since the given time, so many connections that idle ones end after
    /// [`HEAD_TIMEOUT`].
    pub crowd: Box<dyn Fn(Instant) -> bool + Send + Sync>,
}

/// A stream with timeouts.
pub(crate) struct Patient<S> {
    stream: S,
    pace: Pace,
    idle: Idle,
    /// When the present wait began.
    waits: Option<Instant>,
    /// Whether there was a crowd since the wait began. A crowd that has ended still counts, because the connections
    /// that end first would otherwise save the others.
    crowded: bool,
    timer: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    pub fn new(stream: S, pace: Pace, idle: Idle) -> Patient<S> {
        Patient { stream, pace, idle, waits: None, crowded: false, timer: Box::pin(tokio::time::sleep(HEAD_TIMEOUT)) }
    }

    /// A request was answered, and the connection waits for the next one. `part` says whether a part of the next
    /// request is there.
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

    /// Notes progress. `waits` is the beginning of the next wait, if it is known.
    fn moved(&mut self, waits: Option<Instant>) {
        // A head has its time only once, however many pieces it comes in.
        if self.pace.phase() != Phase::Head {
            self.waits = waits;
            self.crowded = false;
        }
    }

    /// Ready once no byte moved for as long as `phase` allows. The timer ends early and is set again, because a crowd
    /// may have come since. It is not set at each progress.
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

    /// The result of a write. A write that the client does not take in time fails.
    fn written<T>(&mut self, attempt: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if attempt.is_ready() {
            // hyper, which already waits for a read, need not look for the next request at once.
            self.moved(Some(Instant::now()));
            return attempt;
        }
        ready!(self.expired(Phase::Busy, context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    /// A timeout looks like the end of the client's data, so that the connection is closed in order.
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
            // The code that serves the connection sends a goodbye. A client that ignores it has the timeout of an
            // answer.
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
        // A flush without data is no progress.
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

    /// How long a read waits before it ends without a byte.
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
                // In this phase the client is notified first.
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

    /// In an earlier version the connections that ended first reduced a crowd of a thousand to fifty, which were then
    /// kept.
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
