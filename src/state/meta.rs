//! Holds the parts of the state that do not belong to a single chunk.

/// The parts of the state that do not belong to a single chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) users: usize,
    pub(super) posts: usize,
    pub(super) fold_at: usize,
    pub(super) folding: Option<usize>,
    pub(super) fold_from: i32,
}
