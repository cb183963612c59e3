//! `/metrics`: every figure that Prometheus reads, one function per group. Counters and histograms that move with
//! requests live in [`Observed`]; what others know is read at the scrape. The names are those of `docs/operations.md`.

mod family;
mod memory;
pub(super) mod observed;
mod port;
pub(super) mod port_watch;
mod postgres;
mod process;
mod render;
mod source;
mod store;
mod text;
mod warehouse;

pub(super) use self::memory::memory;
pub use self::observed::Observed;
pub use self::port_watch::{PORT_GROUPS, PortCounts, PortWatch};
pub(super) use self::text::{CLASSIC, OPENMETRICS, Scrapes};
pub(super) use self::warehouse::breaker_states;
