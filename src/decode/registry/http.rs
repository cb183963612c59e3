//! Asks a Confluent-compatible Schema Registry over HTTP, on a separate thread. `decode` looks into the cache and waits
//! only a short while, so that a registry that is unreachable holds up only the partitions that need it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use http::{Request, StatusCode};
use http_body_util::Full;
use parking_lot::{Condvar, Mutex};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::backoff::Backoff;
use crate::breaker::{Breaker, BreakerSettings, BreakerState};
use crate::http_client::{self, HttpClient, HttpError, Limits, address};
use crate::tls::{TlsError, Trust};

use super::file::FILE_SCHEMAS_MAX;
use super::lookup::{SchemaLookup, Schemas};
use super::parse::parse_schema;

/// How long one lookup waits for an answer of the thread that asks the registry.
const LOOKUP_WAIT: Duration = Duration::from_millis(250);
/// The maximum length of an answer that nova accepts from the registry.
const BODY_MAX_BYTES: usize = 4 << 20;
/// The maximum number of ids that wait for an answer at the same time.
const PENDING_MAX: usize = 64;
/// The maximum number of ids that nova remembers as unknown to the registry.
const MISSING_MAX: usize = 1_024;
/// How long the registry may not know an id before records with the id become dead letters. A follower of the
/// registry's leader may be behind the leader.
const MISSING_GRACE_MS: i64 = 30_000;
/// The time after which nova asks for an unknown id again.
const MISSING_RETRY_MS: i64 = 1_000;
/// nova sends no request to the registry for a while after each failure. Five failures in a row open the circuit
/// breaker.
const BREAKER: BreakerSettings = BreakerSettings {
    failures_to_open: 5,
    failures_to_pause: 1,
    pauses: Backoff { first: Duration::from_millis(200), last: Duration::from_secs(30) },
};
/// The error codes with which the registry says that it does not have a schema.
const NO_SUCH_SCHEMA: [i64; 2] = [40_403, 40_401];

/// The address of the registry, and the settings of requests to it.
#[derive(Clone)]
pub struct RegistrySettings {
    /// The address of the registry: `http://host:port` or `https://host:port`, with an optional path.
    pub url: String,
    /// The PEM file with the certificate authority for an `https://` address. If the file is `None`, nova trusts the
    /// certificate authorities of the machine.
    pub ca_file: Option<PathBuf>,
    /// The user and the password for the registry.
    pub basic_auth: Option<(String, String)>,
    /// The maximum time of one request, including the time to connect.
    pub timeout: Duration,
}

/// The reason for which a registry cannot be used with its settings.
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

/// The schemas of a registry, by their ids. A clone is cheap. The thread that asks the registry ends when the last
/// clone is dropped.
pub struct HttpSchemas {
    shared: Arc<Shared>,
    requests: Sender<u32>,
    now_ms: Now,
}

struct Shared {
    cache: Mutex<Cache>,
    answered: Condvar,
}

struct Cache {
    /// The schemas that the registry has returned, by their ids. The meaning of a schema id never changes.
    found: FxHashMap<u32, Arc<apache_avro::Schema>>,
    unusable: FxHashMap<u32, String>,
    missing: FxHashMap<u32, Missing>,
    pending: FxHashSet<u32>,
    breaker: Breaker,
    /// The last failure of a request to the registry, in words.
    failure: String,
}

impl Default for Cache {
    fn default() -> Cache {
        Cache {
            found: FxHashMap::default(),
            unusable: FxHashMap::default(),
            missing: FxHashMap::default(),
            pending: FxHashSet::default(),
            breaker: Breaker::new(BREAKER),
            failure: String::new(),
        }
    }
}

#[derive(Clone, Copy)]
struct Missing {
    since_ms: i64,
    asked_ms: i64,
}

/// The answer of the registry.
enum Answer {
    Schema(Arc<apache_avro::Schema>),
    Unusable(String),
    Missing,
    Failed(String),
}

impl HttpSchemas {
    /// Starts the thread that asks the registry. `now_ms` returns the wall time in epoch milliseconds.
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
        self.shared.cache.lock().breaker.state((self.now_ms)())
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
    /// Returns the result of a lookup, if nova knows it without a request to the registry.
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
        (self.breaker.pause_left_ms(now_ms) > 0).then(|| SchemaLookup::Unavailable(self.failure.clone()))
    }

    fn take(&mut self, id: u32, answer: Answer, now_ms: i64) {
        self.pending.remove(&id);
        if let Answer::Failed(detail) = answer {
            self.breaker.failed(now_ms);
            self.failure = detail;
            return;
        }
        self.breaker.answered();
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

fn serve(runtime: &tokio::runtime::Runtime, asker: &Asker, queue: &Receiver<u32>, shared: &Shared, now_ms: &Now) {
    while let Ok(id) = queue.recv() {
        let wait_ms = shared.cache.lock().breaker.admit(now_ms());
        match wait_ms > 0 {
            // The request was made before the failure that opened the breaker. The next lookup asks for the schema
            // again.
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
    client: HttpClient,
    base: String,
    authorization: Option<String>,
}

impl Asker {
    fn new(settings: &RegistrySettings) -> Result<Asker, RegistryError> {
        let base = settings.url.trim_end_matches('/').to_owned();
        // An address with a password between `//` and `@` would show the password in every message.
        let usable = address(&base).filter(|address| address.query().is_none() && !base.contains('@'));
        let Some(address) = usable else {
            let shown = base.split_once('@').map_or(&*base, |(_, host)| host);
            return Err(RegistryError::Url(shown.to_owned()));
        };
        let encode = |(user, password): &(String, String)| {
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
        };
        // nova sends a request only every few minutes, so the server would have closed most connections that nova kept
        // open.
        let limits = Limits { time: settings.timeout, answer_max_bytes: BODY_MAX_BYTES, idle_connections: 0 };
        let client = HttpClient::new(&address, &Trust::of(settings.ca_file.as_deref()), limits)?;
        let authorization = settings.basic_auth.as_ref().map(encode);
        Ok(Asker { client, base, authorization })
    }

    async fn ask(&self, id: u32) -> Answer {
        match self.request(id).await {
            Ok(answer) => judge(answer.status, &answer.body).unwrap_or_else(Answer::Failed),
            Err(error) => Answer::Failed(error.to_string()),
        }
    }

    async fn request(&self, id: u32) -> Result<http_client::Answer, HttpError> {
        let mut request = Request::get(format!("{}/schemas/ids/{id}", self.base))
            .header(http::header::ACCEPT, "application/vnd.schemaregistry.v1+json, application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(http::header::AUTHORIZATION, authorization);
        }
        self.client.send(request.body(Full::default())?).await
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

/// Interprets an answer of the registry. An error counts as a failure and nova tries again, unless the registry says in
/// its own error format that there is no such schema. A wrong path or a proxy may also answer 404.
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
