//! `nova audit` shows who did what, from a stopped store or a running node.

use serde_json::{Value, json};

use crate::app::AppError;
use crate::config::Config;
use crate::pipeline::audit::{self, PAGE_MAX_ENTRIES};

use super::error::CliError;
use super::out;
use super::remote::{Place, Remote};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// Only entries with a greater id.
    #[arg(long)]
    after: Option<u64>,
}

pub(super) fn run(args: &Args, config: &Config, json: bool) -> Result<(), CliError> {
    let entries = match args.remote.place(config)? {
        Place::Running(node) => all(args.after, |after| {
            let after = after.map_or(String::new(), |id| format!("&after={id}"));
            let page = node.get(&format!("audit?limit={PAGE_MAX_ENTRIES}{after}"))?;
            Ok(page["entries"].as_array().cloned().unwrap_or_default())
        })?,
        Place::Stopped(opened) => all(args.after, |after| {
            let read = opened.store.read().map_err(AppError::from)?;
            let page = audit::page(&read, after, PAGE_MAX_ENTRIES).map_err(AppError::from)?;
            Ok(page.iter().map(|(id, entry)| json!(entry.listed(*id))).collect())
        })?,
    };
    if json {
        return Ok(out::line(&Value::from(entries).to_string())?);
    }
    for entry in &entries {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        let deed = format!("{} {} {}", text("action"), text("subject"), text("detail"));
        out::line(&format!("{:>6}  {}  {}: {}", entry["id"], text("at"), text("actor"), deed.trim_end()))?;
    }
    Ok(())
}

/// Reads the audit page by page, because one long read transaction would pin pages of the store's file.
fn all(
    mut after: Option<u64>,
    page: impl Fn(Option<u64>) -> Result<Vec<Value>, CliError>,
) -> Result<Vec<Value>, CliError> {
    let mut entries: Vec<Value> = Vec::new();
    loop {
        let next = page(after)?;
        let Some(last) = next.last() else { return Ok(entries) };
        after = last["id"].as_u64();
        entries.extend(next);
    }
}
