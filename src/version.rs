//! The version of this program, for `--version`, the first line of the log, `nova_build_info` and `nova status`.

use std::sync::LazyLock;

/// The version of the package in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit from which a release was built, with `+` if files differed from the commit. A build that is not a release
/// has the commit `unknown`.
pub const COMMIT: &str = env!("NOVA_COMMIT");
/// The format of stores that this program writes.
pub const STORE_FORMAT: u8 = nova_storage::FORMAT;

/// Returns the whole version, such as `0.1.0 (commit 0123456789, store format 2)`.
pub fn long() -> &'static str {
    static LONG: LazyLock<String> =
        LazyLock::new(|| format!("{VERSION} (commit {COMMIT}, store format {STORE_FORMAT})"));
    &LONG
}
