//! The offer of `nova demo` to open the console in the browser when the person at the terminal types o and Enter. nova
//! never opens the browser unless the person accepts the offer. nova makes no offer if the machine has no terminal, no
//! screen, or no program that opens a page.

use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::io::{ioctl_fionread, read};
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;

use super::super::environment;
use super::super::error::CliError;
use super::super::out;

/// The interval between two looks at the typed text.
const EVERY: Duration = Duration::from_millis(200);
/// The key that opens the browser, if Enter follows.
const KEY: &str = "o";
/// The maximum number of bytes that one read takes from the typed text.
const READ_MAX_BYTES: u64 = 4096;
/// A typed line of this length or more never counts as the key.
const LINE_MAX_BYTES: usize = 64;
/// The file beside the demo's store with a page that leads to the console.
const PAGE_FILE: &str = "open-console.html";

/// The offer to open the console, which ends when this value is dropped.
pub(super) struct Offer {
    page: PathBuf,
    /// The sender that ends the offer's thread when it is dropped. The demo does not wait for the thread. If a program
    /// other than nova reads the typed text before the thread does, the thread waits in its read for more text, and the
    /// demo must still end.
    _stop: SyncSender<()>,
}

impl Offer {
    /// Offers to open the given address, or returns `None` if nobody could accept the offer.
    pub fn begin(dir: &Path, address: &str) -> Result<Option<Offer>, CliError> {
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let Some(opener) = opener().filter(|_| terminal) else { return Ok(None) };
        let page = match write_page(dir, address) {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!("the console cannot be opened from here: {PAGE_FILE}: {error}");
                return Ok(None);
            }
        };
        let (stop, stopped) = sync_channel(1);
        let shown = page.clone();
        let life = move || run(&opener, &shown, &stopped);
        std::thread::Builder::new().name("offer".to_owned()).spawn(life)?;
        out::line(&format!("\nTo open it in the browser, type {KEY} and Enter."))?;
        Ok(Some(Offer { page, _stop: stop }))
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.page);
    }
}

/// Removes the page of an earlier demo. A demo that was killed leaves its page. The page has an admin token.
pub(super) fn remove_page(dir: &Path) {
    let _ = std::fs::remove_file(dir.join(PAGE_FILE));
}

/// The program that opens a page in the user's browser, or `None` if the machine has no screen or no such program.
fn opener() -> Option<PathBuf> {
    if cfg!(target_os = "macos") {
        return in_path("open");
    }
    let set = |name: &str| environment::value(name).is_some_and(|value| !value.is_empty());
    if set("WAYLAND_DISPLAY") || set("DISPLAY") { in_path("xdg-open") } else { None }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = environment::value("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| can_run(file))
}

fn can_run(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

/// Writes a page that only its owner can read and that forwards to the console's address. Every user of the machine can
/// see the arguments of a process, so the token must not be an argument. Tokens and addresses contain no character that
/// is special in HTML.
fn write_page(dir: &Path, address: &str) -> std::io::Result<PathBuf> {
    let page = dir.canonicalize()?.join(PAGE_FILE);
    // The page of an earlier demo may have wider permissions than a new page.
    let _ = std::fs::remove_file(&page);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&page)?;
    write!(
        file,
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>nova</title>\n\
         <meta http-equiv=\"refresh\" content=\"0; url={address}\">\n<p><a href=\"{address}\">The console of nova</a></p>\n"
    )?;
    Ok(page)
}

fn run(opener: &Path, page: &Path, stopped: &Receiver<()>) {
    let mut opened: Vec<Child> = Vec::new();
    let mut line = Line::default();
    while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        opened.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        if line.accepts(&typed()) {
            match open(opener, page) {
                Ok(child) => opened.push(child),
                Err(error) => out::complain(&format!("{} cannot be run: {error}", opener.display())),
            }
        }
    }
}

/// Reads the typed text that has arrived. In the background, a read would stop the process (SIGTTIN). A read would wait
/// if it asked for more bytes than have arrived, because text that Ctrl-D or a terminal in raw mode sends has no line
/// end.
fn typed() -> Vec<u8> {
    let stdin = std::io::stdin();
    let in_front = tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp());
    let there = if in_front { ioctl_fionread(&stdin).unwrap_or(0) } else { 0 };
    let mut bytes = vec![0; there.min(READ_MAX_BYTES) as usize];
    if !bytes.is_empty() {
        let count = read(&stdin, bytes.as_mut_slice()).unwrap_or(0);
        bytes.truncate(count);
    }
    bytes
}

/// The beginning of the typed line that has not ended yet.
#[derive(Default)]
struct Line(Vec<u8>);

impl Line {
    /// Adds the next typed bytes, and returns whether a line that accepts the offer ends within them.
    fn accepts(&mut self, bytes: &[u8]) -> bool {
        let mut accepted = false;
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                let whole = self.0.len() < LINE_MAX_BYTES;
                accepted |= whole && self.0.trim_ascii().eq_ignore_ascii_case(KEY.as_bytes());
                self.0.clear();
            } else if self.0.len() < LINE_MAX_BYTES {
                self.0.push(byte);
            }
        }
        accepted
    }
}

/// Opens the page in a process group of its own, so that Ctrl-C ends the demo and not the browser.
fn open(opener: &Path, page: &Path) -> std::io::Result<Child> {
    let mut command = Command::new(opener);
    command.arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).spawn()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_page_is_its_owners_alone_and_leads_to_the_address() {
        let dir = tempfile::tempdir().unwrap();
        let page = dir.path().join(PAGE_FILE);
        std::fs::write(&page, "of an earlier demo").unwrap();
        std::fs::set_permissions(&page, std::fs::Permissions::from_mode(0o644)).unwrap();
        let address = "http://127.0.0.1:8080/console/#token=a.b-c_d";
        assert_eq!(write_page(dir.path(), address).unwrap(), page.canonicalize().unwrap());
        assert_eq!(page.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&page).unwrap();
        assert_eq!(text.matches(address).count(), 2, "{text}");
    }

    #[test]
    fn the_page_of_a_demo_that_was_killed_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let page = write_page(dir.path(), "http://127.0.0.1:8080/console/#token=a").unwrap();
        remove_page(dir.path());
        assert!(!page.exists());
        remove_page(dir.path());
    }

    #[test]
    fn the_key_alone_in_a_line_accepts_however_the_text_arrives() {
        let accepts = |parts: &[&[u8]]| {
            let mut line = Line::default();
            parts.iter().filter(|part| line.accepts(part)).count()
        };
        assert_eq!(accepts(&[b"o\n"]), 1);
        assert_eq!(accepts(&[b"o", b"", b" \r", b"O\n"]), 2);
        assert_eq!(accepts(&[b"\xff\xfe\n", b"oo\n", b"o", b"x\n", b"\n"]), 0);
        let long = [b"o".as_slice(), &[b' '; 5_000]].concat();
        assert_eq!(accepts(&[&long, b"\n", b"o\n"]), 1, "a long line is another one");
    }

    #[test]
    fn a_file_that_cannot_be_run_opens_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("xdg-open");
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        for (mode, runs) in [(0o644, false), (0o755, true)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(can_run(&file), runs, "{mode:o}");
        }
        assert!(!can_run(dir.path()));
    }

    #[test]
    fn nothing_is_offered_without_a_terminal() {
        let dir = tempfile::tempdir().unwrap();
        // The tests may run on a terminal.
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            assert!(Offer::begin(dir.path(), "http://127.0.0.1:8080/").unwrap().is_none());
            assert!(!dir.path().join(PAGE_FILE).exists());
        }
    }
}
