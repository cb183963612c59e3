//! Writes audit entries about requests: admins' reads of personal data, and refused requests.

pub(super) mod refusals;

use http::Method;

use crate::pipeline::writer::Audit;

use super::auth::Subject;
use super::durable::Durable;
use super::edge::Control;
use super::error::Problem;
use super::limit::Caller;

/// The name of the actor in the audit.
pub(super) fn actor(subject: &Subject) -> String {
    format!("user {}", subject.user)
}

/// Puts a read by an admin into the audit, before the answer is sent.
pub(super) async fn looked(
    durable: &Durable,
    subject: &Subject,
    action: &'static str,
    at: String,
) -> Result<(), Problem> {
    let audit = Audit { actor: actor(subject), action, subject: at, ..Audit::default() };
    durable.put(Vec::new(), Some(audit), || {}).await
}

/// Puts a refused admin request into the audit.
pub(super) async fn refused(control: &Control, caller: Caller, method: &Method, path: &'static str) {
    if !control.refusals.lock().keeps(control.clock.day_ms(), caller, method, path) {
        return;
    }
    let actor = match caller {
        Caller::User { id, .. } => format!("user {id}"),
        Caller::Address(address) => format!("address {address}"),
    };
    let audit = Audit { actor, action: "refused", subject: format!("{method} {path}"), ..Audit::default() };
    // The request is refused even if the audit cannot be written.
    if control.durable.put(Vec::new(), Some(audit), || {}).await.is_err() {
        tracing::warn!("a refused admin request is not in the audit: the writer is behind");
    }
}
