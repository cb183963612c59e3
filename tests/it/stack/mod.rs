//! Against real servers: PostgreSQL through Debezium and Kafka into nova and ClickHouse. Driven by the `NOVA_TEST_*`
//! variables alone; a test says what it misses and passes where one is unset. `NOVA_TEST_STACK` names a script that
//! takes `kill NAME` and `up NAME`: with it the servers are killed as well.

mod changes;
mod client_events;
mod freshness;
mod restored;
pub mod workload;
pub mod world;
