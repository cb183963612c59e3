//! What of the state is not of one chunk.

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) users: usize,
    pub(super) posts: usize,
    pub(super) fold_at: usize,
    pub(super) folding: Option<usize>,
    pub(super) fold_from: i32,
}
