//! `nova cdc` shows the source tables that halted and lets them continue, on a stopped store or on a running node.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::app::{self, Opened, Setup};
use crate::config::Config;
use crate::event::{Table, Tables, TopicPartition};
use crate::pipeline::decided;
use crate::pipeline::halt::Halt;
use crate::pipeline::writer::{Command, CommandError};
use crate::source::postgres::link;

use super::error::CliError;
use super::out;
use super::remote::{Place, Remote};
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
    /// Show the epoch of each source table, and the reason if the table halted.
    State,
    /// Let a halted table continue. The source delivers the held records again.
    Resume {
        #[arg(value_parser = table)]
        table: Table,
        /// The effect of the truncate that halted the table.
        #[arg(long, value_enum)]
        truncate: Option<Decision>,
    },
    /// Let a partition continue exactly at this offset. nova skips the records before this offset that it has not read,
    /// also after a rebuild. nova reads the records from this offset on, even if it has read them before.
    #[command(allow_negative_numbers = true)]
    Seek {
        topic: String,
        /// The number of the partition, from 0; the local log is -1.
        partition: i32,
        /// The first offset to read.
        offset: i64,
    },
    /// Read tables again from PostgreSQL itself (postgres.url), whatever state the slot is in. If no table is named,
    /// nova reads all tables, with a new slot. Until the tables are read, nova serves the existing rows. At the end,
    /// nova deletes the rows that the new read did not find.
    Resnapshot {
        #[arg(value_parser = table)]
        tables: Vec<Table>,
    },
    /// Decide about the LSNs of a restored or promoted source.
    Epoch {
        #[command(subcommand)]
        action: Epoch,
    },
}

