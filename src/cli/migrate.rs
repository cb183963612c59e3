//! `nova migrate` makes the tables and views of ClickHouse.

use std::time::Duration;

use serde_json::json;

use crate::app::{self, AppError};
use crate::clock::monotonic_now;
use crate::config::Config;
use crate::warehouse::clickhouse::ClickHouse;
use crate::warehouse::migrate::{MIGRATIONS, MigrateError, migrate};
use crate::warehouse::verdict::Failure;

use super::error::CliError;
use super::out;
use super::runtime::runtime;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Print all statements that would be run, and ask no server.
    #[arg(long)]
    dry_run: bool,
    /// The number of seconds for which the command tries again to reach a server.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=3_600))]
    wait: u32,
}

/// The pause between two attempts to reach ClickHouse.
const RETRY: Duration = Duration::from_secs(1);

pub(super) fn run(args: &Args, config: &Config, as_json: bool) -> Result<(), CliError> {
    if args.dry_run {
        let layout = app::layout(config);
        let sql = || MIGRATIONS.iter().map(|one| (one.name, layout.statement(one.sql)));
        let words: Vec<_> = sql().map(|(name, sql)| format!("-- {name}.sql\n{sql}")).collect();
        let all: Vec<_> = sql().map(|(name, sql)| json!({ "name": name, "sql": sql })).collect();
        return Ok(out::done(as_json, &words.join("\n"), &all.into())?);
    }
    let settings = app::clickhouse(config).ok_or_else(|| {
        CliError::Usage("clickhouse.url is not set; set it, or NOVA_CLICKHOUSE_URL, or print with --dry-run".to_owned())
    })?;
    let runtime = runtime()?;
    let clickhouse = ClickHouse::new(&settings).map_err(AppError::from)?;
    let until = monotonic_now() + Duration::from_secs(args.wait.into());
    let applied = runtime.block_on(async {
        loop {
            match migrate(&clickhouse).await {
                Err(MigrateError::Failed { failure: failure @ Failure::Unreachable(_), .. })
                    if monotonic_now() < until =>
                {
                    tracing::warn!("ClickHouse: {failure}; it is tried again");
                    tokio::time::sleep(RETRY).await;
                }
                done => return done,
            }
        }
    });
    let applied = applied.map_err(|error| CliError::Failed(error.to_string()))?;
    if as_json {
        return Ok(out::line(&json!({ "database": settings.database, "applied": applied }).to_string())?);
    }
    for name in &applied {
        out::line(&format!("applied {name}"))?;
    }
    Ok(out::line(&format!("{}: {} of {} migrations were new", settings.database, applied.len(), MIGRATIONS.len()))?)
}
