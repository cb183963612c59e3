//! The commands that jobs give the writer, and the reads of the store that jobs need.

use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use nova_storage::ReadError;

use crate::jobs::JobError;
use crate::pipeline::writer::{Command, Message, Reply};

/// How long a job waits for the writer.
const COMMIT_WAIT: Duration = Duration::from_secs(5);

/// The error of a job that cannot read the store.
pub(super) fn unreadable(error: ReadError) -> JobError {
    JobError::Failed(format!("the store cannot be read: {error}"))
}

/// Gives the writer one command, and waits for the commit of the command.
pub(super) fn command<T: Send + 'static>(
    writer: &Sender<Message>,
    make: impl FnOnce(Reply<T>) -> Command,
) -> Result<T, JobError> {
    let behind = || JobError::Failed("the writer is behind".to_owned());
    let (told, answer) = bounded(1);
    let reply = Box::new(move |result| {
        // The job may have stopped waiting, so nobody may receive the answer.
        let _ = told.send(result);
    });
    writer.send_timeout(Message::Command(make(reply)), COMMIT_WAIT).map_err(|_| behind())?;
    answer.recv_timeout(COMMIT_WAIT).map_err(|_| behind())
}
