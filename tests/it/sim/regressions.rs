//! Cases that seeds of the simulation have found, and cases that were found without a seed.

use std::time::Duration;

use nova::decode::client;
use nova::event::{Action, ClientEvent, Id, TopicPartition};
use nova::pipeline::writer::Message;
use nova::warehouse::clickhouse::ClickHouse;

use super::broker::Content;
use super::choices::Choices;
use super::clients::{Clients, refused};
use super::network::Weather;
use super::node::EVENTS;
use super::world::{BEGIN_MS, World};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// Runs a case in a world with virtual time.
fn story(choices: Choices, tell: impl AsyncFnOnce(&mut World)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(1, choices, false);
        tell(&mut world).await;
    });
}

/// Returns an impression, which counts because its post has no other event.
fn event(number: u128, at_ms: i64) -> ClientEvent {
    ClientEvent {
        event_id: Id::from_u128(number << 16),
        user_id: Clients::user(1),
        post_id: Id::from_u128(number << 8),
        author_id: None,
        action: Action::Impression,
        event_time_ms: at_ms,
        dwell_ms: 0,
        device: "".into(),
        app_ver: "".into(),
    }
}

impl World {
    /// Delivers the event to the topic at the given arrival time, and commits it.
    fn arrives(&mut self, event: &ClientEvent, arrival_ms: i64) {
        let name = TopicPartition::new(EVENTS, 0);
        let content = Content::of(client::encode(event));
        self.broker.lock().append(&name, arrival_ms, content, 0);
        let fate = self.clients.consumed(event, arrival_ms);
        self.expected.entry(name).or_default().fates[fate as usize] += 1;
        let before = self.consumed();
        while self.consumed() == before {
            self.node.ingest();
            self.write(None);
        }
    }

    fn consumed(&self) -> u64 {
        self.node.shared.partitions().iter().map(|status| status.row.consumed).sum()
    }

    /// Commits some events, and seals their rows in one batch.
    fn batch(&mut self, numbers: std::ops::Range<u128>) {
        for number in numbers {
            self.arrives(&event(number, BEGIN_MS), BEGIN_MS);
        }
        self.write(Some(Message::Seal));
    }
}

#[test]
fn a_view_that_throws_for_longer_than_tokens_are_remembered_doubles_no_row() {
    story(Choices::plain(), async |world| {
        world.server.set(Weather::ViewThrows);
        world.batch(1..5);
        world.pass(3 * HOUR_MS).await;
        world.heal().await;
        world.check_end();
    });
}

#[test]
fn a_batch_that_an_earlier_process_sent_is_looked_for_once_its_token_may_be_forgotten() {
    story(Choices::plain(), async |world| {
        world.server.set(Weather::Unanswered);
        world.batch(1..5);
        world.pass(1_000).await;
        assert_eq!(world.server.tables.lock().stored.len(), 1);
        // The batch is young when the next process begins, and is old when the server accepts rows again.
        world.server.set(Weather::Code(252));
        world.die(None);
        world.pass(2 * HOUR_MS).await;
        world.heal().await;
        world.check_end();
    });
}

#[test]
fn an_insert_of_an_earlier_process_that_still_runs_is_ended_also_where_its_rows_are_stored() {
    story(Choices::plain(), async |world| {
        world.server.set(Weather::Unanswered);
        world.batch(1..5);
        while world.server.tables.lock().stored.is_empty() {
            world.write(None);
            world.node.pass(Duration::from_millis(1)).await;
        }
        world.server.set(Weather::Slow(2 * HOUR_MS));
        world.pass(5_000).await;
        assert!(world.server.haunted());
        world.server.set(Weather::Fair);
        world.die(None);
        world.pass(3 * HOUR_MS).await;
        world.heal().await;
        world.check_end();
    });
}

/// Runs a case in which an insert takes longer than ClickHouse remembers the insert's token. nova gets an answer or a
/// failure after `answered_ms`.
fn runs_on(weather: Weather, answered_ms: u64) {
    story(Choices::plain(), async |world| {
        world.server.set(weather);
        world.batch(1..5);
        world.pass(answered_ms).await;
        world.server.set(Weather::Fair);
        world.pass(3 * HOUR_MS).await;
        world.heal().await;
        world.check_end();
    });
}

#[test]
fn an_insert_that_still_runs_is_ended_before_its_batch_is_sent_again() {
    runs_on(Weather::Slow(2 * HOUR_MS), 31_000);
}

/// An earlier version of nova took a proxy's answer for the end of the insert. ClickHouse stored the insert later, when
/// it had forgotten the insert's token.
#[test]
fn an_insert_that_a_proxy_gave_up_on_is_ended_before_its_batch_is_sent_again() {
    runs_on(Weather::GivenUp(2 * HOUR_MS), 11_000);
}

/// An earlier version of nova took a temporary refusal for the end of the insert. ClickHouse stored the insert later,
/// when it had forgotten the insert's token.
#[test]
fn inserts_have_ended_only_when_the_server_says_so() {
    story(Choices::plain(), async |world| {
        // The server refuses every query, or does not answer it.
        world.server.set(Weather::Rough(300));
        let clickhouse = ClickHouse::over(world.server.client(), world.setup.clickhouse.as_ref().unwrap());
        for _ in 0..20 {
            assert!(clickhouse.end_inserts("nova-").await.is_err());
        }
        world.server.set(Weather::Fair);
        clickhouse.end_inserts("nova-").await.unwrap();
    });
}

