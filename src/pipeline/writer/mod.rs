//! Thread 2 of the batch loop is the only owner of the write transaction.
//!
//! All messages that have arrived go into one commit. The writer changes memory only after the commit, and then informs
//! readers, the warehouse, waiting callers and the Kafka consumer. The Kafka consumer commits offsets only as a hint.
//! The writer's own data structures change before the commit. If a commit fails, the process ends, and recovery begins
//! from the last commit.
//!
//! `structures` has the writer's state. `batch` takes records in, and passes each record to `change`, `event`,
//! `snapshot` or `letters`. `execute` carries out a `command`. `commit` makes everything durable and reports the
//! commit.

mod batch;
mod change;
mod checkpoint;
mod command;
mod commit;
mod delivered;
mod ended;
mod error;
mod event;
mod execute;
mod fate;
mod hold;
mod judging;
mod letters;
mod load;
mod moved;
mod partition;
mod parts;
mod place;
mod recover;
mod slices;
mod snapshot;
mod structures;
mod tapped;
mod truncate;
mod written;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::clock::monotonic_now;
use crate::warehouse::outbox::Report;

use super::{Batch, QUEUE_MAX_MESSAGES};

pub use self::command::{Audit, Command, CommandError, EdgeEntry, Replayed, Reply, SEEK_MAX, Tried};
pub use self::error::WriterError;
pub use self::parts::{CommitFacts, OnCommit, Parts};
pub use self::recover::{Recovery, RecoveryError, RecoveryReport};
pub use self::structures::{MAX_PARTITION_SKEW_MS, Writer};

/// How long the writer waits for a message before it checks its own deadlines.
const IDLE_WAIT: Duration = Duration::from_millis(100);

/// A message to the writer.
pub enum Message {
    Batch(Batch),
    Command(Command),
    /// Reports how a batch of the outbox will be delivered, or that ClickHouse has the batch.
    Delivered(Report),
    /// Seals every batch of the outbox, including batches that are not full.
    Seal,
    /// Asks for a reply, which comes when all earlier messages are committed and visible.
    Barrier(crossbeam_channel::Sender<()>),
    /// Asks the writer to complete a checkpoint and then to reply. A start after a complete checkpoint has no journal
    /// to apply.
    Checkpoint(crossbeam_channel::Sender<()>),
    /// The last message: the writer completes a checkpoint and ends.
    Stop,
}

impl Writer {
    /// Runs the writer until [`Message::Stop`] comes, or until every sender is gone.
    pub fn run(mut self, inbox: &Receiver<Message>) -> Result<(), WriterError> {
        let mut queue = Vec::new();
        loop {
            let wait = if self.unfinished() { Duration::ZERO } else { IDLE_WAIT };
            match inbox.recv_timeout(wait) {
                Ok(message) => {
                    queue.push(message);
                    // Messages that already wait in the queue join the same commit.
                    queue.extend(inbox.try_iter().take(QUEUE_MAX_MESSAGES - 1));
                }
                Err(RecvTimeoutError::Timeout) if !self.seal_due() && !self.unfinished() => {
                    self.loaded();
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => queue.push(Message::Stop),
            }
            if self.process(&mut queue)? {
                return self.checkpoint();
            }
        }
    }

    /// Puts the effects of the messages into one commit. Returns true if the last message was [`Message::Stop`].
    pub fn process(&mut self, queue: &mut Vec<Message>) -> Result<bool, WriterError> {
        let began = monotonic_now();
        let store = Arc::clone(&self.parts.store);
        let read = store.read()?;
        let write = store.write()?;
        let mut facts = CommitFacts::default();
        let (mut barriers, mut replies, mut checkpoints) = (Vec::new(), Vec::new(), Vec::new());
        self.tick();
        let (mut stop, mut work, mut seal) = (false, self.seal_due() || self.unfinished(), false);
        for message in queue.drain(..) {
            match message {
                Message::Batch(batch) => {
                    facts.records += batch.items.len();
                    work = true;
                    self.batch(batch, &read, &write, &mut facts)?;
                }
                Message::Command(command) => {
                    work |= command.changes();
                    replies.push(self.command(command, &read, &write)?);
                }
                Message::Delivered(report) => {
                    work = true;
                    self.delivered(&report, &write)?;
                }
                Message::Seal => (work, seal) = (true, true),
                Message::Barrier(reply) => barriers.push(reply),
                Message::Checkpoint(reply) => checkpoints.push(reply),
                Message::Stop => stop = true,
            }
        }
        if work {
            self.sweep(&read, &write)?;
        }
        // The writer seals collected rows before it ends, so that they can be delivered without this process.
        seal |= stop;
        if work || (seal && self.outbox.is_some()) {
            if let Some(outbox) = &mut self.outbox {
                outbox.write(&write, self.parts.clock.now_ms(), seal)?;
                outbox.check()?;
            }
            self.rows.merge(&read, &write)?;
            let reads = std::mem::take(&mut self.reads);
            self.loading = load::is_load((facts.records, reads), facts.newest_arrival_ms, self.parts.clock.now_ms());
            self.commit(write, &mut facts)?;
            self.publish(began, &mut facts);
        } else {
            drop(write);
        }
        // Everything is durable and visible now, so the callers may be answered.
        self.parts.shared.settled(facts.records);
        replies.into_iter().for_each(|reply| reply());
        self.checkpoint_if_due();
        if !checkpoints.is_empty() {
            drop(read);
            self.checkpoint()?;
        }
        barriers.into_iter().chain(checkpoints).for_each(|reply| {
            let _ = reply.send(());
        });
        Ok(stop)
    }

    /// Whether the writer has work although no message came.
    fn unfinished(&self) -> bool {
        !self.sweeps.is_empty() || self.carrying()
    }

    fn seal_due(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.due(self.parts.clock.now_ms()))
    }
}
