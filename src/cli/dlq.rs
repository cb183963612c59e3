//! `nova dlq` handles the dead letters of a stopped store or of a running node.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::app::{self, AppError, Opened};
use crate::config::Config;
use crate::http::shapes::Replay;
use crate::pipeline::dead;
use crate::pipeline::writer::{Command as WriterCommand, CommandError};

use super::error::CliError;
use super::out;
use super::remote::{Node, Place, Remote};
use super::stopped::{actor, command};

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
        /// The maximum number of letters to list.
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
    },
    /// Show one letter with its raw bytes.
    Show { id: u64 },
    /// Decode letters again and apply them. A letter that succeeds leaves the queue.
    Replay {
        #[arg(required_unless_present = "all", value_name = "ID")]
        ids: Vec<u64>,
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// Also apply events from before the dedup horizon, unless ClickHouse has them.
        #[arg(long)]
        force: bool,
    },
    /// Remove a letter for ever. The audit keeps who, when and why.
    Discard {
        id: u64,
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: String,
    },
}

/// The number of dead letters on one page, and in one request to a running node.
const PAGE_LETTERS: usize = 1_000;

pub(super) fn run(args: &Args, config: &Config, json: bool) -> Result<(), CliError> {
    let place = args.remote.place(config)?;
    match &args.action {
        Action::List { limit } => list(&letters(&place, *limit)?, json),
        Action::Show { id } => Ok(out::line(&format!("{:#}", one(&place, *id)?))?),
        Action::Replay { ids, all, force } => {
            let ids = match all {
                true => letters(&place, usize::MAX)?.iter().filter_map(|letter| letter["id"].as_u64()).collect(),
                false => ids.clone(),
            };
            let results = match place {
                Place::Running(node) => replayed_by(&node, &ids, *force)?,
                Place::Stopped(opened) => replayed(*opened, config, ids, *force)?,
            };
            replay(&results, json)
        }
        Action::Discard { id, reason } => {
            match place {
                Place::Running(node) => {
                    let done = node.post("dlq/discard", &json!({ "id": id, "reason": reason }));
                    done.map(drop).map_err(|error| unknown(*id, error))?;
                }
                Place::Stopped(opened) => {
                    let (id, reason) = (*id, reason.clone());
                    let make = |reply| WriterCommand::DiscardDead { id, actor: actor(), reason, reply };
                    command(*opened, make)?.map_err(|error| CliError::Failed(error.to_string()))?;
                }
            }
            Ok(out::done(json, &format!("dead letter {id} is discarded"), &json!({ "id": id, "discarded": true }))?)
        }
    }
}

/// Makes an error that names the dead letter, because the answer of a node only says that the node found nothing.
fn unknown(id: u64, error: CliError) -> CliError {
    match error {
        CliError::Refused { status: 404, .. } => CliError::Failed(CommandError::NoSuchLetter(id).to_string()),
        error => error,
    }
}

/// The summaries of the dead letters, oldest first, in the JSON of the admin API.
fn letters(place: &Place<Box<Opened>>, limit: usize) -> Result<Vec<Value>, CliError> {
    let mut letters: Vec<Value> = Vec::new();
    loop {
        let (page, after) = (PAGE_LETTERS.min(limit - letters.len()), letters.last().map(|letter| &letter["id"]));
        if page == 0 {
            return Ok(letters);
        }
        let found = match place {
            Place::Running(node) => {
                let after = after.map_or(String::new(), |id| format!("&after={id}"));
                let mut answer = node.get(&format!("dlq?limit={page}{after}"))?;
                serde_json::from_value(answer["letters"].take()).unwrap_or_default()
            }
            Place::Stopped(opened) => {
                // Each page of letters has its own transaction, because a long transaction would pin pages of the
                // store's file.
                let read = opened.store.read().map_err(AppError::from)?;
                let found = dead::page(&read, after.and_then(Value::as_u64), page).map_err(AppError::from)?;
                found.iter().map(|(id, letter)| json!(dead::summary(*id, letter))).collect::<Vec<_>>()
            }
        };
        if found.is_empty() {
            return Ok(letters);
        }
        letters.extend(found);
    }
}

fn list(letters: &[Value], json: bool) -> Result<(), CliError> {
    if json {
        return Ok(out::line(&json!(letters).to_string())?);
    }
    for letter in letters {
        let text = |name: &str| letter[name].as_str().unwrap_or_default();
        let place = format!("{}/{}@{}", text("topic"), letter["partition"], letter["offset"]);
        let why = format!("{} {}: {}", text("stage"), text("reason"), text("detail"));
        out::line(&format!("{:>6}  {place}  {why}", letter["id"].as_u64().unwrap_or_default()))?;
    }
    Ok(out::line(&format!("{} dead letters", letters.len()))?)
}

