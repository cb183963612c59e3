//! The decoder against real captures, hand-made records and garbage.

mod captures;
mod events;
mod evolution;
mod fuzz;
mod garbage;
mod registry;
mod rules;
mod support;
