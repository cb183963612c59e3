//! The source tables and the partitions of a running node.

use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::event::{Table, Tables, TopicPartition};
use crate::http::answers::{self, Answer, done};
use crate::http::audit::actor;
use crate::http::body::{integer, or_default, parse};
use crate::http::call::UserCall;
use crate::http::edge::Control;
use crate::http::error::Problem;
use crate::http::query::wrong;
use crate::http::shapes::{
    EpochRaised, PartitionTold, ReadAgain, SlotTold, Sought, SourceState, TableName, TruncateDecision,
};
use crate::pipeline::decided::Decision;
use crate::pipeline::writer::{Command, CommandError, SEEK_MAX};
use crate::schema::example;

use super::letters::refused;
use super::store::read;

/// A request that lets a halted table continue.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ResumeRequest", example = example(r#"{ "truncate": "apply" }"#))]
pub(in crate::http) struct Resuming {
    /// What nova does with the TRUNCATE that halted the table.
    #[schemars(with = "Option<TruncateDecision>")]
    truncate: Option<String>,
}

/// A request that sets the offset at which nova continues to read a partition.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    rename = "SeekRequest",
    example = example(r#"{ "topic": "cdc.posts", "partition": 0, "offset": 4711 }"#)
)]
pub(in crate::http) struct Seeking {
    /// The topic of a table, or of the events.
    topic: String,
    #[serde(deserialize_with = "integer")]
    #[schemars(range(min = 0))]
    partition: i32,
    /// The offset of the next record to read.
    #[serde(deserialize_with = "integer")]
    #[schemars(range(min = 0, max = SEEK_MAX))]
    offset: i64,
}

/// A request to read tables again from PostgreSQL. nova refuses an unknown member, because a misspelled `tables` must
/// not mean all tables.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ResnapshotRequest", example = example(r#"{ "tables": ["posts"] }"#))]
pub(in crate::http) struct Resnapshotting {
    /// The names of the tables. Without names, nova reads all tables again with a new slot.
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<Vec<TableName>>")]
    tables: Vec<String>,
}

pub(in crate::http) async fn cdc(control: &Arc<Control>, _: UserCall<'_>) -> Answer {
    let tables = read(control, |store| store.tables()).await?;
    let partitions = control.shared.partitions().into_iter().map(|status| PartitionTold {
        topic: status.name.topic.to_string(),
        partition: status.name.partition,
        next_offset: status.row.next,
        consumed: status.row.consumed,
        held: status.hold.map(|hold| hold.to_string()),
    });
    let slot = control.postgres.as_ref().map(|postgres| SlotTold::of(&postgres.view()));
    Ok(answers::object(StatusCode::OK, &SourceState { tables, partitions: partitions.collect(), slot }))
}

fn table(name: &str) -> Result<Table, Problem> {
    Table::from_name(name).ok_or(Problem::NotFound)
}

pub(in crate::http) async fn pause(control: &Arc<Control>, call: UserCall<'_>) -> Answer {
    let table = table(call.call.name)?;
    control.durable.command(|reply| Command::Pause { table, actor: actor(&call.subject), reply }).await?;
    done()
}

pub(in crate::http) async fn resume(control: &Arc<Control>, mut call: UserCall<'_>) -> Answer {
    let body = call.content().await?;
    let table = table(call.call.name)?;
    let truncate = match parse::<Resuming>(call.call.headers, &body)?.truncate.as_deref() {
        None => None,
        Some("apply") => Some(Decision::Apply),
        Some("ignore") => Some(Decision::Ignore),
        Some(_) => return Err(wrong("truncate", "apply or ignore")),
    };
    let make = |reply| Command::Resume { table, truncate, actor: actor(&call.subject), reply };
    control.durable.command(make).await?.map_err(refused)?;
    done()
}

pub(in crate::http) async fn bump_epoch(control: &Arc<Control>, call: UserCall<'_>) -> Answer {
    let table = table(call.call.name)?;
    let make = |reply| Command::BumpEpoch { table, actor: actor(&call.subject), reply };
    let epoch = control.durable.command(make).await?;
    Ok(answers::object(StatusCode::OK, &EpochRaised { success: true, epoch }))
}

pub(in crate::http) async fn seek(control: &Arc<Control>, mut call: UserCall<'_>) -> Answer {
    let body = call.content().await?;
    let Seeking { topic, partition, offset } = parse(call.call.headers, &body)?;
    let name = TopicPartition::new(topic.as_str(), partition);
    let make = |reply| Command::Seek { partition: name, next: offset, actor: actor(&call.subject), reply };
    control.durable.command(make).await?.map_err(|error| {
        let field = match error {
            CommandError::Offset(_) | CommandError::LocalOffset { .. } => "offset",
            CommandError::Partition(_) | CommandError::PartitionBeyond { .. } => "partition",
            _ => "topic",
        };
        Problem::InvalidParameter { field, detail: error.to_string() }
    })?;
    Ok(answers::object(StatusCode::OK, &Sought { success: true, topic, partition, next_offset: offset }))
}

pub(in crate::http) async fn resnapshot(control: &Arc<Control>, mut call: UserCall<'_>) -> Answer {
    let body = call.content().await?;
    let Resnapshotting { tables } = parse(call.call.headers, &body)?;
    let named = tables.iter().map(|name| Table::from_name(name)).collect::<Option<Tables>>();
    let named = named.ok_or_else(|| wrong("tables", "names of tables: users, posts, follows, comments, likes"))?;
    let tables = if named.is_empty() { Tables::ALL } else { named };
    let Some(partition) = control.postgres.as_ref().map(|postgres| postgres.partition().clone()) else {
        let detail = "changes do not come from PostgreSQL itself here: postgres.url is not set";
        return Err(Problem::Conflict(detail.to_owned()));
    };
    let make = |reply| Command::Resnapshot { partition, tables, actor: actor(&call.subject), reply };
    control.durable.command(make).await?;
    let tables = tables.iter().map(Table::name).collect();
    Ok(answers::object(StatusCode::OK, &ReadAgain { success: true, tables }))
}
