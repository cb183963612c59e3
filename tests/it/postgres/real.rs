//! nova as a process with a real PostgreSQL server (`NOVA_TEST_POSTGRES`), in a database that only this test uses.

mod cluster;
mod letters;
mod moves;
mod operator;
mod place;
mod servers;
mod tls;
mod told;

use std::time::Duration;

use nova::event::Table;
use serde_json::Value;

use crate::stack::workload::session;
use crate::stack::world::{nap, until};
use crate::support::asked;
use crate::support::events::Rng;
use crate::support::rows::{compare, compare_current};

use self::place::{PATIENCE, Place, Tap};

/// The number of transactions of all sessions together. The variable `NOVA_TEST_TRANSACTIONS` overrides this number.
const TRANSACTIONS: u64 = 600;
const SESSIONS: u64 = 3;
/// The size in MiB of the WAL from tables that nova does not follow. The variable `NOVA_TEST_FOREIGN_MIB` overrides
/// this size.
const FOREIGN_MIB: u64 = 192;

/// Waits until nova has everything that was committed, stops nova, and compares every table with PostgreSQL's table. If
/// nova sends rows to ClickHouse, the function also compares every table with ClickHouse's view.
fn ends_equal(place: &mut Place) {
    place.sentinel();
    until("the rows that were not read to go", || place.ready().contains("\"ready\""));
    place.sent();
    place.stop();
    let dumped = place.dumped();
    assert_eq!(compare(&dumped, &place.source_rows()), 0);
    if let Some(ask) = place.warehouse() {
        compare_current(&dumped, ask);
    }
}

#[test]
fn a_workload_with_kill_9_of_nova_ends_equal_to_postgresql() {
    let Some(mut place) = Place::begin() else { return };
    place.send_to_clickhouse();
    place.start();
    let count = asked("NOVA_TEST_TRANSACTIONS").unwrap_or(TRANSACTIONS) / SESSIONS;
    let workers: Vec<_> = (0..SESSIONS)
        .map(|number| {
            let mut sql = place.sql();
            std::thread::spawn(move || session(&mut sql, number, count))
        })
        .collect();
    let mut rng = Rng(7);
    while !workers.iter().all(std::thread::JoinHandle::is_finished) {
        nap(200 + rng.below(900));
        place.kill();
        // nova has acknowledged only what the store has.
        let (confirmed, committed) = (place.confirmed(), place.committed());
        assert!(confirmed <= committed, "the slot is at {confirmed:?}, the store at {committed:?}");
        place.start();
    }
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    ends_equal(&mut place);
}

#[test]
fn p23_the_last_position_is_confirmed_before_the_connection_closes() {
    let Some(mut place) = Place::begin() else { return };
    place.start();
    for _ in 0..3 {
        session(&mut place.sql(), 1, 5);
        place.sentinel();
        place.stop();
        assert_eq!(place.confirmed(), place.committed());
        place.start();
    }
}

#[test]
fn neither_password_hash_nor_email_leaves_the_server() {
    let Some(mut place) = Place::begin() else { return };
    let marked = |place: &Place, range: std::ops::Range<u32>| {
        place.run(&format!(
            "INSERT INTO users (email, username, password_hash)
             SELECT 'secret-mail-' || i || '@x', 'name-' || i, 'secret-hash-' || i FROM generate_series({}, {}) i",
            range.start, range.end
        ));
    };
    marked(&place, 0..50);
    let tap = Tap::to(&place);
    place.start_over(&tap.url(&place));
    place.sentinel();
    marked(&place, 100..150);
    place.run("UPDATE users SET password_hash = 'secret-hash-new', email = 'secret-mail-' || username WHERE username LIKE 'name-1%'");
    place.run("DELETE FROM users WHERE username LIKE 'name-2%'");
    ends_equal(&mut place);
    let bytes = tap.bytes();
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("name-149") && has("name-7"), "the tap heard nothing");
    assert!(!has("secret-mail") && !has("secret-hash"));
    assert!(bytes.len() > 10_000);
}

#[test]
fn a_slot_that_was_dropped_is_said_within_ten_seconds_and_one_command_ends_equal_while_feeds_are_served() {
    let Some(mut place) = Place::begin() else { return };
    session(&mut place.sql(), 1, 60);
    place.start();
    session(&mut place.sql(), 2, 30);
    // No later statement of the test changes the post of the sentinel.
    let (reader, post) = place.sentinel();
    place.end_sessions();
    place.run(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = current_database()",
    );
    let begun = nova::clock::monotonic_now();
    place.run(
        "DELETE FROM likes WHERE id IN (SELECT id FROM likes ORDER BY id LIMIT 5);
         DELETE FROM comments;
         INSERT INTO users (email, username, password_hash) SELECT 'n' || i, 'n' || i, 'x' FROM generate_series(1, 50) i;
         INSERT INTO likes (user_id, post_id) SELECT u.id, p.id FROM users u, posts p WHERE u.username LIKE 'n%' LIMIT 90
           ON CONFLICT DO NOTHING;
         UPDATE users SET id = gen_random_uuid() WHERE username LIKE 'n1%' AND id NOT IN (SELECT user_id FROM likes)",
    );
    until("the reason", || place.ready().contains("pg-slot-lost"));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(place.ready().contains("nova cdc resnapshot"));
    assert!(place.feed(&reader).contains(&post), "the feed is served");
    place.resnapshot();
    let began = nova::clock::monotonic_now();
    while !place.ready().contains("\"ready\"") {
        assert!(place.feed(&reader).contains(&post), "the feed went empty");
        assert!(began.elapsed() < PATIENCE, "{}", place.ready());
        nap(20);
    }
    ends_equal(&mut place);
}

