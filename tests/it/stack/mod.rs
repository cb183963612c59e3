//! Tests with real servers: PostgreSQL through Debezium and Kafka into nova and ClickHouse. Only the variables
//! `NOVA_TEST_*` control the tests with real servers. If a variable is missing, the test prints the variable's name and
//! passes. `NOVA_TEST_STACK` names a script with the commands `kill NAME` and `up NAME`; if it is set, the tests also
//! kill the servers.

mod changes;
mod client_events;
mod freshness;
mod restored;
pub mod workload;
pub mod world;
