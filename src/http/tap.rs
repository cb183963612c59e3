//! `GET /api/v1/admin/tap` sends server-sent events (WHATWG HTML, 9.2), one for each committed record, as long as the
//! caller listens.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::event::Outcome;
use crate::pipeline::tap::{Filter, Heard, Listening, TAPS_MAX};

use super::audit::looked;
use super::call::UserCall;
use super::edge::Edge;
use super::error::Problem;
use super::percent::parameter;
use super::pieces::{self, Body, Broken};
use super::query::{flag, id, wrong};
use super::shapes::TappedRecord;

/// The most events that wait for the caller, in addition to the records in the listener's queue.
const QUEUE_MAX_EVENTS: usize = 1;
/// The time without an event after which nova sends a comment to show that the node is alive.
const PING: Duration = Duration::from_secs(10);
const PING_TEXT: Bytes = Bytes::from_static(b": ping\n\n");
/// nova disconnects a caller who takes no event for this time.
const SLOW: Duration = Duration::from_secs(20);

/// The values of the parameter `outcome`, which selects records by their outcome.
pub(super) const OUTCOMES: [&str; 6] = ["applied", "duplicate", "stale", "ignored", "late", "dead"];

pub(super) async fn open(edge: &Edge, call: UserCall<'_>) -> Result<Response<Body>, Problem> {
    let given = |name| parameter(call.call.query, name);
    let outcome = given("outcome")?.map(|name| {
        let found = Outcome::ALL.into_iter().find(|outcome| outcome.name() == name);
        found.ok_or_else(|| wrong("outcome", &OUTCOMES.join(", ")))
    });
    let maybe_id = |field| given(field)?.map(|text| id(field, &text)).transpose();
    let raw = flag(call.call.query, "raw", false)?;
    let topic = given("topic")?.map(|topic| topic.into_owned());
    let filter =
        Filter { topic, outcome: outcome.transpose()?, user: maybe_id("user_id")?, post: maybe_id("post_id")? };
    let about = filter.user.map_or_else(String::new, |user| user.to_string());
    // Raw bytes contain texts that people wrote, so the audit has a separate action for a read of raw bytes.
    let look = if raw { "tap-raw" } else { "tap" };
    looked(&edge.control.durable, &call.subject, look, about).await?;
    let listening = edge.watch.shared.tap.listen(filter, raw);
    let listening = listening.ok_or(Problem::TooManyStreams { most: TAPS_MAX, of: "records on this node" })?;
    let (sender, lines) = mpsc::channel(QUEUE_MAX_EVENTS);
    tokio::spawn(run(listening, sender, edge.serving.streams.closing()));
    Ok(pieces::answer(lines))
}

async fn run(mut listening: Listening, sender: mpsc::Sender<Result<Bytes, Broken>>, mut closed: watch::Receiver<bool>) {
    // hyper sends the head of the answer with the first event, so nova sends a ping at once.
    let mut line = PING_TEXT;
    loop {
        let sent = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => return,
            sent = tokio::time::timeout(SLOW, sender.send(Ok(line))) => sent,
        };
        let Ok(Ok(())) = sent else { return };
        line = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => return,
            () = sender.closed() => return,
            heard = tokio::time::timeout(PING, listening.heard.recv()) => match heard {
                Err(_) => PING_TEXT,
                Ok(Some(heard)) => event(&heard),
                Ok(None) => return,
            },
        };
    }
}

fn event(heard: &Heard) -> Bytes {
    format!("event: record\ndata: {}\n\n", json!(TappedRecord::of(heard))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_can_be_asked_for_by_its_name() {
        assert_eq!(Outcome::ALL.map(Outcome::name), OUTCOMES);
    }
}
