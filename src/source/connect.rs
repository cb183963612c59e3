//! The state of the connector according to Kafka Connect: whether it runs, and what to do if it does not. Nothing else
//! shows this, because the topics of a paused connector look like those of a quiet database.

use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;

use crate::ask::{Credentials, Question};

/// How long Connect may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of an answer. A status has a Java stack trace for each task.
const ANSWER_MAX_BYTES: usize = 1 << 20;
/// Connect restarts, and moves connectors between workers. A pause that is no longer than this is no problem.
const GRACE_MS: i64 = 60_000;

/// A part of the stack trace, and the way out. The first entry whose part is in the trace applies.
const CAUSES: [(&str, &str); 15] = [
    (
        "is active for PID",
        "another connector, or this one's last life, has the slot: stop it, or wait; the task tries again",
    ),
    ("can no longer get changes from replication slot", SLOT_LOST),
    ("has been invalidated", SLOT_LOST),
    ("requested WAL segment", SLOT_LOST),
    // These sentences are Debezium's. The same message advises `when_needed`.
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

/// The states that last until a person ends them.
const LASTING: [&str; 3] = ["FAILED", "PAUSED", "STOPPED"];

/// Connect's report about a part that is not running.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CdcConnectorError: the {part} of {name} is {state}: {cause}")]
pub struct CdcConnectorError {
    part: &'static str,
    name: String,
    state: String,
    /// The innermost cause of the trace.
    cause: String,
    way_out: WayOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WayOut {
    Resume,
    /// The step before the restart.
    Restart(&'static str),
    /// A restart would not help, because a new connector is needed.
    Other(&'static str),
}

impl CdcConnectorError {
    /// Reads Connect's answer `status` about the connector. `None` if everything runs.
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

    /// The way out, with the command. `url` is Connect's.
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

/// The connector, and the Connect that runs it.
#[derive(Clone, Debug)]
pub struct ConnectorSettings {
    url: String,
    name: String,
}

/// The state of the connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Runs,
    Stands(CdcConnectorError),
    /// Connect has no connector with this name.
    Missing,
    /// Connect does not answer, or its answer is something else.
    Unknown(String),
}

impl ConnectorSettings {
    /// `url` is `http://host:port` of Connect's REST API, and `name` the connector's.
    pub fn new(url: &str, name: &str) -> ConnectorSettings {
        ConnectorSettings { url: url.trim_end_matches('/').to_owned(), name: name.to_owned() }
    }

    /// Asks Connect for the state.
    pub async fn standing(&self) -> Standing {
        let url = format!("{}/connectors/{}/status", self.url, self.name);
        match Question::of(&url, Credentials::Nobody, None).answer(ANSWER_MAX_BYTES, TIMEOUT).await {
            Ok(answer) => self.told(answer.status, &answer.text()),
            Err(error) => Standing::Unknown(error.to_string()),
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

    /// The problem and the way out in words. `None` if the connector runs.
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

/// The connector's state in a running node. A job writes it, and the edge reads it.
pub struct ConnectorStatus {
    settings: ConnectorSettings,
    told: Mutex<Option<Told>>,
}

struct Told {
    standing: Standing,
    /// Since when the connector does not run, epoch milliseconds.
    since_ms: Option<i64>,
}

impl ConnectorStatus {
    pub fn new(settings: ConnectorSettings) -> ConnectorStatus {
        ConnectorStatus { settings, told: Mutex::new(None) }
    }

    pub fn settings(&self) -> &ConnectorSettings {
        &self.settings
    }

    /// Takes Connect's report. A change is logged.
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

    /// Whether the connector runs. `None` before Connect was asked.
    pub fn runs(&self) -> Option<bool> {
        self.told.lock().as_ref().map(|told| told.standing == Standing::Runs)
    }

    /// The problem of the connector, and whether it lasts, so that a person has to act.
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
            // Problems that follow one another count as one time without changes.
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
