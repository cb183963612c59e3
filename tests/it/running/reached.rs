//! Tests of how a command reaches a running node: by the note that the node leaves beside its store, and with a token.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::program::{Serving, nova, told};

const NOTE: &str = "listening.json";

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
