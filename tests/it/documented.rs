//! Tests that the documentation names every metric, every job and every reason of dead letters that the code has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::layers::files;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the text with one space in place of any white space, and without white space after a bracket.
fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(")
}

/// Returns the code below a folder as one line, without tests.
fn code(folder: &str) -> String {
    let mut paths = Vec::new();
    files(&root().join(folder), &mut paths);
    paths.retain(|path| !path.ends_with("tests.rs") && !path.iter().any(|part| part == "tests"));
    paths.sort();
    let text = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        on_one_line(text.split("#[cfg(test)]").next().unwrap())
    };
    paths.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Returns the string literals that directly follow the text `begin`.
fn behind<'t>(text: &'t str, begin: &'t str) -> impl Iterator<Item = &'t str> {
    let rest = move |(at, found): (usize, &str)| text[at + found.len()..].strip_prefix('"')?.split('"').next();
    text.match_indices(begin).filter_map(rest)
}

fn page(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn each_metric_is_in_the_documentation_the_alerts_or_the_dashboard() {
    let code = code("src/http/metrics") + &on_one_line(&page("src/http/metrics.rs"));
    let registered = ["gauges(to, ", "counters(to, ", "whole(to, ", "real(to, ", "total(to, ", "one(to, "];
    let names: BTreeSet<&str> = registered.iter().flat_map(|begin| behind(&code, begin)).collect();
    assert!(names.len() >= 95, "{}", names.len());
    let mut pages = page("deploy/prometheus/rules.yml") + &page("deploy/grafana/nova.json");
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            pages.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    let said = |name: &str| {
        pages.match_indices(name).any(|(at, _)| {
            let rest = &pages[at + name.len()..];
            let more = rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            !more || ["_total", "_bucket", "_count", "_sum"].iter().any(|end| rest.starts_with(end))
        })
    };
    let unsaid: Vec<_> = names.into_iter().filter(|name| !said(name)).collect();
    assert!(unsaid.is_empty(), "no page of docs, no alert and no panel names {unsaid:?}");
}

#[test]
fn each_reason_of_a_dead_letter_is_in_docs_decode() {
    let documented = page("docs/decode.md");
    let code = ["src/decode", "src/source", "src/pipeline"].map(code).join(" ");
    let reasons: BTreeSet<&str> = ["Fault::new(", "reason: "].iter().flat_map(|begin| behind(&code, begin)).collect();
    assert!(reasons.len() >= 25, "{reasons:?}");
    for reason in reasons {
        assert!(documented.contains(&format!("`{reason}`")), "docs/decode.md does not say what {reason} means");
    }
}

#[test]
fn each_job_is_in_the_list_of_docs_feed() {
    let documented = page("docs/feed.md");
    let code = ["src/jobs", "src/app"].map(code).join(" ");
    let jobs: BTreeSet<&str> =
        ["fn name(&self) -> &'static str { ", "job("].iter().flat_map(|begin| behind(&code, begin)).collect();
    assert!(jobs.len() >= 10, "{jobs:?}");
    for job in jobs {
        assert!(documented.contains(&format!("| `{job}` |")), "docs/feed.md has no row of the job {job}");
    }
}
