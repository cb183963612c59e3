//! A real browser that is controlled over WebDriver (W3C). A few lines of HTTP are enough for the WebDriver protocol,
//! so the tests use no library for it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

/// The longest wait for something to appear on a page.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest wait for one step of the browser.
const ANSWER: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A browser window, which is closed when this value is dropped.
pub struct Browser {
    driver: Child,
    addr: SocketAddr,
    session: String,
}

impl Browser {
    /// Starts the Chromium at the path `chromium`. The chromedriver for the browser is beside Chromium or in `PATH`.
    pub fn start(chromium: &Path, profile: &Path) -> Browser {
        let beside = chromium.with_file_name("chromedriver");
        let program = if beside.exists() { beside } else { "chromedriver".into() };
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut driver = Command::new(program);
        driver.arg(format!("--port={}", addr.port())).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = driver.spawn().expect("chromedriver starts (Debian: chromium-driver)");
        let mut browser = Browser { driver, addr, session: String::new() };
        let question = format!("GET /status HTTP/1.1\r\nHost: {addr}\r\n\r\n");
        let listens = || exchange(addr, &question).is_some_and(|(status, _)| status == 200);
        until("chromedriver listens", || listens().then_some(()));
        let size = "--window-size=1280,900";
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", size];
        let arguments =
            arguments.map(str::to_owned).into_iter().chain([format!("--user-data-dir={}", profile.display())]);
        let options = json!({ "binary": chromium, "args": arguments.collect::<Vec<_>>() });
        let wanted =
            json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" } });
        let made = browser.ask("POST", "/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = format!("/session/{}", made["sessionId"].as_str().unwrap());
        browser
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        // chromedriver serves only requests that name its own address as the host.
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n", self.addr);
        let request = format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let (status, answer) = exchange(self.addr, &request).expect("chromedriver answers");
        assert_eq!(status, 200, "{method} {path}: {answer}");
        serde_json::from_str::<Value>(&answer).unwrap()["value"].take()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("{}{path}", self.session), body)
    }

    pub fn go(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Runs a command of the DevTools protocol.
    pub fn command(&self, name: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": name, "params": parameters }))
    }

    /// Waits until a JavaScript expression is true.
    pub fn until(&self, expression: &str) {
        until(expression, || (self.run(&format!("return !!({expression})")) == true).then_some(()));
    }

    /// Waits until the page shows the given text.
    pub fn shows(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text)));
    }

    /// Clicks the first button or link whose text begins with `label`, within the element that the selector `within`
    /// names.
    pub fn click(&self, within: &str, label: &str) {
        let find = format!(
            "[...document.querySelectorAll({})].flatMap(e => [...e.querySelectorAll('button, a')]).find(e => e.innerText.trim().startsWith({}))",
            json!(within),
            json!(label)
        );
        self.until(&find);
        self.run(&format!("({find}).click()"));
    }

    pub fn fill(&self, selector: &str, text: &str) {
        let set = format!(
            "const e = document.querySelector({}); e.value = {}; e.dispatchEvent(new Event('input', {{ bubbles: true }}));",
            json!(selector),
            json!(text)
        );
        self.until(&format!("document.querySelector({})", json!(selector)));
        self.run(&set);
    }

    /// Presses keys in sequence, like a user who has no mouse.
    pub fn press(&self, keys: &[&str]) {
        self.keys(keys.iter().flat_map(|key| [("keyDown", *key), ("keyUp", *key)]));
    }

    /// Presses a key while a second key is held down.
    pub fn chord(&self, held: &str, key: &str) {
        self.keys([("keyDown", held), ("keyDown", key), ("keyUp", key), ("keyUp", held)].into_iter());
    }

    fn keys<'k>(&self, steps: impl Iterator<Item = (&'k str, &'k str)>) {
        let steps: Vec<_> = steps.map(|(kind, key)| json!({ "type": kind, "value": key })).collect();
        self.post("/actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": steps }] }));
    }

    pub fn scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.command("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    pub fn width(&self, width: u32) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Saves a picture of the whole page, up to a limit of its height, as a PNG file.
    pub fn shot(&self, file: &Path) {
        const HIGHEST: i64 = 3_000;
        let width = self.run("return innerWidth").as_i64().unwrap();
        let height = self.run("return document.documentElement.scrollHeight").as_i64().unwrap().clamp(900, HIGHEST);
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let made = self.command("Page.captureScreenshot", &json!({ "captureBeyondViewport": true, "clip": clip }));
        let bytes = base64::engine::general_purpose::STANDARD.decode(made["data"].as_str().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }

    /// Returns what the page has written to the browser's console since the last call, such as violations of the
    /// content security policy.
    pub fn complaints(&self) -> Vec<String> {
        let lines = self.post("/se/log", &json!({ "type": "browser" }));
        let severe =
            lines.as_array().unwrap().iter().filter(|line| line["level"] != "INFO" && line["level"] != "DEBUG");
        severe.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Returns the addresses that the browser has requested since the last call.
    pub fn asked(&self) -> Vec<String> {
        let lines = self.post("/se/log", &json!({ "type": "performance" }));
        let lines = lines.as_array().unwrap().iter();
        let sent = lines.filter_map(|line| {
            let message: Value = serde_json::from_str(line["message"].as_str()?).ok()?;
            let message = &message["message"];
            let sent = message["method"] == "Network.requestWillBeSent";
            sent.then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
        });
        sent.collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let path = self.session.clone();
            // A failure to end the browser must not hide the failure of the test.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.ask("DELETE", &path, &Value::Null)));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Makes one exchange with chromedriver, which writes its headers without a space and keeps the connection open.
fn exchange(addr: SocketAddr, request: &str) -> Option<(u16, String)> {
    let stream = TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    (&stream).write_all(request.as_bytes()).ok()?;
    let (mut reader, mut status, mut length) = (BufReader::new(stream), 0, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once([':', ' ']) {
            None => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok()?,
            Some((name, value)) if name.starts_with("HTTP/") => status = value.get(..3)?.parse().ok()?,
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((status, String::from_utf8(body).ok()?))
}

/// Calls `look` at intervals until it returns a value.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// Calls `look` at intervals until it returns a value, for at most the time `patience`.
pub fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = nova::clock::monotonic_now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(nova::clock::monotonic_now() < until, "in vain: {what}");
        let (_keep, nothing) = std::sync::mpsc::sync_channel::<()>(1);
        // The page runs in the browser, which does not report when the page is ready, so the test waits.
        let _ = nothing.recv_timeout(LOOK_AGAIN);
    }
}
