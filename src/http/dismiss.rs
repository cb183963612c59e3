//! `DELETE /api/v1/discover/suggested-users/{user_id}`: durable before the answer, gone at the next read (N11).

use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::Sender;
use http::{Response, StatusCode};
use http_body_util::Full;
use tokio::sync::oneshot;

use crate::discover::dismissals::{Dismissals, KIND, PER_USER_MAX};
use crate::event::Id;
use crate::pipeline::writer::{Command, EdgeEntry, Message};

use super::auth::Subject;
use super::error::Problem;
use super::{Edge, server};

/// How long a request waits for the writer.
const COMMIT_WAIT: Duration = Duration::from_secs(5);
/// The value of an entry: its version.
const ENTRY: [u8; 1] = [1];

pub(super) async fn dismiss(edge: &Edge, subject: &Subject, other: &str) -> Result<Response<Full<Bytes>>, Problem> {
    let other = Id::parse(other.as_bytes())
        .map_err(|error| Problem::InvalidParameter { field: "user_id", detail: format!("user_id: {error}") })?;
    if !edge.dismissals.has_room(subject.user) {
        return Err(Problem::TooLarge { detail: format!("at most {PER_USER_MAX} people can be dismissed") });
    }
    let name = Dismissals::name(subject.user, other);
    durable(edge, vec![EdgeEntry { kind: KIND, name, value: Some(ENTRY.to_vec()) }]).await?;
    edge.dismissals.put(subject.user, other);
    Ok(server::empty(StatusCode::NO_CONTENT))
}

/// Changes entries of the edge's table; durable when this returns.
pub(super) async fn durable(edge: &Edge, entries: Vec<EdgeEntry>) -> Result<(), Problem> {
    let (reply, answer) = oneshot::channel();
    let told = Box::new(move |()| {
        // The caller may have gone.
        let _ = reply.send(());
    });
    send(edge.writer.clone(), Message::Command(Command::Edge { entries, reply: told })).await?;
    let late = Problem::Unavailable("the commit takes too long");
    tokio::time::timeout(COMMIT_WAIT, answer).await.map_err(|_| late)?.map_err(|_| Problem::Unavailable("stopping"))
}

/// The queue is short and the writer may be behind: waits beside the runtime.
async fn send(writer: Sender<Message>, message: Message) -> Result<(), Problem> {
    let sent = tokio::task::spawn_blocking(move || writer.send_timeout(message, COMMIT_WAIT).is_ok()).await;
    if matches!(sent, Ok(true)) { Ok(()) } else { Err(Problem::Unavailable("the writer is behind")) }
}
