//! Through the routes of this module, nova's commands read rows, lists for any time, a backup or a comparison with
//! ClickHouse from a running node. The audit notes each read through this module, because rows and lists are personal
//! data.

use std::sync::Arc;

use http::{Response, StatusCode};
use parking_lot::RwLock;

use crate::event::{Id, TIMESTAMP_MS_RANGE, Table};
use crate::feed::trending::{TRENDING_MAX, Window};
use crate::http::answers::{self, Answer};
use crate::http::audit::looked;
use crate::http::call::UserCall;
use crate::http::edge::{Edge, Serving};
use crate::http::error::Problem;
use crate::http::lists::{self, Asked};
use crate::http::percent::{digits, parameter};
use crate::http::pieces::Body;
use crate::http::query::{number, user, wrong};
use crate::http::{explained, pumped, read};
use crate::state::State;

use super::revocations::rfc3339_ms;
use super::store;

/// The media type of JSON lines.
pub(in crate::http) const LINES: &str = "application/x-ndjson";
/// The media type of a store's bytes.
pub(in crate::http) const BYTES: &str = "application/octet-stream";

/// The live rows of a table, as JSON lines in the order of their ids.
pub(in crate::http) async fn rows(edge: &Edge, call: UserCall<'_>) -> Result<Response<Body>, Problem> {
    let table = Table::from_name(call.call.name).ok_or(Problem::NotFound)?;
    let limit = match number(call.call.query, "limit", u64::MAX)? {
        0 => return Err(wrong("limit", "1 or more")),
        limit => limit,
    };
    looked(&edge.control.durable, &call.subject, "rows-read", table.name().to_owned()).await?;
    let control = Arc::clone(&edge.control);
    let closing = edge.serving.streams.closing();
    pumped::answer(&edge.control.pumps, closing, LINES, move |out| control.reads.rows(table, limit, out))
}

/// Answers with the bytes of a backup, and leaves no copy of the backup beside the store.
pub(in crate::http) async fn hand_over(edge: &Edge, call: UserCall<'_>) -> Result<Response<Body>, Problem> {
    store::on_disk(&edge.control)?;
    looked(&edge.control.durable, &call.subject, "backup", "handed over".to_owned()).await?;
    let control = Arc::clone(&edge.control);
    let closing = edge.serving.streams.closing();
    pumped::answer(&edge.control.pumps, closing, BYTES, move |out| control.reads.hand_over(out))
}

/// The differences between the rows in the store and the rows in ClickHouse.
pub(in crate::http) async fn compare(edge: &Edge, call: UserCall<'_>) -> Result<Response<Body>, Problem> {
    // The stand-in for ClickHouse in a server for tests keeps no rows.
    if edge.watch.warehouse.is_none() || edge.testing.is_some() {
        let detail = "clickhouse.url is not set on this node: there is nothing to compare with";
        return Err(Problem::Conflict(detail.to_owned()));
    }
    looked(&edge.control.durable, &call.subject, "compare", String::new()).await?;
    let control = Arc::clone(&edge.control);
    let closing = edge.serving.streams.closing();
    pumped::answer(&edge.control.pumps, closing, "application/json", move |out| control.reads.compare(out))
}

/// Explains why a post is at its place in a user's feed, or why the feed does not show the post.
pub(in crate::http) async fn explain_post(edge: &Edge, call: UserCall<'_>) -> Answer {
    let given = |name: &'static str| {
        let text = parameter(call.call.query, name)?.ok_or_else(|| wrong(name, "a UUID"))?;
        Id::parse(text.as_bytes())
            .map_err(|error| Problem::InvalidParameter { field: name, detail: format!("{name}: {error}") })
    };
    let (whose, post) = (given("user_id")?, given("post_id")?);
    if whose != call.subject.user {
        looked(&edge.serving.durable, &call.subject, "feed-explain", whose.to_string()).await?;
    }
    let serving = Arc::clone(&edge.serving);
    let explained = store::read(&edge.control, move |store| {
        let list = serving.trending.last(Window::Day);
        explained::explain(&explained::Asked {
            user: whose,
            post,
            now_ms: serving.clock.now_ms(),
            state: &serving.state,
            feeds: &serving.feeds,
            trending: &list.numbers,
            row: &|table, key| store.row(table, key),
        })
    })
    .await?;
    Ok(answers::object(StatusCode::OK, &explained))
}

/// The maximum length of the parameter `now`, in bytes.
pub(in crate::http) const NOW_MAX_BYTES: usize = 64;

fn asked(serving: &Serving, query: &str) -> Result<Asked, Problem> {
    let now_ms = match parameter(query, "now")? {
        None => serving.clock.now_ms(),
        Some(text) => {
            let millis = digits(&text).filter(|millis| TIMESTAMP_MS_RANGE.contains(millis));
            let time = millis.or_else(|| rfc3339_ms(&text)).filter(|_| text.len() <= NOW_MAX_BYTES);
            time.ok_or_else(|| wrong("now", "a time: RFC 3339, or epoch milliseconds from 1970 to 2100"))?
        }
    };
    Ok(Asked { now_ms, limit: read::limit(query, TRENDING_MAX)? })
}

/// Makes a list on a thread for blocking work, from a copy of the present state, so that the writer does not wait.
async fn made(serving: &Arc<Serving>, make: impl FnOnce(&Serving, RwLock<State>) -> String + Send + 'static) -> Answer {
    let serving = Arc::clone(serving);
    let state = RwLock::new(serving.state.read().clone());
    let made = tokio::task::spawn_blocking(move || make(&serving, state)).await;
    let body = made.map_err(|error| {
        tracing::error!("a list cannot be made: {error}");
        Problem::Unavailable("the list cannot be made")
    })?;
    Ok(answers::json(StatusCode::OK, body))
}

pub(in crate::http) async fn trending_list(serving: &Arc<Serving>, call: UserCall<'_>) -> Answer {
    let (window, asked) = (read::window(&serving.trending, call.call.query)?, asked(serving, call.call.query)?);
    let make = move |serving: &Serving, state: RwLock<State>| {
        lists::trending(&state.read(), &serving.trending.overrides(), window, asked)
    };
    made(serving, make).await
}

pub(in crate::http) async fn feed_list(serving: &Arc<Serving>, call: UserCall<'_>) -> Answer {
    let (whose, asked) = whose(serving, &call, "feed-explain").await?;
    let make = move |serving: &Serving, state: RwLock<State>| {
        let made = (&serving.feeds.fresh(), &serving.trending.overrides());
        lists::feed(&state, made, whose, &serving.cursor_key, asked)
    };
    made(serving, make).await
}

pub(in crate::http) async fn suggestion_list(serving: &Arc<Serving>, call: UserCall<'_>) -> Answer {
    let (whose, asked) = whose(serving, &call, "suggestions-read").await?;
    let make = move |serving: &Serving, state: RwLock<State>| {
        let state = state.read();
        lists::suggestions(&state, whose, &serving.dismissals.of(whose, &state), asked)
    };
    made(serving, make).await
}

async fn whose(serving: &Serving, call: &UserCall<'_>, action: &'static str) -> Result<(Id, Asked), Problem> {
    let (whose, asked) = (user(call.call.name)?, asked(serving, call.call.query)?);
    looked(&serving.durable, &call.subject, action, whose.to_string()).await?;
    Ok((whose, asked))
}
