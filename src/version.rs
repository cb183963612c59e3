//! What this program is: told by `--version`, at the start, by `nova_build_info` and by `nova status`.

use std::sync::LazyLock;

/// The version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that a release was built from, with `+` where files differed from it; `unknown` in other builds.
pub const COMMIT: &str = env!("NOVA_COMMIT");
/// The format of stores that this program writes.
pub const STORE_FORMAT: u8 = nova_storage::FORMAT;

/// `0.1.0 (commit 0123456789, store format 2)`.
pub fn long() -> &'static str {
    static LONG: LazyLock<String> =
        LazyLock::new(|| format!("{VERSION} (commit {COMMIT}, store format {STORE_FORMAT})"));
    &LONG
}
