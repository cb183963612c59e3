//! Writes to the standard output and standard error of commands.

use std::ffi::OsStr;
use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::monotonic_now;

use super::environment;

/// Writes a line to standard output.
pub(super) fn line(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")
}

/// The number of columns of the terminal: `COLUMNS`, or else the terminal's own number. Without a terminal the width
/// has no limit.
pub(super) fn width() -> usize {
    let given = environment::text("COLUMNS").and_then(|text| text.parse().ok());
    let asked = || rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col));
    given.or_else(asked).filter(|columns| *columns > 0).unwrap_or(usize::MAX)
}

/// Whether a stream is a terminal on which nova can overwrite text. A terminal of the type `dumb` does not understand
/// the control sequences of ECMA-48.
pub(super) fn drawn_over(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && able(environment::value("TERM").as_deref())
}

/// Whether nova uses colours on a stream: the stream is a terminal on which nova can overwrite text, and `NO_COLOR`
/// (no-color.org) is not set.
pub(super) fn coloured(stream: &impl IsTerminal) -> bool {
    drawn_over(stream) && wanted(environment::value("NO_COLOR").as_deref())
}

fn able(term: Option<&OsStr>) -> bool {
    term.is_none_or(|term| term != "dumb")
}

fn wanted(no_color: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty)
}

/// Prints the result of a command, in words or as one JSON document.
pub(super) fn done(json: bool, words: &str, value: &serde_json::Value) -> std::io::Result<()> {
    if json { line(&value.to_string()) } else { line(words) }
}

/// Writes an error for a person to standard error.
pub(super) fn complain(text: &str) {
    // If standard error fails, nova cannot print the message anywhere.
    let _ = writeln!(std::io::stderr().lock(), "nova: {text}");
}

/// The progress of long work: a bar on a terminal on which nova can overwrite text, otherwise one line of the log a
/// minute.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    done: Arc<AtomicU64>,
    total: u64,
    told: Instant,
    started: Instant,
}

/// The interval between lines of the log about the progress, if standard error is not a terminal with a bar.
const TELL_EVERY: Duration = Duration::from_secs(60);

impl Progress {
    /// Shows the progress of work. `done` counts up to `total`, in bytes or in the unit that `what` names.
    pub(super) fn new(what: &'static str, done: Arc<AtomicU64>, total: u64) -> Progress {
        let bar = drawn_over(&std::io::stderr()).then(|| {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3}%  {eta} left");
            ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let now = monotonic_now();
        Progress { bar, what, done, total, told: now, started: now }
    }

    pub(super) fn tick(&mut self, records: u64) {
        let done = self.done.load(Ordering::Relaxed);
        let seconds = self.started.elapsed().as_secs_f64().max(1e-3);
        let rate = (records as f64 / seconds) as u64;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(format!("{}: {records} records, {rate}/s", self.what));
        } else if self.told.elapsed() >= TELL_EVERY {
            self.told = monotonic_now();
            // The length of a pipe is unknown, so `total` may be 0.
            let percent = (done * 100).checked_div(self.total).unwrap_or(0);
            let left_s = (self.total.saturating_sub(done)) as f64 * seconds / done.max(1) as f64;
            tracing::info!(records, rate, percent, left_s = left_s as u64, "{}", self.what);
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dumb_terminal_is_not_drawn_over_and_colours_end_with_a_variable_that_is_not_empty() {
        let term = [None, Some(""), Some("xterm-256color"), Some("dumb")];
        assert_eq!(term.map(|term| able(term.map(OsStr::new))), [true, true, true, false]);
        let no_color = [None, Some(""), Some("1"), Some("0")];
        assert_eq!(no_color.map(|value| wanted(value.map(OsStr::new))), [true, true, false, false]);
    }

    #[test]
    fn what_is_no_terminal_has_no_colours() {
        let file = tempfile::tempfile().unwrap();
        assert!(!drawn_over(&file) && !coloured(&file));
    }
}
