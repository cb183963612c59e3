//! Checks the settings of tokens: the configured keys, and the checks of tokens that are off.

use crate::http::KeySettings;
use crate::http::auth::odd_keys;

use super::finding::Finding;

/// The problems in the settings of `[auth]`. If the settings name an address of keys, the function fetches the key set
/// from the address.
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
        // `nova check` reports an unusable key file together with the other settings that prevent a start.
        Err(_) if settings.jwks_url.is_none() => {}
        Err(why) => found.push(Finding::new("keys-unusable", why, "correct it, or what it names")),
    }
    found
}
