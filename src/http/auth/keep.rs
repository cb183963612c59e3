//! Keeps the set of keys up to date: nova reads the source of keys at intervals, and when a token names an unknown key.
//! A request whose token names an unknown key waits for a read of the source. If a read fails, nova keeps the last
//! valid keys.

use std::time::Duration;

use tokio::time::Instant;

use crate::breaker::BreakerState;

use super::keeper::{Keeper, Looks};
use super::keys::KeySet;
use super::refusal::{Reason, Refusal};
use super::source::{Fetch, KeyFile, KeySource};
use super::subject::Subject;
use super::verify::Auth;

/// The interval between two reads of the keys from an address, as long as the address answers.
const FETCH_EVERY: Duration = Duration::from_secs(300);
/// The number of reads of an address that tokens with unknown keys may cause in a burst.
const FETCH_BURST: u32 = 5;
/// After a burst, tokens with unknown keys may cause one read of an address in this time. Without a limit, anybody
/// could overload the issuer through nova with tokens that name unknown keys.
const FETCH_REFILL: Duration = Duration::from_secs(10);
/// The shortest time between two reads of an address.
const FETCH_GAP: Duration = Duration::from_secs(1);
/// The longest and the shortest time between two reads of a key file. A token that names an unknown key causes an early
/// read.
const FILE_EVERY: Duration = Duration::from_secs(2);
const FILE_GAP: Duration = Duration::from_millis(100);
/// The longest time that a request waits for a read of the keys.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The generic cell rate algorithm (ITU-T I.371) for the reads of keys from an address.
struct Pace {
    /// The theoretical arrival time of the generic cell rate algorithm.
    due: Instant,
}

impl Pace {
    /// Notes a read of the address, and returns the time until the next read that a token may cause.
    fn made(&mut self, now: Instant) -> Duration {
        self.due = self.due.max(now) + FETCH_REFILL;
        let ahead = self.due - now;
        ahead.saturating_sub(FETCH_REFILL * FETCH_BURST).max(FETCH_GAP)
    }
}

impl Auth {
    /// Checks a token as [`Auth::verify`] does. If no known key fits the token, the request waits for a read of the
    /// keys that began after the request came.
    pub async fn verify_or_look(&self, token: &str, now_ms: i64) -> Result<Subject, Refusal> {
        match self.verify(token, now_ms) {
            // The future is in a box, because it is large and rarely needed. Without the box, every request would move
            // the large future.
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
        // A read that has already begun may be too early to see the token's key.
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

    /// Keeps the set of keys up to date. The future never ends if a source of keys is configured.
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
            // The read counts as done even if nova cannot use the file, because a further read would not help a waiting
            // request.
            self.keeper.looks.send_modify(|looks| looks.done += 1);
        }
    }

    /// Reads the key file if it has changed, and returns whether nova replaced the keys.
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
        let Keeper { looks, wanted, .. } = &self.keeper;
        let mut pace = Pace { due: Instant::now() };
        loop {
            looks.send_modify(|looks| looks.begun += 1);
            let fetched = fetch.get().await;
            let failed = fetched.is_err();
            match fetched {
                Ok(keys) => {
                    self.keeper.answered();
                    self.replace(keys);
                }
                Err(error) => {
                    tracing::warn!("auth.jwks_url: {error}; the keys stay as they were");
                    self.keeper.failed();
                }
            }
            looks.send_modify(|looks| *looks = Looks { done: looks.done + 1, failed, ..*looks });
            let gap = pace.made(Instant::now());
            if failed {
                self.keeper.rest().await;
            } else {
                tokio::time::sleep(gap).await;
                // nova learns of a new key from the first token that names the key.
                let _ = tokio::time::timeout(FETCH_EVERY - gap, wanted.notified()).await;
            }
        }
    }

    /// Replaces the key set, so that nova refuses tokens of removed keys.
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

    /// The state of the circuit breaker for `auth.jwks_url`, or `None` if no address is configured.
    pub fn breaker(&self) -> Option<BreakerState> {
        matches!(self.source, KeySource::Url(_)).then(|| self.keeper.breaker_state())
    }
}

#[cfg(test)]
impl Auth {
    /// Reads the key file at once, and returns whether nova replaced the keys.
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
