//! Tests of stores that earlier versions of nova made. The present version opens each old store, and answers as the
//! earlier version did. The present version delivers the waiting rows with the columns with which they were written,
//! and takes new records. `tests/fixtures/stores/README.md` says how the stores were made. The stores of earlier
//! versions are never made again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nova::app::{self, Drain, Opened, Setup};
use nova::backoff::Backoff;
use nova::clock::Clock;
use nova::decode::{NoSchemas, Topics};
use nova::event::{Outcome, Record, Table};
use nova::pipeline::dead;
use nova::pipeline::decided::Decision;
use nova::pipeline::halt::Halt;
use nova::pipeline::progress::PartitionStatus;
use nova::pipeline::writer::{Command, Message};
use nova::source::capture::CaptureSource;
use nova::source::{PollLimits, Polled, Source as _};
use nova::warehouse::clickhouse::ClickHouseSettings;
use nova::warehouse::sender::Pace;
use nova_storage::schema::{CHECKPOINT, EDGE};
use serde_json::Value;

use crate::support::clickhouse::Fake;
use crate::support::http_text::parameter;
use crate::support::{Listed, dump, state_bytes};

const NOW_MS: i64 = 1_795_500_000_000;

fn path(version: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stores").join(version).join(name)
}

fn text(version: &str, name: &str) -> String {
    std::fs::read_to_string(path(version, name)).unwrap()
}

fn records(version: &str, name: &str) -> Vec<Record> {
    let mut source = CaptureSource::new(vec![path(version, name)]).unwrap();
    let mut records = Vec::new();
    while source.poll(&PollLimits::default(), &mut records).unwrap() != Polled::End {}
    records
}

/// Unpacks the store of a version into a new directory.
fn unpack(version: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let packed = std::fs::File::open(path(version, "nova.redb.gz")).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    std::fs::write(app::store_path(dir.path()), bytes).unwrap();
    dir
}

fn setup(dir: &Path, url: &str) -> Setup {
    let mut setup = Setup::new(dir, Topics { last_part: true, ..Topics::default() }, Arc::new(NoSchemas));
    setup.clock = Clock::manual(NOW_MS);
    setup.clickhouse = Some(ClickHouseSettings {
        url: url.to_owned(),
        database: "nova".to_owned(),
        user: None,
        password: None,
        ca_file: None,
        layout: Default::default(),
        timeout: Duration::from_secs(20),
    });
    let backoff = Backoff { first: Duration::from_millis(1), last: Duration::from_millis(20) };
    setup.pace = Pace { backoff, stall_ms: 20, ..Pace::default() };
    setup.drain = Drain { idle: Duration::from_secs(60), most: Duration::from_secs(120) };
    setup
}

fn run(setup: &Setup, records: Vec<Record>) -> Vec<PartitionStatus> {
    let opened = app::open(setup).unwrap();
    opened.start(Box::new(Listed::new(records, 7)), setup).unwrap().finish(|_| {}).unwrap()
}

/// Returns every row that ClickHouse has stored, in the order of arrival, by table. Each row is printed with the column
/// names of its insert.
fn delivered(fake: &Fake, types: &BTreeMap<String, String>) -> BTreeMap<String, Vec<String>> {
    let inner = fake.inner.lock();
    let mut tables = BTreeMap::<String, Vec<String>>::new();
    for stored in &inner.stored {
        let of = |target: &&String| parameter(target, "insert_deduplication_token") == stored.token;
        let query = parameter(inner.targets.iter().find(of).unwrap(), "query");
        let columns: Vec<_> = query.split(['(', ')']).nth(1).unwrap().split(", ").collect();
        let body = stored.rows.concat();
        let mut rest = body.as_slice();
        while !rest.is_empty() {
            let cell = |name: &&str| format!("{name}={}", cell(&types[&format!("{}.{name}", stored.table)], &mut rest));
            let line = columns.iter().map(cell).collect::<Vec<_>>().join(" ");
            tables.entry(stored.table.clone()).or_default().push(line);
        }
    }
    tables
}

