//! `nova bench` prints lines that a program can read.

use std::process::Command;

use serde_json::Value;

/// Returns the lines that a bench has printed. The bench must leave the data directory unchanged.
fn bench(args: &[&str], env: &[(&str, String)]) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
    command.arg("--data").arg(dir.path()).arg("bench").args(args).env_clear().envs(env.iter().cloned());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "something is left behind");
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty());
    for line in &lines {
        assert_eq!(line["subject"], args[0]);
        assert_eq!(line["version"], env!("CARGO_PKG_VERSION"));
        assert!(line["value"].as_f64().is_some_and(|value| value >= 0.0), "{line}");
        assert!(line["unit"].is_string() && line["what"].is_string(), "{line}");
        assert!(line["machine"]["cores"].as_u64().is_some_and(|cores| cores > 0), "{line}");
        assert!(line["machine"]["cpu"].is_string(), "{line}");
        assert!(line["machine"].as_object().unwrap().contains_key("mem_gib"), "{line}");
    }
    lines
}

fn value(lines: &[Value], what: &str) -> f64 {
    let line = lines.iter().find(|line| line["what"] == what);
    line.unwrap_or_else(|| panic!("{what} is not in {lines:?}"))["value"].as_f64().unwrap()
}

#[test]
fn bench_ingest_tells_the_rates_of_events_and_changes() {
    let lines = bench(&["ingest", "--records", "2000"], &[]);
    for what in ["client events, bytes to durable commit", "likes in Debezium's envelope, bytes to durable commit"] {
        assert!(value(&lines, what) > 0.0);
    }
}

#[test]
fn bench_serve_tells_rates_and_latencies_of_every_kind_of_request() {
    let lines = bench(&["serve", "--seconds", "1", "--connections", "4"], &[]);
    for what in ["feed page from a snapshot", "trending", "suggestions", "one event, durable before its 202"] {
        assert!(value(&lines, what) > 0.0);
        let time = |name: &str| value(&lines, &format!("{what}: {name}"));
        assert!(time("p50") <= time("p99") && time("p99") <= time("max"));
    }
    assert!(value(&lines, "feed page: from a snapshot") > 0.5);
}

#[test]
fn bench_serve_compares_with_redis_where_there_is_one() {
    let Some(redis) = crate::support::environment("NOVA_TEST_REDIS") else {
        return eprintln!("skipped: NOVA_TEST_REDIS is not set");
    };
    let lines = bench(&["serve", "--seconds", "1", "--connections", "4", "--redis", &redis], &[]);
    assert!(value(&lines, "feed pages for one Redis GET") > 0.0);
}

#[test]
fn bench_freshness_sees_every_event_on_both_ways() {
    let Some(url) = crate::support::environment("NOVA_TEST_CLICKHOUSE") else {
        return eprintln!("skipped: NOVA_TEST_CLICKHOUSE is not set");
    };
    let args = ["freshness", "--period", "3", "--periods", "1", "--events", "12"];
    let mut env = vec![("NOVA_CLICKHOUSE_URL", url)];
    let mut ways = vec![bench(&args, &env)];
    if let Some(brokers) = crate::support::environment("NOVA_TEST_KAFKA") {
        env.push(("NOVA_KAFKA_BROKERS", brokers));
        ways.push(bench(&args, &env));
    }
    for lines in ways {
        for way in ["ours", "batch"] {
            assert_eq!(value(&lines, &format!("{way}: from the 202 to trending: visible")), 12.0);
        }
        assert!(value(&lines, "batch: rows read by one run") > 0.0);
    }
}

#[test]
fn bench_kafka_compares_three_ways_of_the_same_events() {
    let (Some(url), Some(brokers)) =
        (crate::support::environment("NOVA_TEST_CLICKHOUSE"), crate::support::environment("NOVA_TEST_KAFKA"))
    else {
        return eprintln!("skipped: NOVA_TEST_CLICKHOUSE and NOVA_TEST_KAFKA are not set");
    };
    let lines = bench(&["kafka", "--events", "20000", "--clickhouse", &url, "--brokers", &brokers], &[]);
    let whats = ["a bare consumer of librdkafka", "broker, nova, ClickHouse"];
    for what in whats.into_iter().chain(["the engine alone, the same rows in the same batches"]) {
        assert!(value(&lines, what) > 0.0);
    }
}

/// Checks that `nova bench` fails with one line, which names what is missing and the remedy.
fn refused(args: &[&str], code: i32, words: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
    let output = command.arg("--data").arg(dir.path()).arg("bench").args(args).env_clear().output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{told}");
    let said: Vec<&str> = told.lines().filter(|line| line.contains("nova: ")).collect();
    assert!(said.len() == 1 && words.iter().all(|word| said[0].contains(word)), "{told}");
    assert!(output.stdout.is_empty());
}

#[test]
fn bench_kafka_says_what_it_needs() {
    let (brokers, clickhouse) = (["--brokers", "127.0.0.1:1"], ["--clickhouse", "http://127.0.0.1:1"]);
    refused(&["kafka"], 2, &["--brokers", "kafka.brokers", "NOVA_KAFKA_BROKERS"]);
    let without = ["kafka", brokers[0], brokers[1]];
    refused(&without, 2, &["--clickhouse", "clickhouse.url", "NOVA_CLICKHOUSE_URL"]);
    let nowhere = [&["kafka"][..], &brokers, &clickhouse].concat();
    refused(&nowhere, 1, &["ClickHouse at http://127.0.0.1:1 cannot be used", "--clickhouse"]);
}

#[test]
fn bench_freshness_says_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
    let output = command.arg("--data").arg(dir.path()).args(["bench", "freshness"]).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("clickhouse.url is not set"));
}
