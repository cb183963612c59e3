//! Damaged stores and backups, links in a data directory, and files that users other than the owner may read, with the
//! real binary.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn nova(data: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
    command.arg("--data").arg(data).args(args).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn done(data: &Path, args: &[&str]) -> String {
    let output = nova(data, args);
    assert!(output.status.success(), "{args:?}: {}", told(&output));
    told(&output)
}

/// Checks that damage gives one error with exit code 1 and advice, and no panic.
fn refused(data: &Path, args: &[&str], words: &str) {
    let output = nova(data, args);
    let text = told(&output);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
    assert!(text.contains(words) && !text.contains("panicked"), "{args:?}: {text}");
}

/// Makes a data directory whose store has a dead letter with the given words.
fn store(dir: &Path, words: &str) -> PathBuf {
    let (data, capture) = (dir.join("data"), dir.join("capture.jsonl"));
    let line = serde_json::json!({ "topic": "cdc.posts", "partition": 0, "offset": 0, "timestamp_ms": 1_795_500_000_000_i64,
        "key": "{\"id\":\"00000000-0000-0000-0000-000000000001\"}", "value": format!("no JSON: {words}") });
    std::fs::write(&capture, format!("{line}\n")).unwrap();
    done(&data, &["replay", capture.to_str().unwrap()]);
    data
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Flips a bit in each of the store's pages that contain the words. The function changes the file in place and does not
/// replace it, because a process may have the file open.
fn flip(file: &Path, words: &[u8]) {
    let bytes = std::fs::read(file).unwrap();
    let places: Vec<usize> =
        bytes.windows(words.len()).enumerate().filter(|(_, w)| *w == words).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    places.into_iter().for_each(|at| file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap());
}

#[test]
fn a_damaged_backup_is_not_restored_and_a_damaged_store_answers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path(), "something to find");
    let backup = dir.path().join("backup.redb");
    let name = backup.to_str().unwrap();
    done(&data, &["backup", name]);
    let shown: Value = serde_json::from_str(&done(&data, &["backup", name, "--verify", "--json"])).unwrap();
    let manifest = &shown["manifest"];
    assert_eq!(
        (shown["whole"].as_bool(), manifest["format"].as_u64()),
        (Some(true), Some(u64::from(nova_storage::store::FORMAT))),
        "{shown}"
    );
    assert_eq!(manifest["positions"], serde_json::json!([["cdc.posts", 0, 1]]));
    assert_eq!(manifest["sha256"].as_str().unwrap().len(), 64);
    // One of the two flipped bytes is in a page that redb's checksums cover, and the other is in a page that only the
    // hash of the backup covers.
    let whole = std::fs::read(&backup).unwrap();
    for at in [whole.len() - 1, 3_000, 700] {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        std::fs::write(&backup, damaged).unwrap();
        let restored = dir.path().join("restored");
        refused(&restored, &["restore", name], "is not the backup that was made");
        refused(&data, &["backup", name, "--verify"], "is not the backup that was made");
        assert!(!restored.join("nova.redb").exists());
    }
    // The metrics of the node report the failed backup.
    let failed = || {
        let note: Value = serde_json::from_slice(&std::fs::read(data.join("backup.json")).unwrap()).unwrap();
        note["verify_failed"].as_bool().unwrap()
    };
    assert!(failed());
    std::fs::write(&backup, &whole).unwrap();
    done(&data, &["backup", name, "--verify"]);
    assert!(!failed());
    flip(&data.join("nova.redb"), b"something to find");
    let damaged = std::fs::read(data.join("nova.redb")).unwrap();
    for args in [
        &["dlq", "list"][..],
        &["dump", "--table", "posts"],
        &["audit"],
        &["cdc", "state"],
        &["store", "verify"],
        &["store", "compact"],
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        refused(&data, args, "is damaged");
    }
    refused(&data, &["backup", dir.path().join("other.redb").to_str().unwrap()], "is damaged");
    assert!(std::fs::read(data.join("nova.redb")).unwrap() == damaged, "a damaged store was written to");
    // The advice in the error message repairs the store.
    done(&data, &["restore", name, "--replace"]);
    assert!(done(&data, &["dlq", "show", "0"]).contains("something to find"));
    assert!(done(&data, &["store", "verify"]).contains("is whole"));
}

