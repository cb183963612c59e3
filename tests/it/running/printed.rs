//! Tests that the commands that a reason, an alert or a page of the documentation prints can be typed while the node
//! runs.

use std::path::Path;

use serde_json::Value;

use super::{an_id, stored, truncated};
use crate::api::client::Client;
use crate::support::program::{Serving, nova, out, told};

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
