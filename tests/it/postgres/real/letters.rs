//! Dead letters of changes from a slot, from the server's bytes to the result of `nova dlq replay`.

use std::collections::BTreeMap;
use std::process::Command;

use nova::event::Table;
use nova_storage::codec::DeadLetter;
use nova_storage::schema::DEAD;
use nova_storage::{Options, Store};
use serde_json::Value;

use crate::support::rows::{compare, compare_current};

use super::place::Place;
use super::told::{told, told_afresh};

/// A time that nova cannot read. The text is as long as the text of a readable time.
const UNREADABLE: &str = "some day in late november!!";
/// The format of the times in a text column.
const FORM: &str = r#"'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"#;

/// Each post's number, which is a part of the key, and the result when the post's dead letter is replayed.
const POSTS: [(u32, &str); 6] =
    [(1, "applied"), (2, "applied"), (3, "stale"), (4, "stale"), (5, "kept"), (6, "applied")];
/// The number of the post whose dead letter is replayed on the running node. The dead letters of all further posts are
/// replayed on the stopped store.
const LATE: u32 = 6;

fn key(number: u32) -> String {
    format!("f0000000-0000-4000-8000-{number:012}")
}

/// Corrects the bytes in the stored dead letters. The correction has the same effect as a later nova that can read
/// these times.
fn repair(place: &Place, readable: &str) {
    assert_eq!(UNREADABLE.len(), readable.len());
    let store = Store::open(&place.store(), &Options::default(), |_| {}).unwrap();
    let letters = nova::pipeline::dead::page(&store.read().unwrap(), None, 100).unwrap();
    assert_eq!(letters.len(), POSTS.len());
    let write = store.write().unwrap();
    for (id, letter) in letters {
        let value = letter.value.clone().unwrap();
        let at = |part: &str| value.windows(part.len()).position(|window| window == part.as_bytes());
        let place = at(UNREADABLE).expect("the letter keeps the server's bytes");
        if at(&key(5)).is_some() {
            continue;
        }
        let value = [&value[..place], readable.as_bytes(), &value[place + readable.len()..]].concat();
        write.put(DEAD, id, &DeadLetter { value: Some(value), ..letter }.encode()).unwrap();
    }
    write.commit().unwrap();
}

/// Returns the waiting dead letters, each as its id and the number of its post.
fn letters(place: &Place) -> BTreeMap<u64, u32> {
    let listed = place.nova().args(["dlq", "list", "--json"]).output().unwrap();
    let listed: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
    let one = |letter: &Value| {
        assert_eq!(letter["topic"], format!("pg.{}", place.name));
        let id = letter["id"].as_u64().unwrap();
        let shown = place.nova().args(["dlq", "show", &id.to_string()]).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let number = POSTS.iter().find(|(number, _)| shown.contains(&key(*number))).unwrap().0;
        (id, number)
    };
    listed.iter().map(one).collect()
}

/// Returns the result of each replayed dead letter, by the letter's id.
fn outcomes(replay: &mut Command) -> BTreeMap<u64, String> {
    let output = replay.arg("--json").output().unwrap();
    let results: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let one = |result: &Value| (result["id"].as_u64().unwrap(), result["outcome"].as_str().unwrap().to_owned());
    results.iter().map(one).collect()
}

fn check(place: &Place, numbers: &BTreeMap<u64, u32>, outcomes: BTreeMap<u64, String>, of: impl Fn(u32) -> bool) {
    let wanted: BTreeMap<_, _> = POSTS.into_iter().filter(|(number, _)| of(*number)).collect();
    let found: BTreeMap<_, _> = outcomes.iter().map(|(id, outcome)| (numbers[id], outcome.as_str())).collect();
    assert_eq!(found, wanted, "{}", place.name);
}

#[test]
fn p18_letters_of_a_slot_are_replayed_once_and_never_over_a_later_change() {
    let Some(mut place) = Place::begin() else { return };
    place.send_to_clickhouse();
    place.run(&format!(
        "ALTER TABLE posts ALTER COLUMN created_at TYPE text,
           ALTER COLUMN created_at SET DEFAULT to_char(now() AT TIME ZONE 'UTC', {FORM})"
    ));
    let time = format!("SELECT to_char((now() - interval '1 hour') AT TIME ZONE 'UTC', {FORM})");
    let readable: String = place.sql().query_one(&time, &[]).unwrap().get(0);
    place.start();
    let (reader, post) = place.sentinel();
    for (number, _) in POSTS {
        place.run(&format!(
            "INSERT INTO posts (id, user_id, image_key, status, created_at)
             SELECT '{}', user_id, 'k', 'published', '{UNREADABLE}' FROM posts WHERE id = '{post}'",
            key(number)
        ));
    }
    // A later change wins over a replayed dead letter, whenever the letter is replayed.
    place.run(&format!("UPDATE posts SET created_at = '{readable}' WHERE id = '{}'", key(3)));
    place.run(&format!("DELETE FROM posts WHERE id = '{}'", key(4)));
    place.sentinel();
    place.stop();
    // The store has the changed post, and the two posts that were written last.
    assert_eq!(place.dumped()[Table::Posts as usize].len(), 3);
    let numbers = letters(&place);
    assert_eq!(numbers.values().copied().collect::<Vec<_>>(), POSTS.map(|(number, _)| number));
    repair(&place, &readable);

    let early: Vec<_> = numbers.iter().filter(|(_, number)| **number != LATE).map(|(id, _)| id.to_string()).collect();
    let replayed = outcomes(place.nova().args(["dlq", "replay"]).args(&early));
    check(&place, &numbers, replayed, |number| number != LATE);
    place.start();
    let late: Vec<_> = numbers.iter().filter(|(_, number)| **number == LATE).map(|(id, _)| id.to_string()).collect();
    let url = place.url().to_owned();
    let replayed = outcomes(place.nova().args(["dlq", "replay", "--url", &url]).args(&late));
    check(&place, &numbers, replayed, |number| number == LATE);
    place.sentinel();
    let feed = [1, 2, 3, 6].map(key);
    let shown: Vec<_> = place.feed(&reader).into_iter().filter(|one| *one != post).collect();
    assert!(shown.len() == feed.len() && feed.iter().all(|one| shown.contains(one)), "{shown:?}");
    place.sent();
    place.stop();
    assert_eq!(letters(&place).into_values().collect::<Vec<_>>(), [5]);

    let mut rows = place.source_rows();
    let posts = rows.get_mut("posts").unwrap();
    posts.retain(|row| row["id"] != key(5));
    posts.iter_mut().filter(|row| row["created_at"] == UNREADABLE).for_each(|row| {
        row.insert("created_at".to_owned(), Value::from(&*readable));
    });
    let dumped = place.dumped();
    assert_eq!(compare(&dumped, &rows), 0);
    if let Some(ask) = place.warehouse() {
        compare_current(&dumped, ask);
    }
    // The counters equal a new count of the rows.
    place.run(&format!("DELETE FROM posts WHERE id = '{}'", key(5)));
    place.run(&format!("UPDATE posts SET created_at = '{readable}' WHERE created_at = '{UNREADABLE}'"));
    assert_eq!(told(&place), told_afresh(&place));
}
