//! Tests that every page of the console shows strangers' texts as plain text and shows no private data. If the node no
//! longer answers, the page must say so.

use serde_json::json;

use crate::api::client::{Client, bearer};

use super::browser::{Browser, until};
use super::walker::{CANARY, Walk, pages};
use super::world::{HOSTILE, LONG_NAMED, post, user};

/// The maximum length of the text that a page may show, whatever somebody wrote.
const TEXT_MAX: i64 = 250_000;

/// Checks that no text on the page became markup, contains a mark that turns the direction of writing, or is private.
fn is_harmless(browser: &Browser, name: &str) {
    let found = browser.run(
        "const made = document.querySelectorAll('main img, main script, main iframe, dialog img, dialog script, #told img').length; \
         const marks = /[\\u0000-\\u0008\\u000b-\\u001f\\u007f\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]/; \
         return { made, h1: document.querySelectorAll('h1').length, owned: document.title.includes('owned'), \
                  marks: marks.test(document.body.textContent), length: document.documentElement.innerText.length, \
                  canary: document.documentElement.outerHTML.includes('CANARY') };".replace("CANARY", CANARY).as_str(),
    );
    let length = found["length"].as_i64().unwrap();
    let shown = json!({ "made": 0, "h1": 1, "owned": false, "marks": false, "length": length, "canary": false });
    assert_eq!(found, shown, "{name}");
    assert!(length < TEXT_MAX, "{name} shows {length} characters");
}

/// Makes entries of the audit and a rule with hostile reasons.
fn revoke(walk: &Walk) {
    let headers = bearer(&walk.admin);
    let mut reasons = HOSTILE.map(str::to_owned).to_vec();
    reasons.push("reason ".repeat(1_000));
    for reason in reasons {
        let body = json!({ "user_id": user(12).to_string(), "reason": reason }).to_string();
        let answer =
            Client::connect(walk.node.addr).ask("POST", "/api/v1/admin/revocations", &headers, body.as_bytes());
        assert!([201, 400].contains(&answer.status), "{answer:?}");
    }
}

#[test]
fn hostile_texts_are_texts_on_every_page() {
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    walk.sign_in();
    revoke(&walk);
    for (name, path, shows) in pages() {
        walk.visit(&path, shows);
        is_harmless(browser, name);
    }
    for number in (1..=HOSTILE.len() as u128).chain([24]) {
        walk.visit(&format!("post/{}", post(number)), "Place in each window");
        is_harmless(browser, &format!("post {number}"));
    }
    for number in LONG_NAMED..=LONG_NAMED + HOSTILE.len() as u128 {
        walk.visit(&format!("user/{}", user(number)), "Feed, as they see it");
        is_harmless(browser, &format!("user {number}"));
    }
    // The page shows the hostile text as harmless text.
    walk.visit(&format!("post/{}", post(1)), "Place in each window");
    browser.shows(HOSTILE[0]);
    walk.visit("system/audit", "Who did what");
    browser.shows(HOSTILE[4]);
    walk.is_clean();
}

#[test]
fn hostile_texts_are_texts_in_what_a_click_opens() {
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    walk.sign_in();
    walk.visit("failed", "malformed-json");
    let groups =
        browser.run("return document.querySelectorAll('tbody button[aria-expanded]').length").as_u64().unwrap();
    assert!(groups >= 3, "{groups}");
    for group in 0..groups {
        browser.run(&format!("document.querySelectorAll('tbody button[aria-expanded]')[{group}].click()"));
        let open = format!("document.querySelectorAll('tbody button[aria-expanded]')[{group}].ariaExpanded === 'true'");
        browser.until(&open);
        browser.shows("Attempts");
        let row = format!("document.querySelectorAll('tbody button[aria-expanded]')[{group}].closest('tr')");
        if browser.run(&format!("return {row}.querySelector('.num').innerText")) != "1" {
            browser.shows("Details of all");
        }
        is_harmless(browser, "an example");
    }
    browser.click("tbody", "Replay …");
    browser.shows("What would become of each letter");
    is_harmless(browser, "a dry run");
    browser.click("dialog[open]", "Leave it");
    // The search of the console finds hostile names, on its page and in its dialog.
    walk.visit("user", "Name or id");
    browser.fill("form.inline [name=q]", "owned");
    browser.click("form.inline", "Search");
    browser.shows(HOSTILE[4]);
    is_harmless(browser, "found users");
    browser.press(&["/"]);
    browser.until("document.activeElement.name === 'q' && document.querySelector('dialog[open]')");
    browser.press(&["o", "w", "n", "e", "d"]);
    browser.until("document.querySelector('.found a')");
    is_harmless(browser, "the search");
    // The playground of the console shows an answer of the node unchanged.
    for (operation, field, value) in [("getUser", "path.user_id", user(9)), ("getPost", "path.post", post(2))] {
        walk.visit(&format!("api/{operation}"), "Needs a token");
        browser.fill(&format!("[name=\"{field}\"]"), &value.to_string());
        browser.click("form", "Send");
        browser.shows("Answer");
        is_harmless(browser, operation);
    }
    walk.is_clean();
}

#[test]
fn what_a_client_says_of_itself_is_text_where_its_event_arrives() {
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    walk.sign_in();
    walk.visit("live", "Listening");
    let (headers, now_ms) = (bearer(&walk.admin), nova::clock::Clock::System.now_ms());
    // At first the page may say that it is listening although it receives no records yet.
    until("an event is shown", || {
        let event = json!({ "event_time": now_ms, "post_id": post(20).to_string(), "action": "view",
            "device": "one\u{0}two\u{202e}", "app_ver": "<h1>owned" });
        let body = json!({ "events": [event] }).to_string();
        let answer = Client::connect(walk.node.addr).post(&headers, body.as_bytes());
        assert_eq!(answer.status, 202, "{answer:?}");
        (browser.run("return document.querySelectorAll('tbody tr').length > 0") == true).then_some(())
    });
    browser.click("tbody", "Record");
    browser.shows("Value, private members masked");
    // JSON writes the character NUL as an escape, and the page shows this escape unchanged.
    for text in ["one\\u0000two⟨U+202E⟩", "<h1>owned"] {
        browser.shows(text);
    }
    is_harmless(browser, "an event of a client");
    walk.is_clean();
}

#[test]
fn a_lost_stream_is_told_with_what_to_type() {
    let Some(mut walk) = Walk::begin() else { return };
    walk.visit("", "adds up");
    walk.node.child.kill().unwrap();
    let browser = &walk.browser;
    for text in ["stream lost", "old", "nova does not answer", "nova serve"] {
        browser.shows(text);
    }
}
