//! Why commands fail, with their exit codes.

use nova_storage::OpenError;

use crate::app::AppError;
use crate::ask::AskError;

/// The exit code of a configuration that cannot be used (EX_USAGE of sysexits.h).
pub(super) const CONFIG_EXIT: u8 = 64;

/// Why a command failed, with its exit code.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("{0}")]
    Usage(String),
    /// Problems of the configuration, one a line.
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Failed(String),
    /// The store is in use, and the process that has it cannot be asked.
    #[error("{0}")]
    InUse(String),
    /// An error with an exit code of the command's own.
    #[error("{words}")]
    Coded { code: u8, words: String },
    /// A node refused the request. A stopped store refuses in the same words.
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
