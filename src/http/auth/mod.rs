//! Bearer tokens are JWTs (RFC 7519, RFC 8725). A token is signed with a key of a configured key set, with a shared
//! secret, or with the development key, whose file is beside the store. The key decides the algorithm, whatever a token
//! states.

mod bearer;
mod cache;
mod development;
mod jwk;
mod keep;
mod keeper;
mod key_error;
mod keys;
mod refusal;
pub mod revocation;
mod source;
mod subject;
#[cfg(test)]
mod tests;
mod token;
mod verified;
mod verify;

pub(super) use self::bearer::bearer;
pub(super) use self::development::{AUDIENCE, ISSUER};
pub use self::development::{KEY_FILE, new_key};
pub use self::key_error::KeyError;
pub use self::refusal::{Reason, Refusal, Refused};
pub use self::source::{check_keys, odd_keys};
pub(super) use self::subject::{ADMIN, ADMIN_OR_SERVICE};
pub use self::subject::{Roles, Subject};
pub use self::verify::Auth;
