//! Helpers of commands that work on the store of a stopped node.

use crossbeam_channel::bounded;

use crate::app::{self, AppError, Opened, Setup};
use crate::config::Config;
use crate::pipeline::writer::{Command, Message};

use super::environment;
use super::error::CliError;

/// Opens the store with the configured outbox, so that the rows of replayed dead letters also reach ClickHouse. The
/// store must exist.
pub(super) fn open(config: &Config) -> Result<Opened, CliError> {
    if !app::store_path(&config.data_dir).exists() {
        return Err(CliError::Failed(format!("there is no store in {}", config.data_dir.display())));
    }
    let mut setup = Setup::configured(config, app::registry(config)?);
    // The dead letters of captures may have topics with any prefix, so nova matches the last part of the topic's name.
    setup.topics.last_part = true;
    Ok(app::open_stopped(&setup)?)
}

/// The name of the actor in the audit, which is the person at the terminal.
pub(super) fn actor() -> String {
    environment::text("USER").map_or_else(|| "command line".to_owned(), |user| format!("command line ({user})"))
}

/// Gives the writer one command, which the writer carries out in one commit.
pub(super) fn command<T: Send + 'static>(
    mut opened: Opened,
    make: impl FnOnce(Box<dyn FnOnce(T) + Send>) -> Command,
) -> Result<T, CliError> {
    let (reply, answer) = bounded(1);
    let send = Box::new(move |result| drop(reply.send(result)));
    let mut queue = vec![Message::Command(make(send)), Message::Stop];
    opened.writer.process(&mut queue).map_err(AppError::from)?;
    answer.try_recv().map_err(|_| CliError::Failed("the writer gave no answer".to_owned()))
}
