//! The route `POST /api/v1/events`, which checks events and makes them durable before the answer 202.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::monotonic_now;
use crate::decode::client;
use crate::event::{EVENT_MAX_AHEAD_MS, Id, Outcome};
use crate::source::kafka::ProduceError;
use crate::source::local::Settled;

use super::answers::{self, Answer};
use super::auth::{ADMIN_OR_SERVICE, Subject};
use super::body;
use super::call::UserCall;
use super::edge::{Intake, Log};
use super::error::Problem;
use super::idempotency::{self, Key, Worked};
use super::shapes::{EVENTS_MAX, EventResult, EventsTaken};
use super::trace::Trace;

const AGE_MAX_MS: i64 = 86_400_000;
/// The longest time that a request waits for the commit of its events.
const COMMIT_WAIT: Duration = Duration::from_secs(5);

/// The code of a refused event, and the detail for a person.
type Refusal = (&'static str, String);

/// The code of the note to an accepted event whose post has no row in nova yet. nova counts the event when the row
/// arrives.
const UNKNOWN_POST: &str = "unknown-post";
const UNKNOWN_POST_DETAIL: &str =
    "nova has no post with this post_id yet: nothing shows this event before its row comes";

/// Takes the events in the body of a request. Requests with the same idempotency key get the same answer.
pub(super) async fn take(intake: &Arc<Intake>, mut call: UserCall<'_>) -> Answer {
    let (body, headers, subject) = (call.content().await?, call.call.headers, &call.subject);
    let trace = call.call.trace;
    let Some(key) = Key::of(headers, subject.user)? else {
        return Ok(publish(intake, (subject, trace), headers, None, body).await?.response);
    };
    let work = publish(intake, (subject, trace), headers, Some(key), body.clone());
    let now_ms = intake.clock.now_ms();
    idempotency::once((&intake.answers, &intake.durable), now_ms, (key, &body), work).await
}

async fn publish(
    intake: &Intake,
    (subject, trace): (&Subject, &Trace),
    headers: &HeaderMap,
    key: Option<Key>,
    body: Bytes,
) -> Result<Worked, Problem> {
    let started = monotonic_now();
    body::must_be_json(headers)?;
    let items = items(&body)?;
    let (received, now_ms) = (items.len(), intake.clock.now_ms());
    let (mut events, mut places, mut results) = (Vec::new(), Vec::new(), Vec::new());
    let mut posts = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let own_id = key.map(|key| key.event_id(index));
        match value(item, subject, own_id, now_ms)? {
            Ok((user, post, event)) => {
                events.push((user, event));
                posts.push(post);
                places.push(index);
            }
            Err((code, detail)) => results.push(EventResult::not(index, "rejected", code, detail)),
        }
    }
    let rejected = results.len();
    let (mut accepted, mut deduped) = (0, 0);
    if !events.is_empty() {
        let begun = monotonic_now();
        let settled = append(intake, events, now_ms).await?;
        told(intake, trace, begun, settled.len());
        // nova reads the state after the commit, so the state already has a post that came before the events.
        let state = intake.state.read();
        for ((settled, index), post) in settled.into_iter().zip(places).zip(posts) {
            match settled.outcome {
                Outcome::Applied => {
                    accepted += 1;
                    if state.post_ids.number(post).and_then(|number| state.posts.row(number)).is_none() {
                        results.push(EventResult::noted(index, UNKNOWN_POST, UNKNOWN_POST_DETAIL));
                    }
                }
                _ => {
                    deduped += usize::from(settled.outcome == Outcome::Duplicate);
                    let code = if settled.conflict { "conflict" } else { settled.outcome.name() };
                    results.push(EventResult::not(index, "deduped", code, String::new()));
                }
            }
        }
    }
    results.sort_by_key(|result| result.i);
    intake.observed.events_ingested.inc_by(accepted as u64);
    intake.observed.events_deduped.inc_by(deduped as u64);
    intake.observed.events_rejected.inc_by(rejected as u64);
    let taken = EventsTaken {
        success: rejected == 0,
        received,
        accepted,
        deduped,
        rejected,
        count: accepted,
        latency_ms: started.elapsed().as_secs_f64() * 1e3,
        results,
    };
    // A duplicate event also counts as taken, because an earlier attempt of the request may have sent the event.
    Ok(Worked { response: answers::object(StatusCode::ACCEPTED, &taken), taken: rejected < received })
}

