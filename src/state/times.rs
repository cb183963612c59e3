//! Days and minutes of the epoch, and how late it is by times that may be wrong.

pub const DAY_MS: i64 = 86_400_000;
pub const MINUTE_MS: i64 = 60_000;

/// How late it is by times of which some may be wrong, in either direction: a quarter of them is not earlier. Nothing
/// that a few records claim moves it (N14), and what is forgotten by it is forgotten a little later.
pub(super) fn late<T: Ord + Copy>(times: &mut [T]) -> Option<T> {
    let at = times.len().checked_sub(1)? * 3 / 4;
    Some(*times.select_nth_unstable(at).1)
}