/// Returns one RowBinary value as text, by the type that `system.columns` prints.
fn cell(kind: &str, rest: &mut &[u8]) -> String {
    let mut take = |count: usize| {
        let (head, tail) = rest.split_at(count);
        *rest = tail;
        head
    };
    if let Some(inner) = kind.strip_prefix("Nullable(").and_then(|kind| kind.strip_suffix(')')) {
        return if take(1) == [1] { "NULL".to_owned() } else { cell(inner, rest) };
    }
    match kind {
        "UUID" | "UInt128" => format!("{:032x}", u128::from_le_bytes(take(16).try_into().unwrap())),
        "UInt64" => u64::from_le_bytes(take(8).try_into().unwrap()).to_string(),
        "UInt32" => u32::from_le_bytes(take(4).try_into().unwrap()).to_string(),
        "UInt8" | "Bool" => take(1)[0].to_string(),
        "String" | "LowCardinality(String)" => {
            let (mut length, mut shift) = (0usize, 0);
            loop {
                let byte = take(1)[0];
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            format!("{:?}", std::str::from_utf8(take(length)).unwrap())
        }
        time if time.starts_with("DateTime64") => i64::from_le_bytes(take(8).try_into().unwrap()).to_string(),
        other => panic!("a type without a reader: {other}"),
    }
}

/// Returns the type of each column in the earlier version's tables, from lines of `table.column<TAB>type`.
fn types(version: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| line.split_once('\t').map(|(name, kind)| (name.to_owned(), kind.to_owned()));
    text(version, "columns.tsv").lines().filter_map(pair).collect()
}

/// Checks that every table of the store is dumped as the earlier version printed it.
fn dumps_as_it_did(opened: &Opened, version: &str) {
    for (table, lines) in Table::ALL.iter().zip(dump(opened)) {
        let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(lines, text(version, &format!("{table}.jsonl")), "{table}");
    }
}

/// Returns what `nova dump --trending` prints for a store that no process has open.
fn trending(dir: &Path, now: &str) -> String {
    let mut nova = std::process::Command::new(env!("CARGO_BIN_EXE_nova"));
    let output = nova.arg("--data").arg(dir).args(["dump", "--trending", "24h", "--now", now]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_store_of_version_0_1_0_answers_as_it_did() {
    const VERSION: &str = "0.1.0";
    let dir = unpack(VERSION);
    let opened = app::open(&setup(dir.path(), "http://127.0.0.1:1")).unwrap();
    dumps_as_it_did(&opened, VERSION);
    let letters = dead::page(&opened.store.read().unwrap(), None, 100).unwrap();
    let letters: Vec<_> = letters.iter().map(|(id, letter)| dead::summary(*id, letter)).collect();
    assert_eq!(serde_json::json!(letters), serde_json::from_str::<Value>(&text(VERSION, "dead.json")).unwrap());
    let state: Vec<Value> = serde_json::from_str(&text(VERSION, "state.json")).unwrap();
    for ((table, meta), told) in Table::ALL.iter().zip(opened.writer.tables()).zip(state) {
        // The text of a halt may change between versions. The code of a halt, and what the table waits for, do not
        // change between versions.
        let code =
            |state: &Value| state["halted"].as_str().map(|words| words.split([':', ' ']).next().unwrap().to_owned());
        let now = serde_json::json!(meta.told(*table));
        assert_eq!(code(&now), code(&told), "{now} {told}");
        for member in ["table", "epoch", "partitions"] {
            assert_eq!(now[member], told[member], "{now} {told}");
        }
        assert!(!matches!(meta.halt, Some(Halt::Other(_))), "{now} is only words");
    }
    drop(opened);
    assert_eq!(trending(dir.path(), "2026-11-24T13:00:00Z"), text(VERSION, "trending.json"));
}

/// In format 2 the chunks are in a table of the file that the present format does not have. nova reads the chunks from
/// this table until its first checkpoint is complete, and then removes them.
#[test]
fn a_store_of_format_2_answers_as_it_did_before_and_after_its_first_checkpoint() {
    const VERSION: &str = "format-2";
    const NOW: &str = "2026-11-26T23:00:00Z";
    let dir = unpack(VERSION);
    assert_eq!(trending(dir.path(), NOW), text(VERSION, "trending.json"));
    let dir = unpack(VERSION);
    let mut opened = app::open(&setup(dir.path(), "http://127.0.0.1:1")).unwrap();
    assert!(opened.recovery.journal_batches > 0);
    let old = |opened: &Opened| opened.store.read().unwrap().len(CHECKPOINT).unwrap();
    assert!(old(&opened) > 0);
    dumps_as_it_did(&opened, VERSION);
    let state = state_bytes(&opened);
    opened.writer.checkpoint().unwrap();
    assert_eq!(old(&opened), 0);
    drop(opened);
    let opened = app::open(&setup(dir.path(), "http://127.0.0.1:1")).unwrap();
    assert_eq!(opened.recovery.journal_batches, 0);
    assert_eq!(state_bytes(&opened), state);
    dumps_as_it_did(&opened, VERSION);
    drop(opened);
    assert_eq!(trending(dir.path(), NOW), text(VERSION, "trending.json"));
}

/// A store of format 3 has no commit log. redb repairs the killed store, and the first commits of nova make a log.
#[test]
fn a_store_of_format_3_after_kill_9_answers_as_it_did_and_gets_a_commit_log() {
    const VERSION: &str = "format-3";
    const NOW: &str = "2026-11-28T01:30:00Z";
    let dir = unpack(VERSION);
    assert_eq!(trending(dir.path(), NOW), text(VERSION, "trending.json"));
    let dir = unpack(VERSION);
    let before = std::fs::metadata(app::store_path(dir.path())).unwrap().len();
    let opened = app::open(&setup(dir.path(), "http://127.0.0.1:1")).unwrap();
    assert!(opened.recovery.journal_batches > 0);
    dumps_as_it_did(&opened, VERSION);
    let state = state_bytes(&opened);
    for number in 0..3 {
        let write = opened.store.write().unwrap();
        write.put(EDGE, ("test", b"key"), &[number]).unwrap();
        write.commit().unwrap();
    }
    assert!(opened.store.bytes() > before + (4 << 20), "the store has no log");
    // The copy of the file is the store of a process that was killed.
    let killed = tempfile::tempdir().unwrap();
    std::fs::copy(app::store_path(dir.path()), app::store_path(killed.path())).unwrap();
    drop(opened);
    for dir in [killed, dir] {
        let opened = app::open(&setup(dir.path(), "http://127.0.0.1:1")).unwrap();
        assert_eq!(opened.store.read().unwrap().get(EDGE, ("test", b"key")).unwrap(), Some(vec![2]));
        assert_eq!(state_bytes(&opened), state);
        dumps_as_it_did(&opened, VERSION);
        drop(opened);
        assert_eq!(trending(dir.path(), NOW), text(VERSION, "trending.json"));
    }
}

#[test]
fn a_store_of_version_0_1_0_delivers_what_waits_and_goes_on() {
    const VERSION: &str = "0.1.0";
    let (dir, fake) = (unpack(VERSION), Fake::start());
    let setup = setup(dir.path(), &fake.url);
    // The waiting rows are delivered before new rows, with the columns of the earlier version.
    run(&setup, Vec::new());
    let waited: String = delivered(&fake, &types(VERSION))
        .into_iter()
        .flat_map(|(table, rows)| rows.into_iter().map(move |row| format!("{table} {row}\n")))
        .collect();
    // Two batches of a table may arrive in any order.
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let expected = text(VERSION, "outbox.txt");
    assert_eq!(sorted(&waited), sorted(&expected));
    assert_eq!(waited.lines().count(), expected.lines().count());
    // Records that the earlier version has read are recognised by their ids. New records are applied, except those of
    // halted tables.
    let all = || [records(VERSION, "first.jsonl"), records(VERSION, "rest.jsonl")].concat();
    let count = |statuses: &[PartitionStatus], outcome| statuses.iter().map(|one| one.count(outcome)).sum::<u64>();
    let statuses = run(&setup, all());
    let held = |statuses: &[PartitionStatus]| statuses.iter().filter(|one| one.hold.is_some()).count();
    assert_eq!((held(&statuses), count(&statuses, Outcome::Applied), count(&statuses, Outcome::Duplicate)), (7, 6, 1));
    // After a person has decided about each halt, the records that nova had held back come.
    let mut opened = app::open(&setup).unwrap();
    let (actor, truncate) = (|| "test".to_owned(), Some(Decision::Ignore));
    let bump = Command::BumpEpoch { table: Table::Follows, actor: actor(), reply: Box::new(|_| ()) };
    let resume = |table, truncate| {
        let reply = Box::new(|result: Result<(), _>| result.unwrap());
        Command::Resume { table, truncate, actor: actor(), reply }
    };
    let commands = [bump, resume(Table::Comments, None), resume(Table::Likes, truncate)];
    let mut queue = commands.map(Message::Command).into_iter().chain([Message::Stop]).collect();
    opened.writer.process(&mut queue).unwrap();
    drop(opened);
    let statuses = run(&setup, all());
    // The truncate is ignored, as the person decided. The follow of the new log and a like after the truncate are
    // applied.
    assert_eq!((held(&statuses), count(&statuses, Outcome::Applied), count(&statuses, Outcome::Ignored)), (0, 2, 1));
    let rows = |table: &str| fake.inner.lock().rows(table).count();
    let before = |table: &str| waited.lines().filter(|line| line.starts_with(table)).count();
    let more = ["users_cdc", "posts_cdc", "follows_cdc", "comments_cdc", "likes_cdc", "post_events"]
        .map(|table| rows(table) - before(table));
    assert_eq!(more, [3, 2, 1, 0, 1, 1], "each new row goes to ClickHouse once");
}
