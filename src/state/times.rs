//! Computes days and minutes since the epoch, and estimates the present time from times that may be wrong.

pub const DAY_MS: i64 = 86_400_000;
pub const MINUTE_MS: i64 = 60_000;

/// Estimates the present time from times that may be wrong in either direction. The estimate is a time that a quarter
/// of the times have reached. A wrong time that only a few records have does not change the estimate (rule N14). The
/// estimate is a little behind the present time, so nova forgets things a little later.
pub(super) fn late<T: Ord + Copy>(times: &mut [T]) -> Option<T> {
    let at = times.len().checked_sub(1)? * 3 / 4;
    Some(*times.select_nth_unstable(at).1)
}
