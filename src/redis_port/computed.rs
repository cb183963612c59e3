//! nova's own keys of the Redis port. nova makes the values of its own keys at each read, with the code that answers
//! HTTP and fills a real Redis server.

use crate::event::Id;
use crate::feed::trending::Window;
use crate::http::auth::Subject;
use crate::http::{Class, Decision, Serving};
use crate::jobs::made::{FEED, Maker, SUGGESTIONS, TRENDING};
use crate::jobs::serving::FEED_WARMUP;

use super::client::Client;
use super::fault::Fault;
use super::port::Port;

/// A scan cursor of at least this value stands for the number of a user. The first cursor of a user is below 2^53, so
/// that JavaScript represents the cursors exactly, and above every cursor of the cache.
pub(super) const USERS_CURSOR: u64 = 1 << 48;

/// One of nova's own keys. An inner `None` stands for a key that names no valid user or window, and that never has a
/// value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    Feed(Option<Id>),
    Suggestions(Option<Id>),
    Trending(Option<Window>),
}

impl Own {
    /// Parses one of nova's own keys. Returns `None` for a key of the cache.
    pub fn of(key: &[u8]) -> Option<Own> {
        let id = |text| Id::parse(text).ok();
        if let Some(user) = key.strip_prefix(FEED.as_bytes()) {
            return Some(Own::Feed(id(user)));
        }
        if let Some(user) = key.strip_prefix(SUGGESTIONS.as_bytes()) {
            return Some(Own::Suggestions(id(user)));
        }
        let window = key.strip_prefix(TRENDING.as_bytes())?;
        Some(Own::Trending(std::str::from_utf8(window).ok().and_then(Window::from_name)))
    }

    /// Returns the user in the key. Everybody may read a key that names no user.
    pub fn user(self) -> Option<Id> {
        match self {
            Own::Feed(user) | Own::Suggestions(user) => user,
            Own::Trending(_) => None,
        }
    }

    /// Whether one of nova's own keys exists. nova has keys for every known user and for every kept window.
    pub fn exists(self, serving: &Serving) -> bool {
        match self {
            Own::Feed(user) | Own::Suggestions(user) => {
                user.is_some_and(|user| serving.state.read().users.number(user).is_some())
            }
            Own::Trending(window) => window.is_some_and(|window| serving.trending.windows().contains(&window)),
        }
    }

    /// Returns the present value of one of nova's own keys. A read of the value costs as much of the caller's quota as
    /// a read of the same page over HTTP.
    pub fn value(self, port: &Port, client: &mut Client) -> Result<Option<String>, Fault> {
        let serving = &port.edge.serving;
        if !self.exists(serving) {
            return Ok(None);
        }
        let (class, now_ms) = (self.class(), serving.clock.now_ms());
        charge(port, client, class)?;
        client.made += 1;
        Ok(match self {
            Own::Feed(Some(user)) => {
                #[expect(clippy::disallowed_methods, reason = "the port does not know the clock's room")]
                let started = std::time::Instant::now();
                let (body, page) = maker(serving).feed(user, now_ms);
                if page.due {
                    serving.runner.wake(FEED_WARMUP);
                }
                let took_us = started.elapsed().as_micros() as u32;
                serving.feeds.served.feed(now_ms, page.cache_hit, page.snapshot.cut(), took_us);
                Some(body)
            }
            Own::Suggestions(Some(user)) => {
                let state = serving.state.read();
                let (body, list) = maker(serving).suggestions(&state, user, now_ms);
                if let Some(number) = state.users.number(user) {
                    let suggested = list.iter().filter_map(|suggested| state.users.number(suggested.user));
                    serving.shown.note(number, suggested, now_ms);
                }
                Some(body)
            }
            Own::Trending(Some(window)) => maker(serving).trending(window, now_ms),
            Own::Feed(None) | Own::Suggestions(None) | Own::Trending(None) => None,
        })
    }

    fn class(self) -> Class {
        match self {
            Own::Feed(_) => Class::Feed,
            Own::Suggestions(_) => Class::Suggestions,
            Own::Trending(_) => Class::Trending,
        }
    }
}

fn maker(serving: &Serving) -> Maker<'_> {
    let Serving { state, trending, feeds, rising, dismissals, cursor_key, .. } = serving;
    Maker { state, trending, feeds, rising, dismissals, cursor_key }
}

/// Takes one page from the caller's quota.
fn charge(port: &Port, client: &Client, class: Class) -> Result<(), Fault> {
    let (Some(caller), limiter) = (client.caller, &port.edge.gate.limiter) else { return Ok(()) };
    let Some(verdict) = limiter.check(class, caller, limiter.now_us()) else { return Ok(()) };
    let (what, after_us) = match verdict.decision {
        Decision::Granted => return Ok(()),
        Decision::OverQuota { retry_after_us } => ("quota exceeded", retry_after_us),
        Decision::Shed { retry_after_us } => ("temporary reduced capacity", retry_after_us),
    };
    Err(Fault::Text(format!(
        "ERR {what}: try again in {} ms (limits.{}_per_s)",
        after_us.div_ceil(1_000),
        class.name()
    )))
}

/// Returns the names of nova's own keys that a caller may read, from a cursor on: first names of windows, then names of
/// users in the order of their numbers. `names` returns at most about `count` names, and the cursor of the next page if
/// there is one.
pub(super) fn names(serving: &Serving, subject: &Subject, cursor: u64, count: usize) -> (Vec<String>, Option<u64>) {
    let mut names = Vec::new();
    let of_user = |user: Id| [format!("{FEED}{user}"), format!("{SUGGESTIONS}{user}")];
    if cursor == 0 {
        names.extend(serving.trending.windows().iter().map(|window| format!("{TRENDING}{}", window.name())));
        if !everybodys(subject) {
            let own = Own::Feed(Some(subject.user)).exists(serving);
            names.extend(own.then(|| of_user(subject.user)).into_iter().flatten());
        }
        return (names, None);
    }
    let state = serving.state.read();
    let from = cursor.saturating_sub(USERS_CURSOR);
    let until = from.saturating_add(count.div_ceil(2) as u64).min(state.users.len() as u64);
    for user in state.users.between(from, until) {
        names.extend(of_user(user));
    }
    let more = until < state.users.len() as u64;
    (names, more.then_some(USERS_CURSOR + until))
}

/// Whether the subject may read every user's keys and use the cache.
pub(super) fn everybodys(subject: &Subject) -> bool {
    subject.roles.admin || subject.roles.service
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_novas_own_are_told_from_the_caches() {
        let user = "018f5f2e-7a3c-7c11-9d2b-000000000001";
        let id = Id::parse(user.as_bytes()).unwrap();
        for (key, own) in [
            (format!("feed:v1:{user}"), Some(Own::Feed(Some(id)))),
            (format!("nova:cache:suggested_users:{user}"), Some(Own::Suggestions(Some(id)))),
            ("nova:cache:trending:6h".to_owned(), Some(Own::Trending(Some(Window::SixHours)))),
            ("nova:cache:trending:2h".to_owned(), Some(Own::Trending(None))),
            ("feed:v1:".to_owned(), Some(Own::Feed(None))),
            ("feed:v1:me".to_owned(), Some(Own::Feed(None))),
            ("feed:v2:x".to_owned(), None),
            ("nova:cache:other".to_owned(), None),
            ("FEED:v1:x".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(Own::of(key.as_bytes()), own, "{key}");
        }
        assert_eq!(Own::of(b"nova:cache:trending:\xff"), Some(Own::Trending(None)));
    }
}
