//! Dead letters and source tables of a running node.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::event::{Table, Tables, TopicPartition};
use crate::http::auth::Subject;
use crate::http::body::{integer, integers};
use crate::http::error::Problem;
use crate::http::gate::Reads;
use crate::http::{Edge, durable, server};
use crate::pipeline::decided::Decision;
use crate::pipeline::writer::{Command, CommandError, Replayed};

use super::{actor, done, looked, number, parse, wrong};

/// Letters and entries of one request.
const PAGE_MAX: usize = 1_000;

/// Reads the store beside the runtime.
async fn read<T: Send + 'static>(
    edge: &Arc<Edge>,
    what: impl FnOnce(&dyn Reads) -> Result<T, String> + Send + 'static,
) -> Result<T, Problem> {
    let edge = Arc::clone(edge);
    let read = tokio::task::spawn_blocking(move || what(&*edge.gate.reads)).await;
    read.unwrap_or_else(|error| Err(error.to_string())).map_err(|error| {
        tracing::error!("the store cannot be read: {error}");
        Problem::Unavailable("the store cannot be read")
    })
}

/// `after` and `limit` of a listing.
fn page(query: &str) -> Result<(Option<u64>, usize), Problem> {
    let limit = number(query, "limit", 100)? as usize;
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(wrong("limit", "1 to 1000"));
    }
    Ok((super::parameter(query, "after")?.map(|_| number(query, "after", 0)).transpose()?, limit))
}

pub(in crate::http) async fn audit(edge: &Arc<Edge>, query: &str) -> Result<Response<Full<Bytes>>, Problem> {
    let (after, limit) = page(query)?;
    let entries = read(edge, move |store| store.audit(after, limit)).await?;
    Ok(server::json(StatusCode::OK, json!({ "entries": entries }).to_string()))
}

pub(in crate::http) async fn dead_letters(edge: &Arc<Edge>, query: &str) -> Result<Response<Full<Bytes>>, Problem> {
    let (after, limit) = page(query)?;
    let letters = read(edge, move |store| store.dead_letters(after, limit)).await?;
    let total = edge.observed.dead_letters.get();
    Ok(server::json(StatusCode::OK, json!({ "letters": letters, "total": total }).to_string()))
}

pub(in crate::http) async fn dead_letter(
    edge: &Arc<Edge>,
    subject: &Subject,
    id: &str,
) -> Result<Response<Full<Bytes>>, Problem> {
    let id: u64 = id.parse().map_err(|_| Problem::NotFound)?;
    let letter = read(edge, move |store| store.dead_letter(id)).await?.ok_or(Problem::NotFound)?;
    looked(edge, subject, "dlq-read", id.to_string()).await?;
    Ok(server::json(StatusCode::OK, letter.to_string()))
}

