//! `GET /api/v1/admin/tap`: server-sent events (WHATWG HTML, 9.2), one for each record that was committed, for as long as the
//! caller listens.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::event::{Id, Outcome};
use crate::pipeline::tap::{Filter, Heard, Listening, TAPS_MAX};

use super::admin::{looked, parameter, wrong};
use super::error::Problem;
use super::route::UserCall;
use super::shapes::TappedRecord;
use super::stream::{self, Broken};
use super::{Body, Edge};

/// Events that wait for the caller besides the listener's queue.
const QUEUE_MAX_EVENTS: usize = 1;
/// A comment after so much silence says that the node lives.
const PING: Duration = Duration::from_secs(10);
const PING_TEXT: Bytes = Bytes::from_static(b": ping\n\n");
/// A caller who takes nothing for so long is dropped.
const SLOW: Duration = Duration::from_secs(20);

/// Names of outcomes, as the parameter has them.
pub(super) const OUTCOMES: [&str; 6] = ["applied", "duplicate", "stale", "ignored", "late", "dead"];

pub(super) async fn open(edge: &Edge, call: UserCall<'_>) -> Result<Response<Body>, Problem> {
    let given = |name| parameter(call.call.query, name);
    let outcome = given("outcome")?.map(|name| {
        let found = Outcome::ALL.into_iter().find(|outcome| outcome.name() == name);
        found.ok_or_else(|| wrong("outcome", &OUTCOMES.join(", ")))
    });
    let user = given("user_id")?.map(|text| {
        Id::parse(text.as_bytes())
            .map_err(|error| Problem::InvalidParameter { field: "user_id", detail: format!("user_id: {error}") })
    });
    let topic = given("topic")?.map(|topic| topic.into_owned());
    let filter = Filter { topic, outcome: outcome.transpose()?, user: user.transpose()? };
    let about = filter.user.map_or_else(String::new, |user| user.to_string());
    looked(&edge.control.durable, &call.subject, "tap", about).await?;
    let listening = edge.watch.shared.tap.listen(filter);
    let listening = listening.ok_or(Problem::TooManyStreams { most: TAPS_MAX })?;
    let (sender, lines) = mpsc::channel(QUEUE_MAX_EVENTS);
    tokio::spawn(run(listening, sender, edge.serving.streams.closing()));
    Ok(stream::answer(lines))
}

async fn run(mut listening: Listening, sender: mpsc::Sender<Result<Bytes, Broken>>, mut closed: watch::Receiver<bool>) {
    // The head goes out with the first event.
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
