//! Days and minutes of the epoch, and an estimate of the present time from times that may be wrong.

pub const DAY_MS: i64 = 86_400_000;
pub const MINUTE_MS: i64 = 60_000;

/// Estimates the present time from times of which some may be wrong in either direction: a quarter of them is not
/// earlier. No time that a few records claim changes it (N14), and things are therefore forgotten a little later.
pub(super) fn late<T: Ord + Copy>(times: &mut [T]) -> Option<T> {
    let at = times.len().checked_sub(1)? * 3 / 4;
    Some(*times.select_nth_unstable(at).1)
}
