//! Client events over HTTP and Kafka, while the test kills nova and the servers.

use std::collections::BTreeSet;

use nova::event::Id;
use serde_json::json;

use crate::support::asked;
use crate::support::events::Rng;

use super::world::{Form, Servers, World, http, until};

/// The number of events to send. The variable `NOVA_TEST_EVENTS` overrides this number.
const EVENTS: u64 = 20_000;
const REQUEST: u64 = 100;

#[test]
fn every_accepted_event_is_in_post_events_exactly_once_through_kills() {
    let Some(servers) = Servers::find() else { return };
    let count = asked("NOVA_TEST_EVENTS").unwrap_or(EVENTS);
    let mut world = World::begin(servers, Form::Envelope);
    let user = Id::from_u128(7).to_string();
    let headers = format!("Authorization: Bearer {}\r\n", world.token(&user));
    let (mut accepted, mut rng) = (BTreeSet::new(), Rng(3));
    for request in 0..count / REQUEST {
        let now_ms = nova::clock::Clock::System.now_ms();
        let ids: Vec<_> = (0..REQUEST).map(|n| Id::from_u128(u128::from(request * REQUEST + n) + 1)).collect();
        let events: Vec<_> = ids.iter().map(|id| json!({ "event_id": id.to_string(), "event_time": now_ms, "post_id": Id::from_u128(9).to_string(), "action": "view", "dwell_ms": 3 })).collect();
        let body = json!({ "events": events }).to_string();
        let turn = count / REQUEST / 4;
        match request {
            _ if request == turn => world.kill(),
            _ if request == 2 * turn => world.servers.bounce("clickhouse"),
            _ if request == 3 * turn => world.servers.bounce("kafka"),
            _ => {}
        }
        // The client repeats a request until it is accepted, and sometimes also repeats an accepted request.
        until("an event to be accepted", || {
            let answer = http("POST", &format!("{}/api/v1/events", world.url()), &headers, &body);
            matches!(answer, Some((202, _))) && rng.below(10) > 0
        });
        accepted.extend(ids);
    }
    let rows =
        |world: &World| world.ask("SELECT count(), uniqExact(event_id) FROM post_events").map(|rows| rows[0].clone());
    let wanted = accepted.len().to_string();
    until("every event in post_events", || rows(&world).is_some_and(|row| row[1] == wanted));
    world.stop();
    assert_eq!(rows(&world).unwrap(), [wanted.clone(), wanted.clone()], "each once");
    for view in ["post_metrics_1m", "post_metrics_1h", "user_author_90d"] {
        let sum = world.ask(&format!("SELECT sum(views) FROM {view}")).unwrap();
        assert_eq!(sum[0][0], wanted, "{view}");
    }
}