#[test]
fn p7_a_table_that_was_taken_out_and_put_back_is_read_again_on_the_stopped_store() {
    let Some(mut place) = Place::begin() else { return };
    session(&mut place.sql(), 1, 60);
    place.start();
    place.sentinel();
    place.stop();
    let publication = &place.name;
    place.run(&format!("ALTER PUBLICATION {publication} DROP TABLE likes"));
    place.run("DELETE FROM likes");
    session(&mut place.sql(), 2, 40);
    place.run(&format!("ALTER PUBLICATION {publication} ADD TABLE likes"));
    place.start();
    until("the reason", || place.ready().contains("pg-publication-changed"));
    place.stop();
    let output = place.nova().args(["cdc", "resnapshot", "likes"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    place.start();
    ends_equal(&mut place);
}

#[test]
fn p3_p24_other_tables_wal_is_not_held_back_and_their_schema_stays_as_it_is() {
    let Some(mut place) = Place::begin() else { return };
    let mut sql = place.sql();
    let mut tables = || -> i64 {
        sql.query_one("SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'v', 'p')", &[]).unwrap().get(0)
    };
    let before = tables();
    place.start();
    place.sentinel();
    assert_eq!(tables(), before, "P24");
    let mib = asked("NOVA_TEST_FOREIGN_MIB").unwrap_or(FOREIGN_MIB);
    place.run("CREATE TABLE foreign_rows (text text)");
    for _ in 0..mib.div_ceil(32) {
        // The inserted rows take about 32 MiB.
        place.run("INSERT INTO foreign_rows SELECT repeat(md5(i::text), 30) FROM generate_series(1, 33000) i; TRUNCATE foreign_rows");
    }
    until("the slot to move on", || place.held_bytes() < 64 << 20);
    ends_equal(&mut place);
}

#[test]
fn values_at_the_ends_of_their_types_and_columns_that_nova_does_not_know() {
    let Some(mut place) = Place::begin() else { return };
    place.run(
        "ALTER TABLE posts ADD COLUMN n int, ADD COLUMN f float8, ADD COLUMN tags text[], ADD COLUMN day date,
               ADD COLUMN at timestamptz, ADD COLUMN raw bytea, ADD COLUMN num numeric, ADD COLUMN big text",
    );
    let write = |place: &Place, name: &str| {
        place.run(&format!(
            "INSERT INTO users (email, username, password_hash, created_at, updated_at, deleted_at) VALUES
               ('{name}', '{name}', 'x', 'infinity', '-infinity', '0044-03-15 12:00:00+00 BC');
             INSERT INTO posts (user_id, image_key, status, caption, created_at, image_sizes, n, f, tags, day, at, raw, num, big)
               SELECT id, 'k', 'published', E'tab\\t, line\\n, back\\\\, ü €', '12345-06-07 08:09:10.123456+00',
                      '{{\"w\": [1, 2]}}', -5, 0.1, ARRAY['a', 'b c', NULL], '1999-12-31', '2026-01-02 03:04:05.5+02',
                      '\\x00ff', 12345.678900, (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 2000) i)
                 FROM users WHERE username = '{name}';
             INSERT INTO follows (follower_id, following_id, created_at)
               SELECT id, id, '0001-01-01 00:00:00' FROM users WHERE username = '{name}';
             INSERT INTO likes (user_id, post_id, created_at) SELECT user_id, id, NULL FROM posts LIMIT 1 ON CONFLICT DO NOTHING"
        ));
    };
    write(&place, "snapshot");
    place.start();
    place.sentinel();
    write(&place, "stream");
    // The stream does not repeat the value of an unchanged column that is stored out of line (TOAST).
    place.run("UPDATE posts SET status = 'pending' WHERE n = -5");
    place.sentinel();
    place.stop();
    assert_eq!(compare(&place.dumped(), &place.source_rows()), 0);
    let posts: Vec<Value> =
        place.dumped()[Table::Posts as usize].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ours: Vec<_> = posts.iter().filter(|post| post["n"] == -5).collect();
    assert_eq!(ours.len(), 2);
    for post in ours {
        assert_eq!(post["f"], 0.1);
        assert_eq!(post["tags"], serde_json::json!(["a", "b c", null]));
        assert_eq!((&post["day"], &post["at"]), (&Value::from(10_956), &Value::from("2026-01-02T01:04:05.500000Z")));
        assert_eq!((&post["raw"], &post["num"]), (&Value::from("00ff"), &Value::from("12345.678900")));
        assert_eq!(post["big"].as_str().map(str::len), Some(64_000));
    }
}

#[test]
fn a_row_filter_of_the_publication_is_that_of_the_snapshot_too() {
    let Some(mut place) = Place::begin() else { return };
    let publication = &place.name;
    place.run(&format!("ALTER PUBLICATION {publication} SET TABLE users, follows, comments, likes, posts WHERE (id > '80000000-0000-0000-0000-000000000000')"));
    // The columns of a row filter must be part of the replica identity. The row filter of the test uses only the key,
    // which is part of the replica identity.
    session(&mut place.sql(), 1, 60);
    place.start();
    place.sentinel();
    session(&mut place.sql(), 2, 60);
    place.sentinel();
    place.stop();
    let mut rows = place.source_rows();
    rows.get_mut("posts").unwrap().retain(|row| row["id"].as_str().unwrap() > "80000000");
    assert_eq!(compare(&place.dumped(), &rows), 0);
}
