//! A node is restored from a backup after Kafka and ClickHouse have advanced.

use nova::event::Id;
use serde_json::json;

use crate::support::rows::compare;

use super::world::{Form, Servers, World, http, until};

/// Sends events with the ids of a range, until nova has accepted them.
fn send(world: &World, ids: std::ops::Range<u128>) {
    let headers = format!("Authorization: Bearer {}\r\n", world.token(&Id::from_u128(7).to_string()));
    let now_ms = nova::clock::Clock::System.now_ms();
    for ids in ids.collect::<Vec<_>>().chunks(100) {
        let event = |id: &u128| {
            json!({ "event_id": Id::from_u128(*id).to_string(), "event_time": now_ms,
                "post_id": Id::from_u128(9).to_string(), "action": "share" })
        };
        let body = json!({ "events": ids.iter().map(event).collect::<Vec<_>>() }).to_string();
        until("events to be accepted", || {
            matches!(http("POST", &format!("{}/api/v1/events", world.url()), &headers, &body), Some((202, _)))
        });
    }
}

fn users(world: &World, names: std::ops::Range<u32>) {
    let row = |n: u32| format!("('{n}', '{n}', 'x')");
    let rows: Vec<_> = names.map(row).collect();
    let insert = format!("INSERT INTO users (email, username, password_hash) VALUES {}", rows.join(", "));
    world.sql().batch_execute(&insert).unwrap();
}

fn arrived(world: &World, events: u128, users: u32) {
    let count = |sql: &str| world.ask(sql).and_then(|rows| rows[0][0].parse::<u128>().ok()).unwrap_or(0);
    until("events in ClickHouse", || count("SELECT uniqExact(event_id) FROM post_events") == events);
    until("users in ClickHouse", || count("SELECT count() FROM users_current") == u128::from(users));
}

#[test]
fn after_a_restore_every_event_is_in_post_events_once_and_every_row_is_the_sources() {
    let Some(servers) = Servers::find() else { return };
    let mut world = World::begin(servers, Form::Envelope);
    users(&world, 0..50);
    send(&world, 1..2_001);
    arrived(&world, 2_000, 50);
    // The rows of the events may wait in the backup's outbox, although the node delivers them after the backup.
    send(&world, 2_001..2_301);
    let file = world.dir.path().join("backup");
    let backup = world.nova().arg("backup").arg(&file).args(["--url", world.url()]).output().unwrap();
    assert!(backup.status.success(), "{}", String::from_utf8_lossy(&backup.stderr));
    users(&world, 50..100);
    send(&world, 2_301..5_001);
    arrived(&world, 5_000, 100);
    world.stop();
    let restore = world.nova().arg("restore").arg(&file).args(["--replace", "--reconcile"]).output().unwrap();
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));
    world.start();
    users(&world, 100..150);
    send(&world, 5_001..6_001);
    arrived(&world, 6_000, 150);
    world.stop();
    let check = world.nova().args(["check", "--compare", "--json"]).output().unwrap();
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    for code in ["events-differ", "rows-differ", "batches-missing"] {
        assert!(!text.contains(code), "{text}");
    }
    assert_eq!(world.ask("SELECT count() FROM post_events").unwrap()[0][0], "6000", "a row was sent again");
    assert_eq!(compare(&world.dumped(), &world.source_rows()), 0);
}
