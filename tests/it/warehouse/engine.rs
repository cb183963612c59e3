//! Tests with the real ClickHouse that `NOVA_TEST_CLICKHOUSE` names.

use std::time::Duration;

use bytes::Bytes;
use nova::app::{self, Setup};
use nova::event::{Record, Table};
use nova::pipeline::reconcile::reconcile;
use nova::pipeline::writer::Message;
use nova::warehouse::Target;
use nova::warehouse::clickhouse::{ClickHouse, ClickHouseSettings};
use nova::warehouse::layout::Layout;
use nova::warehouse::lint::{lint, missing_batches};
use nova::warehouse::migrate::{MIGRATIONS, migrate};
use nova_storage::testing::Recorder;

use super::super::support::rows::compare_current;
use super::super::support::{self, Listed, capture, dump, run, store_over};
use super::{events, setup};

/// Returns the address of the ClickHouse server, the name of a database for this test, and a client.
fn engine(test: &str) -> Option<(String, String, ClickHouse)> {
    let Some(url) = crate::support::environment("NOVA_TEST_CLICKHOUSE") else {
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

/// Runs a future on a new tokio runtime. Each call needs a new runtime, because a connection that is kept open would
/// depend on a runtime that no longer runs.
fn on<T>(asked: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(asked)
}

fn ask(clickhouse: &ClickHouse, sql: &str) -> Vec<Vec<String>> {
    on(clickhouse.rows(sql)).unwrap_or_else(|failure| panic!("{sql}: {failure}"))
}

fn number(clickhouse: &ClickHouse, sql: &str) -> u64 {
    ask(clickhouse, sql)[0][0].parse().unwrap()
}

fn drop_database(clickhouse: &ClickHouse) {
    let _ = on(clickhouse.run_bare(&format!("DROP DATABASE {}", clickhouse.database())));
}

/// Sends a query to ClickHouse that makes inserts into a table fail.
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
    let Some((url, database, clickhouse)) = engine("migrate") else { return };
    let settings = setup("events", &url, &database).clickhouse.unwrap();
    assert_eq!(on(migrate(&clickhouse)).unwrap().len(), MIGRATIONS.len());
    assert_eq!(on(migrate(&clickhouse)).unwrap().len(), 0);
    assert_eq!(on(lint(&clickhouse)).unwrap(), []);
    on(clickhouse.run("ALTER TABLE likes_cdc MODIFY SETTING non_replicated_deduplication_window = 0")).unwrap();
    on(clickhouse.run("DROP TABLE posts_cdc")).unwrap();
    // If a view's target table had no deduplication window, ClickHouse would store the rows of a retried insert twice.
    let taken = "ALTER TABLE post_metrics_1h MODIFY SETTING non_replicated_deduplication_window = 0";
    on(clickhouse.run(taken)).unwrap();
    let codes: Vec<_> = on(lint(&clickhouse)).unwrap().into_iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["table-missing", "dedup-window", "dedup-window"]);
    let replicated = ClickHouseSettings { layout: Layout { replicated: true, cluster: None }, ..settings };
    let other = on(migrate(&ClickHouse::new(&replicated).unwrap())).unwrap_err().to_string();
    assert!(other.contains("clickhouse.replicated is true: set it to false"), "{other}");
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
    compare_current(&dump(&opened), |sql| ask(&clickhouse, sql).iter().map(|row| row.join("\t")).collect());
    drop_database(&clickhouse);
}

fn execute(clickhouse: &ClickHouse, sql: &str) {
    on(clickhouse.run(sql)).unwrap_or_else(|failure| panic!("{sql}: {failure}"));
}

fn migrated(clickhouse: &ClickHouse) {
    on(migrate(clickhouse)).unwrap();
}

