//! Commands that find a running node without its address. The commands give the same answers with a running node as
//! with a stopped store. The tests also run every command that a reason, an alert or a page of the documentation
//! prints.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use nova::event::Id;
use serde_json::{Value, json};

use crate::api::client::Client;
use crate::support::program::{Serving, command, nova, out, told};

const ENVELOPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cdc/envelope.jsonl");
const NOTE: &str = "listening.json";
const NOW: &str = "2026-11-22T23:59:59Z";

/// Makes a store with the rows of a capture, a halted truncate of likes, and a dead letter.
fn stored(dir: &Path) -> PathBuf {
    let (data, bad) = (dir.join("data"), dir.join("bad.jsonl"));
    let dead =
        json!({ "topic": "cdc.users", "partition": 3, "offset": 0, "timestamp_ms": 1, "key": "k", "value": "x" });
    std::fs::write(&bad, format!("{dead}\n")).unwrap();
    let done = nova(&data, &["replay", ENVELOPE, bad.to_str().unwrap()]);
    assert!(done.status.success(), "{done:?}");
    data
}

/// Delivers a truncate of likes from the source.
fn truncated(dir: &Path, data: &Path) {
    let capture = dir.join("truncate.jsonl");
    let source = json!({ "version": "3.6.0", "connector": "postgresql", "name": "nova", "ts_ms": 1_795_640_000_000i64,
        "snapshot": "false", "db": "nova", "schema": "public", "table": "likes", "lsn": 900_000_000u64 });
    let value = json!({ "before": null, "after": null, "source": source, "op": "t", "ts_ms": 1_795_640_000_000i64 });
    let line = json!({ "topic": "cdc.likes", "partition": 0, "offset": 100_000, "timestamp_ms": 1_795_640_000_000i64,
        "key": null, "value": value.to_string() });
    std::fs::write(&capture, format!("{line}\n")).unwrap();
    let done = nova(data, &["replay", capture.to_str().unwrap()]);
    assert!(told(&done).contains("is held: truncate:"), "{done:?}");
}

/// Returns the id of one row of the table in the store.
fn an_id(data: &Path, table: &str) -> String {
    let row = out(&nova(data, &["dump", "--table", table, "--limit", "1"]));
    serde_json::from_str::<Value>(&row).unwrap()["id"].as_str().unwrap().to_owned()
}

/// Returns the output of a command without the parts that differ with each answer.
fn settled(output: &Output) -> (Option<i32>, String, String) {
    let mut text = out(output);
    if let Ok(Value::Object(mut members)) = serde_json::from_str(&text) {
        for name in ["snapshot", "cursor"] {
            members.remove(name);
        }
        text = json!(members).to_string();
    }
    // Each replay of a dead letter raises the letter's number of attempts.
    let attempts =
        |text: &str| text.trim_start_matches([':', ' ']).trim_start_matches(|c: char| c.is_ascii_digit()).to_owned();
    let text: Vec<_> = text
        .split("\"attempts\"")
        .enumerate()
        .map(|(at, part)| match at {
            0 => part.to_owned(),
            _ => attempts(part),
        })
        .collect();
    let text = text.join("attempts");
    (output.status.code(), text, told(output))
}

