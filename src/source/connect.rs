//! The state of the connector according to Kafka Connect: whether the connector runs, and what to do if it does not
//! run. Only Kafka Connect knows whether the connector runs: the topics of a paused connector look like the topics of a
//! quiet database.

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use parking_lot::Mutex;
use serde_json::Value;

use crate::http_client::{Answer, HttpClient, Limits, address};
use crate::tls::Trust;

/// How long Kafka Connect may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest size of an answer from Kafka Connect, in bytes. The status of a connector has a Java stack trace for
/// each failed task.
const ANSWER_MAX_BYTES: usize = 1 << 20;
/// Kafka Connect is restarted at times, and moves connectors between workers. nova reports a connector only if it has
/// not run for longer than this grace period.
const GRACE_MS: i64 = 60_000;

/// Each entry has a part of a stack trace, and the remedy for the error with this stack trace. The first entry whose
/// part is found in the stack trace applies.
const CAUSES: [(&str, &str); 15] = [
    (
        "is active for PID",
        "another connector, or this one's last life, has the slot: stop it, or wait; the task tries again",
    ),
    ("can no longer get changes from replication slot", SLOT_LOST),
    ("has been invalidated", SLOT_LOST),
    ("requested WAL segment", SLOT_LOST),
    // Debezium's message also recommends the snapshot mode `when_needed`, but with this mode deleted rows would stay.
    ("no longer available on the server", SLOT_LOST),
    (
        "replication slot",
        "look at pg_replication_slots; if the slot is gone: docs/connector.md, \"When the slot is lost\"",
    ),
    ("publication", "make the publication, or set publication.autocreate.mode=filtered (docs/connector.md)"),
    ("wal_level", "set wal_level=logical in PostgreSQL and restart it"),
    ("authentication failed", "correct database.user and its password in Connect's environment"),
    ("permission denied", "give the connector's role its rights: docs/connector.md, \"With fewer rights\""),
    ("RecordTooLargeException", TOO_LARGE),
    ("MessageSizeTooLarge", TOO_LARGE),
    ("send callback", "a topic refuses a record: cleanup.policy must be delete, max.message.bytes large enough"),
    ("Schema Registry", "start the registry, or register a schema that it takes as compatible"),
    ("Connection", "start PostgreSQL, or correct database.hostname and database.port"),
];
const TOO_LARGE: &str = "a row is larger than Kafka takes: docs/connector.md, \"Large values\"";
const SLOT_LOST: &str = "the slot, or what it needed, is gone: begin again as docs/connector.md says, \"When the slot is lost\". \
                         With snapshot.mode=when_needed rows that were deleted since would stay";

/// The states of a connector that last until a person ends them.
const LASTING: [&str; 3] = ["FAILED", "PAUSED", "STOPPED"];

