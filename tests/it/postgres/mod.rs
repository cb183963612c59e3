//! Tests of nova that follows PostgreSQL directly. Most tests run the follower with a double of the server
//! (`walsender`, `double`), the real ingest and the real writer, whose steps the test makes; others run nova as a
//! process with a real server. The numbers in the test names refer to public bugs of other systems.

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