/// If the trace is sampled, reports to the collector of traces how long the request waited for a commit.
pub(super) fn told(intake: &Intake, trace: &Trace, begun: Instant, records: usize) {
    if let Some(tracer) = intake.tracer.as_ref().filter(|_| trace.sampled()) {
        let waited_ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        tracer.committed(trace.place(), waited_ns, records);
    }
}

/// Makes events durable, and returns the outcome of each event. If events go to Kafka, the pipeline decides later about
/// duplicates.
async fn append(intake: &Intake, events: Vec<(Id, Bytes)>, now_ms: i64) -> Result<Vec<Settled>, Problem> {
    match &intake.log {
        Log::Local(_) if intake.shared.over_quota() => Err(Problem::Unavailable("the outbox is full")),
        Log::Local(log) => {
            let values = events.into_iter().map(|(_, value)| value).collect();
            let answer = log.append(values, now_ms).map_err(|_| Problem::Unavailable("ingestion is behind"))?;
            let late = "the commit takes too long; events that were not confirmed may be sent again";
            let settled = tokio::time::timeout(COMMIT_WAIT, answer).await.map_err(|_| Problem::Unavailable(late))?;
            settled.map_err(|_| Problem::Unavailable("stopping"))
        }
        Log::Kafka(producer) => {
            let count = events.len();
            producer.append(events, now_ms).await.map_err(|error| match error {
                ProduceError::TooLarge => {
                    Problem::TooLarge { detail: "an event is larger than Kafka takes".to_owned() }
                }
                ProduceError::Full => Problem::Unavailable("too many events wait for Kafka"),
                ProduceError::Unacknowledged => {
                    Problem::Unavailable("Kafka did not confirm in time; the events may be sent again")
                }
            })?;
            Ok(vec![Settled { outcome: Outcome::Applied, conflict: false }; count])
        }
    }
}

/// The text of each event. Only the pipeline's parser parses an event, so that two parsers cannot disagree. If an item
/// is not an object, or cannot be read for a different reason, nova refuses only this item and takes the remaining
/// items.
fn items(body: &[u8]) -> Result<Vec<&str>, Problem> {
    #[derive(Deserialize)]
    #[serde(expecting = "an object with events")]
    struct Request<'a> {
        #[serde(borrow)]
        events: Vec<&'a RawValue>,
    }
    let Request { events } = body::object(body)?;
    if events.is_empty() {
        let detail = "events: is empty; send 1 to 100".to_owned();
        return Err(Problem::InvalidParameter { field: "events", detail });
    }
    if events.len() > EVENTS_MAX {
        return Err(Problem::TooLarge { detail: format!("{} events, at most {EVENTS_MAX}", events.len()) });
    }
    Ok(events.into_iter().map(RawValue::get).collect())
}

/// The user, the post and the record of one event, or the reason why nova refuses the event. If the caller may not send
/// events of the event's user, nova refuses the whole request.
fn value(
    item: &str,
    subject: &Subject,
    own_id: Option<Id>,
    now_ms: i64,
) -> Result<Result<(Id, Id, Bytes), Refusal>, Problem> {
    let fresh = || own_id.unwrap_or_else(|| Id(uuid::Uuid::now_v7().into_bytes()));
    let event = match client::parse(item, subject.user, fresh) {
        Ok(event) => event,
        Err(dead) => return Ok(Err((dead.reason, dead.detail))),
    };
    if event.user_id != subject.user && !subject.has_role(ADMIN_OR_SERVICE) {
        return Err(Problem::SubjectMismatch);
    }
    if !(now_ms - AGE_MAX_MS..=now_ms + EVENT_MAX_AHEAD_MS).contains(&event.event_time_ms) {
        let detail = "event_time: must be within the last 24 hours, at most 5 minutes ahead".to_owned();
        return Ok(Err(("event-time-out-of-range", detail)));
    }
    Ok(Ok((event.user_id, event.post_id, client::encode(&event).into())))
}
