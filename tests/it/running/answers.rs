//! Tests that a command gives the same answer with a running node as with a stopped store.

use std::process::Output;

use serde_json::{Value, json};

use super::{an_id, stored};
use crate::support::program::{Serving, nova, out, told};

const NOW: &str = "2026-11-22T23:59:59Z";

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
