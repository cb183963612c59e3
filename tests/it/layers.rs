//! Data goes one way: which module may use which, held over the `use` lines.

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

/// Modules of the crate that the files of `part` name, tests left out.
fn used(part: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut paths, file) = (Vec::new(), root.join("src").join(format!("{part}.rs")));
    if file.exists() {
        paths.push(file);
    }
    let dir = root.join("src").join(part);
    if dir.exists() {
        files(&dir, &mut paths);
    }
    assert!(!paths.is_empty(), "there is no module {part}");
    let mut out = Vec::new();
    for path in paths {
        if path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for rest in code.split("crate::").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            out.push((path.clone(), name));
        }
    }
    out
}

#[test]
fn data_goes_one_way() {
    let rules: [(&str, &[&str]); 20] = [
        ("event", &[]),
        ("mutant", &[]),
        ("clock", &[]),
        ("breaker", &[]),
        ("files", &[]),
        ("console", &[]),
        ("cache", &["cache", "clock"]),
        ("bounded", &[]),
        ("tls", &["bounded"]),
        ("ask", &["bounded", "tls"]),
        ("otlp", &["bounded", "otlp", "tls"]),
        ("decode", &["decode", "bounded", "breaker", "event", "mutant", "tls"]),
        // What comes from PostgreSQL is numbered by the first layer of its messages.
        ("source", &["source", "ask", "clock", "event", "decode", "tls"]),
        ("state", &["state", "event"]),
        ("feed", &["feed", "state", "event", "clock"]),
        ("discover", &["discover", "state", "event"]),
        ("warehouse", &["warehouse", "bounded", "breaker", "event", "clock", "mutant", "tls"]),
        ("jobs", &["jobs", "cache", "feed", "discover", "source", "state", "event", "clock"]),
        ("http/auth", &["bounded", "breaker", "event", "files", "tls"]),
        ("http/limit", &["event"]),
    ];
    for (part, allowed) in rules {
        for (path, name) in used(part) {
            assert!(allowed.contains(&name.as_str()), "{}: {part} must not use {name}", path.display());
        }
    }
    // The port shows what http serves, by its rules; nothing inside stands on the port.
    for (path, name) in used("redis_port") {
        let allowed = ["redis_port", "cache", "http", "jobs", "feed", "event", "version"];
        assert!(allowed.contains(&name.as_str()), "{}: redis_port must not use {name}", path.display());
    }
    for (path, name) in used("pipeline") {
        let outer = ["http", "cli", "app", "feed", "discover", "config"];
        assert!(!outer.contains(&name.as_str()), "{}: pipeline must not use {name}", path.display());
    }
    for (path, name) in used("http") {
        assert!(
            !["cli", "app", "config", "redis_port"].contains(&name.as_str()),
            "{}: http must not use {name}",
            path.display()
        );
    }
    // Only commands start a server for tests; what every node has does not know of it.
    for (path, name) in used("testing") {
        assert!(name != "cli", "{}: testing must not use {name}", path.display());
    }
    for (path, name) in used("app").into_iter().chain(used("http")).chain(used("pipeline")) {
        assert!(name != "testing", "{}: must not use {name}", path.display());
    }
}

/// A configuration without a named provider takes the process's, which the replication session sets to its own.
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
    paths.clear();
    files(&root.join("src/http"), &mut paths);
    for path in &paths {
        let text = std::fs::read_to_string(path).unwrap();
        // Tests hold codecs against mutants, which storage makes.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(!code.contains("nova_storage") && !code.contains("WriteTxn"), "{}", path.display());
    }
}
