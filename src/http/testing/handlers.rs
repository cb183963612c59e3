//! The handler of each control route. Blocking work runs on tokio's threads for such work.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use crate::http::admin;
use crate::http::answers::{self, Answer};
use crate::http::body::{self, parse};
use crate::http::call::UserCall;
use crate::http::edge::Edge;
use crate::http::error::Problem;
use crate::http::percent::{digits, parameter};
use crate::http::query::number;
use crate::http::rows::{self as plain, Rows};
use crate::source::handed;

use super::control::{Refused, Testing};
use super::shapes::{
    ADVANCE_MAX_MS, Advance, CapturesTaken, ClickHouseFault, ClockSet, Counted, FAULT_TIMES_MAX, Fault, NAME_MAX_CHARS,
    REFUSAL_BODY_MAX_CHARS, REFUSAL_CODE_MAX, REFUSAL_STATUS_MAX, REFUSAL_STATUS_MIN, SLOW_ANSWER_MAX_MS,
    SLOW_COMMIT_MAX_MS, SnapshotNamed, TestToken, TokenAsked,
};
use super::tokens;

/// The most bytes of a request's body, both as sent and after inflation. The limit of a body is high, so that the
/// fixtures of a test fit into one body.
const BODY_MAX_BYTES: usize = 64 << 20;
/// The most rows in one request. One commit has all rows of a request, and the request waits for this commit.
const ROWS_MAX: usize = 20_000;
/// The most entries of the test log in one answer.
pub(in crate::http) const LOG_MAX: u64 = 10_000;
const LOG_DEFAULT: u64 = 1_000;

fn problem(refused: Refused) -> Problem {
    match refused {
        Refused::No(detail) => Problem::Conflict(detail),
        Refused::NoSnapshot(detail) => Problem::InvalidParameter { field: "name", detail },
        Refused::Late(detail) => Problem::Busy { detail, retry_after_s: 1 },
    }
}

fn wrong(field: &'static str, detail: String) -> Problem {
    Problem::InvalidParameter { field, detail: format!("{field}: {detail}") }
}

fn testing(edge: &Edge) -> Result<Arc<dyn Testing>, Problem> {
    edge.testing.clone().ok_or(Problem::NotFound)
}

async fn content(call: &mut UserCall<'_>) -> Result<Bytes, Problem> {
    let body = std::mem::replace(&mut call.body, body::Asked::Left(http_body_util::Empty::new()));
    body::content_within(call.call.headers, body, BODY_MAX_BYTES).await
}

/// Calls the control of the server for tests, on a thread for blocking work.
async fn done<T: Serialize + Send + 'static>(
    edge: &Edge,
    work: impl FnOnce(&dyn Testing) -> Result<T, Refused> + Send + 'static,
) -> Answer {
    let testing = testing(edge)?;
    let done = tokio::task::spawn_blocking(move || work(&*testing)).await;
    let answer = done.map_err(|_| Problem::Unavailable("stopping"))?.map_err(problem)?;
    Ok(answers::object(StatusCode::OK, &answer))
}

pub(in crate::http) async fn clock(call: UserCall<'_>) -> Answer {
    done(call.edge(), |testing| Ok(testing.clock())).await
}

pub(in crate::http) async fn set_clock(mut call: UserCall<'_>) -> Answer {
    let body = content(&mut call).await?;
    let asked = parse::<ClockSet>(call.call.headers, &body)?;
    let to_ms = admin::time_ms(&asked.now, "now")?;
    done(call.edge(), move |testing| testing.move_clock(to_ms).map(|()| testing.clock())).await
}

pub(in crate::http) async fn advance(mut call: UserCall<'_>) -> Answer {
    let body = content(&mut call).await?;
    let Advance { ms } = parse(call.call.headers, &body)?;
    if !(0..=ADVANCE_MAX_MS).contains(&ms) {
        return Err(wrong("ms", format!("expected 0 to {ADVANCE_MAX_MS}; PUT /_test/clock moves the clock back")));
    }
    done(call.edge(), move |testing| {
        testing.move_clock(testing.clock().now_ms.saturating_add(ms)).map(|()| testing.clock())
    })
    .await
}

pub(in crate::http) async fn rows(mut call: UserCall<'_>) -> Answer {
    let body = content(&mut call).await?;
    let rows = parse::<Rows>(call.call.headers, &body)?;
    let edge = Arc::clone(call.edge());
    let taken = plain::commit(&edge, rows, ROWS_MAX, call.call.trace).await?;
    done(&edge, move |testing| testing.settle().map(|_| taken)).await
}

pub(in crate::http) async fn captures(mut call: UserCall<'_>) -> Answer {
    let body = content(&mut call).await?;
    let records = handed::parse(&body).map_err(|detail| Problem::InvalidParameter { field: "captures", detail })?;
    done(call.edge(), move |testing| {
        let partitions = testing.captures(records)?;
        testing.settle()?;
        let totals = partitions.iter().fold(Counted::default(), |sum, next| sum.and(&next.counts));
        Ok(CapturesTaken { partitions, totals })
    })
    .await
}

pub(in crate::http) async fn settle(call: UserCall<'_>) -> Answer {
    done(call.edge(), |testing| testing.settle()).await
}

