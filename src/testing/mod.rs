//! Servers for tests.

mod counted;
pub(crate) mod ground;
pub(crate) mod hosted;
mod log;
mod retired;
pub(crate) mod seed;