#[test]
fn a_locked_store_answers_every_look_as_an_unlocked_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let user = an_id(&data, "users");
    let mut looks: Vec<Vec<&str>> = vec![
        vec!["dump", "--trending", "7d", "--now", NOW],
        vec!["dump", "--feed", &user, "--now", NOW, "--limit", "200"],
        vec!["dump", "--suggestions", &user, "--now", NOW],
        vec!["dump", "--table", "users", "--trending", "1h", "--now", NOW],
        vec!["dump", "--trending", "1h", "--limit", "201"],
        vec!["cdc", "state"],
        vec!["cdc", "state", "--json"],
        vec!["dlq", "list"],
        vec!["--json", "dlq", "list", "--limit", "1"],
        vec!["dlq", "show", "0"],
        vec!["dlq", "show", "99"],
        vec!["dlq", "replay", "--all"],
        vec!["dlq", "replay", "7", "--json"],
        vec!["dlq", "discard", "99", "--reason", "test"],
        vec!["cdc", "resume", "users"],
        vec!["cdc", "seek", "cdc.users", "0", "-5"],
        vec!["cdc", "seek", "cdc.users", "-7", "3"],
        vec!["cdc", "seek", "other.users", "0", "3"],
        vec!["cdc", "resnapshot"],
    ];
    for table in ["users", "posts", "follows", "comments", "likes"] {
        looks.push(vec!["dump", "--table", table]);
        looks.push(vec!["dump", "--limit", "2", "--table", table]);
    }
    let stopped: Vec<_> = looks.iter().map(|args| settled(&nova(&data, args))).collect();
    assert!(stopped.iter().filter(|(code, ..)| *code == Some(0)).count() >= 18, "{stopped:?}");
    // The limits are off, because one address may not send so many commands in so short a time.
    let node = Serving::start(&data, &[("NOVA_LIMITS_ENABLED", "false")]);
    let url = format!("http://{}/", node.addr);
    for (args, before) in looks.iter().zip(&stopped) {
        assert_eq!(&settled(&nova(&data, args)), before, "{args:?}");
        let named = nova(&data, &[args, &["--url", &url][..]].concat());
        assert_eq!(&settled(&named), before, "{args:?} --url");
    }
    let audit = out(&nova(&data, &["audit"]));
    for deed in ["rows-read users", "feed-explain", "suggestions-read", "dlq-read 0"] {
        assert!(audit.contains(deed), "{deed}: {audit}");
    }
    node.end();
    assert!(out(&nova(&data, &["audit"])).starts_with(&audit), "the audit of the stopped store goes on from there");
}

#[test]
fn a_note_is_written_for_the_owner_and_gone_after_an_orderly_end() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = Serving::start(&data, &[]);
    let note = data.join(NOTE);
    assert_eq!(note.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let told: Value = serde_json::from_slice(&std::fs::read(&note).unwrap()).unwrap();
    assert_eq!(told["url"], format!("http://{}", node.addr));
    assert_eq!(told["pid"], node.child.id());
    node.end();
    assert!(!note.exists());
}

#[test]
fn a_note_that_a_killed_node_left_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut node = Serving::start(&data, &[]);
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    assert!(data.join(NOTE).exists());
    // No process has the store open, so the note of the ended node is ignored.
    assert!(nova(&data, &["cdc", "state"]).status.success());
    // In the second part of the test, a process that serves nothing has the store open. A foreign program listens at
    // the node's old address, and must not get a token.
    let stranger = TcpListener::bind(node.addr).unwrap();
    stranger.set_nonblocking(true).unwrap();
    let lock = nova_storage::Store::open(&data.join("nova.redb"), &nova_storage::Options::default(), |_| {}).unwrap();
    let output = nova(&data, &["cdc", "state"]);
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    let words = told(&output);
    assert!(words.contains(&format!("the process {}", node.child.id())) && words.contains("is gone"), "{words}");
    assert!(words.contains("--url"), "{words}");
    assert_eq!(stranger.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    std::fs::remove_file(data.join(NOTE)).unwrap();
    let output = nova(&data, &["dump", "--table", "users"]);
    assert!(output.status.code() == Some(75) && told(&output).contains("no process says where"), "{output:?}");
    drop(lock);
}

