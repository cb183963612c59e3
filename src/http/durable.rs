//! Sends commands other than events to the writer, which must commit the commands before the answer. The caller waits
//! for the commit.

use std::time::Duration;

use crossbeam_channel::Sender;
use tokio::sync::oneshot;

use crate::pipeline::writer::{Audit, Command, EdgeEntry, Message, Reply};

use super::error::Problem;

/// The longest time that a request waits for the writer.
const COMMIT_WAIT: Duration = Duration::from_secs(5);

/// The channel to the writer's thread.
#[derive(Clone)]
pub struct Durable(Sender<Message>);

impl Durable {
    /// Sends commands through the writer's queue.
    pub fn new(writer: Sender<Message>) -> Durable {
        Durable(writer)
    }

    /// The used part of the writer's queue, from 0 to 1.
    pub(super) fn filled(&self) -> f64 {
        self.0.len() as f64 / self.0.capacity().unwrap_or(usize::MAX) as f64
    }

    /// Gives the writer one command, and waits for its commit.
    pub(super) async fn command<T: Send + 'static>(
        &self,
        make: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        let told = Box::new(move |result| {
            // The caller may have stopped waiting, so a failed send is no error.
            let _ = reply.send(result);
        });
        self.send(Message::Command(make(told))).await?;
        let late = Problem::Unavailable("the commit takes too long");
        tokio::time::timeout(COMMIT_WAIT, answer).await.map_err(|_| late)?.map_err(|_| Problem::Unavailable("stopping"))
    }

    /// Puts and removes entries of the edge's table. The closure `then` runs right after the commit on the writer's
    /// thread, even if the caller has closed the connection, so that memory and store agree.
    pub(super) async fn put(
        &self,
        entries: Vec<EdgeEntry>,
        audit: Option<Audit>,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<(), Problem> {
        let make = |reply: Reply<()>| {
            let reply = Box::new(move |()| {
                then();
                reply(());
            });
            Command::Edge { entries, audit, reply }
        };
        self.command(make).await
    }

    /// Sends a message to the writer from a thread for blocking work, because the queue is short and the writer may be
    /// behind.
    async fn send(&self, message: Message) -> Result<(), Problem> {
        let writer = self.0.clone();
        let sent = tokio::task::spawn_blocking(move || writer.send_timeout(message, COMMIT_WAIT).is_ok()).await;
        if matches!(sent, Ok(true)) { Ok(()) } else { Err(Problem::Unavailable("the writer is behind")) }
    }
}