async fn named(call: &mut UserCall<'_>) -> Result<Option<String>, Problem> {
    let body = content(call).await?;
    let name = parse::<SnapshotNamed>(call.call.headers, &body)?.name;
    match name {
        Some(name) if name.is_empty() || name.chars().count() > NAME_MAX_CHARS => {
            Err(wrong("name", format!("expected 1 to {NAME_MAX_CHARS} characters")))
        }
        name => Ok(name),
    }
}

pub(in crate::http) async fn snapshot(mut call: UserCall<'_>) -> Answer {
    let name = named(&mut call).await?.ok_or_else(|| wrong("name", "is left out; a snapshot has one".to_owned()))?;
    done(call.edge(), move |testing| testing.snapshot(&name)).await
}

pub(in crate::http) async fn reset(mut call: UserCall<'_>) -> Answer {
    let name = named(&mut call).await?;
    done(call.edge(), move |testing| testing.reset(name.as_deref())).await
}

pub(in crate::http) async fn log(call: UserCall<'_>) -> Answer {
    let since = number(call.call.query, "since", 0)?;
    let limit = match parameter(call.call.query, "limit")? {
        None => LOG_DEFAULT,
        Some(text) => {
            let limit = digits(&text).filter(|limit| (1..=LOG_MAX).contains(limit));
            limit.ok_or_else(|| wrong("limit", format!("expected 1 to {LOG_MAX}")))?
        }
    };
    done(call.edge(), move |testing| Ok(testing.log(since, limit as usize))).await
}

/// Refuses a fault of ClickHouse that has no member, or that has members which exclude each other.
fn fits(fault: &ClickHouseFault) -> Result<(), Problem> {
    let ClickHouseFault { refuses, status, code, body, slow_ms, times } = fault;
    let (refuses, answers) = (refuses.unwrap_or(false), status.is_some() || code.is_some());
    let problem = if refuses && (answers || body.is_some() || slow_ms.is_some()) {
        let detail = "a server that is not there gives no answer: leave status, code, body and slow_ms out";
        Some(("clickhouse.refuses", detail.to_owned()))
    } else if body.is_some() && !answers {
        Some(("clickhouse.body", "expected status or code beside it".to_owned()))
    } else if !refuses && !answers && slow_ms.is_none() {
        Some(("clickhouse", "expected refuses, status, code or slow_ms".to_owned()))
    } else if status.is_some_and(|status| !(REFUSAL_STATUS_MIN..=REFUSAL_STATUS_MAX).contains(&status)) {
        Some(("clickhouse.status", format!("expected {REFUSAL_STATUS_MIN} to {REFUSAL_STATUS_MAX}")))
    } else if code.is_some_and(|code| !(1..=REFUSAL_CODE_MAX).contains(&code)) {
        Some(("clickhouse.code", format!("expected 1 to {REFUSAL_CODE_MAX}")))
    } else if body.as_ref().is_some_and(|body| body.chars().count() > REFUSAL_BODY_MAX_CHARS) {
        Some(("clickhouse.body", format!("expected at most {REFUSAL_BODY_MAX_CHARS} characters")))
    } else if slow_ms.is_some_and(|ms| ms > SLOW_ANSWER_MAX_MS) {
        Some(("clickhouse.slow_ms", format!("expected 0 to {SLOW_ANSWER_MAX_MS}")))
    } else if times.is_some_and(|times| !(1..=FAULT_TIMES_MAX).contains(&times)) {
        Some(("clickhouse.times", format!("expected 1 to {FAULT_TIMES_MAX}")))
    } else {
        None
    };
    problem.map_or(Ok(()), |(field, detail)| Err(wrong(field, detail)))
}

pub(in crate::http) async fn fault(mut call: UserCall<'_>) -> Answer {
    let body = content(&mut call).await?;
    let fault = parse::<Fault>(call.call.headers, &body)?;
    if fault.slow_commit_ms.is_some_and(|ms| ms > SLOW_COMMIT_MAX_MS) {
        return Err(wrong("slow_commit_ms", format!("expected 0 to {SLOW_COMMIT_MAX_MS}")));
    }
    if fault.source_lag_ms.is_some_and(|ms| ms < 0) {
        return Err(wrong("source_lag_ms", "expected 0 or more".to_owned()));
    }
    fault.clickhouse.as_ref().map_or(Ok(()), fits)?;
    done(call.edge(), move |testing| testing.fault(&fault).map(|()| testing.clock())).await
}

pub(in crate::http) async fn token(mut call: UserCall<'_>) -> Answer {
    let body = content(&mut call).await?;
    let asked = parse::<TokenAsked>(call.call.headers, &body)?;
    let edge = call.edge();
    let token = tokens::make(&edge.auth, &asked, edge.clock.day_ms())?;
    Ok(answers::object(StatusCode::OK, &TestToken { token }))
}

impl Counted {
    /// Adds the numbers of two counts.
    pub(super) fn and(self, other: &Counted) -> Counted {
        Counted {
            consumed: self.consumed + other.consumed,
            applied: self.applied + other.applied,
            duplicate: self.duplicate + other.duplicate,
            stale: self.stale + other.stale,
            ignored: self.ignored + other.ignored,
            late: self.late + other.late,
            dead: self.dead + other.dead,
            redelivered: self.redelivered + other.redelivered,
        }
    }
}
