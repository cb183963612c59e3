//! The reasons why nova refuses a token. Only the operator learns the reason, and the client never does.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most characters of a token's own text in a line of the log.
const SHOWN_MAX_CHARS: usize = 64;

/// The reason why nova refuses a token, which is the value of a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request has no `Authorization: Bearer`, or more than one.
    Missing,
    /// The token is not a JWT in compact form.
    Malformed,
    /// The token's header requires a feature that nova does not have, or contains a key.
    Header,
    /// The token's `typ` is not one that nova accepts.
    Typ,
    /// The token's `alg` is not the algorithm of the key.
    Algorithm,
    /// No key of the set has the token's `kid`.
    UnknownKey,
    /// The key set could not be fetched, so nova does not know whether the set has the token's key.
    KeysAway,
    Signature,
    /// A claim of the token is missing, has another type than RFC 7519 says, or is repeated.
    Claims,
    Issuer,
    Audience,
    Subject,
    NotYetValid,
    Expired,
    Revoked,
}

impl Reason {
    pub const ALL: [Reason; 15] = [
        Reason::Missing,
        Reason::Malformed,
        Reason::Header,
        Reason::Typ,
        Reason::Algorithm,
        Reason::UnknownKey,
        Reason::KeysAway,
        Reason::Signature,
        Reason::Claims,
        Reason::Issuer,
        Reason::Audience,
        Reason::Subject,
        Reason::NotYetValid,
        Reason::Expired,
        Reason::Revoked,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Reason::Missing => "missing",
            Reason::Malformed => "malformed",
            Reason::Header => "header",
            Reason::Typ => "typ",
            Reason::Algorithm => "algorithm",
            Reason::UnknownKey => "unknown_key",
            Reason::KeysAway => "keys_away",
            Reason::Signature => "signature",
            Reason::Claims => "claims",
            Reason::Issuer => "issuer",
            Reason::Audience => "audience",
            Reason::Subject => "subject",
            Reason::NotYetValid => "not_yet_valid",
            Reason::Expired => "expired",
            Reason::Revoked => "revoked",
        }
    }
}

/// The refusal of a token, with a detail that only the log has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub detail: String,
    /// Whether the token may be valid with a newer key set.
    pub look: bool,
}

impl Refusal {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Refusal {
        Refusal { reason, detail: detail.into(), look: false }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Refusal {
        Refusal::new(reason, String::new())
    }
}

/// A part of a token's text, quoted and shortened, because an attacker may have chosen the text.
pub(super) fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(SHOWN_MAX_CHARS).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}

/// The number of requests that nova has refused since the start because of their token, by reason.
#[derive(Default)]
pub struct Refused([AtomicU64; Reason::ALL.len()]);

impl Refused {
    /// Counts the refusal of a token, and logs it at level debug.
    pub fn note(&self, refusal: &Refusal) {
        self.0[refusal.reason as usize].fetch_add(1, Ordering::Relaxed);
        tracing::debug!(reason = refusal.reason.name(), "a token was refused: {}", refusal.detail);
    }

    pub fn all(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(&self.0).map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.all()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_name_and_a_count_of_its_own() {
        let refused = Refused::default();
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            (0..=place).for_each(|_| refused.note(&reason.into()));
        }
        for (place, (_, count)) in refused.all().enumerate() {
            assert_eq!(count, place as u64 + 1);
        }
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn text_of_a_token_is_cut_and_cannot_forge_a_line_of_the_log() {
        assert_eq!(shown("a\nb"), r#""a\nb""#);
        assert!(shown(&"é".repeat(10_000)).chars().count() < 70);
    }
}
