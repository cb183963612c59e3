//! Reads integers in JSON Schema's sense (2020-12 §6.1.1): a number is an integer if its value is an integer, whatever
//! its notation is. nova reads the value from the digits, because floating point rounds `0.99999999999999999` to 1.

/// Returns the integer value of a JSON number such as `5400`, `5400.0` or `5.4e3`. Returns `None` if the number is not
/// an integer, or if it does not fit into 64 bits.
pub fn whole_number(text: &str) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (digits, exponent) = match digits.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i64>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let mut value: i64 = 0;
    let mut significant = whole.bytes().chain(fraction.bytes());
    for digit in significant.by_ref() {
        value = value.checked_mul(10)?.checked_add(i64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?))?;
    }
    let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let value = match u32::try_from(exponent.unsigned_abs()) {
        _ if value == 0 => 0,
        Ok(places) if exponent >= 0 => value.checked_mul(10_i64.checked_pow(places)?)?,
        Ok(places) => {
            let unit = 10_i64.checked_pow(places)?;
            (value % unit == 0).then_some(value / unit)?
        }
        Err(_) => return None,
    };
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_whole_number_is_one_however_it_is_written(number in -100_000_000_000_000i64..100_000_000_000_000) {
            for text in [format!("{number}"), format!("{number}.0"), format!("{number}.000000000000"), format!("{number}e0"),
                format!("{number}00E-2"), format!("{number}.0e+0"), format!("{}e3", number / 1_000 * 1_000)] {
                let expected = if text.ends_with("e3") { number / 1_000 * 1_000_000 } else { number };
                prop_assert_eq!(whole_number(&text), Some(expected), "{}", text);
            }
            let thousandth = format!("{number}e-3");
            prop_assert_eq!(whole_number(&thousandth).is_some(), number % 1_000 == 0);
        }
    }

    #[test]
    fn what_is_none_is_none_however_near() {
        for (text, expected) in [
            ("-0", Some(0)),
            ("0e999999999999", Some(0)),
            ("1e18", Some(1_000_000_000_000_000_000)),
            ("0.00015e5", Some(15)),
            ("9223372036854775807.0", Some(i64::MAX)),
            ("1e19", None),
            ("1e-1", None),
            ("1e999999999999999999999", None),
            ("9223372036854775808", None),
            ("1.5", None),
        ] {
            assert_eq!(whole_number(text), expected, "{text}");
        }
        assert_eq!(whole_number(&format!("0.{}", "9".repeat(10_000))), None);
        assert_eq!(whole_number(&format!("5400.{}", "0".repeat(10_000))), Some(5_400));
    }
}
