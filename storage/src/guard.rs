//! Panics of redb as errors. redb trusts the pages that it reads; over damaged ones it may fail an assertion or index
//! out of bounds. Every call into redb goes through [`guarded`], so that such a panic is the error `Damaged` and prints
//! nothing. A panic of nova's own code within a call goes on as a panic.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::path::Path;
use std::sync::Once;

/// redb found what it cannot have written; the text is its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Panicked(String);

thread_local! {
    /// Guarded calls that this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// What the panic said that the current call ends with.
    static WORDS: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Code of this workspace is compiled under relative paths, redb and the standard library under absolute ones.
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

/// Installed once, in front of the hook that is there: says nothing of a panic that becomes an error.
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

/// Does `work`, and makes a panic of redb an error.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_library_is_an_error_and_one_of_ours_a_panic() {
        // An index out of bounds is told with the place of the caller; a capacity that no memory has, with the library's.
        let foreign = guarded(|| Vec::<u64>::with_capacity(std::hint::black_box(usize::MAX)).len());
        assert!(foreign.unwrap_err().to_string().contains("capacity"));
        let ours = panic::catch_unwind(|| guarded(|| assert_eq!(1, std::hint::black_box(2))));
        assert!(ours.is_err(), "a defect of this workspace must stay a panic");
        assert_eq!(guarded(|| 7), Ok(7));
    }
}
