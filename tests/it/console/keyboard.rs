//! A walk with only the keyboard: every control of every page gets the focus, and every kind of action is done.

use serde_json::Value;

use crate::support::program::{nova, out};

use super::walker::{Walk, pages};
use super::world::{post, user};

// The keys of WebDriver (W3C, 17.4.2).
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const SPACE: &str = " ";
const ESCAPE: &str = "\u{e00c}";
const DOWN: &str = "\u{e015}";
const END: &str = "\u{e010}";
const BACKSPACE: &str = "\u{e003}";
const SHIFT: &str = "\u{e008}";

/// The maximum number of presses of Tab until the focus is on the wanted element.
const TABS_MAX: usize = 400;

/// Presses Tab, and at the end of the page Shift and Tab, until the focus is on an element `e` for which the
/// expression is true.
fn tab_to(walk: &Walk, expression: &str) {
    let browser = &walk.browser;
    let here = format!("const e = document.activeElement; return [!!(e && ({expression})), e === document.body]");
    let mut forward = true;
    for tabs in 0..TABS_MAX {
        let found = browser.run(&here);
        if found[0] == true {
            return;
        }
        forward &= tabs == 0 || found[1] != true;
        match forward {
            true => browser.press(&[TAB]),
            false => browser.chord(SHIFT, TAB),
        }
    }
    panic!("Tab does not reach {expression}");
}

/// Moves the focus to a button or link whose text begins with `label`, and presses the given key on it.
fn press(walk: &Walk, label: &str, key: &str) {
    let label = Value::from(label);
    tab_to(walk, &format!("e.matches('a, button') && e.innerText.trim().startsWith({label})"));
    walk.browser.press(&[key]);
}

