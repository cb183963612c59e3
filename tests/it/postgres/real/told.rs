//! Collects the served feeds and suggestions, so that tests can compare a store that has followed the database for a
//! long time with a new store.

use crate::stack::world::until;

use super::place::Place;

/// The number of users whose feeds and suggestions are printed.
const USERS: i64 = 8;

/// Returns the feeds (with their reasons) and the suggestions of a stopped store, all at one fixed time. The feeds and
/// suggestions depend on every counter of rows.
pub fn told(place: &Place) -> Vec<String> {
    let users = "SELECT id::text FROM users ORDER BY id LIMIT $1";
    let users: Vec<String> = place.sql().query(users, &[&USERS]).unwrap().iter().map(|row| row.get(0)).collect();
    let tell = |(what, user): (&str, &String)| {
        let mut nova = place.nova();
        let output =
            nova.args(["dump", what, user, "--now", "2027-01-01T00:00:00Z", "--limit", "100"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    ["--feed", "--suggestions"].iter().flat_map(|what| users.iter().map(move |user| (*what, user))).map(tell).collect()
}

/// Returns the feeds and suggestions of a new store that has read all tables once.
pub fn told_afresh(place: &Place) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let mut fresh = place.fresh(dir.path());
    fresh.start();
    until("the fresh store to be ready", || fresh.ready().contains("\"ready\""));
    fresh.stop();
    let dropped = fresh.nova().args(["postgres", "drop-slot", "--force"]).output().unwrap();
    assert!(dropped.status.success(), "{}", String::from_utf8_lossy(&dropped.stderr));
    told(&fresh)
}
