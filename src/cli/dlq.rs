//! `nova dlq`: the dead letters of a stopped store.

use std::path::Path;

use clap::Subcommand;
use nova_storage::codec::DeadLetter;
use serde_json::{Value, json};

use crate::app::{AppError, Opened};
use crate::pipeline::dead;
use crate::pipeline::writer::{Command as WriterCommand, Replayed};

use super::stopped::{actor, command, open};
use super::{CliError, out};

#[derive(clap::Args)]
pub(super) struct Args {
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
        /// Also events from before the dedup horizon, which may have been applied meanwhile.
        #[arg(long)]
        force: bool,
    },
    /// Remove a letter for ever; who, when and why is kept.
    Discard {
        id: u64,
        #[arg(long)]
        reason: String,
    },
}

pub(super) fn run(args: &Args, data: &Path, json: bool) -> Result<(), CliError> {
    let opened = open(data)?;
    match &args.action {
        Action::List { limit } => list(&opened, *limit, json),
        Action::Show { id } => show(&opened, *id),
        Action::Replay { ids, all, force } => {
            let ids =
                if *all { letters(&opened, usize::MAX)?.into_iter().map(|(id, _)| id).collect() } else { ids.clone() };
            replay(opened, ids, *force, json)
        }
        Action::Discard { id, reason } => discard(opened, *id, reason),
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
        return Ok(out::line(&Value::from(all).to_string())?);
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
    out::line(&format!("{:#}", dead::whole(id, &letter)))?;
    Ok(())
}

fn replay(opened: Opened, ids: Vec<u64>, force: bool, json: bool) -> Result<(), CliError> {
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

fn discard(opened: Opened, id: u64, reason: &str) -> Result<(), CliError> {
    let reason = reason.to_owned();
    let make = |reply| WriterCommand::DiscardDead { id, actor: actor(), reason, reply };
    command(opened, make)?.map_err(|error| CliError::Failed(error.to_string()))?;
    out::line(&format!("dead letter {id} is discarded"))?;
    Ok(())
}
