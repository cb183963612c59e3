//! The offer, to a person at a terminal, to open the console in the browser with o and Enter. Nothing opens by itself.
//! There is no offer without a terminal, a screen, or a program that opens a page.

use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::ioctl_fionread;
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;

use super::super::environment;
use super::super::error::CliError;
use super::super::out;

/// The interval between two looks at the typed text.
const EVERY: Duration = Duration::from_millis(200);
/// This key, followed by Enter, opens the browser.
const KEY: &str = "o";
/// The file beside the demo's store with a page that leads to the console.
const PAGE_FILE: &str = "open-console.html";

/// The offer, which ends when this is dropped.
pub(super) struct Offer {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    page: PathBuf,
}

impl Offer {
    /// Offers to open this address. `None` if nobody could accept the offer.
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
        let thread = std::thread::Builder::new().name("offer".to_owned()).spawn(life)?;
        out::line(&format!("\nTo open it in the browser, type {KEY} and Enter."))?;
        Ok(Some(Offer { stop: Some(stop), thread: Some(thread), page }))
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread reads only text that is already there, so it ends soon.
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.page);
    }
}

/// The program that opens a page in the user's browser, if there is a screen.
fn opener() -> Option<PathBuf> {
    if cfg!(target_os = "macos") {
        return in_path("open");
    }
    let set = |name: &str| environment::value(name).is_some_and(|value| !value.is_empty());
    if set("WAYLAND_DISPLAY") || set("DISPLAY") { in_path("xdg-open") } else { None }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = environment::value("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Writes a page that only its owner can read and that forwards to the address. The arguments of a process are visible
/// to every user of the machine, so the token must not be an argument. Tokens and addresses contain no character that
/// is special in HTML.
fn write_page(dir: &Path, address: &str) -> std::io::Result<PathBuf> {
    let page = dir.canonicalize()?.join(PAGE_FILE);
    // A file of an earlier demo may have other rights.
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
    while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        opened.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        if typed().is_some_and(|line| line.trim().eq_ignore_ascii_case(KEY)) {
            match open(opener, page) {
                Ok(child) => opened.push(child),
                Err(error) => out::complain(&format!("{} cannot be run: {error}", opener.display())),
            }
        }
    }
}

/// A typed line. A read in the background would stop the process (SIGTTIN), and a read that waits would keep the
/// process from ending.
fn typed() -> Option<String> {
    let stdin = std::io::stdin();
    let in_front = tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp());
    let waits = ioctl_fionread(&stdin).is_ok_and(|bytes| bytes > 0);
    let mut line = String::new();
    (in_front && waits && stdin.read_line(&mut line).is_ok()).then_some(line)
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
    fn nothing_is_offered_without_a_terminal() {
        let dir = tempfile::tempdir().unwrap();
        // The tests may run on a terminal.
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            assert!(Offer::begin(dir.path(), "http://127.0.0.1:8080/").unwrap().is_none());
            assert!(!dir.path().join(PAGE_FILE).exists());
        }
    }
}
