//! Tests of backups that a command makes of a running node.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::stored;
use crate::support::program::{Serving, nova, out, told};

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
