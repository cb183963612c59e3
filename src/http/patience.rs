//! A stream that ends when it is waited for in vain: neither a client that sends its request bytewise nor one that stops
//! reading its answer, nor one that vanished, holds a connection for ever.
//!
//! How long is waited depends on what for, so whoever serves the connection says that ([`Pace`]). The read lane, hyper's
//! HTTP/1.1 and HTTP/2 have the same times by it.

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

/// From the first byte of a request to the end of its head, and from the connection to its first byte. An idle
/// connection of a crowd ends after the same time.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A body or an answer on which nothing moves for so long is given up.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What a connection is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The first byte of the first request.
    New,
    /// The first byte of the next request.
    Idle,
    /// The rest of a head.
    Head,
    /// A body, or that an answer is taken.
    Busy,
    /// The next frame of HTTP/2, while no request is open.
    Quiet,
}

impl Phase {
    const ALL: [Phase; 5] = [Phase::New, Phase::Idle, Phase::Head, Phase::Busy, Phase::Quiet];
}

/// What one connection is waited for, shared by its stream and whoever serves it.
#[derive(Clone, Default)]
pub(crate) struct Pace(Arc<Shared>);

/// See [`Pace`].
#[derive(Default)]
struct Shared {
    /// A [`Phase`], by its number; 0 is [`Phase::New`].
    phase: AtomicU8,
    /// Told when HTTP/2 has been quiet for its time.
    quiet: Notify,
}

impl Pace {
    pub fn set(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.0.phase.load(Ordering::Relaxed)) % Phase::ALL.len()]
    }

    /// Ends when HTTP/2 has been quiet for its time: its client is to be told that the connection ends (GOAWAY).
    pub async fn quiet(&self) {
        self.0.quiet.notified().await;
    }
}

/// How long an idle connection is kept.
pub(crate) struct Idle {
    pub time: Duration,
    /// Whether there are, or were since then, so many connections that idle ones end after [`HEAD_TIMEOUT`].
    pub crowd: Box<dyn Fn(Instant) -> bool + Send + Sync>,
}

/// See the module.
pub(crate) struct Patient<S> {
    stream: S,
    pace: Pace,
    idle: Idle,
    /// Since when is waited.
    waits: Option<Instant>,
    /// Whether there was a crowd since then: those of it that end first would keep the others.
    crowded: bool,
    timer: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    pub fn new(stream: S, pace: Pace, idle: Idle) -> Patient<S> {
        Patient { stream, pace, idle, waits: None, crowded: false, timer: Box::pin(tokio::time::sleep(HEAD_TIMEOUT)) }
    }

    /// A request was answered: waits for the next one, of which a part may be there.
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

    /// Something moved; the next wait begins then, where that is known.
    fn moved(&mut self, waits: Option<Instant>) {
        // A head has its whole time only once, however many pieces it comes in.
        if self.pace.phase() != Phase::Head {
            self.waits = waits;
            self.crowded = false;
        }
    }

    /// Ready once nothing moved for as long as `phase` allows. A crowd may have come since, so the timer ends early
    /// and is set again; it is not set at each progress.
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

    /// What became of a write: one that is not taken in time fails.
    fn written<T>(&mut self, attempt: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if attempt.is_ready() {
            // hyper, which waits for a read already, need not look for the next request at once.
            self.moved(Some(Instant::now()));
            return attempt;
        }
        ready!(self.expired(Phase::Busy, context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    /// A wait that is over looks like the client's end, so that the connection is closed in order.
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
            // Whoever serves it says goodbye; a client that takes no notice has the time of any answer.
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
        // Nothing to flush is no progress.
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

    /// How long a read is waited for before it ends without a byte.
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
                // Its client is told before.
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

    /// The connections that ended first made the crowd of a thousand one of fifty, which were then kept.
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
