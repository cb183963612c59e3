//! Every page and every action in a real browser, against a node with something of every kind. `NOVA_TEST_CHROMIUM`
//! names the browser (Debian: `chromium`, with `chromium-driver`), `NOVA_TEST_AXE` the file `axe.min.js` of axe-core,
//! and `NOVA_TEST_SHOTS` a directory for a picture of every page in both schemes at three widths.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::api::client::{Client, bearer};
use crate::support::program::{Serving, nova, out};

use super::browser::{Browser, until};
use super::world::{self, HOSTILE, post, user};

const CANARY: &str = "canary-7f3a";
const WIDTHS: [u32; 3] = [320, 1_280, 2_560];
const SCHEMES: [&str; 2] = ["light", "dark"];

/// The name of a page, its path, and a text that appears when the page is complete.
fn pages() -> Vec<(&'static str, String, &'static str)> {
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

/// The browser, the node and the token of a walk.
struct Walk {
    browser: Browser,
    node: Serving,
    admin: String,
    data: PathBuf,
    _dir: tempfile::TempDir,
}

impl Walk {
    /// Begins a walk. `None`, with a printed reason, if no browser is named.
    fn begin() -> Option<Walk> {
        let Some(chromium) = crate::support::environment("NOVA_TEST_CHROMIUM") else {
            eprintln!("skipped: NOVA_TEST_CHROMIUM does not name a Chromium");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let data = world::stored(dir.path(), CANARY);
        // Nobody listens at this address, so the breaker opens.
        let away = [("NOVA_CLICKHOUSE_URL", "http://127.0.0.1:9"), ("NOVA_LIMITS_ENABLED", "false")];
        let node = Serving::start(&data, &away);
        let browser = Browser::start(Path::new(&chromium), &dir.path().join("profile"));
        let admin = world::admin(&data);
        Some(Walk { browser, node, admin, data, _dir: dir })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/console/{path}", self.node.addr)
    }

    fn sign_in(&self) {
        self.browser.go(&self.url(&format!("#token={}", self.admin)));
        self.browser.shows("Sign out");
        assert!(!self.browser.run("return location.href").as_str().unwrap().contains("token"));
    }

    fn visit(&self, path: &str, shows: &str) {
        self.browser.go(&self.url(path));
        self.browser.shows(shows);
    }

    /// Checks that nothing broke the content security policy, no script failed, and only the node was asked.
    fn is_clean(&self) {
        let complaints = self.browser.complaints();
        assert!(complaints.is_empty(), "{complaints:#?}");
        let own = format!("http://{}/", self.node.addr);
        let asked = self.browser.asked();
        // Addresses inside the browser (chrome:, data:) reach no host.
        let sent = asked.iter().filter(|url| ["http", "ws"].iter().any(|scheme| url.starts_with(scheme)));
        let others: Vec<_> = sent.filter(|url| !url.starts_with(&own)).collect();
        assert!(others.is_empty(), "{others:?}");
    }

    /// Fills an action's dialog, confirms it, and waits for its result.
    fn act(&self, fields: &[(&str, &str)], verb: &str, result: &str) {
        self.browser.until("document.querySelector('dialog[open] form button.primary:not([disabled])')");
        for (name, value) in fields {
            self.browser.fill(&format!("dialog [name={name}]"), value);
        }
        self.browser.click("dialog[open] form", verb);
        self.browser.shows(result);
        self.browser.click("dialog[open]", "Close");
    }
}

#[test]
fn every_page_is_whole_clean_and_accessible() {
    let Some(walk) = Walk::begin() else { return };
    let (browser, axe) = (&walk.browser, crate::support::environment("NOVA_TEST_AXE"));
    let axe = axe.map(|file| std::fs::read_to_string(file).unwrap());
    if axe.is_none() {
        eprintln!("left out: NOVA_TEST_AXE does not name axe.min.js");
    }
    let shots = crate::support::environment("NOVA_TEST_SHOTS").map(PathBuf::from);
    browser.go(&walk.url(""));
    browser.shows("What needs you");
    browser.go(&walk.url("failed"));
    browser.shows("Sign in");
    walk.sign_in();
    for (name, path, shows) in pages() {
        walk.visit(&path, shows);
        assert_eq!(browser.run("return document.querySelectorAll('h1').length"), 1, "{name}");
        let text = browser.run("return document.documentElement.innerText").to_string();
        assert!(!text.contains(CANARY), "{name}");
        for scheme in SCHEMES {
            browser.scheme(scheme);
            for width in if shots.is_some() { &WIDTHS[..] } else { &WIDTHS[..1] } {
                browser.width(*width);
                let over = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
                let over = browser.run(over).as_i64().unwrap();
                assert!(over <= 0, "{name} is {over} px too wide at {width} px");
                if let Some(shots) = &shots {
                    browser
                        .until("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))) && true");
                    browser.shot(&shots.join(format!("{name}-{scheme}-{width}.png")));
                }
            }
            browser.width(1_280);
            if let Some(axe) = &axe {
                let found = violations(browser, axe);
                assert!(found.is_empty(), "{name} in {scheme}: {found:#?}");
            }
        }
        walk.is_clean();
    }
}

/// The violations that axe-core finds, each with its place.
fn violations(browser: &Browser, axe: &str) -> Vec<String> {
    // The script is not run through the page, because the page's policy allows no other script.
    browser.command("Runtime.evaluate", &json!({ "expression": axe }));
    let run = "axe.run({ resultTypes: ['violations'] }).then(r => JSON.stringify(r.violations.map(v => v.id + ': ' + \
               v.nodes.slice(0, 3).map(n => n.target.join(' ') + ' ' + (n.any[0]?.message ?? '')).join(' | '))))";
    let told = browser.command("Runtime.evaluate", &json!({ "expression": run, "awaitPromise": true }));
    let text = told["result"]["value"].as_str().unwrap_or_else(|| panic!("{told}"));
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_action_asks_acts_and_stands_in_the_audit() {
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    walk.sign_in();
    // The first letter stays and shows its bytes. Then all letters of its group are removed.
    walk.visit("failed", "malformed-json");
    browser.click("tbody", "Example");
    browser.shows("Value, private members masked");
    browser.click("tbody", "Replay …");
    browser.shows("What would become of each letter");
    browser.shows("kept");
    walk.act(&[], "Replay", "What became of them");
    browser.click("tbody", "Discard …");
    walk.act(&[("reason", "a test")], "Discard for ever", "letters are gone");
    // The halted table gets each of the two decisions.
    browser.shows("halted");
    browser.click(".findings", "Keep its rows …");
    walk.act(&[], "Go on", "takes changes again");
    browser.shows("No table is halted");
    walk.visit("source", "Halt users");
    browser.click("main", "Halt users …");
    walk.act(&[], "Halt", "users is halted");
    walk.visit("failed", "halted");
    browser.click(".findings", "Raise the epoch …");
    walk.act(&[], "Raise it", "The epoch is");
    // The page of a user.
    walk.visit(&format!("user/{}", user(1)), "Feed, as they see it");
    browser.fill("form.inline [name=post]", &post(2).to_string());
    browser.click("form.inline", "Explain");
    browser.until("document.querySelector('.answer')");
    browser.click("main", "Forget snapshots …");
    walk.act(&[], "Forget", "It is forgotten");
    walk.visit(&format!("user/{}", user(2)), "Revoke tokens");
    browser.click("main", "Revoke tokens …");
    walk.act(&[("reason", "a lost phone")], "Revoke", "are refused");
    // The page of a post in trending.
    walk.visit(&format!("post/{}", post(3)), "Place in each window");
    browser.click("main", "Pin …");
    walk.act(&[("place", "2")], "Pin", "pinned at place 2");
    browser.click("main", "Take the override back …");
    walk.act(&[], "Take it back", "The override is gone");
    browser.click("main", "Block …");
    walk.act(&[], "Block", "It is blocked");
    walk.visit("trending", "Blocked");
    // The pages of the node.
    walk.visit("system/revocations", "Issued before");
    browser.click("tbody", "Take back …");
    walk.act(&[], "Take it back", "The rule is gone");
    walk.visit("system/store", "Latest backup");
    browser.click("main", "Make a backup …");
    walk.act(&[("name", "walked")], "Copy", "entries are in");
    browser.click("main", "Check every page …");
    walk.act(&[], "Check", "of");
    // The playground sends a request, and shows the answer that curl gets.
    walk.visit("api/getTrending", "Needs no token");
    browser.click("form", "Send");
    browser.shows("Answer");
    browser.until("[...document.querySelectorAll('code')].some(e => e.innerText.startsWith(\"curl 'http\"))");
    walk.is_clean();
    let audit = out(&nova(&walk.data, &["audit"]));
    for deed in
        ["dlq-discard", "cdc-resume", "pause", "epoch", "feed-invalidate", "revoke", "trending-override", "backup"]
    {
        assert!(audit.contains(deed), "{deed}: {audit}");
    }
}

#[test]
fn hostile_texts_are_texts_and_a_lost_stream_is_told() {
    let Some(mut walk) = Walk::begin() else { return };
    walk.sign_in();
    let browser = &walk.browser;
    for (number, text) in HOSTILE.iter().enumerate() {
        walk.visit(&format!("post/{}", post(number as u128 + 1)), "Place in each window");
        let shown = browser.run("return document.querySelector('blockquote').textContent").as_str().unwrap().to_owned();
        let visible: String = text.chars().filter(|c| c.is_ascii_graphic()).collect();
        let found: String = shown.chars().filter(|c| c.is_ascii_graphic()).collect();
        assert!(found.contains(&visible) || text.contains(['\u{202e}', '\u{1}']), "{shown}");
        for mark in ['\u{202e}', '\u{2066}', '\u{1}', '\u{7f}'] {
            assert!(!shown.contains(mark), "{mark:?} in {shown}");
        }
        assert_eq!(
            browser.run("return document.querySelectorAll('h1').length + document.querySelectorAll('main img').length"),
            1
        );
        assert!(!browser.run("return document.title").as_str().unwrap().contains("owned"));
    }
    walk.visit(&format!("post/{}", post(24)), "Place in each window");
    assert!(
        browser.run("return document.documentElement.innerText.length").as_i64() < Some(60_000),
        "a megabyte was cut"
    );
    walk.visit("failed", "malformed-json");
    browser.click("tbody", "Example");
    browser.shows("Value, private members masked");
    walk.is_clean();
    // The keyboard alone reaches the search and a user.
    walk.visit("", "adds up");
    browser.press(&["/"]);
    browser.until("document.activeElement.name === 'q'");
    browser.press(&["p", "e", "r", "s", "o", "n", "_", "2"]);
    browser.shows("person_2");
    browser.until("document.querySelector('.found a')");
    browser.press(&["\u{e007}"]);
    browser.shows("Feed, as they see it");
    browser.press(&["\u{e004}"]);
    assert_ne!(browser.run("return document.activeElement.tagName"), "BODY");
    walk.visit("", "adds up");
    walk.node.child.kill().unwrap();
    browser.shows("stream lost");
    browser.shows("old");
}

/// Sends a post with a hostile caption, as a record that arrives now.
fn arrive(walk: &Walk, number: u128, caption: &str) {
    let row = json!({ "id": post(number).to_string(), "user_id": user(1).to_string(), "caption": caption });
    let (headers, body) = (bearer(&walk.admin), json!({ "posts": [row] }).to_string());
    let answer = Client::connect(walk.node.addr).ask("POST", "/api/v1/rows", &headers, body.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn what_arrives_is_shown_with_its_record_its_version_and_its_effect_and_does_nothing() {
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    walk.sign_in();
    walk.visit("live", "Listening");
    let hostile = HOSTILE.join(" ");
    // The page may begin to listen a moment after it says so. Sending the same row again has no effect.
    let mut numbers = 100..;
    until("a record is shown", || {
        arrive(&walk, numbers.next()?, &hostile);
        (browser.run("return document.querySelectorAll('tbody tr').length > 0") == true).then_some(())
    });
    browser.click("tbody", "Record");
    for part in ["Decoded to", "version", "epoch 0, LSN none", "Value, private members masked", "published post"] {
        browser.shows(part);
    }
    browser.shows("The list stands still");
    let shown = "[...document.querySelectorAll('.within pre')].map(e => e.textContent).join('')";
    let text = browser.run(&format!("return {shown}")).as_str().unwrap().to_owned();
    assert!(text.contains("<script>document.title='owned'</script>"), "{text}");
    for mark in ['\u{202e}', '\u{2066}', '\u{1}', '\u{7f}'] {
        assert!(!text.contains(mark), "{mark:?} in {text}");
    }
    assert_eq!(browser.run("return document.querySelectorAll('main img, main script').length"), 0);
    // Records that come now wait, and the shown record stays where it is, also at the narrowest width.
    arrive(&walk, 91, "another");
    browser.until("/[1-9][0-9]* came since/.test(document.body.innerText)");
    browser.width(320);
    let over = browser.run(
        "const e = document.querySelector('.within').getBoundingClientRect(); \
         return Math.max(e.right - innerWidth, document.documentElement.scrollWidth - document.documentElement.clientWidth)",
    );
    assert!(over.as_f64().unwrap() <= 0.5, "the record is {over} px too wide");
    browser.width(1_280);
    browser.click("tbody", "Record");
    // A long record is cut by the node, and the page says that it is.
    arrive(&walk, 92, &"long ".repeat(40_000));
    browser.run("document.activeElement.blur()");
    browser.shows("Listening");
    browser.until(&format!("document.querySelector('tbody tr').innerHTML.includes('{}')", post(92)));
    browser.click("tbody", "Record");
    browser.shows("the beginning of");
    assert!(browser.run("return document.documentElement.innerText.length").as_i64() < Some(60_000));
    // With a filter by post, records of other posts do not come.
    browser.fill("form.inline [name=post_id]", &post(93).to_string());
    browser.click("form.inline", "Filter");
    browser.shows("Nothing arrived yet");
    until("a record of the post is shown", || {
        arrive(&walk, 94, "not asked for");
        arrive(&walk, 93, "asked for");
        (browser.run("return document.querySelectorAll('tbody tr').length > 0") == true).then_some(())
    });
    let others = "return [...document.querySelectorAll('tbody tr')].filter(e => !e.innerHTML.includes('/console/post/ID')).length";
    assert_eq!(browser.run(&others.replace("ID", &post(93).to_string())), 0);
    walk.is_clean();
    let audit = out(&nova(&walk.data, &["audit"]));
    assert!(audit.contains("tap-raw"), "{audit}");
}

#[test]
fn trending_is_live_over_the_one_stream_and_stands_still_under_the_keyboard() {
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    walk.sign_in();
    walk.visit("trending", "posts scored");
    browser.shows("The lists are live");
    // The post has no events so far.
    let now_ms = nova::clock::Clock::System.now_ms();
    let event = json!({ "event_time": now_ms, "post_id": post(20).to_string(), "action": "share" });
    let (headers, body) = (bearer(&walk.admin), json!({ "events": [event] }).to_string());
    let answer = Client::connect(walk.node.addr).post(&headers, body.as_bytes());
    assert_eq!(answer.status, 202, "{answer:?}");
    let first = format!(
        "[...document.querySelectorAll('.board')].some(e => e.innerHTML.includes('/console/post/{}'))",
        post(20)
    );
    browser.until(&first);
    browser.run("document.querySelector('.board a').focus()");
    browser.shows("The lists stand still while you are in them");
    browser.run("document.activeElement.blur()");
    browser.shows("The lists are live");
    let asked = browser.asked();
    assert!(!asked.iter().any(|url| url.contains("trending/stream")), "{asked:?}");
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn findings_are_on_the_overview_with_their_commands_and_stages_tell_theirs() {
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    walk.visit("", "What needs you");
    for text in ["truncate", "nova cdc resume likes --truncate apply", "nova dlq list"] {
        browser.shows(text);
    }
    let state = |stage: &str| {
        let find = format!(
            "return [...document.querySelectorAll('.pipe li')].find(e => e.innerText.includes('{stage}')).className"
        );
        browser.run(&find)
    };
    until("ClickHouse is told to be away", || (state("ClickHouse") == "warns").then_some(()));
    assert_eq!(state("Decode"), Value::from("stops"));
    browser.until("[...document.querySelectorAll('figure canvas')].length >= 6");
}
