//! Keeps the keys fresh: looks at their source now and then, and when a token names a key that is not known. Such a
//! token's request waits for that one look. What was good last is kept when a look fails.

use std::time::Duration;

use tokio::time::Instant;

use crate::breaker::BreakerState;

use super::keeper::{Keeper, Looks};
use super::keys::KeySet;
use super::refusal::{Reason, Refusal};
use super::source::{Fetch, KeyFile, KeySource};
use super::subject::Subject;
use super::verify::Auth;

/// How often an address is asked while it answers.
const FETCH_EVERY: Duration = Duration::from_secs(300);
/// Looks at an address that tokens may cause at once...
const FETCH_BURST: u32 = 5;
/// ...and then one in this time, so that nobody makes nova a burden to the issuer with ids of keys that there are not.
const FETCH_REFILL: Duration = Duration::from_secs(10);
/// Between two looks at an address at least.
const FETCH_GAP: Duration = Duration::from_secs(1);
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LAST: Duration = Duration::from_secs(60);
/// How often a file is looked at, and how soon again when a token names a key that is not known.
const FILE_EVERY: Duration = Duration::from_secs(2);
const FILE_GAP: Duration = Duration::from_millis(100);
/// How long each waits.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The generic cell rate algorithm (ITU-T I.371) over looks at an address.
struct Pace {
    /// When the looks made so far are worked off.
    due: Instant,
}

impl Pace {
    /// A look was made: how long it is until the next one that a token may cause.
    fn made(&mut self, now: Instant) -> Duration {
        self.due = self.due.max(now) + FETCH_REFILL;
        let ahead = self.due - now;
        ahead.saturating_sub(FETCH_REFILL * FETCH_BURST).max(FETCH_GAP)
    }
}

impl Auth {
    /// The same as [`Auth::verify`]. Where that knows no key for the token, the request waits for a look at the keys that
    /// began after it came.
    pub async fn verify_or_look(&self, token: &str, now_ms: i64) -> Result<Subject, Refusal> {
        match self.verify(token, now_ms) {
            // Boxed: it is rare, and every request would move it about.
            Err(Refusal { look: true, detail, .. }) if self.looks_again() => {
                Box::pin(self.verify_later(token, now_ms, detail)).await
            }
            known => known,
        }
    }

    fn looks_again(&self) -> bool {
        !matches!(self.source, KeySource::Development)
    }

    async fn verify_later(&self, token: &str, now_ms: i64, unknown: String) -> Result<Subject, Refusal> {
        let away = |why: &str| Refusal::new(Reason::KeysAway, format!("{unknown}; {why}"));
        let Ok(_place) = self.keeper.places.try_acquire() else {
            return Err(away("too many requests wait for the keys"));
        };
        let mut looks = self.keeper.looks.subscribe();
        // Of a look that is under way nobody knows whether it sees the key already.
        let before = looks.borrow().begun;
        let until = Instant::now() + WAIT_MAX;
        loop {
            let seen = *looks.borrow_and_update();
            if seen.failed && seen.begun == seen.done {
                return Err(away("the last look at them failed"));
            }
            if seen.begun == seen.done {
                self.keeper.wanted.notify_one();
            }
            let ended = tokio::time::timeout_at(until, looks.wait_for(|looks| looks.done > seen.done)).await;
            let Ok(Ok(now)) = ended.map(|ended| ended.map(|looks| *looks)) else {
                return Err(away("they did not come in time"));
            };
            match self.verify(token, now_ms) {
                Err(Refusal { look: true, .. }) if now.failed => return Err(away("the look at them failed")),
                Err(Refusal { look: true, .. }) if now.done <= before => {}
                told => return told,
            }
        }
    }

    /// Keeps the keys fresh; never ends where there are some to keep.
    pub async fn keep_keys(&self) {
        match &self.source {
            KeySource::Development => {}
            KeySource::File(file) => self.keep_file(file).await,
            KeySource::Url(fetch) => self.keep_fetched(fetch).await,
        }
    }

