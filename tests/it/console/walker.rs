//! The browser and the node of a walk through the console, and the pages that a walk visits.

use std::path::{Path, PathBuf};

use crate::support::program::Serving;

use super::browser::Browser;
use super::world::{self, post, user};

pub const CANARY: &str = "canary-7f3a";

/// Returns each page of the console: its name, its path, and a text that appears when the page is complete.
pub fn pages() -> Vec<(&'static str, String, &'static str)> {
    vec![
        ("overview", String::new(), "adds up"),
        ("failed", "failed".to_owned(), "malformed-json"),
        ("live", "live".to_owned(), "Listening"),
        ("users", "user".to_owned(), "Name or id"),
        ("user", format!("user/{}", user(1)), "Feed, as they see it"),
        ("posts", "post".to_owned(), "found by their id"),
        ("post", format!("post/{}", post(3)), "Place in each window"),
        ("trending", "trending".to_owned(), "posts scored"),
        ("source", "source".to_owned(), "Outbox by table"),
        ("jobs", "system/jobs".to_owned(), "trending_publish"),
        ("limits", "system/limits".to_owned(), "Quotas and decisions"),
        ("cache", "system/cache".to_owned(), "Snapshots take"),
        ("keys", "system/keys".to_owned(), "EdDSA"),
        ("revocations", "system/revocations".to_owned(), "Revocations"),
        ("audit", "system/audit".to_owned(), "Who did what"),
        ("config", "system/config".to_owned(), "http.console"),
        ("store", "system/store".to_owned(), "Latest backup"),
        ("api", "api/getTrending".to_owned(), "Needs no token"),
    ]
}

/// Returns the path of the browser. Returns `None`, and prints the reason, if no browser is named.
pub fn chromium() -> Option<String> {
    let chromium = crate::support::environment("NOVA_TEST_CHROMIUM");
    if chromium.is_none() {
        eprintln!("skipped: NOVA_TEST_CHROMIUM does not name a Chromium");
    }
    chromium
}

/// The browser, the node and the admin token of a walk through the console.
pub struct Walk {
    pub browser: Browser,
    pub node: Serving,
    pub admin: String,
    pub data: PathBuf,
    _dir: tempfile::TempDir,
}

impl Walk {
    /// Begins a walk through the console. Returns `None`, and prints the reason, if no browser is named.
    pub fn begin() -> Option<Walk> {
        let chromium = chromium()?;
        let dir = tempfile::tempdir().unwrap();
        let data = world::stored(dir.path(), CANARY);
        Some(Walk::over(dir, data, &chromium))
    }

    /// Begins a walk through the console of a node with the given store and directory.
    pub fn over(dir: tempfile::TempDir, data: PathBuf, chromium: &str) -> Walk {
        // No program listens at the configured address of ClickHouse, so the circuit breaker opens.
        let away = [("NOVA_CLICKHOUSE_URL", "http://127.0.0.1:9"), ("NOVA_LIMITS_ENABLED", "false")];
        let node = Serving::start(&data, &away);
        let browser = Browser::start(Path::new(chromium), &dir.path().join("profile"));
        let admin = world::admin(&data);
        Walk { browser, node, admin, data, _dir: dir }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/console/{path}", self.node.addr)
    }

    pub fn sign_in(&self) {
        self.browser.go(&self.url(&format!("#token={}", self.admin)));
        self.browser.shows("Sign out");
        assert!(!self.browser.run("return location.href").as_str().unwrap().contains("token"));
    }

    pub fn visit(&self, path: &str, shows: &str) {
        self.browser.go(&self.url(path));
        self.browser.shows(shows);
    }

    /// Checks that nothing violated the content security policy, that no script failed, and that the browser sent
    /// requests only to the node.
    pub fn is_clean(&self) {
        let complaints = self.browser.complaints();
        assert!(complaints.is_empty(), "{complaints:#?}");
        let own = format!("http://{}/", self.node.addr);
        let asked = self.browser.asked();
        // Addresses inside the browser (`chrome:`, `data:`) cause no request to a host.
        let sent = asked.iter().filter(|url| ["http", "ws"].iter().any(|scheme| url.starts_with(scheme)));
        let others: Vec<_> = sent.filter(|url| !url.starts_with(&own)).collect();
        assert!(others.is_empty(), "{others:?}");
    }

    /// Fills in the dialog of an action, confirms it, and waits for the result of the action.
    pub fn act(&self, fields: &[(&str, &str)], verb: &str, result: &str) {
        self.browser.until("document.querySelector('dialog[open] form button.primary:not([disabled])')");
        for (name, value) in fields {
            self.browser.fill(&format!("dialog [name={name}]"), value);
        }
        self.browser.click("dialog[open] form", verb);
        self.browser.shows(result);
        self.browser.click("dialog[open]", "Close");
    }
}
