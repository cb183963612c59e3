//! The parameters that the operations for users share with the operations for the role admin.

use super::operation::{Kind, Parameter, parameter};

pub(super) const WINDOW: Parameter =
    parameter("window", Kind::OneOf(&["1h", "6h", "24h", "7d"]), "How far back; 24h where it is left out.");
pub(super) const ALGORITHM: Parameter =
    parameter("algo", Kind::OneOf(&["ch", "time"]), "Ranked, or newest first; ranked where it is left out.");
