//! A walk through every page and every action of the console in a real browser, with a node that has data of every
//! kind. `NOVA_TEST_CHROMIUM` names the browser (Debian: `chromium`, with `chromium-driver`), `NOVA_TEST_AXE` names the
//! file `axe.min.js` of axe-core, and `NOVA_TEST_SHOTS` names a directory for pictures of every page in both colour
//! schemes at four widths.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::program::{nova, out};

use super::browser::{Browser, until, within};
use super::walker::{CANARY, Walk, pages};
use super::world::{post, user};

/// The widths of the pictures. Every page must fit into the widths of 320 and 360 pixels.
const WIDTHS: [u32; 4] = [320, 360, 1_280, 2_560];
const SCHEMES: [&str; 2] = ["light", "dark"];
/// The longest wait for a comparison with ClickHouse, which first gives the outbox a minute to become empty.
const COMPARED: Duration = Duration::from_secs(90);

#[test]
fn every_page_is_whole_clean_and_accessible() {
    let Some(walk) = Walk::begin() else { return };
    let (browser, axe) = (&walk.browser, crate::support::environment("NOVA_TEST_AXE"));
    let axe = axe.map(|file| std::fs::read_to_string(file).unwrap());
    if axe.is_none() {
        eprintln!("left out: NOVA_TEST_AXE does not name axe.min.js");
    }
    let shots = crate::support::environment("NOVA_TEST_SHOTS").map(PathBuf::from);
    shots.iter().for_each(|shots| std::fs::create_dir_all(shots).unwrap());
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
            for width in if shots.is_some() { &WIDTHS[..] } else { &WIDTHS[..2] } {
                browser.width(*width);
                let over = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
                let over = browser.run(over).as_i64().unwrap();
                assert!(over <= 0, "{name} is {over} px too wide at {width} px");
                if let Some(shots) = &shots {
                    browser.run("return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))");
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

/// Returns the violations that axe-core finds, each with its place on the page.
fn violations(browser: &Browser, axe: &str) -> Vec<String> {
    // The page's content security policy allows only the page's own scripts, so DevTools runs the script of axe-core.
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
    // The replay of the first dead letter fails, and the letter shows its bytes. The action "Discard" removes all dead
    // letters of a group.
    walk.visit("failed", "malformed-json");
    browser.click("tbody", "Example");
    browser.shows("Value, private members masked");
    browser.click("tbody", "Replay …");
    browser.shows("What would become of each letter");
    browser.shows("kept");
    walk.act(&[], "Replay", "What became of them");
    browser.click("tbody", "Discard …");
    walk.act(&[("reason", "a test")], "Discard for ever", "letters are gone");
    // The halted table gets each of the two decisions that a person can make.
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
    // The next page of the walk is the page of a user.
    walk.visit(&format!("user/{}", user(1)), "Feed, as they see it");
    browser.fill("form.inline [name=post]", &post(2).to_string());
    browser.click("form.inline", "Explain");
    browser.until("document.querySelector('.answer')");
    browser.click("main", "Forget snapshots …");
    walk.act(&[], "Forget", "It is forgotten");
    walk.visit(&format!("user/{}", user(2)), "Revoke tokens");
    browser.click("main", "Revoke tokens …");
    walk.act(&[("reason", "a lost phone")], "Revoke", "are refused");
    // The next page of the walk is the page of a post in trending.
    walk.visit(&format!("post/{}", post(3)), "Place in each window");
    browser.click("main", "Pin …");
    walk.act(&[("place", "2")], "Pin", "pinned at place 2");
    browser.click("main", "Take the override back …");
    walk.act(&[], "Take it back", "The override is gone");
    browser.click("main", "Block …");
    walk.act(&[], "Block", "It is blocked");
    walk.visit("trending", "Blocked");
    // The next pages of the walk are the pages about the node.
    walk.visit("system/revocations", "Issued before");
    browser.click("tbody", "Take back …");
    walk.act(&[], "Take it back", "The rule is gone");
    walk.visit("system/store", "Latest backup");
    browser.click("main", "Make a backup …");
    walk.act(&[("name", "walked")], "Copy", "entries are in");
    browser.click("main", "Check every page …");
    walk.act(&[], "Check", "of");
    // The playground of the console sends a request, and shows the answer that curl gets for it.
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

/// A script that makes the page show a partition as held, and no table as halted. The script runs before the scripts of
/// the page.
const HELD: &str = "
    const ask = window.fetch;
    window.fetch = async (path, options) => {
        const answer = await ask(path, options);
        if (!String(path).endsWith('/api/v1/admin/cdc')) return answer;
        const found = await answer.json();
        const held = 'topic-breaker: made by a test';
        found.tables.forEach((one) => { one.halted = null; });
        found.partitions = [{ topic: 'cdc.comments', partition: 0, next_offset: 4711, consumed: 0, held }];
        return new Response(JSON.stringify(found));
    };";

#[test]
fn a_held_partition_goes_on_from_the_page_and_a_comparison_without_clickhouse_says_why_it_is_none() {
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    walk.sign_in();
    browser.command("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": HELD }));
    walk.visit("failed", "topic-breaker: made by a test");
    browser.click(".findings", "Try it again …");
    walk.act(&[], "Try it again", "It goes on at 4711");
    browser.click(".findings", "Go on elsewhere …");
    walk.act(&[("offset", "4720")], "Seek", "It goes on at 4720");
    walk.visit("trending", "posts scored");
    browser.click(".board", "Pin …");
    walk.act(&[("place", "3")], "Pin", "pinned at place 3");
    browser.click(".board", "Take back …");
    walk.act(&[], "Take it back", "The override is gone");
    walk.visit("source", "Outbox by table");
    browser.click("main", "Compare with ClickHouse …");
    browser.until("document.querySelector('dialog[open] form button.primary:not([disabled])')");
    browser.click("dialog[open] form", "Compare");
    let why = within(COMPARED, "the refusal", || {
        let why = browser.run("return document.querySelector('dialog[open] [role=alert]')?.innerText");
        why.as_str().map(str::to_owned)
    });
    assert!(why.contains("ClickHouse"), "{why}");
    browser.click("dialog[open]", "Close");
    walk.is_clean();
    let audit = out(&nova(&walk.data, &["audit"]));
    for deed in ["cdc-seek", "trending-override", "compare"] {
        assert!(audit.contains(deed), "{deed}: {audit}");
    }
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
