//! Statistics of many measured values.

/// The value that `percent` of the sorted values do not exceed (the nearest rank). The result is 0 if the slice is
/// empty.
pub(super) fn percentile<T: Copy + Into<f64>>(sorted: &[T], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0.0, |value| (*value).into())
}

/// The median of the sorted values.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    percentile(&values, 50)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_percentile_is_the_smallest_value_that_enough_values_do_not_exceed(
            mut values in proptest::collection::vec(any::<u32>(), 1..200),
            percent in 1..=100usize,
        ) {
            values.sort_unstable();
            let found = percentile(&values, percent);
            let covered = |bound: f64| values.iter().filter(|value| f64::from(**value) <= bound).count() * 100;
            prop_assert!(covered(found) >= percent * values.len());
            let below = values.iter().filter(|value| f64::from(**value) < found).count() * 100;
            prop_assert!(below < percent * values.len());
        }
    }
}
