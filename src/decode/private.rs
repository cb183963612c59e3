//! Handles private members, which never leave the decoder. Private values are not stored, logged, sent or shown,
//! whatever place they have in a record and however they are written.

mod broken;
mod fill;
mod mask;
mod names;
mod nested;
mod purge;
mod scan;
pub(super) mod shown;

pub(super) use self::fill::STAR;
pub(super) use self::mask::{blank, is_blank, mask};
pub use self::names::is_private;
pub(super) use self::names::{column, of, same_letters};
pub(super) use self::nested::is_json;
pub(super) use self::purge::purge;
