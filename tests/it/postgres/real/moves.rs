//! A store moves from Debezium's topics to a slot of its own and back, while the application writes.

use nova::event::Table;

use crate::stack::workload::session;
use crate::stack::world::{Form, Servers, World, nap, until};
use crate::support::rows::{compare, compare_current};

use super::ends_equal;
use super::place::{PUBLISHED, Place};
use super::told::{told, told_afresh};

const TRANSACTIONS: u64 = 150;
#[test]
fn a_store_moves_from_debezium_to_a_slot_and_back_and_nothing_is_lost_or_doubled() {
    let Some(servers) = Servers::find() else { return };
    let mut world = World::begin(servers, Form::Envelope);
    let slot = format!("{}_own", world.name);
    let mut place = Place::beside(&world.servers.postgres, &world.name, &slot, world.dir.path());
    place.run(&format!("CREATE PUBLICATION {slot} FOR TABLE {PUBLISHED}"));
    place.send_to_clickhouse();
    let in_feed = |world: &World, user: &str, post: &str| {
        let feed = world.get("/api/v1/feed?algo=time&limit=100", user);
        feed.is_some_and(|feed| feed["posts"].as_array().unwrap().iter().any(|one| *one == *post))
    };
    session(&mut place.sql(), 1, TRANSACTIONS);
    let (user, post) = place.plant();
    until("Debezium's records", || in_feed(&world, &user, &post));
    world.stop();
    // No slot reports the deletes that happen while no slot exists. nova deletes the rows that the new snapshot does
    // not contain.
    session(&mut place.sql(), 2, TRANSACTIONS);
    place.run("DELETE FROM likes WHERE id IN (SELECT id FROM likes ORDER BY id LIMIT 20); DELETE FROM comments");
    let mut sql = place.sql();
    let worker = std::thread::spawn(move || session(&mut sql, 3, TRANSACTIONS));
    for wait_ms in [50, 300, 900] {
        place.start();
        nap(wait_ms);
        place.kill();
    }
    place.start();
    worker.join().unwrap();
    ends_equal(&mut place);
    assert!(told(&place).iter().any(|page| page.contains("reason")), "nobody is told anything");
    assert_eq!(told(&place), told_afresh(&place));

    // The topics contain the changes that the slot has already delivered, and nova recognises all of them.
    session(&mut place.sql(), 4, TRANSACTIONS);
    place.run("DELETE FROM follows WHERE id IN (SELECT id FROM follows ORDER BY id LIMIT 20)");
    world.start();
    let (user, post) = place.plant();
    until("Debezium's records again", || in_feed(&world, &user, &post));
    let expected = world.source_rows();
    let counts = || -> Option<Vec<usize>> {
        let count = |table| world.ask(&format!("SELECT count() FROM {table}_current"))?[0][0].parse().ok();
        Table::ALL.iter().map(|table| count(*table)).collect()
    };
    let wanted: Vec<_> = Table::ALL.iter().map(|table| expected[table.name()].len()).collect();
    until("what the other partitions have", || counts().is_some_and(|counts| counts == wanted));
    world.stop();
    assert_eq!(compare(&world.dumped(), &expected), 0);
    assert_eq!(told(&place), told_afresh(&place));
    let ask = |sql: &str| world.ask(sql).unwrap().into_iter().map(|row| row.join("\t")).collect();
    compare_current(&world.dumped(), ask);
}
