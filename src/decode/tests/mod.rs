//! Tests of the decoder with real captures, hand-made records and garbage.

mod captures;
mod events;
mod evolution;
mod forms;
mod fuzz;
mod garbage;
mod kept;
mod letters;
mod private;
mod registry;
mod rules;
mod shapes;
mod support;
mod unchanged;
mod units;
