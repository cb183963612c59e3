//! A Confluent-compatible Schema Registry over HTTP. A separate thread asks the registry. `decode` looks into the cache
//! and waits only a short while, so that a registry that is out of reach holds up only the partitions that need it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use parking_lot::{Condvar, Mutex};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::bounded::Bound;
use crate::breaker::BreakerState;
use crate::tls::{self, Connector, TlsError, causes};

use super::file::FILE_SCHEMAS_MAX;
use super::lookup::{SchemaLookup, Schemas};
use super::parse::parse_schema;

/// How long one lookup waits for the answer of the thread.
const LOOKUP_WAIT: Duration = Duration::from_millis(250);
/// An answer longer than this is refused.
const BODY_MAX_BYTES: usize = 4 << 20;
/// The most ids that wait for an answer at once.
const PENDING_MAX: usize = 64;
/// The most ids that are remembered as unknown to the registry.
const MISSING_MAX: usize = 1_024;
/// How long an id may be unknown before its records become dead. A follower of the registry may lag.
const MISSING_GRACE_MS: i64 = 30_000;
/// How often an unknown id is asked for again.
const MISSING_RETRY_MS: i64 = 1_000;
/// The breaker opens after this many failures in a row.
const BREAKER_FAILURES: u32 = 5;
const BACKOFF_FIRST_MS: i64 = 200;
const BACKOFF_LAST_MS: i64 = 30_000;
/// The registry's own codes for "no such schema".
const NO_SUCH_SCHEMA: [i64; 2] = [40_403, 40_401];

/// The address of the registry and how it is asked.
#[derive(Clone)]
pub struct RegistrySettings {
    /// The address, `http://host:port` or `https://host:port` with an optional path.
    pub url: String,
    /// The PEM file with the authority of an `https://` address. `None` trusts the machine's authorities.
    pub ca_file: Option<PathBuf>,
    /// The user and the password.
    pub basic_auth: Option<(String, String)>,
    /// The limit for one request, including the connection.
    pub timeout: Duration,
}