/// Moves the focus to a field, and types a text that replaces the content of the field.
fn type_into(walk: &Walk, name: &str, text: &str) {
    tab_to(walk, &format!("e.name === {}", Value::from(name)));
    let length = walk.browser.run("return (document.activeElement.value ?? '').length").as_u64().unwrap();
    let mut keys = vec![END.to_owned()];
    keys.extend((0..length).map(|_| BACKSPACE.to_owned()));
    keys.extend(text.chars().map(String::from));
    walk.browser.press(&keys.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Fills in the dialog of an action, confirms it, and leaves the dialog.
fn act(walk: &Walk, fields: &[(&str, &str)], verb: &str, result: &str) {
    walk.browser.until("document.querySelector('dialog[open] form button.primary:not([disabled])')");
    for (name, text) in fields {
        type_into(walk, name, text);
    }
    press(walk, verb, SPACE);
    walk.browser.shows(result);
    press(walk, "Close", ENTER);
    walk.browser.until("!document.querySelector('dialog[open]')");
}

fn sign_in(walk: &Walk) {
    walk.visit("failed", "Sign in");
    type_into(walk, "token", &walk.admin);
    walk.browser.press(&[ENTER]);
    walk.browser.shows("Sign out");
}

#[test]
fn the_keyboard_alone_reaches_every_control_of_every_page() {
    const NOTE: &str = "
        const controls = 'a[href], button, input, select, textarea, summary, [tabindex=\"0\"]';
        const all = [...document.querySelectorAll(controls)];
        window.wanted = all.filter(e => !e.disabled && e.tabIndex >= 0 && e.getClientRects().length);
        window.reached = new Set();
        window.unseen = [];
        document.addEventListener('focusin', ({ target: e }) => {
            window.reached.add(e);
            if (getComputedStyle(e).outlineStyle === 'none') window.unseen.push(e.outerHTML.slice(0, 120));
        });
        return window.wanted.length;";
    const MISSED: &str =
        "return window.wanted.filter(e => e.isConnected && !window.reached.has(e)).map(e => e.outerHTML.slice(0, 120))";
    /// Tab also reaches elements that the keyboard can scroll, although such elements are no controls.
    const SCROLLING: usize = 40;
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    sign_in(&walk);
    for (name, path, shows) in pages() {
        walk.visit(&path, shows);
        let controls = browser.run(NOTE).as_u64().unwrap() as usize;
        assert!(controls > 10, "{name}");
        browser.press(&vec![TAB; controls + SCROLLING]);
        assert_eq!(browser.run(MISSED), Value::from(Vec::<Value>::new()), "{name}: Tab does not reach these");
        assert_eq!(
            browser.run("return window.unseen"),
            Value::from(Vec::<Value>::new()),
            "{name}: no ring around these"
        );
    }
    // The link above the navigation moves the focus to the content of the page.
    walk.visit("", "adds up");
    browser.press(&[TAB]);
    assert_eq!(browser.run("return document.activeElement.className"), "skip");
    browser.press(&[ENTER, TAB]);
    assert_eq!(browser.run("return !!document.activeElement.closest('main')"), true);
    // Every page can be reached through the navigation, and gets the focus.
    for (title, path) in [("Failed", "failed"), ("Trending", "trending"), ("System", "system"), ("API", "api")] {
        walk.visit("", "adds up");
        press(&walk, title, ENTER);
        browser.until(&format!("location.pathname === '/console/{path}' && document.activeElement.id === 'main'"));
    }
}

#[test]
fn the_keyboard_alone_repairs_what_failed() {
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    sign_in(&walk);
    walk.visit("failed", "malformed-json");
    press(&walk, "Delete its rows here too …", ENTER);
    act(&walk, &[], "Go on", "takes changes again");
    browser.shows("No table is halted");
    press(&walk, "Example", SPACE);
    browser.until("document.querySelector('button[aria-expanded=true]')");
    // Escape closes a dialog without an action, and the focus returns to the element that had the focus before the
    // dialog opened.
    press(&walk, "Discard …", ENTER);
    browser.until("document.querySelector('dialog[open] form button.primary:not([disabled])')");
    browser.press(&[ESCAPE]);
    browser.until("!document.querySelector('dialog[open]') && document.activeElement.innerText.startsWith('Discard')");
    browser.press(&[ENTER]);
    act(&walk, &[("reason", "by keys")], "Discard for ever", "letters are gone");
    walk.visit("failed", "Dead letters");
    press(&walk, "Replay …", ENTER);
    act(&walk, &[], "Replay", "What became of them");
    walk.visit("source", "Halt posts");
    press(&walk, "Halt posts …", SPACE);
    act(&walk, &[], "Halt", "posts is halted");
    walk.visit("failed", "halted");
    press(&walk, "Go on …", ENTER);
    act(&walk, &[], "Go on", "takes changes again");
    walk.is_clean();
    let audit = out(&nova(&walk.data, &["audit"]));
    for deed in ["dlq-discard", "truncate apply", "cdc-pause posts", "cdc-resume posts"] {
        assert!(audit.contains(deed), "{deed}: {audit}");
    }
}

#[test]
fn the_keyboard_alone_looks_explains_and_decides() {
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    sign_in(&walk);
    // The search can be opened from any page.
    walk.visit("", "adds up");
    browser.press(&["/"]);
    browser.until("document.activeElement.name === 'q'");
    browser.press(&["p", "e", "r", "s", "o", "n", "_", "2"]);
    browser.until("document.querySelector('.found a')?.innerText.includes('person_2')");
    browser.press(&[ENTER]);
    browser.shows("Feed, as they see it");
    press(&walk, "Revoke tokens …", ENTER);
    act(&walk, &[("reason", "by keys")], "Revoke", "are refused");
    press(&walk, "Forget snapshots …", ENTER);
    act(&walk, &[], "Forget", "It is forgotten");
    type_into(&walk, "post", &post(2).to_string());
    browser.press(&[ENTER]);
    browser.until("document.querySelector('.answer')");
    walk.visit("post", "found by their id");
    type_into(&walk, "id", &post(3).to_string());
    browser.press(&[ENTER]);
    browser.shows("Place in each window");
    press(&walk, "Pin …", ENTER);
    act(&walk, &[("place", "2")], "Pin", "pinned at place 2");
    walk.visit(&format!("post/{}", post(3)), "Place in each window");
    press(&walk, "Take the override back …", ENTER);
    act(&walk, &[], "Take it back", "The override is gone");
    // The buttons in the trending lists also block a post and remove the override.
    walk.visit("trending", "posts scored");
    press(&walk, "Block …", ENTER);
    act(&walk, &[], "Block", "It is blocked");
    walk.visit("trending", "Blocked");
    press(&walk, "Take back …", ENTER);
    act(&walk, &[], "Take it back", "The override is gone");
    walk.visit("system/revocations", "Rules that end tokens early");
    press(&walk, "Revoke …", ENTER);
    act(&walk, &[("jti", "a-token"), ("reason", "by keys")], "Revoke", "It is refused from now on");
    walk.visit("system/store", "Latest backup");
    press(&walk, "Make a backup …", ENTER);
    act(&walk, &[("name", "by-keys")], "Copy", "entries are in");
    walk.is_clean();
}

#[test]
fn the_keyboard_alone_filters_pauses_and_tries_an_operation() {
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    sign_in(&walk);
    walk.visit("live", "Listening");
    tab_to(&walk, "e.name === 'topic'");
    browser.press(&[DOWN]);
    browser.until("document.querySelector('[name=topic]').value === 'users'");
    type_into(&walk, "user_id", &user(1).to_string());
    tab_to(&walk, "e.name === 'raw'");
    browser.press(&[SPACE]);
    browser.until("!document.querySelector('[name=raw]').checked");
    press(&walk, "Filter", ENTER);
    press(&walk, "Pause", SPACE);
    browser.shows("Paused");
    walk.visit("api", "Choose an operation");
    tab_to(&walk, "e.type === 'search'");
    browser.press(&["t", "r", "e", "n", "d", "i", "n", "g"]);
    tab_to(
        &walk,
        "e.matches('button.op') && e.innerText.includes('/api/v1/feed/trending') && !e.innerText.includes('stream')",
    );
    browser.press(&[ENTER]);
    browser.shows("Needs no token");
    press(&walk, "Send", ENTER);
    browser.shows("Answer");
    walk.visit("", "adds up");
    press(&walk, "Sign out", SPACE);
    browser.shows("Signed out");
    walk.is_clean();
}
