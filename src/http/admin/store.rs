//! Reads of the store on threads for blocking work, and backups.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::answers::{self, Answer};
use crate::http::audit::looked;
use crate::http::body::{or_default, parse};
use crate::http::call::UserCall;
use crate::http::edge::Control;
use crate::http::error::Problem;
use crate::http::gate::{BackupFailed, BackupMade, ReadFailed, Reads};
use crate::http::query::{number, wrong};
use crate::http::shapes::{BackedUp, CheckState};
use crate::schema::example;

/// The most bytes of a backup's name.
const NAME_MAX_BYTES: usize = 100;
/// The longest time that an answer waits for the end of a check of the store, in seconds.
pub(in crate::http) const CHECK_WAIT_MAX_S: u64 = 25;

/// Runs work on a thread for blocking work.
pub(super) async fn blocking<T: Send + 'static>(
    control: &Arc<Control>,
    what: impl FnOnce(&dyn Reads) -> T + Send + 'static,
) -> Result<T, Problem> {
    let control = Arc::clone(control);
    let done = tokio::task::spawn_blocking(move || what(&*control.reads)).await;
    done.map_err(|error| {
        tracing::error!("the store cannot be read: {error}");
        Problem::Unavailable("the store cannot be read")
    })
}

/// Reads the store on a thread for blocking work.
pub(in crate::http) async fn read<T: Send + 'static>(
    control: &Arc<Control>,
    what: impl FnOnce(&dyn Reads) -> Result<T, ReadFailed> + Send + 'static,
) -> Result<T, Problem> {
    blocking(control, what).await?.map_err(|error| {
        tracing::error!("the store cannot be read: {error}");
        Problem::Unavailable("the store cannot be read")
    })
}

/// Refuses an operation that needs a file if the store is in memory.
pub(super) fn on_disk(control: &Control) -> Result<(), Problem> {
    match control.reads.on_disk() {
        true => Ok(()),
        false => Err(Problem::Conflict("a server for tests has no store on disk".to_owned())),
    }
}

/// A request to make a backup of the store.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "BackupRequest", extend("required" = ["name"]), example = example(r#"{ "name": "monday" }"#))]
pub(in crate::http) struct BackingUp {
    /// The name of the backup's file: letters, digits, dots, dashes, underscores.
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(length(min = 1, max = NAME_MAX_BYTES), regex(pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]*$"))]
    name: String,
}

/// Makes a backup of the store under a plain name, beside the store.
pub(in crate::http) async fn backup(control: &Arc<Control>, mut call: UserCall<'_>) -> Answer {
    let body = call.content().await?;
    let BackingUp { name } = parse(call.call.headers, &body)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > NAME_MAX_BYTES || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(wrong("name", "1 to 100 letters, digits, dots, dashes and underscores"));
    }
    on_disk(control)?;
    looked(&control.durable, &call.subject, "backup", name.clone()).await?;
    let made = blocking(control, move |store| store.backup(&name)).await?;
    let BackupMade { file, entries, sha256 } = made.map_err(|error| match error {
        BackupFailed::Checking { left_s } => Problem::Busy { detail: error.to_string(), retry_after_s: left_s },
        _ => Problem::Conflict(error.to_string()),
    })?;
    Ok(answers::object(StatusCode::OK, &BackedUp { success: true, file, entries, sha256 }))
}

/// Starts a check of every page of the store. Answers with the progress of the check when the check ends, or after
/// `wait_s`.
pub(in crate::http) async fn verify(control: &Arc<Control>, call: UserCall<'_>) -> Answer {
    let wait = wait(call.call.query)?;
    on_disk(control)?;
    looked(&control.durable, &call.subject, "store-verify", String::new()).await?;
    read(control, |store| store.check_store()).await?;
    told(control, wait).await
}

/// Answers with the progress of the store's check when the check ends, or after `wait_s`.
pub(in crate::http) async fn checked(control: &Arc<Control>, call: UserCall<'_>) -> Answer {
    let wait = wait(call.call.query)?;
    on_disk(control)?;
    told(control, wait).await
}

fn wait(query: &str) -> Result<Duration, Problem> {
    match number(query, "wait_s", 0)? {
        seconds @ 0..=CHECK_WAIT_MAX_S => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong("wait_s", "0 to 25")),
    }
}

async fn told(control: &Arc<Control>, wait: Duration) -> Answer {
    let mut states = control.reads.store_checks();
    // After a timeout, nova answers with the progress of the check so far.
    let _ = tokio::time::timeout(wait, states.wait_for(|state| *state != CheckState::Running)).await;
    Ok(answers::object(StatusCode::OK, &control.reads.store_checked()))
}
