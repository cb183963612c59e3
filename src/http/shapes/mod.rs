//! The forms of client events and of nova's answers, as `/openapi.json` describes them. The code for frequent answers
//! writes JSON without these types (`feed/page.rs`, `feed/trending/publish.rs`, `discover`). A test checks that this
//! JSON has the forms of the module.

mod admin;
mod events;
mod explained;
mod feed;
mod found;
mod lists;
mod node;
mod overview;
mod status;
mod tapped;

pub use self::admin::*;
pub use self::events::*;
pub use self::explained::*;
pub use self::feed::*;
pub use self::found::*;
pub use self::lists::*;
pub use self::node::*;
pub use self::overview::*;
pub use self::status::*;
pub use self::tapped::*;