#[test]
fn a_process_that_dies_among_pieces_of_a_batch_doubles_none_when_the_table_takes_it_whole() {
    story(Choices { poison_rows: true, ..Choices::plain() }, async |world| {
        for number in 1..9 {
            let mut event = event(number, BEGIN_MS);
            if number == 8 {
                event.event_id = Id::from_u128(8 << 16 | 0xdead);
            }
            world.arrives(&event, BEGIN_MS);
        }
        world.write(Some(Message::Seal));
        while world.server.tables.lock().stored.is_empty() {
            world.write(None);
            world.node.pass(Duration::from_millis(1)).await;
        }
        assert!(world.server.tables.lock().stored[0].rows.len() < 8);
        // The constraint is removed before nova starts again.
        world.server.tables.lock().refuses = None;
        world.die(None);
        world.pass(10_000).await;
        // The outcome of the remaining inserts is also lost.
        world.die(None);
        world.heal().await;
        world.check_end();
    });
}

#[test]
fn rows_that_were_stored_without_an_answer_and_are_refused_now_are_not_sent_in_pieces() {
    story(Choices { poison_rows: true, ..Choices::plain() }, async |world| {
        world.server.tables.lock().refuses = None;
        world.server.set(Weather::Unanswered);
        for number in 1..9 {
            let poison = if number == 8 { 0xdead } else { 0 };
            let event_id = Id::from_u128(number << 16 | poison);
            world.arrives(&ClientEvent { event_id, ..event(number, BEGIN_MS) }, BEGIN_MS);
        }
        world.write(Some(Message::Seal));
        while world.server.tables.lock().stored.is_empty() {
            world.write(None);
            world.node.pass(Duration::from_millis(1)).await;
        }
        world.server.tables.lock().refuses = Some(refused);
        world.heal().await;
        world.check_end();
    });
}

#[test]
fn a_table_that_refused_too_much_gets_what_it_lacks_once_it_is_repaired() {
    story(Choices { poison_rows: true, ..Choices::plain() }, async |world| {
        // The batch has more bad rows than may become dead letters, and some good rows.
        let bad = nova::warehouse::bisect::DEAD_ROWS_MAX as u128 + 100;
        let name = TopicPartition::new(EVENTS, 0);
        for number in 1..=bad + 20 {
            let mut event = event(number, BEGIN_MS);
            if number > 20 {
                event.event_id = Id::from_u128(number << 16 | 0xdead);
            }
            let content = Content::of(client::encode(&event));
            world.broker.lock().append(&name, BEGIN_MS, content, 0);
            let fate = world.clients.consumed(&event, BEGIN_MS);
            world.expected.entry(name.clone()).or_default().fates[fate as usize] += 1;
        }
        while world.consumed() < bad as u64 + 20 {
            world.node.ingest();
            world.write(None);
        }
        world.write(Some(Message::Seal));
        let stalled = |world: &World| world.node.status.targets()[5].stalled.is_some();
        while !stalled(world) {
            world.write(None);
            world.node.pass(Duration::from_millis(100)).await;
        }
        assert!(world.server.tables.lock().rows("post_events").all(|row| !refused(row)));
        world.server.tables.lock().refuses = None;
        world.heal().await;
        world.check_end();
    });
}

#[test]
fn a_look_is_an_answer_to_the_breaker() {
    story(Choices::plain(), async |world| {
        world.server.set(Weather::Unanswered);
        world.batch(1..5);
        world.pass(1_000).await;
        world.server.set(Weather::Down);
        world.pass(2 * HOUR_MS).await;
        // The half-open circuit breaker lets only one request through, which is the query for stored rows, so no insert
        // follows the query.
        world.heal().await;
        world.batch(5..9);
        world.heal().await;
        world.check_end();
    });
}

#[test]
fn who_looks_before_sending_again_asks_the_breaker_once() {
    story(Choices::plain(), async |world| {
        world.server.set(Weather::ViewThrows);
        world.batch(1..5);
        world.pass(1_000).await;
        world.server.set(Weather::Down);
        world.pass(2 * HOUR_MS).await;
        world.heal().await;
        world.check_end();
    });
}

#[test]
fn an_event_ahead_of_its_arrival_counts_once_when_its_key_is_forgotten() {
    story(Choices::plain(), async |world| {
        let (hour, minute) = (HOUR_MS as i64, MINUTE_MS as i64);
        let day = 24 * hour;
        let ahead = event(2, BEGIN_MS + 4 * minute);
        world.arrives(&event(1, BEGIN_MS - hour), BEGIN_MS - hour);
        world.arrives(&ahead, BEGIN_MS);
        world.arrives(&event(3, BEGIN_MS + day + 2 * minute), BEGIN_MS + day + 2 * minute);
        world.arrives(&ahead, BEGIN_MS + day + 3 * minute);
        world.heal().await;
        world.check_end();
    });
}
