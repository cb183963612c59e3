//! `/metrics`: every figure that Prometheus reads, one function per group. Counters and histograms about requests live
//! in [`Observed`]; other figures are read at the scrape. `docs/operations.md` lists the names.

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
