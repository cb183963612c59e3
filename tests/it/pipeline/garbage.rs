//! Files that contain garbage beside good records. nova counts every bad record, and applies every good record.

use std::io::Write as _;

use nova::app;
use nova::event::{Outcome, Table};
use nova::pipeline::dead;
use nova::source::capture::CaptureSource;
use nova_storage::testing::Recorder;

use crate::support::{dump, setup, store_over};

const GOOD: &str = r#"{"id":"10000000-0000-4000-8000-00000000000N","user_id":"00000000-0000-4000-8000-000000000001","post_id":"20000000-0000-4000-8000-000000000001","created_at":1795476488850012}"#;

fn line(offset: usize, topic: &str, key: Option<&str>, value: &str) -> String {
    let record = serde_json::json!({
        "topic": topic, "partition": 0, "offset": offset, "timestamp_ms": 1_795_476_489_000_i64, "key": key, "value": value,
    });
    format!("{record}\n")
}

#[test]
fn garbage_ends_in_the_dead_letters_and_every_good_record_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("garbage.jsonl");
    let mut file = std::fs::File::create(&path).unwrap();
    let big = format!(r#"{{"id":"x","content":"{}"}}"#, "y".repeat(20 << 20));
    let nested = "[".repeat(1 << 20);
    let bad = [
        nested.as_str(),
        big.as_str(),
        "{\"id\":18446744073709551616}",
        "{\"op\":\"z\",\"after\":null,\"source\":{\"lsn\":1}}",
        "{\"op\":\"c\",\"after\":null,\"source\":{\"lsn\":1}}",
        "{\"op\":\"c\",\"after\":{\"id\":5},\"source\":{\"lsn\":1}}",
        "7",
        "\"text\"",
        "{\"a\":",
    ];
    let mut offset = 0;
    for (number, value) in bad.iter().enumerate() {
        let key = format!(r#"{{"id":"10000000-0000-4000-8000-00000000000{number}"}}"#);
        file.write_all(line(offset, "cdc.likes", Some(&key), value).as_bytes()).unwrap();
        let good = GOOD.replace('N', &number.to_string());
        file.write_all(line(offset + 1, "cdc.likes", Some(&key), &good).as_bytes()).unwrap();
        offset += 2;
    }
    file.write_all(line(offset, "cdc.likes", None, GOOD).as_bytes()).unwrap();
    file.write_all(line(0, "cdc.elsewhere", None, "?").as_bytes()).unwrap();
    // None of the written lines is a record.
    file.write_all(b"\xff\xfe\x00garbage\nnot json\n{\"topic\":\"cdc.likes\"}\n\n").unwrap();
    drop(file);

    let setup = setup("garbage.jsonl");
    let backend = Recorder::new();
    let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
    let source = CaptureSource::new(vec![path.clone()]).unwrap();
    let statuses = opened.start(Box::new(source), &setup).unwrap().finish(|_| {}).unwrap();
    let count = |outcome| statuses.iter().map(|status| status.count(outcome)).sum::<u64>();
    assert_eq!(count(Outcome::Applied), bad.len() as u64);
    assert_eq!(count(Outcome::Dead), bad.len() as u64 + 1 + 3);
    assert_eq!(count(Outcome::Ignored), 1);

    let image = backend.image(backend.syncs(), 0);
    let opened = app::open_store(&setup, store_over(image.clone())).unwrap();
    assert_eq!(dump(&opened)[Table::Likes as usize].len(), bad.len());
    let letters = dead::page(&opened.store.read().unwrap(), None, 1_000).unwrap();
    assert_eq!(letters.len() as u64, count(Outcome::Dead));
    for (_, letter) in &letters {
        assert!(!letter.topic.is_empty() && !letter.reason.is_empty() && letter.detail.len() > 10, "{letter:?}");
        assert!(letter.detail.len() <= 1_000);
    }
    let longest = letters.iter().map(|(_, letter)| letter.value.as_ref().map_or(0, Vec::len)).max().unwrap();
    assert!(longest <= 1 << 20, "a dead letter keeps at most 1 MiB, not {longest} bytes");
    assert!(letters.iter().any(|(_, letter)| letter.value_bytes > 20 << 20), "its whole size is known");
    drop(opened);

    // Lines that are not records also have offsets, so a second reading skips such lines.
    let opened = app::open_store(&setup, store_over(image)).unwrap();
    let source = CaptureSource::new(vec![path]).unwrap();
    let statuses = opened.start(Box::new(source), &setup).unwrap().finish(|_| {}).unwrap();
    assert_eq!(statuses.iter().map(|status| status.consumed()).sum::<u64>(), 0);
}
