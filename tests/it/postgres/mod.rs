//! Tests of nova when it follows PostgreSQL directly. Most tests drive the follower, the real ingest and the real
//! writer step by step, with a double of the server (`walsender`, `double`). The tests of `real` run nova as a process
//! with a real server. The numbers in the test names refer to public bugs of systems other than nova.

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
