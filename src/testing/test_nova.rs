//! The type [`TestNova`] and its builder.

#![allow(clippy::panic, reason = "what a test finds ends the test")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::Config;
use crate::decode::NoSchemas;
use crate::decode::time::parse_micros;
use crate::http::testing::Testing as _;

use super::client::{Answer, Client};
use super::ground::Ways;
use super::hosted::Hosted;
use super::seed::Seed;

/// The reason why a [`TestNova`] cannot start, as a text for a person.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartFailed(String);

/// The settings of a new [`TestNova`]. [`TestNova::builder`] makes a builder.
#[derive(Default)]
pub struct Builder {
    seeds: Vec<Seed>,
    now: Option<String>,
    settings: Vec<(String, String)>,
    real_clock: bool,
    anyone: bool,
    clickhouse: bool,
}

impl Builder {
    /// Adds rows in the form of [`TestNova::rows`]. A reset restores the rows that a builder adds.
    pub fn rows(mut self, rows: Value) -> Builder {
        self.seeds.push(Seed::Rows(rows));
        self
    }

    /// Adds a capture: JSON lines with one Kafka record each (`docs/decode.md`).
    pub fn captures(mut self, lines: &str) -> Builder {
        self.seeds.push(Seed::Capture(lines.as_bytes().to_vec()));
        self
    }

    /// Adds the content of a file: rows or a capture, either plain or compressed with gzip.
    pub fn seed_file(mut self, path: impl Into<PathBuf>) -> Builder {
        self.seeds.push(Seed::File(path.into()));
        self
    }

    /// Sets the time at which the server starts, in RFC 3339. The default of the start time is the present time.
    pub fn now(self, time: &str) -> Builder {
        Builder { now: Some(time.to_owned()), ..self }
    }

