//! Kafka as a source. The consumer reads from the positions that the store has. The broker's committed offset is a hint
//! for people and tools, and never exceeds the store's next offset (N4). When partitions are assigned, the store
//! decides where reading continues.

pub mod bare;
mod consumer;
mod context;
mod failure;
mod group;
mod identity;
mod membership;
mod poll;
pub mod producer;
mod settings;
mod status;
mod stops;
pub mod topics;
mod upkeep;
mod watch;

pub use self::consumer::KafkaSource;
pub use self::group::Owner;
pub use self::producer::{ProduceError, Producer};
pub use self::settings::KafkaSettings;
pub use self::status::{BrokerFigures, Figures, KafkaStatus, Watermarks};
pub use self::stops::Stop;
