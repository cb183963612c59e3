//! What the audit keeps of requests that change nothing: an admin's looks at what is somebody's own, and refusals.

use http::Method;
use rustc_hash::FxHashSet;

use crate::http::auth::Subject;
use crate::http::durable::Durable;
use crate::http::edge::Control;
use crate::http::error::Problem;
use crate::http::limit::Caller;
use crate::pipeline::writer::Audit;

use super::actor;

/// A refusal of the same caller and operation is kept once in this time.
const WINDOW_MS: i64 = 600_000;
/// Refusals that are kept in this time, of users and of addresses each: the audit is for ever, and anybody is refused.
const KEPT_MAX: usize = 64;

/// A look by an admin. It is in the audit before the answer goes out.
pub(in crate::http) async fn looked(
    durable: &Durable,
    subject: &Subject,
    action: &'static str,
    at: String,
) -> Result<(), Problem> {
    let audit = Audit { actor: actor(subject), action, subject: at, ..Audit::default() };
    durable.put(Vec::new(), Some(audit), || {}).await
}

/// A refused admin request.
pub(in crate::http) async fn refused(control: &Control, caller: Caller, method: &Method, path: &'static str) {
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

/// Which refusals are kept.
#[derive(Debug, Default)]
pub(in crate::http) struct Refusals {
    since_ms: i64,
    users: FxHashSet<(Caller, Method, &'static str)>,
    addresses: FxHashSet<(Caller, Method, &'static str)>,
}

impl Refusals {
    /// Whether this one is.
    fn keeps(&mut self, now_ms: i64, caller: Caller, method: &Method, path: &'static str) -> bool {
        // A clock that was set back begins another window too.
        if !(self.since_ms..self.since_ms.saturating_add(WINDOW_MS)).contains(&now_ms) {
            *self = Refusals { since_ms: now_ms, ..Refusals::default() };
        }
        let kept = match caller {
            Caller::User { .. } => &mut self.users,
            Caller::Address(_) => &mut self.addresses,
        };
        kept.len() < KEPT_MAX && kept.insert((caller, method.clone(), path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Id;

    #[test]
    fn of_a_flood_of_refusals_a_few_are_kept_and_addresses_do_not_push_out_users() {
        let mut refusals = Refusals::default();
        let user = |n| Caller::User { id: Id::from_u128(n), service: false };
        let address = |n: u32| Caller::address(std::net::Ipv4Addr::from_bits(n).into());
        let flood = (0..10_000).filter(|n| refusals.keeps(5, address(*n), &Method::GET, "/a")).count();
        assert_eq!(flood, KEPT_MAX);
        assert!(refusals.keeps(5, user(1), &Method::GET, "/a"));
        assert!(!refusals.keeps(6, user(1), &Method::GET, "/a"), "again");
        assert!(refusals.keeps(6, user(1), &Method::POST, "/a") && refusals.keeps(6, user(1), &Method::GET, "/b"));
        let flood = (0..10_000).filter(|n| refusals.keeps(7, user(*n), &Method::GET, "/a")).count();
        assert_eq!(flood, KEPT_MAX - 3);
        assert!(refusals.keeps(WINDOW_MS + 5, user(1), &Method::GET, "/a"), "a window later");
        assert!(refusals.keeps(0, user(1), &Method::GET, "/a"), "the clock was set back");
    }
}