/// A running node finds the damage when somebody asks the node to verify its store. The answer of the node has the
/// words of `store verify`, and the node ends.
#[test]
fn a_running_node_that_verifies_a_damaged_store_says_so_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path(), "a letter on a bad disk");
    let mut serve = Command::new(env!("CARGO_BIN_EXE_nova"));
    serve.arg("--data").arg(&data).args(["serve", "--listen", "127.0.0.1:0"]);
    let mut serve = serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(serve.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().rsplit(' ').next().unwrap();
    assert!(done(&data, &["store", "verify", "--url", url]).contains("is whole: every page of its "));
    flip(&data.join("nova.redb"), b"a letter on a bad disk");
    let args = ["store", "verify", "--url", url];
    refused(&data, &args, &format!("the store {} is damaged", data.join("nova.redb").display()));
    assert_eq!(serve.wait().unwrap().code(), Some(1));
    refused(&data, &["store", "verify"], &format!("the store {} is damaged", data.join("nova.redb").display()));
}

#[test]
fn a_backup_of_an_earlier_nova_is_restored_after_a_check_of_its_pages() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path(), "an old letter");
    let old = dir.path().join("old.redb");
    std::fs::copy(data.join("nova.redb"), &old).unwrap();
    let restored = dir.path().join("restored");
    assert!(done(&restored, &["restore", old.to_str().unwrap()]).contains("has no manifest"));
    assert!(done(&restored, &["dlq", "show", "0"]).contains("an old letter"));
    flip(&old, b"an old letter");
    refused(&dir.path().join("again"), &["restore", old.to_str().unwrap()], "is damaged");
}

#[test]
fn what_was_discarded_is_nowhere_in_the_file_after_compaction() {
    const WORDS: &str = "a letter that nobody may keep";
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path(), WORDS);
    let holds = || std::fs::read(data.join("nova.redb")).unwrap().windows(WORDS.len()).any(|w| w == WORDS.as_bytes());
    assert!(holds());
    done(&data, &["dlq", "discard", "0", "--reason", "test"]);
    done(&data, &["store", "compact"]);
    assert!(!holds());
    assert!(done(&data, &["audit"]).contains("test"), "the audit is kept");
    let left: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["nova.redb"]);
}

#[test]
fn files_of_a_store_are_its_owners_and_are_closed_where_they_are_open() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path(), "x");
    let (file, backup) = (data.join("nova.redb"), dir.path().join("backup.redb"));
    done(&data, &["backup", backup.to_str().unwrap()]);
    assert_eq!((mode(&data), mode(&file), mode(&backup)), (0o700, 0o600, 0o600));
    set_mode(&data, 0o755);
    set_mode(&file, 0o644);
    assert!(done(&data, &["dlq", "list"]).contains("open to others"));
    assert_eq!((mode(&data), mode(&file)), (0o700, 0o600));
    // A data directory that also contains files of other programs keeps its mode.
    std::fs::write(data.join("notes.txt"), "x").unwrap();
    set_mode(&data, 0o755);
    done(&data, &["dlq", "list"]);
    assert_eq!(mode(&data), 0o755);
    let user = "00000000-0000-0000-0000-000000000001";
    done(&data, &["token", "--sub", user]);
    let key = data.join("dev-key.pem");
    assert_eq!(mode(&key), 0o600);
    set_mode(&key, 0o644);
    refused(&data, &["token", "--sub", user], &format!("chmod 600 {}", key.display()));
}

#[test]
fn links_in_the_data_directory_are_not_followed_and_leftovers_go() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path(), "x");
    let (victim, backup) = (dir.path().join("victim.txt"), dir.path().join("backup.redb"));
    std::fs::write(&victim, "keep").unwrap();
    done(&data, &["backup", backup.to_str().unwrap()]);
    for name in ["nova.redb.new", "nova.redb.restoring", "nova.redb.compacting", "backup.json.new"] {
        let link = data.join(name);
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        done(&data, &["store", "compact"]);
        done(&data, &["dlq", "list"]);
        assert!(name.starts_with("backup") || link.symlink_metadata().is_err(), "{name} is left");
        let other = dir.path().join(format!("{name}.redb"));
        done(&data, &["backup", other.to_str().unwrap()]);
        done(&data, &["restore", other.to_str().unwrap(), "--replace"]);
        std::fs::remove_file(data.join("nova.redb.before-restore")).unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"keep", "{name}");
    }
    let link = dir.path().join("taken.redb");
    std::os::unix::fs::symlink(dir.path().join("nowhere"), &link).unwrap();
    refused(&data, &["backup", link.to_str().unwrap()], "is there already");
}
