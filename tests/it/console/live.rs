//! Parts of the console that change without an action of the user: arriving records, and the trending lists.

use serde_json::{Value, json};

use crate::api::client::{Client, bearer};
use crate::support::program::{nova, out};

use super::browser::{Browser, until};
use super::walker::{CANARY, Walk};
use super::world::{HOSTILE, post, user};

/// Sends a post with a hostile caption, as a record that arrives now.
fn arrive(walk: &Walk, number: u128, caption: &str) {
    let row = json!({ "id": post(number).to_string(), "user_id": user(1).to_string(), "caption": caption });
    send(walk, &json!({ "posts": [row] }));
}

fn send(walk: &Walk, rows: &Value) {
    let (headers, body) = (bearer(&walk.admin), rows.to_string());
    let answer = Client::connect(walk.node.addr).ask("POST", "/api/v1/rows", &headers, body.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The maximum number of consoles that a node serves to one address.
const CONSOLES_MAX: usize = 64;

/// Opens the stream of one more console, or returns `None` if the node refuses it.
fn watch(walk: &Walk) -> Option<Client> {
    let mut client = Client::connect(walk.node.addr);
    let answer = client.get("/api/v1/overview/stream", "");
    (answer.status == 200).then_some(client)
}

/// Hides the page like a tab that is not in front, or shows it again.
fn hide(browser: &Browser, hidden: bool) {
    browser.run(&format!(
        "Object.defineProperty(document, 'hidden', {{ configurable: true, value: {hidden} }}); \
         document.dispatchEvent(new Event('visibilitychange'));"
    ));
}

/// Whether data comes over the page's stream.
fn connected(browser: &Browser) -> bool {
    let expression = "import(document.querySelector('script[type=module]').src.replace('app.js', 'live.js'))\
                      .then(({ live }) => live.connected)";
    let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
    browser.command("Runtime.evaluate", &parameters)["result"]["value"] == true
}

#[test]
fn a_hidden_tab_ends_its_streams_and_goes_on_when_it_is_shown_again() {
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    walk.visit("", "adds up");
    assert!(connected(browser));
    // The page counts against the limit of consoles for one address.
    let mut others: Vec<_> = (1..CONSOLES_MAX).map(|_| watch(&walk).unwrap()).collect();
    assert!(watch(&walk).is_none());
    hide(browser, true);
    assert!(!connected(browser));
    others.push(until("the place of the hidden tab is free", || watch(&walk)));
    drop(others);
    hide(browser, false);
    until("the page goes on", || connected(browser).then_some(()));
    walk.sign_in();
    walk.visit("live", "Listening");
    hide(browser, true);
    hide(browser, false);
    let mut numbers = 400..;
    until("a record is shown", || {
        arrive(&walk, numbers.next()?, "shown again");
        (browser.run("return document.querySelectorAll('tbody tr').length > 0") == true).then_some(())
    });
}

#[test]
fn what_arrives_is_shown_with_its_record_its_version_and_its_effect_and_does_nothing() {
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    walk.sign_in();
    walk.visit("live", "Listening");
    let hostile = HOSTILE.join(" ");
    // At first the page may say that it is listening although it receives no records yet. A row that was already sent
    // has no effect, so each attempt sends a new row.
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
    // New records wait in a queue, and the shown record stays in its place, even at the narrowest width of the window.
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
    // The node cuts a long record, and the page says that the record is cut.
    arrive(&walk, 92, &"long ".repeat(40_000));
    browser.run("document.activeElement.blur()");
    browser.shows("Listening");
    browser.until(&format!("document.querySelector('tbody tr').innerHTML.includes('{}')", post(92)));
    browser.click("tbody", "Record");
    browser.shows("the beginning of");
    assert!(browser.run("return document.documentElement.innerText.length").as_i64() < Some(60_000));
    // With a filter by post, only records of that post appear.
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
    // The record of a comment shows by how much it moved the commented post, and a user's record shows no private
    // column.
    until("a comment is shown", || {
        let comment = json!({ "user_id": user(2).to_string(), "post_id": post(93).to_string(), "content": hostile });
        send(&walk, &json!({ "comments": [comment] }));
        (browser.run("return document.body.innerText.includes('moved trending 24 h by 3')") == true).then_some(())
    });
    browser.fill("form.inline [name=post_id]", "");
    browser.click("form.inline", "Filter");
    browser.shows("Nothing arrived yet");
    let mut numbers = 300..;
    until("a user is shown", || {
        let id = user(numbers.next()?).to_string();
        send(&walk, &json!({ "users": [{ "id": id, "username": hostile, "email": CANARY, "password_hash": CANARY }] }));
        (browser.run("return document.querySelectorAll('tbody tr').length > 0") == true).then_some(())
    });
    browser.click("tbody", "Record");
    browser.shows("Value, private members masked");
    let whole = browser.run("return document.documentElement.outerHTML").as_str().unwrap().to_owned();
    assert!(whole.contains("password_hash") && !whole.contains(CANARY), "{whole}");
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
