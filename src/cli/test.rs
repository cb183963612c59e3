//! `nova test` runs the server for tests (`docs/testing-with-nova.md`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use rustix::process::{Pid, getppid};
use serde_json::json;

use crate::app::{self, AppError};
use crate::config::{Config, address};
use crate::decode::time::parse_micros;
use crate::decode::{NoSchemas, Schemas};
use crate::source::capture::schemas_path;
use crate::testing::ground::Ways;
use crate::testing::hosted::{Hosted, StartError};
use crate::testing::seed::Seed;

use super::error::CliError;
use super::out;
use super::signals::{Signals, Waiting};

/// The interval at which the command checks whether the parent process and the node are alive.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub(super) struct Args {
    /// Rows (one JSON object, as for POST /_test/rows) or a capture (JSON lines), plain or .gz. The option may be
    /// repeated. A reset restores these rows.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    seed: Vec<PathBuf>,
    /// The time at the beginning: RFC 3339, or epoch milliseconds. The default is the present.
    #[arg(long, value_name = "TIME", value_parser = time)]
    now: Option<i64>,
    /// Whether the clock stands still until a test moves it, or runs by itself.
    #[arg(long, value_enum, default_value = "manual")]
    clock: Clocked,
    /// The address on which the server listens: a loopback address, or any address in a container. Port 0 means any
    /// free port.
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The file that gets the first line of the output, once the server is ready.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// End when the process that started this one has ended.
    #[arg(long)]
    die_with_parent: bool,
    /// Whether tokens are needed. With off, a user's UUID in place of a token stands for that user, and a request
    /// without a token stands for an admin.
    #[arg(long, value_enum, default_value = "dev")]
    auth: Tokens,
    /// Add a stand-in for ClickHouse, which gets the rows, so that POST /_test/fault can set faults of it.
    #[arg(long)]
    clickhouse: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Clocked {
    Manual,
    Real,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tokens {
    Off,
    Dev,
}

fn time(text: &str) -> Result<i64, String> {
    let millis = text.parse().ok().or_else(|| Some(parse_micros(text)?.div_euclid(1_000)));
    let within = millis.filter(|millis| crate::event::TIMESTAMP_MS_RANGE.contains(millis));
    within.ok_or_else(|| "expected RFC 3339 or epoch milliseconds, such as 2026-11-24T06:00:00Z".to_owned())
}

/// The schemas in the file beside a seed file.
fn schemas(seeds: &[PathBuf]) -> Result<Arc<dyn Schemas>, CliError> {
    let mut found = seeds.iter().map(|seed| schemas_path(seed)).filter(|path| path.exists());
    match (found.next(), found.next()) {
        (None, _) => Ok(Arc::new(NoSchemas)),
        (Some(path), None) => Ok(Arc::new(app::file_schemas(&path)?)),
        (Some(first), Some(second)) => {
            let (first, second) = (first.display(), second.display());
            Err(CliError::Usage(format!("--seed: {first} and {second} number their schemas each for itself: give one")))
        }
    }
}

pub(super) fn run(args: &Args, config: &Config, named_data: bool, signals: &Signals) -> Result<(), CliError> {
    if named_data {
        let why = "--data: a server for tests has no data directory: all it has is in memory, and ends with it";
        return Err(CliError::Usage(why.to_owned()));
    }
    if !args.listen.ip().is_loopback() && !contained() {
        let why = "anybody may do anything with a server for tests: give an address of this machine alone, such as 127.0.0.1:0";
        return Err(CliError::Usage(format!("--listen: {} is for others, too; {why}", args.listen.ip())));
    }
    let parent = getppid();
    let mut config = config.clone();
    config.edge.limits.enabled = false;
    (config.edge.tls_cert, config.edge.tls_key, config.edge.admin_listen) = (None, None, None);
    let ways = Ways {
        config,
        now_ms: args.now,
        manual: args.clock == Clocked::Manual,
        anyone: args.auth == Tokens::Off,
        clickhouse: args.clickhouse,
        schemas: schemas(&args.seed)?,
        listen: args.listen,
    };
    let seeds = args.seed.iter().cloned().map(Seed::File).collect();
    let hosted = Hosted::start(ways, seeds).map_err(|error| match error {
        StartError::App(error) => CliError::App(error),
        StartError::Seed(why) => CliError::Failed(format!("--seed: {why}")),
    })?;
    let ready = json!({
        "url": hosted.url(), "pid": std::process::id(), "token": hosted.token, "admin_token": hosted.admin_token,
        "redis": hosted.redis_url(),
    })
    .to_string();
    if let Some(path) = &args.ready_file {
        put(path, &ready).map_err(|error| CliError::Failed(format!("--ready-file: {}: {error}", path.display())))?;
    }
    out::line(&ready)?;
    wait(&hosted, signals.handled(), parent.filter(|_| args.die_with_parent))?;
    match hosted.end() {
        failed if failed.is_empty() => Ok(()),
        failed => Err(CliError::Failed(failed.join("\n"))),
    }
}

/// Whether this process is in a container, where the network of the container decides who can reach the server.
fn contained() -> bool {
    let marks = ["/.dockerenv", "/run/.containerenv"];
    std::process::id() == 1 || marks.iter().any(|mark| Path::new(mark).exists())
}

/// Writes the ready file so that a waiting reader finds only the whole content.
fn put(path: &Path, line: &str) -> std::io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    std::fs::write(&aside, format!("{line}\n"))?;
    std::fs::rename(&aside, path)
}

/// Waits until a signal comes, or the parent process or the node has ended.
fn wait(hosted: &Hosted, mut signals: Waiting, parent: Option<Pid>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AppError::Runtime)?;
    runtime.block_on(async {
        loop {
            tokio::select! {
                () = signals.next() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            // If the parent process has ended, the system has given this process a new parent, even if an unrelated
            // process now has the number of the old parent.
            if !hosted.alive() || parent.is_some_and(|parent| getppid() != Some(parent)) {
                return;
            }
        }
    });
    Ok(())
}
