//! Tests against real servers: PostgreSQL through Debezium and Kafka into nova and ClickHouse. Only the `NOVA_TEST_*`
//! variables control them. A test names a missing variable, and passes. `NOVA_TEST_STACK` names a script that takes
//! `kill NAME` and `up NAME`: with it the servers are killed as well.

mod changes;
mod client_events;
mod freshness;
mod restored;
pub mod workload;
pub mod world;
