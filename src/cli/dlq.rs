//! `nova dlq`: the dead letters, of a stopped store or of a running node.

use clap::Subcommand;
use nova_storage::codec::DeadLetter;
use serde_json::{Value, json};

use crate::app::{self, AppError, Opened};
use crate::config::Config;
use crate::pipeline::dead;
use crate::pipeline::writer::{Command as WriterCommand, Replayed};

use super::remote::{Node, Remote};
use super::stopped::{actor, command, open};
use super::{CliError, out};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the letters, oldest first.
    List {
        /// At most so many.
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
    },
    /// One letter with its raw bytes.
    Show { id: u64 },
    /// Decode letters again and apply them; what succeeds is gone from the queue.
    Replay {
        #[arg(required_unless_present = "all", value_name = "ID")]
        ids: Vec<u64>,
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// Also events from before the dedup horizon, unless ClickHouse has them.
        #[arg(long)]
        force: bool,
    },
    /// Remove a letter for ever; who, when and why is kept.
    Discard {
        id: u64,
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: String,
    },
}

pub(super) fn run(args: &Args, config: &Config, json: bool) -> Result<(), CliError> {
    if let Some(node) = args.remote.node(&config.data_dir)? {
        return running(&node, &args.action, json);
    }
    let opened = open(config)?;
    match &args.action {
        Action::List { limit } => list(&opened, *limit, json),
        Action::Show { id } => show(&opened, *id),
        Action::Replay { ids, all, force } => {
            let ids =
                if *all { letters(&opened, usize::MAX)?.into_iter().map(|(id, _)| id).collect() } else { ids.clone() };
            replay(opened, config, ids, *force, json)
        }
        Action::Discard { id, reason } => discard(opened, *id, reason, json),
    }
}

/// Letters of one request to a running node.
const PAGE_LETTERS: usize = 1_000;

/// The same of a running node.
fn running(node: &Node, action: &Action, json: bool) -> Result<(), CliError> {
    match action {
        Action::List { limit } => {
            let letters = listed(node, *limit)?;
            if json {
                return Ok(out::line(&Value::from(letters).to_string())?);
            }
            for letter in &letters {
                let text = |name: &str| letter[name].as_str().unwrap_or_default().to_owned();
                let place = format!("{}/{}@{}", text("topic"), letter["partition"], letter["offset"]);
                let why = format!("{} {}: {}", text("stage"), text("reason"), text("detail"));
                out::line(&format!("{:>6}  {place}  {why}", letter["id"]))?;
            }
            Ok(out::line(&format!("{} dead letters", letters.len()))?)
        }
        Action::Show { id } => Ok(out::line(&format!("{:#}", node.get(&format!("dlq/{id}"))?))?),
        Action::Replay { ids, all, force } => {
            let ids: Vec<u64> = match all {
                true => listed(node, usize::MAX)?.iter().filter_map(|letter| letter["id"].as_u64()).collect(),
                false => ids.clone(),
            };
            let mut results = Vec::new();
            for ids in ids.chunks(PAGE_LETTERS) {
                let answer = node.post("dlq/replay", &json!({ "ids": ids, "force": force }))?;
                results.extend(answer["results"].as_array().cloned().unwrap_or_default());
            }
            let kept = results.iter().filter(|result| result["outcome"] == "kept").count();
            if json {
                out::line(&Value::from(results).to_string())?;
            } else {
                for result in &results {
                    let text = |name: &str| result[name].as_str().unwrap_or_default().to_owned();
                    out::line(&format!("{}: {} {}", result["id"], text("outcome"), text("detail")))?;
                }
            }
            match kept {
                0 => Ok(()),
                _ => Err(CliError::Failed(format!("{kept} dead letters were not applied and stay"))),
            }
        }
        Action::Discard { id, reason } => {
            node.post("dlq/discard", &json!({ "id": id, "reason": reason }))?;
            discarded(*id, json)
        }
    }
}

