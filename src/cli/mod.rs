//! The commands of nova, with one file for each command.

mod ask;
mod audit;
mod backup;
mod bench;
mod cdc;
mod check;
mod compare;
mod config;
mod demo;
mod dlq;
mod dump;
mod environment;
mod error;
mod explain;
mod followed;
mod health;
mod log;
mod manual;
mod migrate;
mod out;
mod postgres;
mod remote;
mod replay;
mod report;
mod runtime;
mod scratch;
mod seed;
mod serve;
mod signals;
mod status;
mod stopped;
mod store;
mod tap;
mod test;
mod token;
mod top;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;

use self::error::CONFIG_EXIT;
use self::signals::Signals;

pub use self::demo::data;
pub use self::error::CliError;
pub use crate::pipeline::row_json as rows;

/// Feeds, trending and suggestions from Debezium changes and client events: one binary, one file.
#[derive(Parser)]
#[command(name = "nova", version, long_version = crate::version::long(), propagate_version = true)]
struct Cli {
    /// Print every report as one JSON document on standard output.
    #[arg(long, global = true)]
    json: bool,
    /// The configuration file. The default is nova.toml, if it exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the store. This option overrides the configuration.
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve HTTP: client events in, trending and suggestions out.
    Serve(serve::Args),
    /// Make a token for a user, signed with the development key.
    Token(token::Args),
    /// Feed captures (JSON lines, plain or .gz) through the pipeline, and account for every record.
    Replay(replay::Args),
    /// Print the live rows of a table, or a list as HTTP would answer it.
    Dump(dump::Args),
    /// Print the configuration that is in force.
    Config(config::Args),
    /// Show source tables that halted, and let them continue.
    Cdc(cdc::Args),
    /// Set up PostgreSQL for a direct source, look at the slot, or drop it.
    Postgres(postgres::Args),
    /// List, show, replay or discard dead letters.
    Dlq(dlq::Args),
    /// Show who did what: discards, revocations, overrides, decisions about halted tables.
    Audit(audit::Args),
    /// Make ClickHouse's tables and views, or those that are missing.
    Migrate(migrate::Args),
    /// Show what must change in this configuration so that the pipeline works and loses nothing.
    Check(check::Args),
    /// Say whether a running node is ready.
    Health(health::Args),
    /// Show the state of a running node: source, reasons with their commands, dead letters, outbox, disk, backup.
    Status(status::Args),
    /// Show the status and rates of a running node again and again; q or Ctrl-C ends it.
    Top(top::Args),
    /// Show records as a running node commits them, with outcome and effect.
    Tap(tap::Args),
    /// Say why a user's feed shows a post at its place, or which rule keeps the post out.
    Explain(explain::Args),
    /// Copy the store of a stopped node or of a running one, or verify such a copy.
    Backup(backup::BackupArgs),
    /// Replace the store by a backup.
    Restore(backup::RestoreArgs),
    /// Check the pages of the store, or compact the store.
    Store(store::StoreArgs),
    /// Remove everything that is derived from the source, so that the next start reads the source from the beginning.
    Rebuild(store::RebuildArgs),
    /// Run the pipeline on a bundled real social data set and show the result.
    Demo(demo::Args),
    /// Make a small social world on a running node of your own, and keep this world active.
    Seed(seed::Args),
    /// Run a server for tests: all in memory, with a clock that tests move, fixtures and snapshots.
    Test(test::Args),
    /// Print the completions of commands and options for a shell.
    Completions(manual::CompletionsArgs),
    /// Print the manual for man(1).
    Man(manual::ManArgs),
    /// Measure this machine and print one JSON line for each figure.
    Bench(bench::Args),
}

