//! What the audit keeps of requests: who did something, and of those that change nothing an admin's looks at what is
//! somebody's own, and refusals.

pub(super) mod refusals;

use http::Method;

use crate::pipeline::writer::Audit;

use super::auth::Subject;
use super::durable::Durable;
use super::edge::Control;
use super::error::Problem;
use super::limit::Caller;

/// Who did it, as the audit names them.
pub(super) fn actor(subject: &Subject) -> String {
    format!("user {}", subject.user)
}

/// A look by an admin. It is in the audit before the answer goes out.
pub(super) async fn looked(
    durable: &Durable,
    subject: &Subject,
    action: &'static str,
    at: String,
) -> Result<(), Problem> {
    let audit = Audit { actor: actor(subject), action, subject: at, ..Audit::default() };
    durable.put(Vec::new(), Some(audit), || {}).await
}

/// A refused admin request.
pub(super) async fn refused(control: &Control, caller: Caller, method: &Method, path: &'static str) {
    if !control.refusals.lock().keeps(control.clock.day_ms(), caller, method, path) {
        return;
    }
    let actor = match caller {
        Caller::User { id, .. } => format!("user {id}"),
        Caller::Address(address) => format!("address {address}"),
    };
    let audit = Audit { actor, action: "refused", subject: format!("{method} {path}"), ..Audit::default() };
    // The refusal stands also where it cannot be kept.
    if control.durable.put(Vec::new(), Some(audit), || {}).await.is_err() {
        tracing::warn!("a refused admin request is not in the audit: the writer is behind");
    }
}
