//! Changes of the source go through the whole stack, while the test kills nova and every server.

use crate::support::asked;
use crate::support::events::Rng;
use crate::support::rows::compare;

use super::workload::session;
use super::world::{Form, Servers, World, nap, until};

/// The number of transactions of all sessions together. The variable `NOVA_TEST_TRANSACTIONS` overrides this number.
const TRANSACTIONS: u64 = 900;
const SESSIONS: u64 = 3;

fn transactions() -> u64 {
    asked("NOVA_TEST_TRANSACTIONS").unwrap_or(TRANSACTIONS)
}

/// Writes a user who follows one author and, as the last row, a post by this author. As soon as the user's feed shows
/// the post, everything that was written before the post has arrived.
fn sentinel(world: &World) -> (String, String) {
    let row = world.sql().query_one(
        "WITH a AS (INSERT INTO users (email, username, password_hash) VALUES ('sentinel-a', 'sentinel-a', 'x') RETURNING id),
              b AS (INSERT INTO users (email, username, password_hash) VALUES ('sentinel-b', 'sentinel-b', 'x') RETURNING id),
              f AS (INSERT INTO follows (follower_id, following_id) SELECT a.id, b.id FROM a, b),
              p AS (INSERT INTO posts (user_id, image_key, status) SELECT id, 'k', 'published' FROM b RETURNING id)
         SELECT a.id::text, p.id::text FROM a, p",
        &[],
    );
    let row = row.unwrap();
    (row.get(0), row.get(1))
}

fn converges(form: Form, kills: u64) {
    let Some(servers) = Servers::find() else { return };
    let mut world = World::begin(servers, form);
    let workers: Vec<_> = (0..SESSIONS)
        .map(|number| {
            let mut sql = world.sql();
            std::thread::spawn(move || session(&mut sql, number, transactions() / SESSIONS))
        })
        .collect();
    let mut rng = Rng(42);
    for _ in 0..kills {
        nap(1_000 + rng.below(2_000));
        match rng.below(5) {
            0 => world.servers.bounce("connect"),
            1 => world.servers.bounce("clickhouse"),
            2 => world.servers.bounce("kafka"),
            _ => world.kill(),
        }
    }
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let (user, post) = sentinel(&world);
    until("the sentinel in the feed", || {
        world
            .get("/api/v1/feed?algo=time&limit=100", &user)
            .is_some_and(|feed| feed["posts"].as_array().unwrap().iter().any(|one| *one == *post))
    });
    let counts = || -> Option<Vec<u64>> {
        let count = |table| world.ask(&format!("SELECT count() FROM {table}_current"))?[0][0].parse().ok();
        nova::event::Table::ALL.iter().map(|table| count(*table)).collect()
    };
    let expected = world.source_rows();
    let wanted: Vec<_> = nova::event::Table::ALL.iter().map(|table| expected[table.name()].len() as u64).collect();
    until("ClickHouse's current views", || counts().is_some_and(|counts| counts == wanted));
    world.stop();
    assert_eq!(compare(&world.dumped(), &expected), 0);
    for table in nova::event::Table::ALL {
        let ids = world.ask(&format!("SELECT toString(id) AS text FROM {table}_current ORDER BY text")).unwrap();
        let ids: Vec<_> = ids.into_iter().map(|row| row[0].clone()).collect();
        let wanted: Vec<_> = expected[table.name()].iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids, wanted, "{table}");
    }
    let check = world.nova().args(["check", "--compare", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    let codes: Vec<_> = report["findings"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
    assert!(codes.is_empty(), "{report}");
}

#[test]
fn sql_ends_up_equal_in_nova_and_clickhouse_through_an_envelope_connector_and_kills() {
    converges(Form::Envelope, 4);
}

#[test]
fn sql_ends_up_equal_in_nova_and_clickhouse_through_a_flattening_connector() {
    converges(Form::Flat, 1);
}

#[test]
fn sql_ends_up_equal_in_nova_and_clickhouse_through_an_avro_connector() {
    converges(Form::Avro, 1);
}
