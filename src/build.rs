//! Puts the commit's hash into the program. `NOVA_COMMIT` overrides the hash of git, for builds without a repository.

use std::path::Path;
use std::process::Command;

#[allow(clippy::disallowed_methods, reason = "cargo tells a build script what it must know in the environment")]
fn main() {
    println!("cargo::rerun-if-env-changed=NOVA_COMMIT");
    println!("cargo::rerun-if-changed=src/build.rs");
    let given = std::env::var("NOVA_COMMIT").ok().filter(|commit| !commit.is_empty());
    // Only a release build asks git for the commit, so that cargo does not build a development program again for each
    // new commit.
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| release.then(head).flatten()).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=NOVA_COMMIT={commit}");
}

/// Returns the short hash of the commit that is checked out, with `+` if files of the working tree differ from the
/// commit.
fn head() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=10", "HEAD"])?;
    for path in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", path])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}+") })
}
