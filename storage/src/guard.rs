//! Turns panics of redb into errors. redb trusts the pages that it reads, so a damaged page may cause a failed
//! assertion or an index out of bounds in redb. Every call into redb is made by [`guarded`], so that a panic of redb
//! becomes the error `Damaged` and prints nothing. A panic of nova's own code within a guarded call continues as a
//! panic.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::path::Path;
use std::sync::Once;

/// The error for a panic of redb. redb panics if it finds something that it cannot have written. The text of a
/// [`Panicked`] is the text of redb's panic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Panicked(String);

thread_local! {
    /// The number of nested guarded calls of this thread.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// The text of the panic that ends the current guarded call.
    static WORDS: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Whether a panic comes from foreign code. Code of this workspace is compiled with relative paths, redb and the
/// standard library with absolute paths.
fn is_foreign(info: &PanicHookInfo<'_>) -> bool {
    info.location().is_none_or(|at| Path::new(at.file()).is_absolute())
}

fn words(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map_or_else(String::new, |at| {
        let file = Path::new(at.file()).file_name().map(|name| name.to_string_lossy().into_owned());
        format!(" ({}:{})", file.unwrap_or_default(), at.line())
    });
    format!("{}{place}", info.payload_as_str().unwrap_or("no message"))
}

/// Installs a panic hook once, before the existing hook. The hook prints nothing for a panic that becomes an error.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let outer = panic::take_hook();
        panic::set_hook(Box::new(move |info| match DEPTH.get() > 0 && is_foreign(info) {
            true => WORDS.set(Some(words(info))),
            false => outer(info),
        }));
    });
}

/// Runs `work`, and turns a panic of redb into an error.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    install_hook();
    DEPTH.set(DEPTH.get() + 1);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    done.map_err(|payload| match WORDS.take() {
        Some(words) => Panicked(words),
        None => panic::resume_unwind(payload),
    })
}

/// Calls redb, and turns a panic of redb into an error.
pub(crate) fn guard<T, E: From<Panicked>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    guarded(work)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_library_is_an_error_and_one_of_ours_a_panic() {
        // The test does not index out of bounds, because the standard library reports an index out of bounds with the
        // place of the caller. A capacity overflow is reported with a place in the library.
        let foreign = guarded(|| Vec::<u64>::with_capacity(std::hint::black_box(usize::MAX)).len());
        assert!(foreign.unwrap_err().to_string().contains("capacity"));
        let ours = panic::catch_unwind(|| guarded(|| assert_eq!(1, std::hint::black_box(2))));
        assert!(ours.is_err(), "a defect of this workspace must stay a panic");
        assert_eq!(guarded(|| 7), Ok(7));
    }
}
