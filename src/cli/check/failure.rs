//! A connector or task of it that does not run: what it says, and what to do about it.

use serde_json::Value;

use super::Finding;

/// A part of the trace, and the way out. The first that is in it counts.
const CAUSES: [(&str, &str); 15] = [
    (
        "is active for PID",
        "another connector, or this one's last life, has the slot: stop it, or wait; the task tries again",
    ),
    ("can no longer get changes from replication slot", SLOT_LOST),
    ("has been invalidated", SLOT_LOST),
    ("requested WAL segment", SLOT_LOST),
    // These are Debezium's words. The same message advises `when_needed`.
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
const STOPPED: &str = "somebody stopped it";
const SLOT_LOST: &str = "the slot, or what it needed, is gone: begin again as docs/connector.md says, \"When the slot is lost\". \
                         With snapshot.mode=when_needed rows that were deleted since would stay";

/// What Connect says of a part that is not running.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CdcConnectorError: the {part} of {name} is {state}: {cause}")]
pub(super) struct CdcConnectorError {
    part: &'static str,
    name: String,
    state: String,
    /// The innermost cause of the trace.
    cause: String,
    remedy: &'static str,
}

impl CdcConnectorError {
    /// `status` is Connect's answer about the connector; `None` where everything runs.
    pub fn of(name: &str, status: &str) -> Option<CdcConnectorError> {
        let status: Value = serde_json::from_str(status).ok()?;
        let stands = |part: &&Value| part["state"] != "RUNNING";
        let task = status["tasks"].as_array().and_then(|tasks| tasks.iter().find(stands));
        let (part, of) = match task {
            Some(task) => ("task", task),
            None => ("connector", Some(&status["connector"]).filter(stands)?),
        };
        let trace = of["trace"].as_str().unwrap_or("no trace");
        let cause = trace.lines().rfind(|line| line.starts_with("Caused by:")).or(trace.lines().next());
        let remedy = match of["state"].as_str() {
            Some("PAUSED" | "STOPPED") => STOPPED,
            _ => CAUSES.iter().find(|(mark, _)| trace.contains(mark)).map_or("repair the cause", |(_, remedy)| remedy),
        };
        let state = of["state"].as_str().unwrap_or("unknown").to_owned();
        Some(CdcConnectorError {
            part,
            name: name.to_owned(),
            state,
            cause: cause.unwrap_or_default().to_owned(),
            remedy,
        })
    }

    pub fn finding(&self) -> Finding {
        let (remedy, name) = (self.remedy, &self.name);
        let remedy = match remedy {
            STOPPED => format!("{remedy}: PUT /connectors/{name}/resume"),
            // A restart would not help: the connector is a new one.
            SLOT_LOST => remedy.to_owned(),
            _ => format!("{remedy}; then POST /connectors/{name}/restart?includeTasks=true&onlyFailed=true"),
        };
        Finding::new("connector-failed", self.to_string(), remedy)
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
            let Finding { code, detail, remedy: told } = error.finding();
            assert_eq!(code, "connector-failed");
            assert_eq!(detail, format!("CdcConnectorError: the task of nova is FAILED: Caused by: {cause}"));
            assert!(told.contains(remedy) && told.contains("/connectors/nova/restart"), "{cause}: {told}");
        }
        for cause in [
            r#"ERROR: can no longer get changes from replication slot "nova""#,
            "Debezium is trying to read change stream starting at LSN{0/16FD91C0}, but this is no longer available on \
             the server. Reconfigure the connector to use a snapshot mode when needed.",
        ] {
            let told = failed(&format!("{outer}Caused by: {cause}")).finding().remedy;
            assert!(told.contains("When the slot is lost") && !told.contains("/restart"), "{cause}: {told}");
        }
        let unrecoverable = failed(
            "org.apache.kafka.connect.errors.ConnectException: Unrecoverable exception from producer send callback",
        );
        assert!(unrecoverable.finding().remedy.contains("cleanup.policy"));
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
                && paused.finding().remedy.contains("nova/resume")
        );
    }
}
