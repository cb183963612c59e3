//! The form of client events in requests.

use schemars::JsonSchema;

use crate::decode::client::{APP_VER_MAX_CHARS, DEVICE_MAX_CHARS};
use crate::event::Action;
use crate::schema::{Time, Uuid, example};

/// The most events in one request.
pub const EVENTS_MAX: usize = 100;

/// The client events of one request.
#[derive(JsonSchema)]
#[schemars(example = example(r#"{ "events": [{
    "event_id": "0193a5f0-c2d1-7e2c-9f0e-5b0f6f2f8f3d", "event_time": "2026-11-24T06:00:00.000Z",
    "post_id": "6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d", "action": "view", "dwell_ms": 5400
}] }"#))]
pub struct ClientEvents {
    #[schemars(length(min = 1, max = EVENTS_MAX))]
    pub events: Vec<ClientEvent>,
}

/// An action of a user.
#[derive(JsonSchema)]
pub struct ClientEvent {
    /// The client's id of the event (default: a new id from nova). Two events with the same id and user count once.
    pub event_id: Option<Uuid>,
    /// The user of the event (default: the caller). A caller needs the role service or admin to send an event of a user
    /// other than the caller.
    pub user_id: Option<Uuid>,
    pub post_id: Uuid,
    pub author_id: Option<Uuid>,
    /// The time of the event, within the last 24 hours and at most 5 minutes ahead.
    pub event_time: Time,
    pub action: Action,
    pub dwell_ms: Option<u32>,
    #[schemars(length(max = DEVICE_MAX_CHARS))]
    pub device: Option<String>,
    #[schemars(length(max = APP_VER_MAX_CHARS))]
    pub app_ver: Option<String>,
}
