//! Checks whose tokens nova accepts: the configured keys, and the checks that are turned off.

use crate::http::KeySettings;
use crate::http::auth::odd_keys;

use super::finding::Finding;

/// The problems of the settings of `[auth]`. If an address is set, its key set is fetched.
pub(super) fn findings(settings: &KeySettings) -> Vec<Finding> {
    let unchecked = settings.unchecked().into_iter();
    let mut found: Vec<_> = unchecked
        .map(|detail| Finding::new("token-unchecked", detail, "ask your issuer what iss and aud its tokens have"))
        .collect();
    match odd_keys(settings) {
        Ok(odd) => found.extend(odd.into_iter().map(|odd| {
            let remedy = "its tokens get 401; where nobody signs with it, nothing is to be done";
            Finding::new("key-left-out", format!("the key set: {odd}"), remedy)
        })),
        // A file that cannot be used is reported with everything else that the start refuses.
        Err(_) if settings.jwks_url.is_none() => {}
        Err(why) => found.push(Finding::new("keys-unusable", why, "correct it, or what it names")),
    }
    found
}
