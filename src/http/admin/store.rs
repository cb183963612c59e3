//! Reads of the store beside the runtime, and copies of it.

use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::edge::Control;
use crate::http::error::Problem;
use crate::http::gate::{BackupMade, ReadFailed, Reads};
use crate::http::route::{Answer, UserCall};
use crate::http::server;
use crate::http::shapes::BackedUp;
use crate::schema::example;

use super::{looked, parse, wrong};

/// Of a backup's name.
const NAME_MAX_BYTES: usize = 100;

/// Does what takes a while on a thread for such work.
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

/// Reads the store beside the runtime.
pub(super) async fn read<T: Send + 'static>(
    control: &Arc<Control>,
    what: impl FnOnce(&dyn Reads) -> Result<T, ReadFailed> + Send + 'static,
) -> Result<T, Problem> {
    blocking(control, what).await?.map_err(|error| {
        tracing::error!("the store cannot be read: {error}");
        Problem::Unavailable("the store cannot be read")
    })
}

/// A backup to be made.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "BackupRequest", extend("required" = ["name"]), example = example(r#"{ "name": "monday" }"#))]
pub(in crate::http) struct BackingUp {
    /// Of the file: letters, digits, dots, dashes, underscores.
    #[serde(default)]
    #[schemars(length(min = 1, max = NAME_MAX_BYTES), regex(pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]*$"))]
    name: String,
}

/// A copy of the store under a plain name, beside it.
pub(in crate::http) async fn backup(control: &Arc<Control>, mut call: UserCall<'_>) -> Answer {
    let body = call.content().await?;
    let BackingUp { name } = parse(call.call.headers, &body)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > NAME_MAX_BYTES || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(wrong("name", "1 to 100 letters, digits, dots, dashes and underscores"));
    }
    looked(&control.durable, &call.subject, "backup", name.clone()).await?;
    let made = blocking(control, move |store| store.backup(&name)).await?;
    let BackupMade { file, entries, sha256 } = made.map_err(|error| Problem::Conflict(error.to_string()))?;
    Ok(server::object(StatusCode::OK, &BackedUp { success: true, file, entries, sha256 }))
}
