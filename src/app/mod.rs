//! The composition root of a node: it opens the store, recovers the state, connects the modules, starts the threads,
//! and ends them in order. `setup` has the parts that make a node, and `opened` has the recovered store. `running` has
//! the batch loop and its end, and `node` has the server. `store_check` checks a large store while the node serves.
//! SQL, files and sockets are used only in the modules that own them.

mod commanded;
pub mod compare;
mod error;
mod jobs;
mod listening;
mod logs;
mod node;
mod opened;
pub mod preflight;
mod reads;
mod running;
mod setup;
mod small_pages;
mod store_check;
mod thread;

pub use self::error::AppError;
pub use self::listening::listening;
pub use self::node::{Node, load_dismissals, load_overrides, start_node};
pub use self::opened::{Opened, make_data_dir, open, open_stopped, open_store, open_store_at, store_id};
pub use self::reads::{sent, stored_row};
pub use self::running::Running;
pub use self::setup::{
    Drain, PortSetup, Setup, TestSetup, clickhouse, file_schemas, kafka, layout, postgres, registry, table_topics,
};
pub use self::store_check::StoreCheck;
pub use crate::data_dir::{STORE_FILE, store_path};
