//! Which room of the code may name which other room, and that files form no circle. Every file is read whole, and only
//! modules of tests are left out.

mod graph;

use std::path::{Path, PathBuf};

/// Every file of code below a folder.
pub fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// Every room, which is a directory or a file directly below `src`, and the rooms that it may name. A room names only
/// rooms above it in this list.
const ROOMS: [(&str, &[&str]); 33] = [
    ("build", &[]),
    ("version", &[]),
    ("mutant", &[]),
    ("clock", &[]),
    ("bounded", &[]),
    ("breaker", &[]),
    ("files", &[]),
    ("event", &[]),
    ("console", &[]),
    ("tls", &["bounded"]),
    ("ask", &["bounded", "tls"]),
    ("otlp", &["bounded", "tls"]),
    ("data_dir", &["files"]),
    ("cache", &["clock"]),
    ("arrival", &["event"]),
    ("schema", &["event"]),
    ("decode", &["bounded", "breaker", "event", "mutant", "tls"]),
    // The first layer of PostgreSQL's messages numbers what comes from it.
    ("source", &["ask", "clock", "decode", "event", "tls"]),
    ("state", &["event"]),
    ("feed", &["clock", "event", "state"]),
    ("discover", &["event", "state"]),
    ("jobs", &["cache", "clock", "discover", "event", "feed", "source", "state"]),
    ("warehouse", &["bounded", "breaker", "clock", "event", "mutant", "tls"]),
    ("pipeline", &["arrival", "clock", "decode", "event", "mutant", "schema", "source", "state", "warehouse"]),
    (
        "http",
        &[
            "bounded",
            "breaker",
            "cache",
            "clock",
            "console",
            "decode",
            "discover",
            "event",
            "feed",
            "files",
            "jobs",
            "otlp",
            "pipeline",
            "schema",
            "source",
            "state",
            "tls",
            "version",
            "warehouse",
        ],
    ),
    ("config", &["decode", "feed", "http", "otlp", "pipeline", "source", "state"]),
    // The port shows what http serves, by the rules of http. No inner room uses the port.
    ("redis_port", &["cache", "event", "feed", "http", "jobs", "version"]),
    (
        "app",
        &[
            "cache",
            "clock",
            "config",
            "data_dir",
            "decode",
            "discover",
            "event",
            "feed",
            "files",
            "http",
            "jobs",
            "otlp",
            "pipeline",
            "redis_port",
            "source",
            "state",
            "tls",
            "warehouse",
        ],
    ),
    ("server", &["app", "clock", "config", "event", "http"]),
    (
        "testing",
        &[
            "app",
            "breaker",
            "clock",
            "config",
            "decode",
            "event",
            "http",
            "pipeline",
            "redis_port",
            "schema",
            "source",
            "state",
            "warehouse",
        ],
    ),
    ("lib", &["server"]),
    // Only commands start a server for tests. No other room knows that server.
    (
        "cli",
        &[
            "app",
            "arrival",
            "ask",
            "cache",
            "clock",
            "config",
            "data_dir",
            "decode",
            "discover",
            "event",
            "feed",
            "http",
            "jobs",
            "pipeline",
            "redis_port",
            "source",
            "state",
            "testing",
            "tls",
            "version",
            "warehouse",
        ],
    ),
    ("main", &["cli"]),
];

/// Parts of rooms that name fewer rooms than their room does.
const PARTS: [(&str, &[&str]); 2] =
    [("http::auth", &["bounded", "breaker", "event", "files", "tls"]), ("http::limit", &["event"])];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn data_goes_one_way() {
    let graph = graph::graph(&graph::sources(&src()));
    let mut wrong = Vec::new();
    for (file, edges) in &graph {
        let room = graph::room(file);
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{file}: the room {room} has no line in the list"));
            continue;
        };
        let within = |part: &str| file == part || file.starts_with(&format!("{part}::"));
        let parts = PARTS.iter().filter(|(part, _)| within(part)).map(|(_, allowed)| allowed);
        let lists: Vec<_> = parts.chain([allowed]).collect();
        for (named, path) in edges {
            let other = graph::room(named);
            if other != room && !lists.iter().all(|allowed| allowed.contains(&other)) {
                wrong.push(format!("{file} must not name {other}: {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Files and directories are counted, so that a room without code of its own has a line, too.
#[test]
fn every_room_has_a_line_and_names_only_rooms_above_it() {
    let entries = std::fs::read_dir(src()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    found.sort_unstable();
    // A room may be a file and a directory of the same name.
    found.dedup();
    let mut listed: Vec<_> = ROOMS.iter().map(|(room, _)| *room).collect();
    listed.sort_unstable();
    assert_eq!(found, listed);
    for (at, (room, allowed)) in ROOMS.iter().enumerate() {
        for name in *allowed {
            assert!(ROOMS[..at].iter().any(|(above, _)| above == name), "{name} does not stand above {room}");
        }
    }
}

/// A circle is opened when what two files share moves into a file below both, or when siblings name each other.
#[test]
fn no_circle_of_files() {
    let circles = graph::circles(&graph::graph(&graph::sources(&src())));
    let told: Vec<_> = circles.iter().map(|edges| format!("a circle:\n    {}", edges.join("\n    "))).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// A configuration without a named provider takes the process's provider, which the replication session sets to its
/// own.
#[test]
fn every_tls_configuration_names_its_provider() {
    let mut paths = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut paths);
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        for unnamed in ["ClientConfig::builder()", "ServerConfig::builder()", "with_native_roots("] {
            assert!(!text.contains(unnamed), "{}: {unnamed}", path.display());
        }
    }
}

#[test]
fn storage_knows_nothing_of_nova_and_http_opens_no_transaction() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    files(&root.join("storage/src"), &mut paths);
    for path in &paths {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(
            !text.contains("use nova::") && !text.contains("rdkafka") && !text.contains("hyper"),
            "{}",
            path.display()
        );
    }
    for (file, text) in graph::sources(&src()) {
        // Tests check codecs against mutants, which storage makes.
        let code = graph::code(&text);
        let opens = code.contains("nova_storage") || code.contains("WriteTxn");
        assert!(graph::room(&file) != "http" || !opens, "{file}");
    }
}