pub(in crate::http) async fn replay(
    edge: &Arc<Edge>,
    subject: &Subject,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Problem> {
    #[derive(Deserialize)]
    struct Ask {
        #[serde(default, deserialize_with = "integers")]
        ids: Vec<u64>,
        #[serde(default)]
        force: bool,
    }
    let Ask { ids, force } = parse(headers, body)?;
    if !(1..=PAGE_MAX).contains(&ids.len()) {
        return Err(wrong("ids", "1 to 1000 ids"));
    }
    let force = match force {
        true => {
            let letters = ids.clone();
            Some(read(edge, move |store| Ok(store.sent(&letters))).await?.map_err(Problem::Conflict)?)
        }
        false => None,
    };
    let make = |reply| Command::ReplayDead { ids, actor: actor(subject), force, reply };
    let results = durable::command(edge, make).await?;
    let shown = results.into_iter().map(|(id, result)| {
        let (outcome, detail) = match result {
            Ok(Replayed::Gone(outcome)) => (outcome.name(), String::new()),
            Ok(Replayed::StillDead) => ("kept", "still cannot be decoded".to_owned()),
            Err(error) => ("kept", error.to_string()),
        };
        json!({ "id": id, "outcome": outcome, "detail": detail })
    });
    Ok(server::json(StatusCode::OK, json!({ "results": shown.collect::<Vec<_>>() }).to_string()))
}

pub(in crate::http) async fn discard(
    edge: &Arc<Edge>,
    subject: &Subject,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Problem> {
    #[derive(Deserialize)]
    struct Ask {
        #[serde(deserialize_with = "integer")]
        id: u64,
        reason: String,
    }
    let Ask { id, reason } = parse(headers, body)?;
    if reason.is_empty() {
        return Err(wrong("reason", "why, in words"));
    }
    let make = |reply| Command::DiscardDead { id, actor: actor(subject), reason, reply };
    durable::command(edge, make).await?.map_err(refused)?;
    Ok(done(Value::Null))
}

fn refused(error: CommandError) -> Problem {
    match error {
        CommandError::NoSuchLetter(_) => Problem::NotFound,
        other => Problem::Conflict(other.to_string()),
    }
}

pub(in crate::http) async fn cdc(edge: &Arc<Edge>) -> Result<Response<Full<Bytes>>, Problem> {
    let tables = read(edge, |store| store.tables()).await?;
    let partitions = edge.shared.partitions().into_iter().map(|status| {
        json!({
            "topic": &*status.name.topic, "partition": status.name.partition, "next_offset": status.row.next,
            "consumed": status.row.consumed, "held": status.hold.as_deref(),
        })
    });
    let body = json!({ "tables": tables, "partitions": partitions.collect::<Vec<_>>() });
    Ok(server::json(StatusCode::OK, body.to_string()))
}

/// A copy of the store under a plain name, beside it.
pub(in crate::http) async fn backup(
    edge: &Arc<Edge>,
    subject: &Subject,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Problem> {
    #[derive(Deserialize)]
    struct Ask {
        #[serde(default)]
        name: String,
    }
    const NAME_MAX_BYTES: usize = 100;
    let Ask { name } = parse(headers, body)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > NAME_MAX_BYTES || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(wrong("name", "1 to 100 letters, digits, dots, dashes and underscores"));
    }
    looked(edge, subject, "backup", name.clone()).await?;
    let edge = Arc::clone(edge);
    let copied = tokio::task::spawn_blocking(move || edge.gate.reads.backup(&name)).await;
    let copied = copied.unwrap_or_else(|error| Err(error.to_string()));
    let made = copied.map_err(Problem::Conflict)?;
    Ok(done(json!({ "file": made.file, "entries": made.entries, "sha256": made.sha256 })))
}

fn table(name: &str) -> Result<Table, Problem> {
    Table::from_name(name).ok_or(Problem::NotFound)
}

pub(in crate::http) async fn pause(
    edge: &Arc<Edge>,
    subject: &Subject,
    name: &str,
) -> Result<Response<Full<Bytes>>, Problem> {
    let table = table(name)?;
    durable::command(edge, |reply| Command::Pause { table, actor: actor(subject), reply }).await?;
    Ok(done(Value::Null))
}

pub(in crate::http) async fn resume(
    edge: &Arc<Edge>,
    subject: &Subject,
    name: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Problem> {
    #[derive(Deserialize)]
    struct Ask {
        truncate: Option<String>,
    }
    let table = table(name)?;
    let truncate = match parse::<Ask>(headers, body)?.truncate.as_deref() {
        None => None,
        Some("apply") => Some(Decision::Apply),
        Some("ignore") => Some(Decision::Ignore),
        Some(_) => return Err(wrong("truncate", "apply or ignore")),
    };
    let make = |reply| Command::Resume { table, truncate, actor: actor(subject), reply };
    durable::command(edge, make).await?.map_err(refused)?;
    Ok(done(Value::Null))
}

pub(in crate::http) async fn bump_epoch(
    edge: &Arc<Edge>,
    subject: &Subject,
    name: &str,
) -> Result<Response<Full<Bytes>>, Problem> {
    let table = table(name)?;
    let epoch = durable::command(edge, |reply| Command::BumpEpoch { table, actor: actor(subject), reply }).await?;
    Ok(done(json!({ "epoch": epoch })))
}

pub(in crate::http) async fn seek(
    edge: &Arc<Edge>,
    subject: &Subject,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Problem> {
    #[derive(Deserialize)]
    struct Ask {
        topic: String,
        #[serde(deserialize_with = "integer")]
        partition: i32,
        #[serde(deserialize_with = "integer")]
        offset: i64,
    }
    let Ask { topic, partition, offset } = parse(headers, body)?;
    let name = TopicPartition::new(topic.as_str(), partition);
    let make = |reply| Command::Seek { partition: name, next: offset, actor: actor(subject), reply };
    durable::command(edge, make).await?.map_err(|error| {
        let field = match error {
            CommandError::Offset(_) | CommandError::LocalOffset { .. } => "offset",
            CommandError::Partition(_) | CommandError::PartitionBeyond { .. } => "partition",
            _ => "topic",
        };
        Problem::InvalidParameter { field, detail: error.to_string() }
    })?;
    Ok(done(json!({ "topic": topic, "partition": partition, "next_offset": offset })))
}

/// Tables are read again from PostgreSQL itself.
pub(in crate::http) async fn resnapshot(
    edge: &Arc<Edge>,
    subject: &Subject,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Problem> {
    #[derive(Deserialize)]
    struct Ask {
        #[serde(default)]
        tables: String,
    }
    let Ask { tables } = parse(headers, body)?;
    let named = tables.split_whitespace().map(Table::from_name).collect::<Option<Tables>>();
    let named = named.ok_or_else(|| wrong("tables", "names of tables: users, posts, follows, comments, likes"))?;
    let tables = if named.is_empty() { Tables::ALL } else { named };
    let Some(partition) = edge.postgres.as_ref().map(|postgres| postgres.partition().clone()) else {
        return Err(Problem::Conflict(
            "changes do not come from PostgreSQL itself here: postgres.url is not set".to_owned(),
        ));
    };
    durable::command(edge, |reply| Command::Resnapshot { partition, tables, actor: actor(subject), reply }).await?;
    let names: Vec<_> = tables.iter().map(Table::name).collect();
    Ok(done(json!({ "tables": names })))
}
