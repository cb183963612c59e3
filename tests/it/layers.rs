//! Tests that each top-level module names only the top-level modules that it may name, and that the files of the code
//! do not name each other in a cycle. The test reads every file completely, and leaves out only test modules.

mod graph;

use std::path::{Path, PathBuf};

/// Collects every file of code below a folder.
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

/// Every top-level module (a directory or a file directly below `src`), with the modules that it may name. A module may
/// name only modules that come before it in the list `ROOMS`.
const ROOMS: [(&str, &[&str]); 34] = [
    ("build", &[]),
    ("version", &[]),
    ("mutant", &[]),
    ("clock", &[]),
    ("backoff", &[]),
    ("bounded", &[]),
    ("breaker", &["backoff"]),
    ("files", &[]),
    ("event", &[]),
    ("console", &[]),
    ("tls", &["bounded"]),
    ("http_client", &["bounded", "tls"]),
    ("otlp", &["backoff", "http_client", "tls"]),
    ("data_dir", &["files"]),
    ("cache", &["backoff", "breaker", "clock"]),
    ("arrival", &["event"]),
    ("schema", &["event"]),
    ("decode", &["backoff", "breaker", "event", "http_client", "mutant", "tls"]),
    // `decode` parses the first layer of PostgreSQL's messages, and `source` numbers the result.
    ("source", &["backoff", "clock", "decode", "event", "http_client", "tls"]),
    ("state", &["event"]),
    ("feed", &["clock", "event", "state"]),
    ("discover", &["event", "state"]),
    ("jobs", &["backoff", "cache", "clock", "discover", "event", "feed", "source", "state"]),
    ("warehouse", &["backoff", "bounded", "breaker", "clock", "event", "mutant", "tls"]),
    ("pipeline", &["arrival", "clock", "decode", "event", "mutant", "schema", "source", "state", "warehouse"]),
    (
        "http",
        &[
            "backoff",
            "breaker",
            "cache",
            "clock",
            "console",
            "decode",
            "discover",
            "event",
            "feed",
            "files",
            "http_client",
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
    // The Redis port serves the same data as `http`, under the rules of `http`. No inner module uses the Redis port.
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
            "backoff",
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
    // Only commands of the CLI start a server for tests. Except for `cli`, no module names the server for tests.
    (
        "cli",
        &[
            "app",
            "arrival",
            "cache",
            "clock",
            "config",
            "data_dir",
            "decode",
            "discover",
            "event",
            "feed",
            "http",
            "http_client",
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

/// Parts of top-level modules; each part may name fewer modules than its top-level module.
const PARTS: [(&str, &[&str]); 2] =
    [("http::auth", &["backoff", "breaker", "event", "files", "http_client", "tls"]), ("http::limit", &["event"])];

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

/// The test counts files and directories, so a top-level module without code of its own also needs a line.
#[test]
fn every_room_has_a_line_and_names_only_rooms_above_it() {
    let entries = std::fs::read_dir(src()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    found.sort_unstable();
    // A top-level module may consist of a file and of a directory with the name of the file.
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

/// To remove a cycle, move the code that two files share into a third file, or let sibling files name each other
/// directly instead of through their parent.
#[test]
fn no_circle_of_files() {
    let circles = graph::circles(&graph::graph(&graph::sources(&src())));
    let told: Vec<_> = circles.iter().map(|edges| format!("a circle:\n    {}", edges.join("\n    "))).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// If a TLS configuration names no provider, it uses the default of the process. The library of the replication session
/// sets the default provider of the process to the library's own provider.
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
        // Tests of codecs use mutants of bytes, which the crate `nova_storage` makes.
        let code = graph::code(&text);
        let opens = code.contains("nova_storage") || code.contains("WriteTxn");
        assert!(graph::room(&file) != "http" || !opens, "{file}");
    }
}
