//! The routes of the console: the files, the session, and the data of the first page.

pub(super) mod board;
pub(super) mod files;
mod overview;
pub(super) mod sample;
mod session;
mod stream;

pub use self::board::Board;
pub(super) use self::overview::{history, now};
pub(super) use self::session::{HEADER, Session, cookie_token, sign_in, sign_out, whoami};
pub(super) use self::stream::open;
