//! Tests of `nova test` and of [`nova::testing::TestNova`].

mod faults;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nova::testing::{TestNova, Value, json};
use proptest::prelude::*;

use crate::api::client::Client;
use crate::support::program::bare;

const NOW: &str = "2026-11-24T06:00:00Z";
const NOW_MS: i64 = 1_795_500_000_000;

fn id(kind: u32, number: usize) -> String {
    format!("{kind:08x}-0000-4000-8000-{number:012}")
}

fn user(number: usize) -> String {
    id(1, number)
}

fn post(number: usize) -> String {
    id(2, number)
}

fn start() -> TestNova {
    TestNova::builder().now(NOW).start().unwrap()
}

/// Makes three users on the test server. User 0 follows user 1, who has a post.
fn world(nova: &TestNova) {
    nova.rows(json!({
        "users": [{ "id": user(0) }, { "id": user(1) }, { "id": user(2) }],
        "follows": [{ "follower_id": user(0), "following_id": user(1) }],
        "posts": [{ "id": post(0), "user_id": user(1) }],
    }));
}

/// Sends a request, and returns the status and the body of the answer.
fn asked(nova: &TestNova, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
    let addr = nova.url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(addr).unwrap();
    let bearer = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n{bearer}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn a_day_passes_and_everything_of_it_is_due() {
    let nova = start();
    world(&nova);
    nova.events(&user(2), json!([{ "post_id": post(0), "action": "share", "event_time": NOW_MS }]));
    assert_eq!(nova.trending("1h"), [post(0)]);
    let token = nova.token(&user(0));
    nova.advance(Duration::from_secs(59 * 60));
    assert_eq!((nova.trending("1h"), nova.now_ms()), (vec![post(0)], NOW_MS + 59 * 60_000));
    assert_eq!(asked(&nova, "GET", "/api/v1/feed", &token, "").0, 200);
    nova.advance(Duration::from_secs(24 * 3_600));
    assert!(nova.trending("24h").is_empty());
    assert_eq!(nova.trending("7d"), [post(0)]);
    assert_eq!(asked(&nova, "GET", "/api/v1/feed", &token, "").0, 401);
    nova.set_now(NOW);
    assert_eq!(nova.now_ms(), NOW_MS);
    assert_eq!(nova.trending("24h"), [post(0)]);
}

/// A random action of a user on a test server.
#[derive(Clone, Debug)]
enum Deed {
    Post(usize, usize),
    Follow(usize, usize),
    Unfollow(usize, usize),
    Share(usize, usize),
    Dismiss(usize, usize),
    Advance(u64),
    Read(usize),
    Capture(i64),
}

fn deed() -> impl Strategy<Value = Deed> {
    let n = || 0usize..4;
    prop_oneof![
        (n(), n()).prop_map(|(post, by)| Deed::Post(post, by)),
        (n(), n()).prop_map(|(from, to)| Deed::Follow(from, to)),
        (n(), n()).prop_map(|(from, to)| Deed::Unfollow(from, to)),
        (n(), n()).prop_map(|(by, post)| Deed::Share(by, post)),
        (n(), n()).prop_map(|(by, whom)| Deed::Dismiss(by, whom)),
        (0u64..100_000_000).prop_map(Deed::Advance),
        n().prop_map(Deed::Read),
        (0i64..4).prop_map(Deed::Capture),
    ]
}

fn line(offset: i64, number: usize) -> String {
    let value = json!({
        "id": user(number), "username": "c", "email_verified": true, "is_active": true, "created_at": NOW, "updated_at": NOW, "__op": "c", "__deleted": "false",
        "__source_ts_ms": NOW_MS,
    });
    json!({ "topic": "cdc.users", "partition": 0, "offset": offset, "timestamp_ms": NOW_MS,
        "key": json!({ "id": user(number) }).to_string(), "value": value.to_string() })
    .to_string()
}

fn act(nova: &TestNova, deed: &Deed) {
    match deed {
        Deed::Post(number, by) => drop(nova.rows(json!({ "posts": [{ "id": post(*number), "user_id": user(*by) }] }))),
        Deed::Follow(from, to) => {
            nova.rows(json!({ "follows": [{ "follower_id": user(*from), "following_id": user(*to) }] }));
        }
        Deed::Unfollow(from, to) => {
            let row = json!({ "op": "delete", "follower_id": user(*from), "following_id": user(*to) });
            nova.rows(json!({ "follows": [row] }));
        }
        Deed::Share(by, number) => {
            let now_ms = nova.now_ms();
            nova.events(&user(*by), json!([{ "post_id": post(*number), "action": "share", "event_time": now_ms }]));
        }
        Deed::Dismiss(by, whom) => {
            let path = format!("/api/v1/discover/suggested-users/{}", user(*whom));
            asked(nova, "DELETE", &path, &nova.token(&user(*by)), "");
        }
        Deed::Advance(ms) => nova.advance(Duration::from_millis(*ms)),
        Deed::Read(by) => drop((nova.feed(&user(*by)), nova.suggestions(&user(*by)))),
        Deed::Capture(offset) => drop(nova.captures(&line(*offset, 9))),
    }
}

/// Returns everything that the server serves, without the parts that differ between any two answers.
fn seen(nova: &TestNova) -> Vec<Value> {
    let mut all = Vec::new();
    for number in 0..4 {
        let feed = nova.get("/api/v1/feed?explain=1", &user(number));
        all.push(json!([feed["posts"], feed["items"], feed["total_count"]]));
        all.push(nova.get("/api/v1/discover/suggested-users", &user(number))["users"].clone());
    }
    for window in ["1h", "24h", "7d"] {
        all.push(nova.get(&format!("/api/v1/feed/trending?window={window}"), &user(0))["posts"].clone());
    }
    let captured = nova.captures(&line(3, 9));
    all.push(captured["totals"].clone());
    all.push(nova.now_ms().into());
    all.push(nova.settle());
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// A server that was used and then reset to a snapshot behaves like a server that was not used after the snapshot.
    #[test]
    fn nothing_is_left_after_a_reset(
        before in proptest::collection::vec(deed(), 0..8),
        lost in proptest::collection::vec(deed(), 0..12),
        after in proptest::collection::vec(deed(), 0..8),
    ) {
        let (used, fresh) = (start(), start());
        for nova in [&used, &fresh] {
            world(nova);
            before.iter().for_each(|deed| act(nova, deed));
        }
        // A snapshot of the test server does not contain served feeds. The test resets both servers, so that both drop
        // their served feeds.
        for nova in [&used, &fresh] {
            nova.snapshot("here");
            nova.reset_to("here");
        }
        lost.iter().for_each(|deed| act(&used, deed));
        used.reset_to("here");
        after.iter().for_each(|deed| act(&used, deed));
        after.iter().for_each(|deed| act(&fresh, deed));
        prop_assert_eq!(seen(&used), seen(&fresh));
        used.reset();
        prop_assert_eq!(seen(&used), seen(&start()));
    }
}

#[test]
fn a_capture_keeps_its_offsets_and_its_redeliveries() {
    let nova = start();
    let first = nova.captures(&format!("{}\n{}\n", line(7, 1), line(8, 2)));
    assert_eq!((&first["totals"]["applied"], &first["partitions"][0]["next_offset"]), (&json!(2), &json!(9)));
    let again = nova.captures(&line(8, 2));
    assert_eq!((&again["totals"]["redelivered"], &again["totals"]["consumed"]), (&json!(1), &json!(0)));
    let (status, problem) = asked(&nova, "POST", "/_test/captures", "", "{}");
    assert_eq!((status, &problem["field"]), (400, &json!("captures")));
}

#[test]
fn tokens_are_broken_as_they_are_asked_for() {
    let nova = start();
    let status = |asked_for: Value| asked(&nova, "GET", "/api/v1/feed", &nova.token_of(asked_for), "").0;
    assert_eq!(status(json!({ "sub": user(0) })), 200);
    for broken in ["expired", "not-yet-valid", "signature", "issuer", "audience"] {
        assert_eq!(status(json!({ "sub": user(0), "broken": broken })), 401, "{broken}");
    }
    for (wrong, field) in [
        (json!({ "sub": "ada" }), "sub"),
        (json!({ "sub": user(0), "role": "boss" }), "role"),
        (json!({ "sub": user(0), "ttl": "soon" }), "ttl"),
        (json!({ "sub": user(0), "broken": "badly" }), "broken"),
    ] {
        let (status, problem) = asked(&nova, "POST", "/_test/token", "", &wrong.to_string());
        assert_eq!((status, &problem["field"]), (400, &json!(field)), "{problem}");
    }
}

#[test]
fn the_log_tells_outcomes_and_reasons() {
    let nova = start();
    world(&nova);
    nova.feed(&user(0));
    let log = nova.log(0);
    let entries = log["entries"].as_array().unwrap();
    let records: Vec<_> = entries.iter().filter(|entry| entry["record"].is_object()).collect();
    assert_eq!(records.len(), 5);
    assert!(records.iter().all(|entry| entry["record"]["outcome"] == "applied"));
    let page = &entries.last().unwrap()["page"];
    assert_eq!((&page["what"], &page["user_id"]), (&json!("feed"), &json!(user(0))));
    assert_eq!(page["answer"]["items"][0]["sources"], json!(["followed"]));
    let next = log["next"].as_u64().unwrap();
    assert_eq!(nova.log(next)["entries"], json!([]));
    nova.reset();
    assert_eq!(nova.log(0)["entries"], json!([]));
}

/// A test server also works within a tokio runtime, where no call may block the thread.
#[tokio::test]
async fn it_works_within_a_runtime() {
    let nova = TestNova::builder().without_tokens().start().unwrap();
    world(&nova);
    assert_eq!(asked(&nova, "GET", "/api/v1/feed", &user(0), "").1["posts"], json!([post(0)]));
    assert_eq!(asked(&nova, "GET", "/api/v1/admin/dlq", "", "").0, 200);
}

#[test]
#[should_panic(expected = "1 dead letters wait, 0 were expected")]
fn a_dead_letter_that_nobody_expected_fails_the_test() {
    let nova = start();
    nova.captures(r#"{"topic":"cdc.posts","partition":0,"offset":0,"value":"no row"}"#);
}

#[test]
fn a_dead_letter_that_was_expected_does_not() {
    let nova = start();
    nova.captures(r#"{"topic":"cdc.posts","partition":0,"offset":0,"value":"no row"}"#);
    nova.expect_dead_letters(1);
}

/// Returns the answer of the Redis port to one command on a new connection.
fn redis(nova: &TestNova, command: &str) -> String {
    let url = nova.redis_url().unwrap();
    let stream = TcpStream::connect(url.trim_start_matches("redis://")).unwrap();
    (&stream).write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    (&stream).read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_redis_port_has_the_feed_of_now_and_goes_back_with_a_reset() {
    let nova = start();
    world(&nova);
    let key = format!("feed:v1:{}", user(0));
    assert!(redis(&nova, &format!("GET {key}")).contains(&post(0)));
    assert!(redis(&nova, "SET mine 7").starts_with("+OK"));
    let url = nova.redis_url().unwrap();
    let mut kept = TcpStream::connect(url.trim_start_matches("redis://")).unwrap();
    kept.write_all(b"PING\r\n").unwrap();
    let mut pong = [0; 7];
    kept.read_exact(&mut pong).unwrap();
    nova.rows(json!({ "follows": [{ "follower_id": user(0), "following_id": user(1), "op": "delete" }] }));
    assert!(!redis(&nova, &format!("GET {key}")).contains(&post(0)), "N11: no read shows the author after an unfollow");
    nova.reset();
    assert_eq!(kept.read(&mut pong).unwrap(), 0, "a connection of before ends");
    assert!(!redis(&nova, &format!("GET {key}")).contains(&post(0)));
    assert!(redis(&nova, "GET mine").starts_with("$-1"));
}

/// An earlier version of nova answered requests for a backup with an error of the operating system about a directory
/// that the caller had not named.
#[test]
fn what_needs_a_store_on_disk_says_that_there_is_none() {
    let nova = TestNova::builder().without_tokens().start().unwrap();
    for (method, path, body) in [
        ("POST", "/api/v1/admin/backup", r#"{"name":"monday"}"#),
        ("POST", "/api/v1/admin/backup/file", ""),
        ("POST", "/api/v1/admin/store/verify", ""),
        ("GET", "/api/v1/admin/store/verify", ""),
    ] {
        let (status, problem) = asked(&nova, method, path, "", body);
        let told = (status, &problem["detail"]);
        assert_eq!(told, (409, &json!("a server for tests has no store on disk")), "{method} {path}: {problem}");
    }
    let (status, audit) = asked(&nova, "GET", "/api/v1/admin/audit", "", "");
    assert_eq!((status, audit["entries"].as_array().map(Vec::len)), (200, Some(0)), "{audit}");
}

#[test]
fn seeds_and_settings_that_cannot_be_used_are_told() {
    let failed = |builder: nova::testing::Builder| builder.start().err().unwrap().to_string();
    assert!(failed(TestNova::builder().setting("feed.len", "1")).contains("feed.len"));
    assert!(failed(TestNova::builder().now("noon")).starts_with("now:"));
    let wrong = json!({ "posts": [{ "id": post(0) }] });
    assert_eq!(failed(TestNova::builder().rows(wrong)), "posts[0].user_id: is left out, and has no default");
    assert!(failed(TestNova::builder().seed_file("/nonexistent.json")).starts_with("/nonexistent.json:"));
}

/// Returns the command `nova test` with arguments, without variables of the environment.
fn program(args: &[&str]) -> Command {
    let mut command = bare();
    command.current_dir(std::env::temp_dir()).arg("test").args(args);
    command
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line
}

#[test]
fn the_first_line_says_where_and_the_seed_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (seed, ready) = (dir.path().join("seed.json"), dir.path().join("ready"));
    std::fs::write(&seed, json!({ "users": [{ "id": user(0) }] }).to_string()).unwrap();
    let capture = dir.path().join("more.jsonl");
    std::fs::write(&capture, line(0, 1)).unwrap();
    // With `--die-with-parent`, a failed test leaves no process behind.
    let args =
        ["--die-with-parent", "--now", NOW, "--ready-file", ready.to_str().unwrap(), "--seed", seed.to_str().unwrap()];
    let mut command = program(&args);
    command.arg(&capture).arg("--clickhouse");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let line = first_line(&mut child);
    assert_eq!(std::fs::read_to_string(&ready).unwrap(), line);
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(told["pid"], child.id());
    assert!(told["redis"].as_str().unwrap().starts_with("redis://127.0.0.1:"));
    let addr = told["url"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
    let headers = |token: &str| format!("Authorization: Bearer {}\r\n", told[token].as_str().unwrap());
    let settled = Client::connect(addr).ask("POST", "/_test/settle", "", b"").json();
    assert_eq!((&settled["records"], &settled["now_ms"]), (&json!(2), &json!(NOW_MS)));
    let feed = format!("/api/v1/feed?user_id={}", user(0));
    assert_eq!(Client::connect(addr).get(&feed, &headers("token")).status, 200);
    assert_eq!(Client::connect(addr).get("/api/v1/admin/limits", &headers("admin_token")).status, 200);
    let document = Client::connect(addr).get("/openapi.json", "").json();
    assert!(document["paths"]["/_test/clock/advance"].is_object());
    let fault = &document["components"]["schemas"]["ClickHouseFaultRequest"]["properties"];
    assert_eq!((&fault["status"]["minimum"], &fault["times"]["minimum"]), (&json!(400), &json!(1)), "{fault}");
    let delivered = Client::connect(addr).get("/metrics", "").body;
    let delivered = String::from_utf8(delivered).unwrap();
    assert!(delivered.contains("nova_outbox_acknowledged_rows_total{table=\"users_cdc\"} 2"), "{delivered}");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn it_ends_with_its_parent() {
    // The shell starts the server, prints the server's process id, and ends.
    let script = format!(
        "'{}' test --die-with-parent </dev/null & wait_for=$!; read _ <&3; kill -9 $$",
        env!("CARGO_BIN_EXE_nova")
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec 3<&0; {script}")]).current_dir(std::env::temp_dir());
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(shell.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.contains("\"url\""), "{line}");
    shell.stdin.take().unwrap().write_all(b"\n").unwrap();
    shell.wait().unwrap();
    // The server keeps its end of the pipe open, so the pipe ends when the server ends.
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
}

#[test]
fn a_data_directory_and_other_machines_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (args, word) in [
        (vec!["--data", dir.path().to_str().unwrap()], "--data"),
        (vec!["--listen", "192.0.2.1:0"], "--listen"),
        (vec!["--seed", "/nonexistent.json"], "--seed: /nonexistent.json"),
    ] {
        let output = program(&args).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(word), "{told}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn no_other_server_has_the_control_routes() {
    let live = crate::api::client::Live::start_in(tempfile::tempdir().unwrap());
    assert_eq!(live.client().get("/_test/clock", "").status, 404);
    let document = live.client().get("/openapi.json", "").json();
    assert!(document["paths"].as_object().unwrap().keys().all(|path| !path.starts_with("/_test")));
}

#[test]
fn a_clock_that_is_real_cannot_be_moved() {
    let nova = TestNova::builder().real_clock().start().unwrap();
    let (status, problem) = asked(&nova, "POST", "/_test/clock/advance", "", r#"{"ms":1}"#);
    assert_eq!(status, 409);
    assert!(problem["detail"].as_str().unwrap().contains("--clock manual"), "{problem}");
}
