//! The real engine, where `NOVA_TEST_CLICKHOUSE` names one.

use std::time::Duration;

use nova::app;
use nova::event::Table;
use nova::warehouse::clickhouse::{ClickHouse, ClickHouseSettings};
use nova::warehouse::lint::lint;
use nova::warehouse::migrate::{MIGRATIONS, migrate};
use nova_storage::testing::Recorder;
use serde_json::Value;

use super::super::support::{self, capture, dump, run, store_over};
use super::{events, setup};

/// The server's address, and a database of the test's own.
fn engine(test: &str) -> Option<(String, String, ClickHouse)> {
    let Ok(url) = std::env::var("NOVA_TEST_CLICKHOUSE") else {
        eprintln!("skipped: NOVA_TEST_CLICKHOUSE is not set");
        return None;
    };
    let database = format!("nova_test_{test}_{:08x}", uuid::Uuid::new_v4().as_fields().0);
    let settings = ClickHouseSettings {
        url: url.clone(),
        database: database.clone(),
        user: None,
        password: None,
        ca_file: None,
        layout: Default::default(),
        timeout: Duration::from_secs(60),
    };
    Some((url, database, ClickHouse::new(&settings).unwrap()))
}

fn ask(clickhouse: &ClickHouse, sql: &str) -> Vec<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(clickhouse.rows(sql)).unwrap_or_else(|failure| panic!("{sql}: {failure}"))
}

fn number(clickhouse: &ClickHouse, sql: &str) -> u64 {
    ask(clickhouse, sql)[0][0].parse().unwrap()
}

fn drop_database(clickhouse: &ClickHouse) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _ = runtime.block_on(clickhouse.run_bare(&format!("DROP DATABASE {}", clickhouse.database())));
}

/// Has the server fail `count` inserts into the database's tables.
fn fault(url: &str, query: &str) {
    let addr = url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    use std::io::{Read as _, Write as _};
    let head = format!("POST /_fault?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn the_real_engine_takes_the_migrations_twice_and_the_lint_finds_nothing() {
    let Some((_, _, clickhouse)) = engine("migrate") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(migrate(&clickhouse)).unwrap().len(), MIGRATIONS.len());
    assert_eq!(runtime.block_on(migrate(&clickhouse)).unwrap().len(), 0);
    assert_eq!(runtime.block_on(lint(&clickhouse)).unwrap(), []);
    runtime
        .block_on(clickhouse.run("ALTER TABLE likes_cdc MODIFY SETTING non_replicated_deduplication_window = 0"))
        .unwrap();
    runtime.block_on(clickhouse.run("DROP TABLE posts_cdc")).unwrap();
    let codes: Vec<_> = runtime.block_on(lint(&clickhouse)).unwrap().into_iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["table-missing", "dedup-window"]);
    drop_database(&clickhouse);
}

#[test]
fn the_real_engine_holds_each_event_once_and_its_views_agree_after_every_fault() {
    let Some((url, database, clickhouse)) = engine("events") else { return };
    for (mode, seed) in
        [("fail_after_write", 1), ("reject", 2), ("close_before", 3), ("error&code=252", 4), ("hold&ms=300", 5)]
    {
        let had = if seed == 1 { 0 } else { number(&clickhouse, "SELECT count() FROM post_events") };
        fault(&url, &format!("mode={mode}&count=3&match=^INSERT%20INTO%20post_events"));
        let (records, applied) = events(4_000, 20 + seed);
        run(&setup("events", &url, &database), store_over(Recorder::new()), records);
        assert_eq!(number(&clickhouse, "SELECT count() FROM post_events"), had + applied, "{mode}");
        assert_eq!(
            number(&clickhouse, "SELECT uniqExact(_nova_store, event_id) FROM post_events"),
            had + applied,
            "{mode}"
        );
        for view in ["post_metrics_1m", "post_metrics_1h"] {
            let sums = format!(
                "SELECT sum(impressions) + sum(views) + sum(likes) + sum(comments) + sum(shares), sum(dwell_ms) FROM {view}"
            );
            assert_eq!(
                ask(&clickhouse, &sums),
                ask(&clickhouse, "SELECT count(), sum(dwell_ms) FROM post_events"),
                "{mode}: {view}"
            );
        }
        let sums = "SELECT sum(views) + sum(likes) + sum(comments) + sum(shares) FROM user_author_90d";
        assert_eq!(
            ask(&clickhouse, sums),
            ask(&clickhouse, "SELECT countIf(action != 'impression') FROM post_events"),
            "{mode}"
        );
    }
    drop_database(&clickhouse);
}

#[test]
fn the_real_engines_current_views_equal_the_dump_row_by_row() {
    let Some((url, database, clickhouse)) = engine("cdc") else { return };
    let name = "random-envelope.jsonl.gz";
    fault(&url, "mode=fail_after_write&count=2&match=^INSERT%20INTO%20posts_cdc");
    let backend = Recorder::new();
    run(&setup(name, &url, &database), store_over(backend.clone()), capture(name));
    let mut plain = support::setup(name);
    plain.settings.truncate = nova::pipeline::TruncatePolicy::Apply;
    let opened = app::open_store(&plain, store_over(backend.image(backend.syncs(), 0))).unwrap();
    for (table, lines) in Table::ALL.iter().zip(dump(&opened)) {
        let names: Vec<_> = table.columns().iter().map(|column| column.name).collect();
        let rows = ask(
            &clickhouse,
            &format!(
                "SELECT {} FROM {table}_current ORDER BY toString(id) FORMAT JSONCompactEachRow",
                names.join(", ")
            ),
        );
        let found: Vec<Vec<Value>> = rows.iter().map(|row| serde_json::from_str(&row.join("\t")).unwrap()).collect();
        assert_eq!(found.len(), lines.len(), "{table}");
        for (found, line) in found.iter().zip(&lines) {
            let row: Value = serde_json::from_str(line).unwrap();
            for (name, value) in names.iter().zip(found) {
                assert_eq!(plainly(value), plainly(&row[*name]), "{table}.{name} of {}", row["id"]);
            }
        }
    }
    drop_database(&clickhouse);
}

/// Times and booleans in one spelling.
fn plainly(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => text.trim_end_matches('Z').replace('T', " "),
        other => other.to_string(),
    }
}