#[derive(Subcommand)]
enum Epoch {
    /// Treat every later change as newer than all earlier changes, and continue.
    Bump {
        #[arg(value_parser = table)]
        table: Table,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Decision {
    Apply,
    Ignore,
}

impl Decision {
    fn stored(self) -> decided::Decision {
        match self {
            Decision::Apply => decided::Decision::Apply,
            Decision::Ignore => decided::Decision::Ignore,
        }
    }
}

pub(super) fn table(name: &str) -> Result<Table, String> {
    Table::from_name(name).ok_or_else(|| "expected users, posts, follows, comments or likes".to_owned())
}

/// The place where the command works: a stopped store, or a running node.
type Where = Place<Box<Opened>>;

pub(super) fn run(args: &Args, config: &Config, as_json: bool) -> Result<(), CliError> {
    let place = args.remote.place(config)?;
    match &args.action {
        Action::State => state(&place, as_json),
        Action::Resume { table, truncate } => resume(place, *table, *truncate, as_json),
        Action::Seek { topic, partition, offset } => {
            let name = TopicPartition::new(topic.as_str(), *partition);
            let when = when(&place);
            seek(place, config, &name, *offset)?;
            let words = format!("{name} continues at {offset}{when}");
            let value = json!({ "topic": topic, "partition": partition, "next_offset": offset });
            Ok(out::done(as_json, &words, &value)?)
        }
        Action::Resnapshot { tables } => resnapshot(place, tables, config, as_json),
        Action::Epoch { action: Epoch::Bump { table } } => bump(place, *table, as_json),
    }
}

/// Says when a decision takes effect. For a running node the returned text is empty, because a running node acts at
/// once.
fn when(place: &Where) -> &'static str {
    match place {
        Place::Running(_) => "",
        Place::Stopped(_) => " at the next start",
    }
}

/// The state of each source table, in the JSON of the admin API.
fn tables(place: &Where) -> Result<Vec<Value>, CliError> {
    match place {
        Place::Running(node) => Ok(serde_json::from_value(node.get("cdc")?["tables"].take()).unwrap_or_default()),
        Place::Stopped(opened) => {
            let tables = Table::ALL.iter().zip(opened.writer.tables());
            Ok(tables.map(|(table, meta)| json!(meta.told(*table))).collect())
        }
    }
}

fn state(place: &Where, as_json: bool) -> Result<(), CliError> {
    let tables = tables(place)?;
    if as_json {
        return Ok(out::line(&json!(tables).to_string())?);
    }
    for told in &tables {
        let halt = told["halted"].as_str().map_or_else(|| "takes changes".to_owned(), |halt| format!("halted: {halt}"));
        out::line(&format!("{:<9} epoch {}  {halt}", told["table"].as_str().unwrap_or_default(), told["epoch"]))?;
    }
    Ok(())
}

fn resume(place: Where, table: Table, truncate: Option<Decision>, as_json: bool) -> Result<(), CliError> {
    let words = format!("{table} continues{}", when(&place));
    let undecided = CommandError::Undecided(table).to_string();
    let done = match place {
        Place::Running(node) => {
            let body = truncate.map_or(json!({}), |decision| json!({ "truncate": decision.stored().to_string() }));
            node.post(&format!("cdc/{table}/resume"), &body).map(drop)
        }
        Place::Stopped(opened) => {
            let truncate = truncate.map(Decision::stored);
            let result = command(*opened, |reply| Command::Resume { table, truncate, actor: actor(), reply })?;
            result.map_err(|error| CliError::Failed(error.to_string()))
        }
    };
    done.map_err(|error| match error.to_string() {
        words if words == undecided => CliError::Usage(format!("{words} (--truncate)")),
        _ => error,
    })?;
    Ok(out::done(as_json, &words, &json!({ "table": table.name() }))?)
}

fn seek(place: Where, config: &Config, name: &TopicPartition, next: i64) -> Result<(), CliError> {
    let opened = match place {
        Place::Running(node) => {
            let body = json!({ "topic": &*name.topic, "partition": name.partition, "offset": next });
            return node.post("cdc/seek", &body).map(drop);
        }
        Place::Stopped(opened) => opened,
    };
    // nova finds dead letters by the last part of a topic's name, but a seek needs the whole name of the topic.
    let read = opened.shared.partitions().iter().any(|status| status.name.topic == name.topic);
    if !read && !Setup::configured(config, app::registry(config)?).decoder().follows(&name.topic) {
        return Err(CliError::Failed(CommandError::NoSuchPartition(name.clone()).to_string()));
    }
    let seek = |reply| Command::Seek { partition: name.clone(), next, actor: actor(), reply };
    command(*opened, seek)?.map_err(|error| CliError::Failed(error.to_string()))
}

fn resnapshot(place: Where, tables: &[Table], config: &Config, as_json: bool) -> Result<(), CliError> {
    let asked: Tables = tables.iter().copied().collect();
    let tables = if asked.is_empty() { Tables::ALL } else { asked };
    let names: Vec<_> = tables.iter().map(Table::name).collect();
    let words = format!("{} are read again{}", names.join(", "), when(&place));
    match place {
        Place::Running(node) => {
            let body = if tables == Tables::ALL { json!({}) } else { json!({ "tables": names }) };
            node.post("cdc/resnapshot", &body)?;
        }
        Place::Stopped(opened) => {
            let Some(settings) = app::postgres(config) else {
                let text = "changes do not come from PostgreSQL itself here: postgres.url is not set";
                return Err(CliError::Failed(text.to_owned()));
            };
            let partition = link::partition(&settings.follow.slot);
            command(*opened, |reply| Command::Resnapshot { partition, tables, actor: actor(), reply })?;
        }
    }
    Ok(out::done(as_json, &words, &json!({ "tables": names }))?)
}

fn bump(place: Where, table: Table, as_json: bool) -> Result<(), CliError> {
    let when = when(&place);
    let (epoch, undecided) = match place {
        Place::Running(node) => {
            let epoch = node.post(&format!("cdc/{table}/epoch"), &json!({}))?["epoch"].as_u64().unwrap_or_default();
            let told = tables(&Place::Running(node))?;
            (epoch, told.get(table as usize).and_then(|told| told["halted"].as_str().map(str::to_owned)))
        }
        Place::Stopped(opened) => {
            let halt = opened.writer.tables()[table as usize].halt.clone().filter(Halt::needs_decision);
            let epoch = command(*opened, |reply| Command::BumpEpoch { table, actor: actor(), reply })?;
            (u64::from(epoch), halt.map(|halt| halt.to_string()))
        }
    };
    let words = match undecided {
        None => format!("{table} is in epoch {epoch} and continues{when}"),
        Some(halt) => format!("{table} is in epoch {epoch} and still halted: {halt}"),
    };
    Ok(out::done(as_json, &words, &json!({ "table": table.name(), "epoch": epoch }))?)
}