    async fn keep_file(&self, file: &KeyFile) {
        loop {
            tokio::time::sleep(FILE_GAP).await;
            let _ = tokio::time::timeout(FILE_EVERY - FILE_GAP, self.keeper.wanted.notified()).await;
            self.keeper.looks.send_modify(|looks| looks.begun += 1);
            self.reload(file);
            // A file that cannot be used has no key: waiting longer would not help.
            self.keeper.looks.send_modify(|looks| looks.done += 1);
        }
    }

    /// Takes a changed file over; whether it did.
    fn reload(&self, file: &KeyFile) -> bool {
        match file.read() {
            Ok(None) => false,
            Ok(Some(keys)) => {
                self.replace(keys);
                true
            }
            Err(detail) => {
                if file.complains(&detail) {
                    tracing::warn!("auth.{}: {detail}; the keys stay as they were", file.setting);
                }
                false
            }
        }
    }

    async fn keep_fetched(&self, fetch: &Fetch) {
        let Keeper { looks, wanted, breaker, .. } = &self.keeper;
        let (mut backoff, mut pace) = (BACKOFF_FIRST, Pace { due: Instant::now() });
        loop {
            looks.send_modify(|looks| looks.begun += 1);
            let fetched = fetch.get().await;
            let failed = fetched.is_err();
            match fetched {
                Ok(keys) => {
                    *breaker.lock() = BreakerState::Closed;
                    self.replace(keys);
                }
                Err(error) => {
                    tracing::warn!("auth.jwks_url: {error}; the keys stay as they were");
                    *breaker.lock() = BreakerState::Open;
                }
            }
            looks.send_modify(|looks| *looks = Looks { done: looks.done + 1, failed, ..*looks });
            let gap = pace.made(Instant::now());
            if failed {
                tokio::time::sleep(backoff).await;
                *breaker.lock() = BreakerState::HalfOpen;
                backoff = (backoff * 2).min(BACKOFF_LAST);
            } else {
                backoff = BACKOFF_FIRST;
                tokio::time::sleep(gap).await;
                // A new key shows itself by its first token.
                let _ = tokio::time::timeout(FETCH_EVERY - gap, wanted.notified()).await;
            }
        }
    }

    /// Puts another key set in force; tokens of keys that are gone are refused from now on.
    fn replace(&self, mut keys: KeySet) {
        let mut current = self.keys.write();
        for odd in keys.left_out.iter().filter(|odd| !current.left_out.contains(odd)) {
            tracing::warn!("the key set: {odd}; it is left out");
        }
        if !current.equals(&keys) {
            tracing::info!("the key set changed");
        }
        keys.keep(&current);
        *current = keys.into();
    }

    /// Whether `auth.jwks_url` is being asked; `None` where there is no address to ask.
    pub fn breaker(&self) -> Option<BreakerState> {
        matches!(self.source, KeySource::Url(_)).then(|| *self.keeper.breaker.lock())
    }
}

#[cfg(test)]
impl Auth {
    /// Looks at a file at once; whether it changed the keys.
    pub(super) fn reload_file(&self) -> bool {
        match &self.source {
            KeySource::File(file) => self.reload(file),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tokens_cause_a_burst_of_looks_and_then_one_in_a_while(gaps in proptest::collection::vec(0..30_000u64, 1..60)) {
            let begin = Instant::now();
            let (mut pace, mut now, mut made) = (Pace { due: begin }, begin, Vec::new());
            for gap in gaps {
                made.push(now);
                let wait = pace.made(now);
                prop_assert!(wait >= FETCH_GAP && wait <= FETCH_REFILL);
                now += wait + Duration::from_millis(gap);
            }
            for (first, from) in made.iter().enumerate() {
                for (last, to) in made.iter().enumerate().skip(first) {
                    let most = f64::from(FETCH_BURST) + 1.0 + (*to - *from).as_secs_f64() / FETCH_REFILL.as_secs_f64();
                    prop_assert!((last - first + 1) as f64 <= most + 1e-6, "{} looks in {:?}", last - first + 1, *to - *from);
                }
            }
        }
    }
}