#[test]
fn a_node_with_an_admin_listener_and_tls_is_found_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    // The certificate does not name this machine, and no authority that this machine knows has signed the certificate.
    let made = rcgen::generate_simple_self_signed(vec!["nova.example".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let env = [
        ("NOVA_HTTP_TLS_CERT", cert.to_str().unwrap()),
        ("NOVA_HTTP_TLS_KEY", key.to_str().unwrap()),
        ("NOVA_HTTP_ADMIN_LISTEN", &free),
    ];
    let node = Serving::start(&data, &env);
    let output = nova(&data, &["cdc", "state"]);
    assert!(output.status.success(), "{output:?}");
    // If `--url` has the address of the node, the certificate is checked as usual.
    let output = nova(&data, &["cdc", "state", "--url", &format!("https://{free}")]);
    assert!(!output.status.success() && told(&output).contains("certificate"), "{output:?}");
    // The command refuses a node whose certificate differs from the certificate in the note.
    node.end();
    let note = json!({ "url": format!("https://{free}"), "pid": 1, "development_key": true, "certificate": "00" });
    let node = Serving::start(&data, &env);
    std::fs::write(data.join(NOTE), note.to_string()).unwrap();
    let output = nova(&data, &["cdc", "state"]);
    assert!(!output.status.success() && told(&output).contains("certificate"), "{output:?}");
    drop(node);
}

#[test]
fn without_a_key_that_makes_tokens_one_error_says_how_to_get_one() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "a secret of more than thirty-two bytes in all").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let env = [
        ("NOVA_AUTH_HS256_SECRET_FILE", secret.to_str().unwrap()),
        ("NOVA_AUTH_ISSUER", "*"),
        ("NOVA_AUTH_AUDIENCE", "*"),
    ];
    let node = Serving::start(&data, &env);
    for args in [&["dlq", "list"][..], &["dlq", "list", "--url", &format!("http://{}", node.addr)]] {
        let output = nova(&data, args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let words = told(&output);
        assert!(words.contains("--token or NOVA_TOKEN") && words.contains("role admin"), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");
    }
}

#[test]
fn a_backup_of_a_running_node_is_brought_whole_or_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let rows = out(&nova(&data, &["dump", "--table", "posts"]));
    let node = Serving::start(&data, &[]);
    let file = dir.path().join("a copy");
    let name = file.to_str().unwrap();
    let output = nova(&data, &["backup", name, "--json"]);
    assert!(output.status.success(), "{output:?}");
    let entries = serde_json::from_slice::<Value>(&output.stdout).unwrap()["entries"].as_u64().unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = nova(&data, &["backup", name]);
    assert!(again.status.code() == Some(1) && told(&again).contains("is there already"), "{again:?}");
    assert_eq!(std::fs::read_dir(data.join("backups")).unwrap().count(), 0, "nothing stays with the node");
    let verified = out(&nova(&data, &["backup", name, "--verify"]));
    assert!(verified.contains(&format!("{entries} entries")), "{verified}");
    node.end();
    let other = dir.path().join("other");
    assert!(nova(&other, &["restore", name]).status.success());
    assert_eq!(out(&nova(&other, &["dump", "--table", "posts"])), rows);
    // The first node ends in the middle of the backup, the second node sends bytes that are not a backup, and the third
    // node answers with the reason why it makes no backup.
    let sent = std::fs::read(&file).unwrap();
    let answers = [
        ("Content-Length: 9999999", sent[..sent.len() / 2].to_vec(), "broke off"),
        ("Connection: close", sent[..sent.len() - 1].to_vec(), "no backup"),
        ("Connection: close", b"\n\n{\"failed\":\"the disk is full\"}\n".to_vec(), "the disk is full"),
        ("Connection: close", Vec::new(), "no backup"),
    ];
    for (header, body, why) in answers {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n").as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
        });
        let broken = dir.path().join("broken");
        let output = nova(&data, &["backup", broken.to_str().unwrap(), "--url", &url, "--token", "x"]);
        assert!(output.status.code() == Some(1) && told(&output).contains(why), "{why}: {output:?}");
        thread.join().unwrap();
        let left = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("broken")), "{why}");
    }
    let nowhere = nova(&data, &["backup", dir.path().join("no/where").to_str().unwrap()]);
    assert_eq!(nowhere.status.code(), Some(1), "{nowhere:?}");
}

