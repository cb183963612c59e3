//! Names the commit in the program. `NOVA_COMMIT` stands over what git says, for builds without a repository.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=NOVA_COMMIT");
    println!("cargo::rerun-if-changed=src/build.rs");
    let given = std::env::var("NOVA_COMMIT").ok().filter(|commit| !commit.is_empty());
    // A development build is not made again because somebody commits.
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| release.then(head).flatten()).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=NOVA_COMMIT={commit}");
}

/// The commit that is checked out, short; with `+` where the working tree has other files.
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
