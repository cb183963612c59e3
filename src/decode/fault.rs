//! The reason for which a record is a dead letter, in words that never contain a value of the record.

use super::raw::Raw;
use crate::event::{Dead, Stage, Table};

/// The length in bytes at which nova cuts the detail of a fault.
pub const DETAIL_MAX_BYTES: usize = 300;

/// The reason for which a record is a dead letter: a stable code, and a text for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub reason: &'static str,
    pub detail: String,
}

impl Fault {
    pub fn new(reason: &'static str, detail: impl Into<String>) -> Fault {
        Fault { reason, detail: bounded(detail.into()) }
    }

    pub fn wrong_type(field: &str, expected: &str, got: &Raw<'_>) -> Fault {
        Fault::new("wrong-type", format!("`{}`: expected {expected}, got {}", shown(field), got.kind()))
    }

    pub fn invalid(field: &str, what: &str) -> Fault {
        Fault::new("invalid-value", format!("`{}`: {what}", shown(field)))
    }

    /// Makes the fault of a record whose table is not the table of its topic. `what` is the verb phrase that names the
    /// evidence, such as "has all columns".
    pub fn other_table(other: Table, table: Table, what: &str) -> Fault {
        let detail = format!(
            "the record {what} of table `{other}`, and its topic holds `{table}`: correct the routing of the connector \
             (transforms), then read the records again from the right topic"
        );
        Fault::new("other-table", detail)
    }

    pub fn duplicate(field: &str) -> Fault {
        Fault::new("duplicate-field", format!("`{}` comes twice in one object", shown(field)))
    }
}

impl From<Fault> for Dead {
    fn from(fault: Fault) -> Dead {
        Dead { stage: Stage::Decode, reason: fault.reason, detail: fault.detail }
    }
}

/// Cuts a field name from a record, so that a message can show it.
fn shown(field: &str) -> &str {
    cut(field, 64)
}

fn cut(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn bounded(mut detail: String) -> String {
    let end = cut(&detail, DETAIL_MAX_BYTES).len();
    detail.truncate(end);
    detail
}