/// Why a registry cannot be used with these settings.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("registry.url: `{0}` is not an http:// or https:// address with a host")]
    Url(String),
    #[error("registry: {0}")]
    Tls(#[from] TlsError),
    #[error("the registry's thread cannot start: {0}")]
    Thread(#[from] std::io::Error),
}

type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Schemas by id from a registry. A clone is cheap, and the thread ends when the last clone is dropped.
pub struct HttpSchemas {
    shared: Arc<Shared>,
    requests: Sender<u32>,
    now_ms: Now,
}

struct Shared {
    cache: Mutex<Cache>,
    answered: Condvar,
}

#[derive(Default)]
struct Cache {
    /// The schemas by id. The meaning of an id never changes.
    found: FxHashMap<u32, Arc<apache_avro::Schema>>,
    unusable: FxHashMap<u32, String>,
    missing: FxHashMap<u32, Missing>,
    pending: FxHashSet<u32>,
    breaker: Breaker,
}

#[derive(Clone, Copy)]
struct Missing {
    since_ms: i64,
    asked_ms: i64,
}

#[derive(Default)]
struct Breaker {
    failures: u32,
    /// The registry is not asked before this time, epoch milliseconds.
    retry_at_ms: i64,
    detail: String,
}

/// The answer of the registry.
enum Answer {
    Schema(Arc<apache_avro::Schema>),
    Unusable(String),
    Missing,
    Failed(String),
}

impl HttpSchemas {
    /// Starts the thread. `now_ms` returns the wall time in epoch milliseconds.
    pub fn start(
        settings: RegistrySettings,
        now_ms: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Result<HttpSchemas, RegistryError> {
        let asker = Asker::new(&settings)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (requests, queue) = crossbeam_channel::bounded(PENDING_MAX);
        let shared = Arc::new(Shared { cache: Mutex::default(), answered: Condvar::new() });
        let now_ms: Now = Arc::new(now_ms);
        let (theirs, clock) = (Arc::clone(&shared), Arc::clone(&now_ms));
        std::thread::Builder::new()
            .name("nova-registry".to_owned())
            .spawn(move || serve(&runtime, &asker, &queue, &theirs, &clock))?;
        Ok(HttpSchemas { shared, requests, now_ms })
    }

    pub fn health(&self) -> BreakerState {
        let cache = self.shared.cache.lock();
        match cache.breaker.failures {
            0..BREAKER_FAILURES => BreakerState::Closed,
            _ if (self.now_ms)() < cache.breaker.retry_at_ms => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }
}

impl Schemas for HttpSchemas {
    fn breaker(&self) -> Option<BreakerState> {
        Some(self.health())
    }

    fn known(&self, id: u32) -> SchemaLookup {
        let known = self.shared.cache.lock().known(id, (self.now_ms)());
        let unasked = || SchemaLookup::Unavailable("it is not known here yet; a replay asks the registry".to_owned());
        known.unwrap_or_else(unasked)
    }

    fn schema(&self, id: u32) -> SchemaLookup {
        let now_ms = (self.now_ms)();
        let mut cache = self.shared.cache.lock();
        if let Some(known) = cache.known(id, now_ms) {
            return known;
        }
        if !cache.pending.contains(&id) {
            match self.requests.try_send(id) {
                Ok(()) => drop(cache.pending.insert(id)),
                Err(TrySendError::Full(_)) => {
                    return SchemaLookup::Unavailable("too many ids are being asked for".into());
                }
                Err(TrySendError::Disconnected(_)) => return SchemaLookup::Unavailable("its thread has ended".into()),
            }
        }
        let is_pending = |cache: &mut Cache| cache.pending.contains(&id);
        let _ = self.shared.answered.wait_while_for(&mut cache, is_pending, LOOKUP_WAIT);
        let waiting = || SchemaLookup::Unavailable("it has been asked for".to_owned());
        cache.known(id, (self.now_ms)()).unwrap_or_else(waiting)
    }
}

impl Cache {
    /// The lookup's result, if it is known without asking.
    fn known(&self, id: u32, now_ms: i64) -> Option<SchemaLookup> {
        if let Some(schema) = self.found.get(&id) {
            return Some(SchemaLookup::Found(Arc::clone(schema)));
        }
        if let Some(detail) = self.unusable.get(&id) {
            return Some(SchemaLookup::Unusable(detail.clone()));
        }
        if let Some(missing) = self.missing.get(&id)
            && now_ms - missing.asked_ms < MISSING_RETRY_MS
        {
            return Some(match now_ms - missing.since_ms < MISSING_GRACE_MS {
                true => SchemaLookup::Unavailable("the registry does not know it yet".to_owned()),
                false => SchemaLookup::Unknown,
            });
        }
        (now_ms < self.breaker.retry_at_ms).then(|| SchemaLookup::Unavailable(self.breaker.detail.clone()))
    }

    fn take(&mut self, id: u32, answer: Answer, now_ms: i64) {
        self.pending.remove(&id);
        if let Answer::Failed(detail) = answer {
            return self.breaker.failed(detail, now_ms);
        }
        self.breaker = Breaker::default();
        match answer {
            Answer::Schema(schema) => {
                self.missing.remove(&id);
                if self.found.len() >= FILE_SCHEMAS_MAX {
                    self.found.clear();
                }
                self.found.insert(id, schema);
            }
            Answer::Unusable(detail) => {
                if self.unusable.len() >= MISSING_MAX {
                    self.unusable.clear();
                }
                self.unusable.insert(id, detail);
            }
            Answer::Missing | Answer::Failed(_) => {
                if self.missing.len() >= MISSING_MAX {
                    self.missing.retain(|_, missing| now_ms - missing.asked_ms < MISSING_GRACE_MS);
                }
                if self.missing.len() < MISSING_MAX || self.missing.contains_key(&id) {
                    let missing = self.missing.entry(id).or_insert(Missing { since_ms: now_ms, asked_ms: now_ms });
                    missing.asked_ms = now_ms;
                }
            }
        }
    }
}

impl Breaker {
    fn failed(&mut self, detail: String, now_ms: i64) {
        let pause_ms = (BACKOFF_FIRST_MS << self.failures.min(16)).min(BACKOFF_LAST_MS);
        self.failures = self.failures.saturating_add(1);
        self.retry_at_ms = now_ms + pause_ms;
        self.detail = detail;
    }
}

fn serve(runtime: &tokio::runtime::Runtime, asker: &Asker, queue: &Receiver<u32>, shared: &Shared, now_ms: &Now) {
    while let Ok(id) = queue.recv() {
        let held_back = now_ms() < shared.cache.lock().breaker.retry_at_ms;
        match held_back {
            // This request came before the failure that opened the breaker. The next lookup asks again.
            true => drop(shared.cache.lock().pending.remove(&id)),
            false => {
                let answer = runtime.block_on(asker.ask(id));
                shared.cache.lock().take(id, answer, now_ms());
            }
        }
        shared.answered.notify_all();
    }
}

/// Sends requests to the registry.
struct Asker {
    client: Client<Connector, Empty<Bytes>>,
    base: String,
    authorization: Option<String>,
    timeout: Duration,
}

impl Asker {
    fn new(settings: &RegistrySettings) -> Result<Asker, RegistryError> {
        let base = settings.url.trim_end_matches('/').to_owned();
        let usable = base.parse::<Uri>().is_ok_and(|uri| {
            let asked = matches!(uri.scheme_str(), Some("http" | "https"));
            asked && uri.host().is_some_and(|host| !host.is_empty()) && uri.query().is_none()
        });
        // A password between `//` and `@` would appear in every message.
        if !usable || base.contains('@') {
            let shown = base.split_once('@').map_or(&*base, |(_, host)| host);
            return Err(RegistryError::Url(shown.to_owned()));
        }
        let encode = |(user, password): &(String, String)| {
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
        };
        let connector = tls::connector(&base, settings.ca_file.as_deref(), Bound::Each(BODY_MAX_BYTES))?;
        // There is one request in minutes, so a connection that is kept would mostly be dead.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        let authorization = settings.basic_auth.as_ref().map(encode);
        Ok(Asker { client, base, authorization, timeout: settings.timeout })
    }

    async fn ask(&self, id: u32) -> Answer {
        match tokio::time::timeout(self.timeout, self.request(id)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(detail)) => Answer::Failed(detail),
            Err(_) => Answer::Failed(format!("no answer within {} ms", self.timeout.as_millis())),
        }
    }

    async fn request(&self, id: u32) -> Result<Answer, String> {
        let mut request = Request::get(format!("{}/schemas/ids/{id}", self.base))
            .header(http::header::ACCEPT, "application/vnd.schemaregistry.v1+json, application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(http::header::AUTHORIZATION, authorization);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| format!("cannot be reached: {}", causes(&error)))?;
        let status = answer.status();
        let body = answer.into_body().collect().await;
        let body = body.map_err(|error| format!("its answer broke off: {}", causes(&error)))?.to_bytes();
        judge(status, &body)
    }
}

#[derive(Default, serde::Deserialize)]
struct Body {
    schema: Option<String>,
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<serde::de::IgnoredAny>,
    error_code: Option<i64>,
}

/// Interprets an answer. An error counts as a failure and is retried, unless the registry itself says that there is no
/// such schema: a wrong path or a proxy answers 404, too.
fn judge(status: StatusCode, body: &[u8]) -> Result<Answer, String> {
    let body: Option<Body> = serde_json::from_slice(body).ok();
    if status == StatusCode::NOT_FOUND
        && body.as_ref().and_then(|body| body.error_code).is_some_and(|code| NO_SUCH_SCHEMA.contains(&code))
    {
        return Ok(Answer::Missing);
    }
    match status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(format!("it refuses the credentials ({status}); see registry.user and registry.password"));
        }
        status => return Err(format!("it answers {status}; see registry.url")),
    }
    let Some(Body { schema: Some(schema), schema_type, references, .. }) = body else {
        return Err("its answer has no `schema`; see registry.url".to_owned());
    };
    if let Some(other) = schema_type.filter(|kind| kind != "AVRO") {
        return Ok(Answer::Unusable(format!("it is {other:.20}, not Avro")));
    }
    if !references.is_empty() {
        return Ok(Answer::Unusable("it refers to other schemas".to_owned()));
    }
    let parsed = serde_json::from_str(&schema).map_err(|error| error.to_string()).and_then(|json| parse_schema(&json));
    Ok(match parsed {
        Ok(schema) => Answer::Schema(Arc::new(schema)),
        Err(detail) => Answer::Unusable(detail),
    })
}

#[cfg(test)]
mod tests;
