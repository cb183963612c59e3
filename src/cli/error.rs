//! The errors of commands, with their exit codes.

use nova_storage::OpenError;

use crate::app::AppError;

use super::ask::AskError;

/// The exit code for an unusable configuration (EX_USAGE of sysexits.h).
pub(super) const CONFIG_EXIT: u8 = 64;

/// The reason why a command failed, which decides the exit code.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("{0}")]
    Usage(String),
    /// The problems of the configuration, one on each line.
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Failed(String),
    /// Another process has the store open, and does not answer the command.
    #[error("{0}")]
    InUse(String),
    /// An error with an exit code that only one command has.
    #[error("{words}")]
    Coded { code: u8, words: String },
    /// A node refused the request. A command that works on a stopped store refuses with the words with which a node
    /// refuses.
    #[error("{detail}")]
    Refused { status: u16, detail: String },
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    pub(super) fn code(&self) -> u8 {
        match self {
            CliError::App(AppError::Open(OpenError::InUse { .. })) | CliError::InUse(_) => 75,
            CliError::Usage(_) => 2,
            CliError::Config(_) => CONFIG_EXIT,
            CliError::Coded { code, .. } => *code,
            _ => 1,
        }
    }
}
