//! The metrics of `/metrics`, which Prometheus reads, with one function for each group. Threads and routes count some
//! figures in [`Observed`], and nova reads all further figures when Prometheus scrapes. `docs/operations.md` lists the
//! names of the metrics.

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