/// A connector or a task that is not running, as Kafka Connect reports it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CdcConnectorError: the {part} of {name} is {state}: {cause}")]
pub struct CdcConnectorError {
    part: &'static str,
    name: String,
    state: String,
    /// The innermost cause in the stack trace.
    cause: String,
    way_out: WayOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WayOut {
    Resume,
    /// What a person must do before the restart of the connector.
    Restart(&'static str),
    /// A restart would not help, because a new connector is needed.
    Other(&'static str),
}

impl CdcConnectorError {
    /// Reads the answer of Kafka Connect to a request for the status of the connector. Returns `None` if the connector
    /// and all its tasks run.
    pub fn of(name: &str, status: &str) -> Option<CdcConnectorError> {
        let status: Value = serde_json::from_str(status).ok()?;
        let stands = |part: &&Value| part["state"] != "RUNNING";
        let tasks = status["tasks"].as_array();
        let task = tasks.and_then(|tasks| tasks.iter().find(stands));
        let (part, of) = match (task, &status["connector"]) {
            (Some(task), _) => ("task", task),
            (None, connector) if connector["state"] != "RUNNING" => ("connector", connector),
            (None, connector) if tasks.is_some_and(Vec::is_empty) => ("task", connector),
            _ => return None,
        };
        let none = part == "task" && task.is_none();
        let state = if none { "UNASSIGNED" } else { of["state"].as_str().unwrap_or("unknown") };
        let trace = of["trace"].as_str().unwrap_or("Connect gives no cause");
        let cause = trace.lines().rfind(|line| line.starts_with("Caused by:")).or(trace.lines().next());
        let way_out = match CAUSES.iter().find(|(mark, _)| trace.contains(mark)) {
            _ if matches!(state, "PAUSED" | "STOPPED") => WayOut::Resume,
            Some((_, remedy)) if *remedy == SLOT_LOST => WayOut::Other(remedy),
            Some((_, remedy)) => WayOut::Restart(remedy),
            None => WayOut::Restart("repair the cause"),
        };
        let (name, state) = (name.to_owned(), state.to_owned());
        Some(CdcConnectorError { part, name, state, cause: cause.unwrap_or_default().to_owned(), way_out })
    }

    /// Returns the remedy with the command to run. `url` is the URL of Kafka Connect.
    pub fn remedy(&self, url: &str) -> String {
        let name = &self.name;
        match self.way_out {
            WayOut::Resume => format!("somebody stopped it: curl -X PUT {url}/connectors/{name}/resume"),
            WayOut::Restart(first) => format!(
                "{first}; then: curl -X POST '{url}/connectors/{name}/restart?includeTasks=true&onlyFailed=true'"
            ),
            WayOut::Other(what) => what.to_owned(),
        }
    }
}

/// The name of a connector, and the URL of the Kafka Connect that runs it.
#[derive(Clone, Debug)]
pub struct ConnectorSettings {
    url: String,
    name: String,
}

/// The state of the connector, as far as Kafka Connect reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Runs,
    Stands(CdcConnectorError),
    /// The REST API of Kafka Connect has no connector with the configured name.
    Missing,
    /// Kafka Connect does not answer, or its answer is not a connector's status.
    Unknown(String),
}

impl ConnectorSettings {
    /// `url` is `http://host:port` of Kafka Connect's REST API, and `name` is the name of the connector.
    pub fn new(url: &str, name: &str) -> ConnectorSettings {
        ConnectorSettings { url: url.trim_end_matches('/').to_owned(), name: name.to_owned() }
    }

    /// Asks Kafka Connect for the state of the connector.
    pub async fn standing(&self) -> Standing {
        let url = format!("{}/connectors/{}/status", self.url, self.name);
        match ask(&url).await {
            Ok(answer) => self.told(answer.status.as_u16(), &answer.text()),
            Err(why) => Standing::Unknown(format!("{url}: {why}")),
        }
    }

    fn told(&self, status: u16, body: &str) -> Standing {
        let is_status = || serde_json::from_str::<Value>(body).is_ok_and(|body| body["connector"]["state"].is_string());
        match status {
            404 => Standing::Missing,
            200 if is_status() => CdcConnectorError::of(&self.name, body).map_or(Standing::Runs, Standing::Stands),
            200 => Standing::Unknown("its answer is no connector's status".to_owned()),
            status => Standing::Unknown(format!("it answers {status}")),
        }
    }

    /// Returns the problem and the remedy in words. Returns `None` if the connector runs.
    fn words(&self, standing: &Standing) -> Option<String> {
        let ConnectorSettings { url, name } = self;
        Some(match standing {
            Standing::Runs => return None,
            Standing::Stands(error) => format!("{error}: no change of the tables arrives: {}", error.remedy(url)),
            Standing::Missing => {
                format!(
                    "Connect has no connector {name}: register it (deploy/debezium/register.sh), or correct cdc.connector"
                )
            }
            Standing::Unknown(why) => {
                format!("Connect cannot tell whether {name} runs: {why}: start Connect, or correct cdc.connect_url")
            }
        })
    }
}

/// Sends one request to Kafka Connect.
async fn ask(url: &str) -> Result<Answer, String> {
    let address = address(url).ok_or("expected http://host:port or https://host:port")?;
    let limits = Limits { time: TIMEOUT, answer_max_bytes: ANSWER_MAX_BYTES, idle_connections: 0 };
    let client = HttpClient::new(&address, &Trust::Machine, limits).map_err(|error| error.to_string())?;
    let request = Request::get(address).body(Full::default()).map_err(|error| error.to_string())?;
    client.send(request).await.map_err(|error| error.to_string())
}

/// The connector's state in a running node of nova. A job writes the state, and the HTTP server reads it.
pub struct ConnectorStatus {
    settings: ConnectorSettings,
    told: Mutex<Option<Told>>,
}

struct Told {
    standing: Standing,
    /// The time since which the connector has not run, in epoch milliseconds.
    since_ms: Option<i64>,
}

impl ConnectorStatus {
    pub fn new(settings: ConnectorSettings) -> ConnectorStatus {
        ConnectorStatus { settings, told: Mutex::new(None) }
    }

    pub fn settings(&self) -> &ConnectorSettings {
        &self.settings
    }

    /// Stores the state that Kafka Connect reported, and logs a change of the state.
    pub fn tell(&self, standing: Standing, now_ms: i64) {
        let mut told = self.told.lock();
        if told.as_ref().is_some_and(|told| told.standing == standing) {
            return;
        }
        match self.settings.words(&standing) {
            Some(words) => tracing::warn!("connector: {words}"),
            None if told.is_some() => tracing::info!("connector: {} runs", self.settings.name),
            None => {}
        }
        let since_ms = told.as_ref().and_then(|told| told.since_ms).unwrap_or(now_ms);
        let since_ms = (standing != Standing::Runs).then_some(since_ms);
        *told = Some(Told { standing, since_ms });
    }

    /// Whether the connector runs, or `None` before Kafka Connect was asked for the first time.
    pub fn runs(&self) -> Option<bool> {
        self.told.lock().as_ref().map(|told| told.standing == Standing::Runs)
    }

    /// Returns the problem of the connector, and whether the problem has lasted so long that a person has to act.
    pub fn wrong(&self, now_ms: i64) -> Option<(String, bool)> {
        let told = self.told.lock();
        let told = told.as_ref()?;
        let late = told.since_ms.is_some_and(|since_ms| now_ms - since_ms >= GRACE_MS);
        let lasts = match &told.standing {
            Standing::Stands(error) => late || LASTING.contains(&error.state.as_str()),
            Standing::Missing => true,
            Standing::Unknown(_) | Standing::Runs => late,
        };
        Some((self.settings.words(&told.standing)?, lasts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(trace: &str) -> CdcConnectorError {
        let task = serde_json::json!({ "id": 0, "state": "FAILED", "trace": trace });
        let status = serde_json::json!({ "connector": { "state": "RUNNING" }, "tasks": [task] });
        CdcConnectorError::of("nova", &status.to_string()).unwrap()
    }

    #[test]
    fn what_failed_is_told_with_its_innermost_cause_and_the_way_out() {
        let outer = "org.apache.kafka.connect.errors.ConnectException: An exception occurred\n\tat x.y\n";
        for (cause, remedy) in [
            (r#"ERROR: replication slot "nova" is active for PID 42"#, "has the slot"),
            (r#"ERROR: replication slot "nova" does not exist"#, "pg_replication_slots"),
            (r#"ERROR: publication "nova" does not exist"#, "make the publication"),
            (r#"FATAL: password authentication failed for user "debezium""#, "database.user"),
            ("ERROR: permission denied for table users", "With fewer rights"),
            ("Connection to 127.0.0.1:5432 refused", "start PostgreSQL"),
            ("java.lang.NullPointerException", "repair the cause"),
        ] {
            let error = failed(&format!("{outer}Caused by: first\n\tat z\nCaused by: {cause}\n\tat q"));
            let told = error.remedy("http://connect:8083");
            let detail = error.to_string();
            assert_eq!(detail, format!("CdcConnectorError: the task of nova is FAILED: Caused by: {cause}"));
            assert!(told.contains(remedy) && told.contains("/connectors/nova/restart"), "{cause}: {told}");
        }
        for cause in [
            r#"ERROR: can no longer get changes from replication slot "nova""#,
            "Debezium is trying to read change stream starting at LSN{0/16FD91C0}, but this is no longer available on \
             the server. Reconfigure the connector to use a snapshot mode when needed.",
        ] {
            let told = failed(&format!("{outer}Caused by: {cause}")).remedy("http://connect:8083");
            assert!(told.contains("When the slot is lost") && !told.contains("/restart"), "{cause}: {told}");
        }
        let unrecoverable = failed(
            "org.apache.kafka.connect.errors.ConnectException: Unrecoverable exception from producer send callback",
        );
        assert!(unrecoverable.remedy("").contains("cleanup.policy"));
    }

    #[test]
    fn who_runs_has_no_error_and_who_was_stopped_is_no_failure() {
        let status = |state: &str| {
            let state = serde_json::json!({ "state": state });
            serde_json::json!({ "connector": state, "tasks": [{ "state": "RUNNING" }] }).to_string()
        };
        assert_eq!(CdcConnectorError::of("nova", &status("RUNNING")), None);
        assert_eq!(CdcConnectorError::of("nova", "no JSON"), None);
        let paused = CdcConnectorError::of("nova", &status("PAUSED")).unwrap();
        assert!(
            paused.to_string().contains("connector of nova is PAUSED")
                && paused
                    .remedy("http://connect:8083")
                    .ends_with("curl -X PUT http://connect:8083/connectors/nova/resume")
        );
    }

    fn settings() -> ConnectorSettings {
        ConnectorSettings::new("http://connect:8083/", "nova")
    }

    fn told(state: &str, tasks: &[&str]) -> Standing {
        let tasks: Vec<_> = tasks.iter().map(|state| serde_json::json!({ "state": state })).collect();
        let body = serde_json::json!({ "name": "nova", "connector": { "state": state }, "tasks": tasks });
        settings().told(200, &body.to_string())
    }

    #[test]
    fn a_connector_that_was_stopped_is_told_at_once_and_one_that_moves_after_a_minute() {
        let status = ConnectorStatus::new(settings());
        assert_eq!((status.runs(), status.wrong(0)), (None, None));
        status.tell(told("RUNNING", &["RUNNING"]), 0);
        assert_eq!((status.runs(), status.wrong(GRACE_MS)), (Some(true), None));
        for lasting in
            [told("PAUSED", &["PAUSED"]), told("STOPPED", &[]), told("RUNNING", &["FAILED"]), Standing::Missing]
        {
            status.tell(lasting, 5);
            let (words, lasts) = status.wrong(5).unwrap();
            assert!(lasts, "{words}");
            assert_eq!(status.runs(), Some(false));
        }
        status.tell(Standing::Runs, 6);
        for moves in [
            told("RUNNING", &[]),
            told("UNASSIGNED", &["UNASSIGNED"]),
            settings().told(503, ""),
            told("RUNNING", &["RESTARTING"]),
        ] {
            status.tell(moves, 10);
            assert!(!status.wrong(9 + GRACE_MS).unwrap().1);
            // Two problems of the connector that follow each other without a pause count as one long problem.
            assert!(status.wrong(10 + GRACE_MS).unwrap().1);
        }
        status.tell(told("RUNNING", &["RUNNING"]), 20);
        assert_eq!(status.wrong(i64::MAX), None);
    }

    #[test]
    fn what_is_no_status_is_not_taken_for_one_that_runs() {
        for (code, body) in
            [(200, "{}"), (200, "[]"), (200, "<html>"), (500, ""), (301, ""), (200, r#"{"connector":{}}"#)]
        {
            assert!(matches!(settings().told(code, body), Standing::Unknown(_)), "{code} {body}");
        }
        assert_eq!(settings().told(404, ""), Standing::Missing);
    }
}