/// A dead letter with its bytes.
fn one(place: &Place<Box<Opened>>, id: u64) -> Result<Value, CliError> {
    match place {
        Place::Running(node) => node.get(&format!("dlq/{id}")).map_err(|error| unknown(id, error)),
        Place::Stopped(opened) => {
            let read = opened.store.read().map_err(AppError::from)?;
            let letter = dead::get(&read, id).map_err(AppError::from)?;
            let unknown = || CliError::Failed(CommandError::NoSuchLetter(id).to_string());
            Ok(json!(dead::whole(id, &letter.ok_or_else(unknown)?)))
        }
    }
}

fn replayed_by(node: &Node, ids: &[u64], force: bool) -> Result<Vec<Value>, CliError> {
    let mut results = Vec::new();
    for ids in ids.chunks(PAGE_LETTERS) {
        let mut answer = node.post("dlq/replay", &json!({ "ids": ids, "force": force }))?;
        results.extend(serde_json::from_value::<Vec<Value>>(answer["results"].take()).unwrap_or_default());
    }
    Ok(results)
}

fn replayed(mut opened: Opened, config: &Config, ids: Vec<u64>, force: bool) -> Result<Vec<Value>, CliError> {
    let force = match force {
        true => Some(app::sent(&opened.store, opened.writer.decoder(), app::clickhouse(config).as_ref(), &ids)?),
        false => None,
    };
    let make = |reply| WriterCommand::ReplayDead { ids, actor: actor(), force, reply };
    let results = command(opened, make)?.into_iter();
    Ok(results.map(|(id, result)| json!(Replay::of(id, result))).collect())
}

fn replay(results: &[Value], json: bool) -> Result<(), CliError> {
    if json {
        out::line(&json!(results).to_string())?;
    } else {
        for result in results {
            let text = |name: &str| result[name].as_str().unwrap_or_default();
            let outcome = if is_missing(result) { "" } else { text("outcome") };
            let words = [outcome, text("detail")].join(" ");
            out::line(&format!("{}: {}", result["id"], words.trim()))?;
        }
    }
    let problems = problems(results);
    if problems.is_empty() { Ok(()) } else { Err(CliError::Failed(problems.join("; "))) }
}

/// Whether the result says that the dead letter does not exist. The answer has the same outcome for every letter that
/// nova did not apply, so only the reason in words tells the difference.
fn is_missing(result: &Value) -> bool {
    result["id"].as_u64().is_some_and(|id| result["detail"] == CommandError::NoSuchLetter(id).to_string())
}

/// The messages about dead letters that nova did not apply.
fn problems(results: &[Value]) -> Vec<String> {
    let (missing, kept): (Vec<_>, Vec<_>) =
        results.iter().filter(|result| result["outcome"] == "kept").partition(|result| is_missing(result));
    let mut problems = Vec::new();
    match kept.len() {
        0 => {}
        1 => problems.push("one dead letter was not applied and stays".to_owned()),
        kept => problems.push(format!("{kept} dead letters were not applied and stay")),
    }
    match &missing[..] {
        [] => {}
        [one] => problems.push(one["detail"].as_str().unwrap_or_default().to_owned()),
        more => {
            let ids: Vec<_> = more.iter().map(|result| result["id"].to_string()).collect();
            problems.push(format!("there are no dead letters {}; nova dlq list shows those that wait", ids.join(", ")));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Outcome;
    use crate::pipeline::writer::Replayed;

    #[test]
    fn a_letter_that_there_is_not_does_not_stay() {
        let of = |id: u64, result| json!(Replay::of(id, result));
        let missing = |id| of(id, Err(CommandError::NoSuchLetter(id)));
        let (gone, kept) = (of(1, Ok(Replayed::Gone(Outcome::Applied))), of(2, Ok(Replayed::StillDead)));
        assert!(problems(std::slice::from_ref(&gone)).is_empty());
        let one = problems(&[gone.clone(), missing(999)]);
        assert_eq!(one, ["there is no dead letter 999; nova dlq list shows those that wait"]);
        let all = problems(&[missing(7), kept.clone(), gone, missing(8)]);
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all[0].starts_with("one dead letter was not applied"), "{all:?}");
        assert!(all[1].starts_with("there are no dead letters 7, 8;"), "{all:?}");
        assert_eq!(problems(&[kept.clone(), kept]), ["2 dead letters were not applied and stay"]);
    }
}
