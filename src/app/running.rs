//! The running batch loop, and how the loop ends.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use nova_storage::Store;
use parking_lot::RwLock;

use crate::http::CheckState;
use crate::pipeline::ingest::IngestError;
use crate::pipeline::progress::{PartitionStatus, Shared};
use crate::pipeline::writer::{Command, Message, WriterError};
use crate::source::postgres::session::Session;
use crate::state::State;
use crate::warehouse::sender::Sender as Delivery;

use super::error::AppError;
use super::setup::Drain;
use super::store_check::StoreCheck;

/// The running threads of the batch loop.
pub struct Running {
    pub shared: Arc<Shared>,
    pub state: Arc<RwLock<State>>,
    pub store: Arc<Store>,
    pub inbox: Sender<Message>,
    pub(super) writer: JoinHandle<Result<(), WriterError>>,
    pub(super) ingest: JoinHandle<Result<(), IngestError>>,
    /// A channel that closes when the thread of ingest has ended.
    pub(super) ended: Receiver<()>,
    pub(super) delivery: Option<Delivery>,
    pub(super) check: Arc<StoreCheck>,
    pub(super) drain: Drain,
    /// The session with PostgreSQL. At its end, the session acknowledges the last commit.
    pub(super) session: Option<Session>,
}

impl Running {
    /// Keeps the session with PostgreSQL. The session ends after the last commit and acknowledges this commit to
    /// PostgreSQL.
    pub(super) fn ends_with(&mut self, session: Option<Session>) {
        self.session = session;
    }

    /// Whether all threads of the batch loop run and the store is undamaged.
    pub fn alive(&self) -> bool {
        let delivers = self.delivery.as_ref().is_none_or(Delivery::alive);
        let whole = self.check.state() != CheckState::Damaged;
        whole && !self.writer.is_finished() && !self.ingest.is_finished() && delivers
    }

    /// Waits until the source has ended and the threads of the batch loop have ended. Every 100 ms, `finish` calls
    /// `tick` with the positions of all partitions.
    pub fn finish(self, mut tick: impl FnMut(&[PartitionStatus])) -> Result<Vec<PartitionStatus>, AppError> {
        const TICK: Duration = Duration::from_millis(100);
        while self.ended.recv_timeout(TICK) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            tick(&self.shared.partitions());
            if self.writer.is_finished() || self.check.state() == CheckState::Damaged {
                self.shared.stop();
            }
        }
        let ingested = self.ingest.join().map_err(|_| AppError::Panicked("ingest"))?;
        if ingested.is_ok() && !self.shared.stopping() {
            // At this point nova has read a capture to the end, so the first snapshot in the capture is over.
            let _ = self.inbox.send(Message::Command(Command::EndFirstSnapshot { reply: Box::new(|_| ()) }));
        }
        if let Some(delivery) = self.delivery {
            let _ = self.inbox.send(Message::Seal);
            let (told, sealed) = bounded(1);
            let _ = self.inbox.send(Message::Barrier(told));
            let _ = sealed.recv();
            if !self.writer.is_finished() && !delivery.finish(self.drain.idle, self.drain.most) {
                tracing::warn!("rows are left in the outbox; they go to ClickHouse after the next start");
            }
        }
        // If the writer has ended already, the `join` below returns the reason.
        let _ = self.inbox.send(Message::Stop);
        self.writer.join().map_err(|_| AppError::Panicked("writer"))??;
        self.session.into_iter().for_each(Session::end);
        ingested?;
        self.check.end()?;
        let mut partitions = self.shared.partitions();
        // A partition that still waits would wait for ever, because no record comes after the end of the source.
        for (name, reason) in self.shared.waits() {
            let waits = partitions.iter_mut().filter(|status| status.name == name);
            waits.filter(|status| status.hold.is_none()).for_each(|status| status.hold = Some(Arc::clone(&reason)));
        }
        tick(&partitions);
        Ok(partitions)
    }
}
