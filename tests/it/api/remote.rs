//! Commands of the real nova binary that talk to a running node.

use std::process::Command;

use nova::event::Id;
use serde_json::{Value, json};

use super::client::Live;

fn nova(live: &Live, args: &[&str]) -> (bool, String) {
    let url = format!("http://{}", live.addr);
    let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
    command.arg("--data").arg(live.dir.path()).args(args).args(["--url", &url]);
    let token = live.auth.mint(Id::NIL, Some("admin"), super::client::NOW_MS, 60).unwrap();
    let output = command.env("NOVA_TOKEN", token).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
fn a_running_node_is_backed_up_and_the_copy_opens_as_a_store() {
    let live = Live::start();
    let event = json!({ "events": [{ "event_id": Id::from_u128(9).to_string(), "event_time": super::client::NOW_MS,
        "post_id": Id::from_u128(7).to_string(), "action": "view" }] });
    let user = Id::from_u128(1);
    assert_eq!(live.client().post(&live.headers(user), event.to_string().as_bytes()).json()["accepted"], 1);
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("copy.redb"), dir.path().join("restored"));
    let name = file.to_str().unwrap();
    let (done, text) = nova(&live, &["backup", name]);
    assert!(done && file.exists(), "{text}");
    let (done, text) = nova(&live, &["backup", name]);
    assert!(!done && text.contains("is there already"), "{text}");
    let restore = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
        command
            .arg("--data")
            .arg(&data)
            .args(["restore", name])
            .args(args)
            .env("NOVA_CLICKHOUSE_URL", "http://127.0.0.1:1");
        command.output().unwrap()
    };
    assert!(restore(&[]).status.success());
    let refused = restore(&[]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("--replace"));
    assert!(restore(&["--replace"]).status.success());
    // If the node does not answer, the command changes nothing.
    let before = data.join("nova.redb.before-restore");
    std::fs::remove_file(&before).unwrap();
    let away = restore(&["--replace", "--reconcile"]);
    assert!(!away.status.success() && String::from_utf8_lossy(&away.stderr).contains("nothing was replaced"));
    assert!(data.join("nova.redb").exists() && !before.exists());
    assert!(!data.join("nova.redb.restoring").exists());
    // The restored copy knows the event that was accepted before the backup.
    let again = tempfile::tempdir().unwrap();
    std::fs::copy(data.join("nova.redb"), again.path().join("nova.redb")).unwrap();
    let copy = Live::start_in(again);
    assert_eq!(copy.client().post(&copy.headers(user), event.to_string().as_bytes()).json()["deduped"], 1);
}

/// A serving node finds a flipped bit in its store, answers that the store is damaged, and ends.
#[test]
fn a_running_node_verifies_its_own_store_with_the_words_of_the_command() {
    let live = Live::start();
    let (done, text) = nova(&live, &["store", "verify", "--json"]);
    assert!(done, "{text}");
    let told: Value = serde_json::from_str(&text).unwrap();
    let file = live.dir.path().join("nova.redb");
    let bytes = file.metadata().unwrap().len();
    assert_eq!(told, json!({ "store": file, "bytes": bytes, "whole": true }));
    let (done, text) = nova(&live, &["store", "verify"]);
    assert!(done && text.contains(&format!("is whole: every page of its {bytes} bytes")), "{text}");
    let admin = live.role(Id::NIL, "admin");
    let asked = |method, path: &str| live.client().ask(method, path, &admin, b"");
    assert_eq!(asked("GET", "/api/v1/admin/store/verify").json()["check"], "ok");
    for path in ["/api/v1/admin/store/verify?wait_s=26", "/api/v1/admin/store/verify?wait_s=x"] {
        assert_eq!(asked("GET", path).status, 400, "{path}");
        assert_eq!(asked("POST", path).status, 400, "{path}");
    }
    let user = live.headers(Id::from_u128(1));
    assert_eq!(live.client().ask("POST", "/api/v1/admin/store/verify", &user, b"").status, 403);
    let audit = asked("GET", "/api/v1/admin/audit").json();
    let checks = audit["entries"].as_array().unwrap().iter().filter(|entry| entry["action"] == "store-verify");
    assert_eq!(checks.count(), 2);
}

#[test]
fn dead_letters_of_a_running_node_are_listed_and_discarded_by_its_address() {
    let live = Live::start();
    let (done, text) = nova(&live, &["dlq", "list", "--json"]);
    assert!(done, "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!([]));
    let (done, text) = nova(&live, &["dlq", "discard", "3", "--reason", "test"]);
    assert!(!done && text.contains("there is no dead letter 3; nova dlq list"), "{text}");
}