    /// Sets a key of the configuration, such as `feed.length` (`docs/configuration.md`).
    pub fn setting(mut self, name: &str, value: &str) -> Builder {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets the clock run like a real clock. A test cannot move a clock that runs like a real clock.
    pub fn real_clock(self) -> Builder {
        Builder { real_clock: true, ..self }
    }

    /// Turns tokens off. Without tokens, a request has a user's UUID where its token would be.
    pub fn without_tokens(self) -> Builder {
        Builder { anyone: true, ..self }
    }

    /// Adds a stand-in for ClickHouse that gets the rows, so that [`TestNova::fault`] can set faults of ClickHouse.
    pub fn clickhouse(self) -> Builder {
        Builder { clickhouse: true, ..self }
    }

    /// Starts the server on a free port of this machine.
    ///
    /// # Errors
    ///
    /// `start` fails if a setting or a seed cannot be used. The error of `start` says which setting or seed is wrong,
    /// and why.
    pub fn start(self) -> Result<TestNova, StartFailed> {
        let mut config = Config::of(self.settings.into_iter()).map_err(|error| StartFailed(error.to_string()))?;
        config.edge.limits.enabled = false;
        let expected = || StartFailed("now: expected RFC 3339, such as 2026-11-24T06:00:00Z".to_owned());
        let now_ms = |text: String| parse_micros(&text).map(|micros| micros.div_euclid(1_000)).ok_or_else(expected);
        let ways = Ways {
            config,
            now_ms: self.now.map(now_ms).transpose()?,
            manual: !self.real_clock,
            anyone: self.anyone,
            clickhouse: self.clickhouse,
            schemas: Arc::new(NoSchemas),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let seeds = self.seeds;
        let hosted = apart(move || Hosted::start(ways, seeds).map_err(|error| StartFailed(error.to_string())))?;
        let (url, client) = (hosted.url(), Client::new(hosted.addr));
        Ok(TestNova { url, client, hosted: Some(hosted), dead_letters: AtomicU64::new(0) })
    }
}

/// Runs work on a new thread outside of any runtime, because a runtime refuses work that blocks.
fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match std::thread::spawn(work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The real server, for one test or for many (see [the module](super)). Each call of a `TestNova` returns only after
/// its effect.
///
/// If the server refuses a call, the call panics with the server's error, like an assertion that fails. When a
/// `TestNova` is dropped, it panics if the outcomes of all records do not add up, or if it has another number of dead
/// letters than [`TestNova::expect_dead_letters`] announced.
pub struct TestNova {
    url: String,
    client: Client,
    /// The running server, or `None` while the `TestNova` is dropped.
    hosted: Option<Hosted>,
    dead_letters: AtomicU64,
}

impl TestNova {
    /// Starts a server with an empty store.
    ///
    /// # Panics
    ///
    /// `start` panics if this machine has no free port.
    #[track_caller]
    pub fn start() -> TestNova {
        match TestNova::builder().start() {
            Ok(nova) => nova,
            Err(error) => panic!("nova does not start: {error}"),
        }
    }

    /// Returns a builder for a server with settings or seeds.
    ///
    /// ```
    /// use nova::testing::{TestNova, json};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let nova = TestNova::builder()
    ///     .rows(json!({ "users": [{ "id": "0193a5f0-c2d1-7e2c-9f0e-00000000000a" }] }))
    ///     .now("2026-11-24T06:00:00Z")
    ///     .setting("feed.length", "50")
    ///     .start()?;
    /// assert_eq!(nova.now_ms(), 1_795_500_000_000);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the URL of the API, such as `http://127.0.0.1:40213`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the URL of the Redis port (`redis://…`). The Redis port needs no token, and has feeds, suggestions and
    /// trending under the keys of `docs/cache.md`. A reset ends the connections of the Redis port, so clients must
    /// connect again.
    pub fn redis_url(&self) -> Option<String> {
        self.hosted.as_ref()?.redis_url()
    }

    /// Returns a token for a user, given as a UUID. The token is valid for an hour of the server's clock.
    #[track_caller]
    pub fn token(&self, user: &str) -> String {
        self.token_of(json!({ "sub": user }))
    }

    /// Returns a token that `POST /_test/token` makes. The members of `asked` are `sub`, `role` (`admin`, `service`),
    /// `ttl` (such as `5m`), and `broken` (`expired`, `not-yet-valid`, `signature`, `issuer` or `audience`).
    #[track_caller]
    pub fn token_of(&self, asked: Value) -> String {
        text(&self.post("/_test/token", "", &asked)["token"])
    }

    /// Returns the time of the server's clock in epoch milliseconds.
    #[track_caller]
    pub fn now_ms(&self) -> i64 {
        self.call("GET", "/_test/clock", "", None)["now_ms"].as_i64().unwrap_or_default()
    }

    /// Moves the clock forward, and does everything that becomes due: windows of trending move, tokens and events age,
    /// jobs run.
    #[track_caller]
    pub fn advance(&self, by: Duration) {
        self.post("/_test/clock/advance", "", &json!({ "ms": by.as_millis() as u64 }));
    }

    /// Sets the clock to a time in RFC 3339.
    #[track_caller]
    pub fn set_now(&self, time: &str) {
        self.call("PUT", "/_test/clock", "", Some(&json!({ "now": time }).to_string()));
    }

    /// Inserts or deletes rows, which are given in lists under `users`, `posts`, `follows`, `comments` and `likes` with
    /// the source's column names. Missing columns of a row have defaults, and `"op": "delete"` deletes a row. Returns
    /// the outcome of each row.
    #[track_caller]
    pub fn rows(&self, rows: Value) -> Value {
        self.post("/_test/rows", "", &rows)
    }

    /// Sends a capture through the pipeline: JSON lines with one Kafka record each. Returns the outcomes of the records
    /// by partition.
    #[track_caller]
    pub fn captures(&self, lines: &str) -> Value {
        self.call("POST", "/_test/captures", "", Some(lines))
    }

    /// Sends at most 100 client events of a user, and publishes the effects of the events.
    ///
    /// ```
    /// use nova::testing::{TestNova, json};
    ///
    /// let nova = TestNova::start();
    /// let (ada, post) = ("0193a5f0-c2d1-7e2c-9f0e-00000000000a", "0193a5f0-c2d1-7e2c-9f0e-000000000001");
    /// let event = json!({ "post_id": post, "action": "view", "event_time": nova.now_ms(), "event_id": post });
    /// assert_eq!(nova.events(ada, json!([event]))["accepted"], 1);
    /// assert_eq!(nova.events(ada, json!([event]))["deduped"], 1);
    /// ```
    #[track_caller]
    pub fn events(&self, user: &str, events: Value) -> Value {
        let taken = self.post("/api/v1/events", &self.token(user), &json!({ "events": events }));
        self.settle();
        taken
    }

    /// Returns the ids of the posts on the first page of a user's feed.
    #[track_caller]
    pub fn feed(&self, user: &str) -> Vec<String> {
        texts(&self.get("/api/v1/feed?limit=100", user)["posts"], None)
    }

    /// Returns the ids of the trending posts of a window: `1h`, `6h`, `24h` or `7d`.
    #[track_caller]
    pub fn trending(&self, window: &str) -> Vec<String> {
        let page = self.call("GET", &format!("/api/v1/feed/trending?limit=200&window={window}"), "", None);
        texts(&page["posts"], Some("post_id"))
    }

    /// Returns the ids of the users who are suggested to a user.
    #[track_caller]
    pub fn suggestions(&self, user: &str) -> Vec<String> {
        texts(&self.get("/api/v1/discover/suggested-users?limit=100", user)["users"], Some("user_id"))
    }

    /// Returns the JSON of any route, requested as a user.
    #[track_caller]
    pub fn get(&self, path: &str, user: &str) -> Value {
        self.call("GET", path, &self.token(user), None)
    }

    /// Waits until the server has applied and published everything that it accepted.
    #[track_caller]
    pub fn settle(&self) -> Value {
        self.call("POST", "/_test/settle", "", None)
    }

    /// Keeps the present state as a snapshot with a name, for [`TestNova::reset_to`].
    #[track_caller]
    pub fn snapshot(&self, name: &str) {
        self.post("/_test/snapshot", "", &json!({ "name": name }));
    }

    /// Restores the initial state: the seeds and the start time. A reset leaves nothing of the previous test.
    #[track_caller]
    pub fn reset(&self) {
        self.call("POST", "/_test/reset", "", None);
    }

    /// Restores the snapshot with a name.
    #[track_caller]
    pub fn reset_to(&self, name: &str) {
        self.post("/_test/reset", "", &json!({ "name": name }));
    }

    /// Returns the entries of the server's log with numbers above `since`: records with their outcomes, and pages with
    /// the reasons of their posts.
    #[track_caller]
    pub fn log(&self, since: u64) -> Value {
        self.call("GET", &format!("/_test/log?limit=10000&since={since}"), "", None)
    }

    /// Sets faults, such as `{"slow_commit_ms": 200}` or `{"source_lag_ms": 600000}`. A fault that the argument does
    /// not contain ends. The fault `{"clickhouse": {"status": 503}}` needs [`Builder::clickhouse`]. In place of
    /// `{"status": 503}` the fault may have `{"code": 241, "times": 3}`, `{"refuses": true}` or `{"slow_ms": 500}`
    /// (`docs/testing-with-nova.md`).
    ///
    /// ```
    /// use nova::testing::{TestNova, json};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let nova = TestNova::builder().clickhouse().start()?;
    /// nova.fault(json!({ "clickhouse": { "refuses": true } }));
    /// nova.rows(json!({ "users": [{ "id": "0193a5f0-c2d1-7e2c-9f0e-00000000000a" }] }));
    /// let ready = nova.get("/health/ready", "0193a5f0-c2d1-7e2c-9f0e-00000000000a");
    /// assert!(ready["clickhouse"][0].as_str().is_some_and(|why| why.starts_with("it does not answer")));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn fault(&self, fault: Value) {
        self.post("/_test/fault", "", &fault);
    }

    /// Announces how many dead letters there will be when the `TestNova` is dropped.
    pub fn expect_dead_letters(&self, count: u64) {
        self.dead_letters.store(count, Ordering::Relaxed);
    }

    #[track_caller]
    fn post(&self, path: &str, token: &str, body: &Value) -> Value {
        self.call("POST", path, token, Some(&body.to_string()))
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, token: &str, body: Option<&str>) -> Value {
        let Answer { status, body } = match self.client.ask(method, path, token, body) {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: {error}"),
        };
        match serde_json::from_str(&body) {
            Ok(answer) if (200..300).contains(&status) => answer,
            _ => panic!("{method} {path}: {status}: {body}"),
        }
    }
}

impl Drop for TestNova {
    fn drop(&mut self) {
        let Some(hosted) = self.hosted.take() else { return };
        let (settled, failed) = apart(move || (hosted.ground.settle(), hosted.end()));
        // A test that already panics needs no second panic, which would abort the process.
        if std::thread::panicking() {
            return;
        }
        let expected = self.dead_letters.load(Ordering::Relaxed);
        match settled {
            Ok(settled) if settled.dead_letters != expected => {
                let found = settled.dead_letters;
                panic!("{found} dead letters wait, {expected} were expected: {}", settled.last_dead.join("; "))
            }
            Err(refused) => panic!("nova cannot settle: {refused}"),
            Ok(_) if !failed.is_empty() => panic!("{}", failed.join("\n")),
            Ok(_) => {}
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(list: &Value, member: Option<&str>) -> Vec<String> {
    let each = list.as_array().map(Vec::as_slice).unwrap_or_default().iter();
    each.map(|one| text(member.map_or(one, |member| &one[member]))).collect()
}