/// Returns the command lines that a line of text contains. Each command line reaches from `nova` to the first word that
/// ends with a punctuation mark, or to a bracket.
fn commands_of(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("nova ") {
        if at > 0 && !text[..at].ends_with([' ', '(', '`']) {
            continue;
        }
        let mut words = Vec::new();
        let (mut quoted, mut open) = (Vec::new(), false);
        for part in text[at + 5..].lines().next().unwrap_or_default().split('"') {
            match open {
                true => quoted.push(part),
                false => quoted.extend(part.split_whitespace()),
            }
            open = !open;
        }
        for word in quoted {
            let end = word.find(|c: char| "(`".contains(c)).unwrap_or(word.len());
            let bare = word[..end].trim_end_matches([';', ',', '.', ':', ')']);
            if !bare.is_empty() {
                words.push(bare.to_owned());
            }
            if bare.len() < word.len() {
                break;
            }
        }
        const GROUPS: [&str; 9] = ["cdc", "dlq", "dump", "store", "backup", "audit", "status", "explain", "postgres"];
        if words.first().is_some_and(|word| GROUPS.contains(&word.as_str())) {
            found.push(words);
        }
    }
    found
}

#[test]
fn what_ready_prints_can_be_typed_while_the_node_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut tried = 0;
    for round in 0.. {
        let place = dir.path().join(round.to_string());
        std::fs::create_dir(&place).unwrap();
        let data = stored(&place);
        truncated(&place, &data);
        let node = Serving::start(&data, &[]);
        let ready = node.ready();
        let reasons: Vec<_> = ready["reasons"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let mut commands: Vec<_> = reasons.iter().flat_map(|reason| commands_of(reason)).collect();
        // All partitions of a table report one reason.
        commands.sort();
        commands.dedup();
        assert_eq!(commands.len(), 2, "{ready}");
        let Some(words) = commands.get(round) else { break };
        let args: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = nova(&data, &args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        let after = node.ready();
        assert_eq!((after["status"].as_str(), after["reasons"].as_array().map(Vec::len)), (Some("ready"), Some(0)));
        node.end();
        // The records that were held come again from the source, which is a capture in this test.
        let again = nova(&data, &["replay", place.join("truncate.jsonl").to_str().unwrap()]);
        assert!(again.status.success(), "{again:?}");
        let likes = out(&nova(&data, &["dump", "--table", "likes"])).lines().count();
        assert_eq!(likes == 0, words.contains(&"apply".to_owned()), "{words:?}: {likes}");
        tried += 1;
    }
    assert_eq!(tried, 2);
    // The test also checks the commands in the alerts about dead letters.
    let node_data = dir.path().join("0/data");
    let node = Serving::start(&node_data, &[]);
    let ready = node.ready();
    let letters: Vec<_> = ready["dead_letters"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for words in letters.iter().flat_map(|letter| commands_of(letter)) {
        let args: Vec<&str> = words.iter().map(String::as_str).collect();
        assert!(nova(&node_data, &args).status.success(), "{args:?}");
        tried += 1;
    }
    assert!(tried >= 3, "{ready}");
}

/// A topic halts if its records cannot be decoded. The printed command resumes the topic without a restart of the node.
#[test]
fn a_paused_table_goes_on_by_the_command_that_its_reason_prints() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let node = Serving::start(&data, &[]);
    let token = out(&nova(&data, &["token", "--sub", &an_id(&data, "users"), "--role", "admin"]));
    let headers = crate::api::client::bearer(token.trim());
    let paused = Client::connect(node.addr).ask("POST", "/api/v1/admin/cdc/posts/pause", &headers, b"");
    assert_eq!(paused.status, 200);
    let state = out(&nova(&data, &["cdc", "state"]));
    let commands = commands_of(&state);
    assert_eq!(commands, [["cdc", "resume", "posts"]], "{state}");
    let args: Vec<&str> = commands[0].iter().map(String::as_str).collect();
    assert!(nova(&data, &args).status.success());
    assert!(commands_of(&out(&nova(&data, &["cdc", "state"]))).is_empty());
}

/// A command that needs PostgreSQL says only that it needs PostgreSQL.
#[test]
fn commands_of_alerts_and_of_the_documentation_run_beside_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    truncated(dir.path(), &data);
    let user = an_id(&data, "users");
    let post = an_id(&data, "posts");
    // The limits are off, because one address may not send so many commands in so short a time.
    let node = Serving::start(&data, &[("NOVA_LIMITS_ENABLED", "false")]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let mut commands = Vec::new();
    for line in text("deploy/prometheus/rules.yml").lines().filter(|line| line.contains("description:")) {
        commands.extend(commands_of(line));
    }
    assert!(commands.len() >= 6, "{commands:?}");
    for page in ["docs/operations.md", "README.md"] {
        let page = text(page);
        for line in page.split("```").skip(1).step_by(2).flat_map(str::lines).filter(|line| line.starts_with("nova ")) {
            commands.extend(commands_of(line.split(" #").next().unwrap()));
        }
    }
    let copies = std::cell::Cell::new(0);
    let mut tried = 0;
    for words in &commands {
        let line = words.join(" ");
        let copy = dir.path().join(format!("copy-{}", copies.get())).to_str().unwrap().to_owned();
        let word = |word: &String| match word.trim_matches('"') {
            "FILE" | "/backups/nova.redb" if words.contains(&"--verify".to_owned()) => {
                dir.path().join("copy-0").to_str().unwrap().to_owned()
            }
            "FILE" | "/backups/nova.redb" => copy.clone(),
            "http://127.0.0.1:8080" => format!("http://{}", node.addr),
            "00000000-0000-4000-8000-000000000001" => user.clone(),
            "20000000-0000-4000-8000-000000000001" => post.clone(),
            // The number 17 in the documentation's commands stands for the dead letter that exists in this store.
            "17" => "0".to_owned(),
            other => other.to_owned(),
        };
        let args: Vec<String> = words.iter().map(word).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = nova(&data, &args);
        if Path::new(&copy).exists() {
            copies.set(copies.get() + 1);
        }
        let told = told(&output);
        let as_expected = match args[..] {
            ["postgres", ..] | ["cdc", "resnapshot", ..] => told.contains("postgres.url"),
            // `store compact` overwrites the file of the store, so the node must be stopped.
            ["store", "compact"] => output.status.code() == Some(75),
            // The first `cdc resume` resumes the only halted table. A dead letter that still cannot be decoded stays in
            // the queue.
            ["cdc", "resume", ..] => output.status.success() || told.contains("is not halted"),
            ["dlq", "replay", ..] if told.contains("stay") => true,
            ["dlq", ..] => output.status.success() || told.contains("there is no dead letter"),
            // Exit code 1 of `nova status` means that something waits for a person.
            ["status", ..] => [Some(0), Some(1)].contains(&output.status.code()),
            _ => output.status.success(),
        };
        assert!(as_expected, "nova {line}: {output:?}");
        tried += 1;
    }
    assert!(tried >= 25, "{tried}");
}

#[test]
fn status_names_the_reasons_with_commands_that_repair_them() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let unasked = nova(&data, &["status"]);
    assert_eq!(unasked.status.code(), Some(2), "{unasked:?}");
    assert!(told(&unasked).contains("no node runs over the store"), "{unasked:?}");
    truncated(dir.path(), &data);
    let node = Serving::start(&data, &[]);
    let output = nova(&data, &["status", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["status"], &status["source"]["kind"]), (&json!("not-ready"), &json!("local")));
    assert_eq!(status["halted"][0]["table"], "likes");
    let by_reason = &status["dead_letters"]["by_reason"][0];
    assert_eq!((&by_reason["topic"], &by_reason["letters"]), (&json!("cdc.users"), &json!(1)), "{status}");
    assert!(status["disk"]["store_bytes"].as_u64().unwrap() > 0 && status["backup"].is_null());
    assert!(status["memory"].as_array().unwrap().len() > 5);
    let applied = status["counts"]["records"].as_array().unwrap().iter().any(|one| one["outcome"] == "applied");
    assert!(applied, "{status}");
    let commands = status["reasons"][0]["commands"].as_array().unwrap();
    assert_eq!(commands.len(), 2, "{status}");
    let words = out(&nova(&data, &["status"]));
    for part in
        ["nova       ", "not-ready", "reason     cdc.likes/0", "$ nova cdc resume likes --truncate", "1 letters;"]
    {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(words.lines().filter(|line| !line.starts_with("reason")).all(|line| line.len() <= 240), "{words}");
    let line = commands[0].as_str().unwrap().strip_prefix("nova ").unwrap();
    let args: Vec<&str> = line.split(' ').collect();
    assert!(nova(&data, &args).status.success());
    assert!(nova(&data, &["backup", dir.path().join("copy").to_str().unwrap()]).status.success());
    let output = nova(&data, &["status"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(out(&output).contains("backup     made 2"), "{output:?}");
    node.end();
}

/// The feed that HTTP serves, the feed that the command prints, and the explanation of each post agree.
#[test]
fn explain_agrees_with_the_feed_that_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let ids = |table: &str| -> Vec<String> {
        let rows = out(&nova(&data, &["dump", "--table", table]));
        rows.lines().map(|row| serde_json::from_str::<Value>(row).unwrap()["id"].as_str().unwrap().to_owned()).collect()
    };
    let (users, posts) = (ids("users"), ids("posts"));
    let stranger = "00000000-0000-4000-8000-00000000beef";
    let stopped = out(&nova(&data, &["explain", "--user", &users[0], "--post", stranger]));
    assert!(stopped.starts_with("not shown: unknown-post: "), "{stopped}");
    let node = Serving::start(&data, &[]);
    let token = out(&nova(&data, &["token", "--sub", &users[0]]));
    let headers = crate::api::client::bearer(token.trim());
    let page = Client::connect(node.addr).get("/api/v1/feed?limit=100&explain=1", &headers).json();
    let items = page["items"].as_array().unwrap();
    let listed: Value =
        serde_json::from_slice(&nova(&data, &["explain", "--user", &users[0], "--limit", "100", "--json"]).stdout)
            .unwrap();
    assert_eq!(listed["items"], page["items"]);
    for post in posts.iter().map(String::as_str).chain([stranger]) {
        let output = nova(&data, &["explain", "--user", &users[0], "--post", post, "--json"]);
        let explained: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        match items.iter().find(|item| item["post_id"] == post) {
            Some(item) => {
                assert_eq!((&explained["shown"], &explained["rule"]), (&json!(true), &Value::Null), "{explained}");
                for member in ["rank", "score", "terms", "features", "sources", "rank_before_spacing"] {
                    assert_eq!(explained["item"][member], item[member], "{member}");
                }
                assert_eq!(explained["as_of"], page["as_of"]);
            }
            None => {
                assert_eq!(explained["shown"], false, "{explained}");
                assert!(explained["rule"].is_string() && explained["why"].is_string(), "{explained}");
            }
        }
    }
    let audit = out(&nova(&data, &["audit"]));
    assert!(audit.contains(&format!("feed-explain {}", users[0])), "{audit}");
}

#[test]
fn tap_tells_records_as_they_come_and_top_prints_a_frame() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let (user, post) = (an_id(&data, "users"), an_id(&data, "posts"));
    let unasked = nova(&data, &["top", "--count", "1"]);
    assert!(unasked.status.code() == Some(1) && told(&unasked).contains("no node runs"), "{unasked:?}");
    let node = Serving::start(&data, &[("NOVA_LIMITS_ENABLED", "false")]);
    let tap = |args: &[&str]| {
        let args = [&["tap", "--count", "1", "--json"], args].concat();
        command(&data, &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (mut heard, mut worded) = (tap(&["--topic", "events", "--user", &user]), {
        let args = ["tap", "--count", "1", "--outcome", "applied", "--topic", "likes"];
        command(&data, &args).stdout(Stdio::piped()).spawn().unwrap()
    });
    let headers = crate::api::client::bearer(out(&nova(&data, &["token", "--sub", &user])).trim());
    let admin = nova(&data, &["token", "--sub", &user, "--role", "admin"]);
    let admin = crate::api::client::bearer(out(&admin).trim());
    let rows = |rows: Value| {
        let answer = Client::connect(node.addr).ask("POST", "/api/v1/rows", &admin, rows.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let liked = Id::from_u128(0x11).to_string();
    rows(json!({ "posts": [{ "id": liked, "user_id": Id::from_u128(0x12).to_string(), "caption": "liked" }] }));
    let now_ms = nova::clock::Clock::System.now_ms();
    // The loop ends as soon as both commands listen and have received an event.
    let mut sent = 0u64;
    while heard.try_wait().unwrap().is_none() || worded.try_wait().unwrap().is_none() {
        let event = json!({ "event_time": now_ms, "post_id": post, "action": "view" });
        let answer = Client::connect(node.addr).post(&headers, json!({ "events": [event] }).to_string().as_bytes());
        assert_eq!(answer.status, 202, "{answer:?}");
        // Each like is by a different user, so each like counts.
        let by = Id::from_u128(0x1_0000 + u128::from(sent)).to_string();
        rows(json!({ "likes": [{ "user_id": by, "post_id": liked }] }));
        sent += 1;
        assert!(sent < 100_000, "nothing is heard");
    }
    let record: Value = serde_json::from_str(&out(&heard.wait_with_output().unwrap())).unwrap();
    assert_eq!(
        (&record["topic"], &record["outcome"], &record["kind"]),
        (&json!("events"), &json!("applied"), &json!("event"))
    );
    assert_eq!(
        (&record["user_id"], &record["post_id"], &record["action"]),
        (&json!(user), &json!(post), &json!("view"))
    );
    // All views are by one user, so only the first view counts. The command may have begun to listen after the first
    // view.
    let effect = record["effect"].as_str().unwrap();
    let ends = ["counts: ", "does not count: an earlier one of the same user does"];
    assert!(ends.iter().any(|end| effect.starts_with(&format!("view of post {post} {end}"))), "{effect}");
    let words = out(&worded.wait_with_output().unwrap());
    assert!(words.contains(&format!("like of post {liked} added: moved trending 24 h by 2\n")), "{words}");
    let bad = nova(&data, &["tap", "--outcome", "lost"]);
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
    let frame = out(&nova(&data, &["top", "--count", "1", "--interval", "1"]));
    for part in ["records/s", "requests/s", "commits ", "events ", "memory "] {
        assert!(frame.contains(part), "{part}: {frame}");
    }
    assert!(!frame.contains('\x1b') && frame.lines().all(|line| line.chars().count() <= 80), "{frame}");
    node.end();
}

#[test]
fn a_seed_makes_a_world_on_a_running_node_and_keeps_it_alive() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = Serving::start(&data, &[]);
    let seeded = nova(&data, &["--json", "seed", "--users", "30", "--rate", "40", "--seconds", "2"]);
    assert!(seeded.status.success(), "{seeded:?}");
    let world: Value = serde_json::from_str(out(&seeded).lines().next().unwrap()).unwrap();
    let person = world["person"].as_str().unwrap();
    let token = out(&nova(&data, &["token", "--sub", person])).trim().to_owned();
    let feed = Client::connect(node.addr).get("/api/v1/feed?limit=5", &crate::api::client::bearer(&token)).json();
    assert_eq!(feed["posts"].as_array().unwrap().len(), 5, "{feed}");
    let status: Value = serde_json::from_str(&out(&nova(&data, &["--json", "status"]))).unwrap();
    let records = status["counts"]["records"].as_array().unwrap().iter();
    let of = |outcome: &str| -> u64 {
        let of = records.clone().filter(|record| record["outcome"] == outcome);
        of.map(|record| record["count"].as_u64().unwrap()).sum()
    };
    let before = world["rows"].as_u64().unwrap() + world["events"].as_u64().unwrap();
    assert!(of("applied") + of("duplicate") + of("ignored") > before && of("dead") == 0, "{status}");
    // A second `nova seed` of the same world changes nothing. A node refuses `nova seed` if the tables of the node come
    // from Kafka or PostgreSQL.
    assert!(nova(&data, &["seed", "--users", "30", "--rate", "0"]).status.success());
    node.end();
    let node = Serving::start(&data, &[("NOVA_KAFKA_BROKERS", "127.0.0.1:1")]);
    let refused = nova(&data, &["seed", "--users", "30", "--rate", "0"]);
    assert!(!refused.status.success() && told(&refused).contains("the tables come from Kafka"), "{refused:?}");
    drop(node);
}
