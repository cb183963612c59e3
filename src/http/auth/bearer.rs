//! Reads the token of a request.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The token of the field `Authorization: Bearer` (RFC 6750 §2.1), or `None` if the request does not have exactly one
/// field `Authorization`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
