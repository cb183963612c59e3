//! The parameters that operations of users and of the role admin share.

use super::operation::{Kind, Parameter, parameter};

pub(super) const WINDOW: Parameter =
    parameter("window", Kind::OneOf(&["1h", "6h", "24h", "7d"]), "How far back; 24h where it is left out.");
pub(super) const ALGORITHM: Parameter =
    parameter("algo", Kind::OneOf(&["ch", "time"]), "Ranked, or newest first; ranked where it is left out.");
