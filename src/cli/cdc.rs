//! `nova cdc`: source tables that halted, and how they go on. On a stopped store.

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::app::{self, Setup};
use crate::config::Config;
use crate::event::{Table, Tables, TopicPartition};
use crate::pipeline::decided;
use crate::pipeline::halt::Halt;
use crate::pipeline::writer::{Command, CommandError};
use crate::source::postgres::link;

use super::remote::Remote;
use super::stopped::{actor, command, open};
use super::{CliError, out};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Each source table: its epoch, and why it halted if it did.
    State,
    /// Go on with a halted table; the records that were held come again from the source.
    Resume {
        #[arg(value_parser = table)]
        table: Table,
        /// What the truncate that halted the table shall do.
        #[arg(long, value_enum)]
        truncate: Option<Decision>,
    },
    /// Go on with a partition exactly at this offset: what lies between is given up, also after a rebuild, or read again.
    #[command(allow_negative_numbers = true)]
    Seek {
        topic: String,
        /// From 0 on; the local log is -1.
        partition: i32,
        /// The first that shall be read.
        offset: i64,
    },
    /// Read tables again from PostgreSQL itself (postgres.url), whatever became of the slot; without names all, with a new
    /// slot. Rows that are there are served until then; those that were not read are deleted at the end.
    Resnapshot {
        #[arg(value_parser = table)]
        tables: Vec<Table>,
        #[command(flatten)]
        remote: Remote,
    },
    /// The LSNs of a restored or promoted source.
    Epoch {
        #[command(subcommand)]
        action: Epoch,
    },
}

#[derive(Subcommand)]
enum Epoch {
    /// Take every later change as newer than all before it, and go on.
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

/// On a running node where one is named, else on the stopped store, whose next start reads.
fn resnapshot(tables: &[Table], remote: &Remote, config: &Config, as_json: bool) -> Result<(), CliError> {
    let asked: Tables = tables.iter().copied().collect();
    let tables = if asked.is_empty() { Tables::ALL } else { asked };
    let names: Vec<_> = tables.iter().map(Table::name).collect();
    let value = json!({ "tables": names });
    if let Some(node) = remote.node(&config.data_dir)? {
        let body = if tables == Tables::ALL { json!({}) } else { json!({ "tables": names }) };
        node.post("cdc/resnapshot", &body)?;
        return Ok(out::done(as_json, &format!("{} are read again", names.join(", ")), &value)?);
    }
    let Some(settings) = app::postgres(config) else {
        let text = "changes do not come from PostgreSQL itself: postgres.url is not set";
        return Err(CliError::Failed(text.to_owned()));
    };
    let partition = link::partition(&settings.follow.slot);
    command(open(config)?, |reply| Command::Resnapshot { partition, tables, actor: actor(), reply })?;
    Ok(out::done(as_json, &format!("{} are read again at the next start", names.join(", ")), &value)?)
}

pub(super) fn table(name: &str) -> Result<Table, String> {
    Table::from_name(name).ok_or_else(|| "expected users, posts, follows, comments or likes".to_owned())
}

pub(super) fn run(args: &Args, config: &Config, as_json: bool) -> Result<(), CliError> {
    if let Action::Resnapshot { tables, remote } = &args.action {
        return resnapshot(tables, remote, config, as_json);
    }
    let opened = open(config)?;
    match args.action {
        // Done above.
        Action::Resnapshot { .. } => Ok(()),
        Action::State => {
            let tables = Table::ALL.iter().zip(opened.writer.tables());
            if as_json {
                let all: Vec<_> = tables.map(|(table, meta)| meta.told(*table)).collect();
                return Ok(out::line(&json!(all).to_string())?);
            }
            for (table, meta) in tables {
                let halt = meta.halt.as_ref().map_or_else(|| "goes on".to_owned(), |halt| format!("halted: {halt}"));
                out::line(&format!("{table:<9} epoch {}  {halt}", meta.epoch))?;
            }
            Ok(())
        }
        Action::Resume { table, truncate } => {
            let truncate = truncate.map(|decision| match decision {
                Decision::Apply => decided::Decision::Apply,
                Decision::Ignore => decided::Decision::Ignore,
            });
            let result = command(opened, |reply| Command::Resume { table, truncate, actor: actor(), reply })?;
            result.map_err(|error| match error {
                CommandError::Undecided(_) => CliError::Usage(format!("{error} (--truncate)")),
                error => CliError::Failed(error.to_string()),
            })?;
            let words = format!("{table} goes on at the next start");
            Ok(out::done(as_json, &words, &json!({ "table": table.name() }))?)
        }
        Action::Seek { ref topic, partition, offset } => {
            let name = TopicPartition::new(topic.as_str(), partition);
            // Dead letters are found by the last part of a topic's name; a place in the log has one name.
            let read = opened.shared.partitions().iter().any(|status| *status.name.topic == **topic);
            if !read && !Setup::configured(config, app::registry(config)?).decoder().follows(topic) {
                return Err(CliError::Failed(CommandError::NoSuchPartition(name).to_string()));
            }
            let seek = |reply| Command::Seek { partition: name.clone(), next: offset, actor: actor(), reply };
            let result = command(opened, seek)?;
            result.map_err(|error| CliError::Failed(error.to_string()))?;
            let words = format!("{name} goes on at {offset} at the next start");
            let value = json!({ "topic": topic, "partition": partition, "next_offset": offset });
            Ok(out::done(as_json, &words, &value)?)
        }
        Action::Epoch { action: Epoch::Bump { table } } => {
            let undecided = opened.writer.tables()[table as usize].halt.clone().filter(Halt::needs_decision);
            let epoch = command(opened, |reply| Command::BumpEpoch { table, actor: actor(), reply })?;
            let words = match undecided {
                None => format!("{table} is in epoch {epoch} and goes on at the next start"),
                Some(halt) => format!("{table} is in epoch {epoch} and still halted: {halt}"),
            };
            Ok(out::done(as_json, &words, &json!({ "table": table.name(), "epoch": epoch }))?)
        }
    }
}
