//! What a person types: one file per command.

mod cdc;
mod demo;
mod dlq;
mod dump;
mod out;
mod replay;
mod report;
pub mod rows;
mod serve;
mod stopped;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nova_storage::OpenError;

use crate::app::AppError;

pub use self::demo::data;

/// Feeds, trending and suggestions from Debezium changes and client events: one binary, one file.
#[derive(Parser)]
#[command(name = "nova", version, propagate_version = true)]
struct Cli {
    /// Every report as one JSON document on standard output.
    #[arg(long, global = true)]
    json: bool,
    /// Where the store is.
    #[arg(long, global = true, env = "NOVA_STORE_DATA_DIR", default_value = "./nova-data", value_name = "DIR")]
    data: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve HTTP: client events in, trending and suggestions out.
    Serve(serve::Args),
    /// A token for a user, signed with the development key.
    Token(token::Args),
    /// Feed captures (JSON lines, plain or .gz) through the pipeline, and account for every record.
    Replay(replay::Args),
    /// Print the live rows of a table, or what trends, as HTTP would answer.
    Dump(dump::Args),
    /// Source tables that halted, and how they go on.
    Cdc(cdc::Args),
    /// List, show, replay or discard dead letters.
    Dlq(dlq::Args),
    /// Run the pipeline on a bundled real social data set and show what comes out.
    Demo(demo::Args),
}

/// Why a command failed, with its exit code.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Failed(String),
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    fn code(&self) -> u8 {
        match self {
            CliError::App(AppError::Open(OpenError::InUse { .. })) => 75,
            CliError::Usage(_) => 2,
            _ => 1,
        }
    }
}

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    init_log();
    let done = match cli.command {
        Command::Serve(args) => serve::run(&args, &cli.data),
        Command::Token(args) => token::run(&args, &cli.data),
        Command::Replay(args) => replay::run(&args, &cli.data, cli.json),
        Command::Dump(args) => dump::run(&args, &cli.data),
        Command::Cdc(args) => cdc::run(&args, &cli.data, cli.json),
        Command::Dlq(args) => dlq::run(&args, &cli.data, cli.json),
        Command::Demo(args) => demo::run(&args, &cli.data, cli.json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has seen enough.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            out::complain(&error.to_string());
            ExitCode::from(error.code())
        }
    }
}

fn init_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("NOVA_LOG_LEVEL");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
