//! PostgreSQL followed directly. The follower runs over a double of the server (`walsender`, `double`), stepped by hand
//! with the real ingest and writer, and nova runs as a process over a real server. The numbers in names are those of
//! public faults of other systems.

mod copies;
mod decode;
mod double;
mod faults;
mod following;
mod gaps;
mod node;
mod parity;
mod pgoutput;
mod random;
mod real;
mod rows;
mod slots;
mod walsender;
