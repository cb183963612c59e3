//! Selects the refused admin requests that the audit keeps.

use http::Method;
use rustc_hash::FxHashSet;

use crate::http::limit::Caller;

/// The length of a window, in which the audit keeps one refusal for each caller and operation.
const WINDOW_MS: i64 = 600_000;
/// The maximum number of refusals that the audit keeps in one window. nova counts the refusals of users and of
/// addresses separately. The limit is necessary, because nova never deletes the audit and anybody can cause a refusal.
const KEPT_MAX: usize = 64;

/// Selects the refusals that the audit keeps.
#[derive(Debug, Default)]
pub(in crate::http) struct Refusals {
    since_ms: i64,
    users: FxHashSet<(Caller, Method, &'static str)>,
    addresses: FxHashSet<(Caller, Method, &'static str)>,
}

impl Refusals {
    /// Whether the audit keeps this refusal.
    pub(super) fn keeps(&mut self, now_ms: i64, caller: Caller, method: &Method, path: &'static str) -> bool {
        // A new window also begins if the clock was set back.
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