/// Runs records, and waits until the table stalls for the given reason and the outboxes of all other tables are empty.
/// After that, the function repairs the cause, and waits until the outbox of the stalled table is empty.
fn stall(setup: &Setup, records: Vec<Record>, target: Target, reason: &str, repair: impl FnOnce()) {
    let opened = app::open_store(setup, store_over(Recorder::new())).unwrap();
    let status = opened.warehouse.clone().unwrap();
    let running = opened.start(Box::new(Listed::new(records, 700)), setup).unwrap();
    let number = target.index();
    loop {
        running.inbox.send(Message::Seal).unwrap();
        let targets = status.targets();
        let stalled = targets[number].stalled.as_deref().is_some_and(|words| words.contains(reason));
        let others = targets.iter().enumerate().filter(|(other, _)| *other != number);
        if stalled && others.map(|(_, one)| one.waiting_rows).sum::<u64>() == 0 && targets[number].waiting_rows > 0 {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    repair();
    running.finish(|_| {}).unwrap();
    assert_eq!(status.waiting_rows(), 0, "{reason}");
}

#[test]
fn the_real_engine_stalls_one_table_alone_until_it_is_repaired() {
    let Some((url, database, clickhouse)) = engine("stalls") else { return };
    migrated(&clickhouse);
    let likes = Target::Rows(Table::Likes);
    let create = ask(
        &clickhouse,
        "SELECT create_table_query FROM system.tables WHERE name = 'likes_cdc' AND database = currentDatabase()",
    );
    execute(&clickhouse, "DROP TABLE likes_cdc SYNC");
    let name = "random-envelope.jsonl.gz";
    stall(&setup(name, &url, &database), capture(name), likes, "likes_cdc", || execute(&clickhouse, &create[0][0]));
    assert!(number(&clickhouse, "SELECT count() FROM likes_current") > 0);

    let events_setup = setup("events", &url, &database);
    execute(&clickhouse, "ALTER TABLE post_events ADD COLUMN ours String");
    execute(&clickhouse, "ALTER TABLE post_events MODIFY COLUMN dwell_ms UInt64");
    let (records, first) = events(1_000, 41);
    stall(&events_setup, records, Target::Events, "dwell_ms is UInt64", || {
        execute(&clickhouse, "ALTER TABLE post_events MODIFY COLUMN dwell_ms UInt32");
    });
    assert_eq!(number(&clickhouse, "SELECT count() FROM post_events"), first, "a column more is fine");

    execute(&clickhouse, "CREATE TABLE ours (x UInt8) ENGINE = MergeTree ORDER BY x");
    execute(
        &clickhouse,
        "CREATE MATERIALIZED VIEW ours_mv TO ours AS SELECT toUInt8(throwIf(dwell_ms >= 0)) AS x FROM post_events",
    );
    let (records, second) = events(1_000, 42);
    stall(&events_setup, records, Target::Events, "view", || execute(&clickhouse, "DROP VIEW ours_mv SYNC"));
    for sql in [
        "SELECT count() FROM post_events",
        "SELECT sum(impressions + views + likes + comments + shares) FROM post_metrics_1m",
    ] {
        assert_eq!(number(&clickhouse, sql), first + second, "{sql}");
    }
    drop_database(&clickhouse);
}

/// Inserts rows as builds before the Native format did.
async fn insert_row_binary(
    settings: &ClickHouseSettings,
    rows: Bytes,
    token: &str,
) -> Result<(), clickhouse::error::Error> {
    let client = clickhouse::Client::default().with_url(&settings.url).with_database(&settings.database);
    let client = client.with_compression(clickhouse::Compression::None);
    let columns = Target::Events.columns().names();
    let sql = format!("INSERT INTO {} ({columns}) FORMAT RowBinary", Target::Events);
    let insert = client.insert_formatted_with(sql).with_setting("insert_deduplicate", "1");
    let insert = insert.with_setting("deduplicate_blocks_in_dependent_materialized_views", "1");
    let mut insert = insert.with_setting("insert_deduplication_token", token);
    insert.send(rows).await?;
    insert.end().await
}

/// Repeats an insert as nova does, because another test may make this server fail.
async fn repeated<E: std::fmt::Debug>(mut insert: impl AsyncFnMut() -> Result<(), E>) {
    const ATTEMPTS: usize = 10;
    for _ in 1..ATTEMPTS {
        if insert().await.is_ok() {
            return;
        }
    }
    insert().await.unwrap();
}

#[test]
fn the_real_engine_stores_a_batch_once_that_an_earlier_build_sent_as_row_binary() {
    let Some((url, database, clickhouse)) = engine("formats") else { return };
    let settings = setup("events", &url, &database).clickhouse.unwrap();
    migrated(&clickhouse);
    let sql = "SELECT generateUUIDv4(number), toDateTime64('2026-11-20', 3, 'UTC'), generateUUIDv4(number + 1),
               toUUID('00000000-0000-4000-8000-000000000001'), generateUUIDv4(number + 2), 'view', toUInt32(number),
               'ios', toString(number), toDateTime64('2026-11-20', 3, 'UTC'), toUInt64(7), toUInt64(3) FROM numbers(500)";
    on(async {
        let rows = clickhouse.row_binary(sql, 1 << 20).await.unwrap();
        let columns = Target::Events.columns();
        for (token, native_first) in [("old to new", false), ("new to old", true)] {
            for native in [native_first, !native_first] {
                match native {
                    true => {
                        repeated(async || clickhouse.insert(Target::Events, columns, rows.clone(), token, token).await)
                            .await
                    }
                    false => repeated(async || insert_row_binary(&settings, rows.clone(), token).await).await,
                }
            }
        }
    });
    assert_eq!(number(&clickhouse, "SELECT count() FROM post_events"), 1_000);
    assert_eq!(number(&clickhouse, "SELECT sum(views) FROM post_metrics_1m"), 1_000);
    // Both formats give the same rows.
    assert_eq!(number(&clickhouse, "SELECT count() FROM (SELECT DISTINCT * FROM post_events)"), 500);
    drop_database(&clickhouse);
}

#[test]
fn the_real_engine_tells_a_restored_store_what_it_has_and_a_lint_what_it_lost() {
    let Some((url, database, clickhouse)) = engine("reconcile") else { return };
    let (records, applied) = events(4_000, 43);
    let (setup, backend) = (setup("events", &url, &database), Recorder::new());
    run(&setup, store_over(backend.clone()), records[..2_000].to_vec());
    let backup = backend.syncs();
    run(&setup, store_over(backend.clone()), records.clone());
    let marks = |backend: &Recorder| {
        let opened = app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap();
        (opened.writer.store_id(), opened.warehouse.unwrap().marks())
    };
    let (id, known) = marks(&backend);
    assert_eq!(on(missing_batches(&clickhouse, id, &known)).unwrap(), None);

    let restored = backend.image(backup, 0);
    let report = on(reconcile(&store_over(restored.clone()), &clickhouse, false, 0)).unwrap();
    assert!(report.delivered > 0 && report.delivered < applied, "{report:?}");
    let restored = restored.image(restored.syncs(), 0);
    run(&setup, store_over(restored.clone()), records.clone());
    let count = "SELECT count(), uniqExact(event_id) FROM post_events";
    assert_eq!(ask(&clickhouse, count), [[applied.to_string(), applied.to_string()]]);

    let store = store_over(restored.image(restored.syncs(), 0));
    let (ids, sent) = super::reconcile::letters(&setup, &store, records);
    assert_eq!(app::sent(&store, &mut setup.decoder(), setup.clickhouse.as_ref(), &ids).unwrap(), sent);

    execute(&clickhouse, "TRUNCATE TABLE post_events");
    let found = on(missing_batches(&clickhouse, id, &known)).unwrap().unwrap();
    assert_eq!(found.code, "batches-missing");
    drop_database(&clickhouse);
}
