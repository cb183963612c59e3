//! The facts that nova keeps about a token after it has checked the signature.

use std::sync::Arc;

use super::jwk::Key;
use super::refusal::Reason;
use super::subject::Subject;

/// The accepted difference between the clocks of the issuer and nova.
const LEEWAY_MS: i64 = 30_000;

/// A token whose signature was checked, with the facts that can still make the token invalid.
pub(super) struct Verified {
    pub subject: Subject,
    pub key: Arc<Key>,
    pub jti: Option<String>,
    /// When the token was issued, in epoch milliseconds. The time is 0 if the token has no `iat`, so every rule that
    /// revokes tokens by their time covers such a token.
    pub issued_ms: i64,
    pub not_before_ms: i64,
    pub expires_ms: i64,
}

impl Verified {
    pub fn in_time(&self, now_ms: i64) -> Result<(), Reason> {
        if self.not_before_ms.max(self.issued_ms) > now_ms + LEEWAY_MS {
            return Err(Reason::NotYetValid);
        }
        if now_ms >= self.expires_ms + LEEWAY_MS { Err(Reason::Expired) } else { Ok(()) }
    }
}
