//! The dead letters and the audit of a running node.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::answers::{self, Answer, done};
use crate::http::audit::{actor, looked};
use crate::http::body::{integers, maybe_integer, or_default, parse};
use crate::http::call::UserCall;
use crate::http::edge::Control;
use crate::http::error::Problem;
use crate::http::gate::Reads;
use crate::http::percent::{digits, parameter};
use crate::http::query::{flag, number, wrong};
use crate::http::shapes::{AuditPage, DeadLetters, Replay, Replays};
use crate::pipeline::writer::{Command, CommandError};
use crate::schema::example;

use super::store::{blocking, read};

/// The most dead letters, or entries of the audit, in one request.
const PAGE_MAX: usize = 1_000;
/// The number of dead letters that the writer tries at once, before it looks at new records again.
const TRIED_AT_ONCE: usize = 50;

/// A request to apply dead letters again. nova refuses an unknown member, because a misspelled `dry_run` must not start
/// a replay.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReplayRequest", extend("required" = ["ids"]), example = example(r#"{ "ids": [7] }"#))]
pub(in crate::http) struct Replaying {
    #[serde(default, deserialize_with = "integers")]
    #[schemars(length(min = 1, max = PAGE_MAX))]
    ids: Vec<u64>,
    /// Whether nova also applies events from before the dedup horizon.
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<bool>")]
    force: bool,
    /// Whether nova applies nothing, and only reports the outcome that each letter's replay would have now.
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<bool>")]
    dry_run: bool,
}

/// A request to remove dead letters for ever. Either `id` or `ids` is set.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DiscardRequest", example = example(r#"{ "id": 7, "reason": "a test record" }"#))]
pub(in crate::http) struct Discarding {
    #[serde(default, deserialize_with = "maybe_integer")]
    id: Option<u64>,
    #[serde(default, deserialize_with = "integers")]
    #[schemars(with = "Option<Vec<u64>>", length(max = PAGE_MAX))]
    ids: Vec<u64>,
    /// The reason for the removal, which the audit keeps.
    #[schemars(length(min = 1))]
    reason: String,
}

/// The parameters `after` and `limit` of a listing.
fn page(query: &str) -> Result<(Option<u64>, usize), Problem> {
    let limit = number(query, "limit", 100)? as usize;
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(wrong("limit", "1 to 1000"));
    }
    Ok((parameter(query, "after")?.map(|_| number(query, "after", 0)).transpose()?, limit))
}

pub(in crate::http) async fn audit(control: &Arc<Control>, call: UserCall<'_>) -> Answer {
    let (after, limit) = page(call.call.query)?;
    let newest = flag(call.call.query, "newest", false)?;
    if newest && after.is_some() {
        return Err(wrong("newest", "it without after"));
    }
    let look = move |store: &dyn Reads| if newest { store.newest_audit(limit) } else { store.audit(after, limit) };
    let entries = read(control, look).await?;
    Ok(answers::object(StatusCode::OK, &AuditPage { entries }))
}

pub(in crate::http) async fn dead_letters(control: &Arc<Control>, call: UserCall<'_>) -> Answer {
    let (after, limit) = page(call.call.query)?;
    let letters = read(control, move |store| store.dead_letters(after, limit)).await?;
    Ok(answers::object(StatusCode::OK, &DeadLetters { letters, total: control.observed.dead_letters.get() }))
}

pub(in crate::http) async fn dead_letter(control: &Arc<Control>, call: UserCall<'_>) -> Answer {
    let id: u64 = digits(call.call.name).ok_or(Problem::NotFound)?;
    let letter = read(control, move |store| store.dead_letter(id)).await?.ok_or(Problem::NotFound)?;
    looked(&control.durable, &call.subject, "dlq-read", id.to_string()).await?;
    Ok(answers::object(StatusCode::OK, &letter))
}

pub(in crate::http) async fn replay(control: &Arc<Control>, mut call: UserCall<'_>) -> Answer {
    let body = call.content().await?;
    let Replaying { ids, force, dry_run } = parse(call.call.headers, &body)?;
    if !(1..=PAGE_MAX).contains(&ids.len()) {
        return Err(wrong("ids", "1 to 1000 ids"));
    }
    let force = if force { Some(sent(control, ids.clone()).await?) } else { None };
    if dry_run {
        return Ok(answers::object(StatusCode::OK, &Replays { results: tried(control, &ids, force.as_ref()).await? }));
    }
    let make = |reply| Command::ReplayDead { ids, actor: actor(&call.subject), force, reply };
    let results = control.durable.command(make).await?;
    let results = results.into_iter().map(|(id, result)| Replay::of(id, result));
    Ok(answers::object(StatusCode::OK, &Replays { results: results.collect() }))
}

/// Returns the outcome that a replay of the given dead letters would have. The writer tries some letters at a time, so
/// that new records do not wait for all letters.
async fn tried(control: &Control, ids: &[u64], force: Option<&BTreeSet<u64>>) -> Result<Vec<Replay>, Problem> {
    let mut results = Vec::with_capacity(ids.len());
    let mut gone = BTreeSet::new();
    for some in ids.chunks(TRIED_AT_ONCE) {
        let make = |reply| Command::TryDead { ids: some.to_vec(), force: force.cloned(), reply };
        let told = control.durable.command(make).await?;
        for (id, result) in told {
            // If an id is given twice, a replay finds the letter only once, because the letter has then left the queue.
            let result = if gone.contains(&id) { Err(CommandError::NoSuchLetter(id)) } else { result };
            if result.as_ref().is_ok_and(|tried| tried.outcome.is_some()) {
                gone.insert(id);
            }
            results.push(Replay::tried(id, result));
        }
    }
    Ok(results)
}

/// Returns those of the given dead letters whose event is in ClickHouse. If ClickHouse does not answer, nova refuses a
/// replay with `force`.
async fn sent(control: &Arc<Control>, letters: Vec<u64>) -> Result<BTreeSet<u64>, Problem> {
    let found = blocking(control, move |store| store.sent(&letters)).await?;
    found.map_err(|error| Problem::Conflict(error.to_string()))
}

pub(in crate::http) async fn discard(control: &Arc<Control>, mut call: UserCall<'_>) -> Answer {
    let body = call.content().await?;
    let Discarding { id, ids, reason } = parse(call.call.headers, &body)?;
    if reason.is_empty() {
        return Err(wrong("reason", "why, in words"));
    }
    let ids = match (id, ids.len()) {
        (Some(id), 0) => vec![id],
        (None, 1..=PAGE_MAX) => ids,
        _ => return Err(wrong("ids", "1 to 1000 ids, or one id")),
    };
    for id in ids {
        let (actor, reason) = (actor(&call.subject), reason.clone());
        let make = |reply| Command::DiscardDead { id, actor, reason, reply };
        control.durable.command(make).await?.map_err(refused)?;
    }
    done()
}

pub(super) fn refused(error: CommandError) -> Problem {
    match error {
        CommandError::NoSuchLetter(_) => Problem::NotFound,
        other => Problem::Conflict(other.to_string()),
    }
}