fn listed(node: &Node, limit: usize) -> Result<Vec<Value>, CliError> {
    let mut letters: Vec<Value> = Vec::new();
    loop {
        let page = PAGE_LETTERS.min(limit - letters.len());
        let after = letters.last().map_or(String::new(), |letter| format!("&after={}", letter["id"]));
        if page == 0 {
            return Ok(letters);
        }
        let answer = node.get(&format!("dlq?limit={page}{after}"))?;
        match answer["letters"].as_array() {
            Some(found) if !found.is_empty() => letters.extend(found.iter().cloned()),
            _ => return Ok(letters),
        }
    }
}

fn letters(opened: &Opened, limit: usize) -> Result<Vec<(u64, DeadLetter)>, CliError> {
    let mut letters: Vec<(u64, DeadLetter)> = Vec::new();
    loop {
        // A transaction for each page: a long one would pin the file's pages.
        let read = opened.store.read().map_err(AppError::from)?;
        let after = letters.last().map(|(id, _)| *id);
        let page = dead::page(&read, after, limit - letters.len()).map_err(AppError::from)?;
        if page.is_empty() {
            return Ok(letters);
        }
        letters.extend(page);
    }
}

fn list(opened: &Opened, limit: usize, json: bool) -> Result<(), CliError> {
    let letters = letters(opened, limit)?;
    if json {
        let all: Vec<_> = letters.iter().map(|(id, letter)| dead::summary(*id, letter)).collect();
        return Ok(out::line(&json!(all).to_string())?);
    }
    for (id, letter) in &letters {
        let DeadLetter { topic, partition, offset, stage, reason, detail, .. } = letter;
        out::line(&format!("{id:>6}  {topic}/{partition}@{offset}  {stage} {reason}: {detail}"))?;
    }
    out::line(&format!("{} dead letters", letters.len()))?;
    Ok(())
}

fn show(opened: &Opened, id: u64) -> Result<(), CliError> {
    let read = opened.store.read().map_err(AppError::from)?;
    let letter = dead::get(&read, id).map_err(AppError::from)?;
    let Some(letter) = letter else {
        return Err(CliError::Failed(format!("there is no dead letter {id}; nova dlq list shows those that wait")));
    };
    out::line(&format!("{:#}", json!(dead::whole(id, &letter))))?;
    Ok(())
}

fn replay(mut opened: Opened, config: &Config, ids: Vec<u64>, force: bool, json: bool) -> Result<(), CliError> {
    let force = match force {
        true => Some(app::sent(&opened.store, opened.writer.decoder(), app::clickhouse(config).as_ref(), &ids)?),
        false => None,
    };
    let make = |reply| WriterCommand::ReplayDead { ids, actor: actor(), force, reply };
    let results = command(opened, make)?;
    let mut refused = 0;
    let mut all = Vec::new();
    for (id, result) in results {
        let words = match &result {
            Ok(Replayed::Gone(outcome)) => format!("{id}: {}", outcome.name()),
            Ok(Replayed::StillDead) => format!("{id}: still cannot be decoded; it stays"),
            Err(error) => error.to_string(),
        };
        refused += usize::from(!matches!(result, Ok(Replayed::Gone(_))));
        let outcome = match result {
            Ok(Replayed::Gone(outcome)) => outcome.name(),
            _ => "kept",
        };
        all.push(json!({ "id": id, "outcome": outcome, "detail": words }));
        if !json {
            out::line(&words)?;
        }
    }
    if json {
        out::line(&Value::from(all).to_string())?;
    }
    match refused {
        0 => Ok(()),
        _ => Err(CliError::Failed(format!("{refused} dead letters were not applied and stay"))),
    }
}

fn discard(opened: Opened, id: u64, reason: &str, json: bool) -> Result<(), CliError> {
    let reason = reason.to_owned();
    let make = |reply| WriterCommand::DiscardDead { id, actor: actor(), reason, reply };
    command(opened, make)?.map_err(|error| CliError::Failed(error.to_string()))?;
    discarded(id, json)
}

fn discarded(id: u64, json: bool) -> Result<(), CliError> {
    Ok(out::done(json, &format!("dead letter {id} is discarded"), &json!({ "id": id, "discarded": true }))?)
}