/// Prints clap's answer to arguments that are no command: the help, the version, or the error.
fn told(answer: &clap::Error) -> ExitCode {
    let printed = answer.print().and_then(|()| std::io::stdout().flush());
    match printed {
        // If standard output fails, nova prints the error to standard error. If standard error also fails, nova cannot
        // print the error anywhere.
        Err(error) if !answer.use_stderr() => failed(&CliError::Output(error)),
        _ => u8::try_from(answer.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from),
    }
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return told(&answer),
    };
    let mut config = match Config::load(cli.config.as_deref(), environment::all()) {
        Ok(config) => config,
        Err(error) => {
            out::complain(&error.to_string());
            return ExitCode::from(CONFIG_EXIT);
        }
    };
    let named_data = cli.data.is_some();
    if let Some(data) = cli.data {
        config.data_dir = data;
    }
    log::init(&config);
    let signals = match Signals::start() {
        Ok(signals) => signals,
        Err(error) => {
            out::complain(&format!("cannot wait for signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let done = match cli.command {
        Command::Serve(args) => serve::run(&args, &config, cli.json, &signals),
        Command::Token(args) => token::run(&args, &config, cli.json),
        Command::Replay(args) => replay::run(&args, &config, cli.json),
        Command::Dump(args) => dump::run(&args, &config),
        Command::Config(args) => config::run(&args, &config, cli.json),
        Command::Cdc(args) => cdc::run(&args, &config, cli.json),
        Command::Postgres(args) => postgres::run(&args, &config, cli.json),
        Command::Dlq(args) => dlq::run(&args, &config, cli.json),
        Command::Audit(args) => audit::run(&args, &config, cli.json),
        Command::Migrate(args) => migrate::run(&args, &config, cli.json),
        Command::Check(args) => check::run(&args, &config, cli.json),
        Command::Health(args) => health::run(&args, &config),
        Command::Status(args) => status::run(&args, &config, cli.json),
        Command::Top(args) => top::run(&args, &config, cli.json, &signals),
        Command::Tap(args) => tap::run(&args, &config, cli.json),
        Command::Explain(args) => explain::run(&args, &config, cli.json),
        Command::Backup(args) => backup::backup(&args, &config.data_dir, cli.json),
        Command::Restore(args) => backup::restore(&args, &config, cli.json),
        Command::Store(args) => store::run_store(&args, &config.data_dir, cli.json),
        Command::Rebuild(args) => store::run_rebuild(&args, &config, cli.json),
        Command::Demo(args) => demo::run(&args, &config, cli.json, &signals),
        Command::Seed(args) => seed::run(&args, &config, cli.json, &signals),
        Command::Test(args) => test::run(&args, &config, named_data, &signals),
        Command::Completions(args) => manual::completions(&args, &mut whole()),
        Command::Man(args) => manual::man(&args, whole()),
        Command::Bench(args) => bench::run(&args, &config),
    };
    done.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

/// Every command with its options, as clap describes them.
fn whole() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

fn failed(error: &CliError) -> ExitCode {
    match error {
        // The program that reads nova's output has closed the pipe, so the command succeeds.
        CliError::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        error => {
            out::complain(&error.to_string());
            ExitCode::from(error.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// The README and every page of the documentation.
    fn documents() -> Vec<String> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let pages = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        let read = |path| std::fs::read_to_string(path).unwrap();
        std::iter::once(root.join("README.md")).chain(pages).map(read).collect()
    }

    /// The words of a command line, without the text before and after the command. A quoted text is one word.
    fn words(line: &str) -> Option<Vec<String>> {
        let line = line.split(" #").next()?.trim().trim_end_matches(')');
        // If `nova` follows a colon in a message, or stands in a column, it is not a command.
        let begins = |before: &str| before.is_empty() || before.ends_with(['(', ' ']) && !before.contains(": ");
        let at = line.find("nova ").filter(|at| begins(&line[..*at]) && !line[*at..].starts_with("nova  "))?;
        let quoted = line[at..].split('"').enumerate().flat_map(|(place, part)| match place % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        });
        Some(quoted.collect())
    }

    #[test]
    fn every_command_line_in_the_documents_is_understood() {
        let mut tried = 0;
        for document in documents() {
            // In the documents' examples of SQL and of program code, the word `nova` is a name and not a command.
            let named = ["sql", "python", "typescript", "go", "rust", "toml"];
            let is_shell = |block: &&str| !named.iter().any(|language| block.starts_with(language));
            let blocks = document.split("```").skip(1).step_by(2).filter(is_shell);
            for line in blocks
                .flat_map(str::lines)
                .filter(|line| !["docker", "kubectl", "redis-cli", "…"].iter().any(|part| line.contains(part)))
            {
                let Some(words) = words(line) else { continue };
                if let Err(error) = Cli::try_parse_from(&words) {
                    panic!("{line}: {error}");
                }
                tried += 1;
            }
        }
        assert!(tried >= 20, "{tried}");
    }

    /// Errors of an earlier version advised the command `nova cdc resnapshot`, which did not exist at that time.
    #[test]
    fn every_subcommand_that_errors_comments_and_documents_name_exists() {
        let groups: Vec<_> = Cli::command().get_subcommands().filter(|one| one.has_subcommands()).cloned().collect();
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut paths = vec![root.join("src"), root.join("docs"), root.join("README.md")];
        let mut named = 0;
        while let Some(path) = paths.pop() {
            if path.is_dir() {
                paths.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            for (at, before) in text.match_indices("nova ") {
                let mut words =
                    text[at + before.len()..].split_whitespace().filter(|word| !["\\", "///", "//!"].contains(word));
                let Some(group) = words.next().and_then(|name| groups.iter().find(|one| one.get_name() == name)) else {
                    continue;
                };
                let word = words.next().unwrap_or_default();
                let name = word.split(|c: char| !c.is_ascii_lowercase() && c != '-').next().unwrap_or_default();
                if !name.is_empty() {
                    assert!(
                        group.find_subcommand(name).is_some(),
                        "{}: nova {} {name}",
                        path.display(),
                        group.get_name()
                    );
                    named += 1;
                }
            }
        }
        assert!(named >= 20, "{named}");
    }

    #[test]
    fn words_are_those_of_a_shell() {
        let line = r#"TOKEN=$(NOVA_TOKEN=x nova dlq discard 17 --reason "test data")   # why"#;
        assert_eq!(words(line).unwrap(), ["nova", "dlq", "discard", "17", "--reason", "test data"]);
        assert_eq!(words("cargo run -- demo"), None);
    }
}
