//! The decoder against real captures.

mod captures;
mod support;
