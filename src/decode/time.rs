//! Converts ISO 8601 and RFC 3339 text to epoch microseconds exactly, without rounding or guessing. A leap second
//! (`:60`, RFC 3339 §5.7) is the first second of the next minute, as in PostgreSQL, because epoch time does not count
//! leap seconds.

/// The maximum number of digits of a fraction that nova reads. RFC 3339 does not limit the number of digits.
const FRACTION_MAX_DIGITS: usize = 64;

/// Returns the epoch microseconds of a text such as `2026-11-20T09:00:00.5Z`, `…+02:00`, `+12345-01-01T…`, `infinity`
/// (`i64::MAX`) or `-infinity` (`i64::MIN`). Returns `None` for a text that is not a time, and for a time that does not
/// fit into 64 bits. Returns `None` also for a time without an offset, with a day that does not exist, or with a
/// fraction finer than microseconds.
pub fn parse_micros(text: &str) -> Option<i64> {
    micros_of(text).filter(|(_, finer)| !finer).map(|(micros, _)| micros)
}

/// Does the same as `parse_micros`, but cuts digits finer than microseconds towards the past. The function is for times
/// that a person or a program writes and that no database keeps.
pub fn cut_micros(text: &str) -> Option<i64> {
    micros_of(text).map(|(micros, _)| micros)
}

/// Returns the microseconds of a text, and whether the text is finer than microseconds.
fn micros_of(text: &str) -> Option<(i64, bool)> {
    match text {
        "infinity" => return Some((i64::MAX, false)),
        "-infinity" => return Some((i64::MIN, false)),
        _ => {}
    }
    // The lowest and the highest `i64` stand for the infinities, so no time may have these values.
    parse(text).filter(|(micros, _)| *micros != i64::MAX && *micros != i64::MIN)
}

/// Returns the epoch microseconds of a time as PostgreSQL prints it with `DateStyle` ISO and `TimeZone` UTC. A
/// `timestamptz` (`zoned`) has the form `2026-11-20 09:00:00.5+00`, and a `timestamp` has the same form without the
/// offset. The forms `12345-01-01 …` and `0044-03-15 … BC`, and the infinities of [`parse_micros`], are also possible.
/// Returns `None` for a text that PostgreSQL does not print for a time.
pub fn parse_postgres(text: &str, zoned: bool) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (text, before_christ) = text.strip_suffix(" BC").map_or((text, false), |text| (text, true));
    let mut scan = Scan { rest: text.as_bytes() };
    let count = scan.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(4..=6).contains(&count) {
        return None;
    }
    // The year before the year 1 is 1 BC, which is the year 0 in the proleptic calendar.
    let year = match (scan.digits(count)?, before_christ) {
        (0, _) => return None,
        (year, true) => 1 - year,
        (year, false) => year,
    };
    let (micros, finer) = scan.moment(year, zoned)?;
    (!finer && micros != i64::MAX && micros != i64::MIN).then_some(micros)
}

/// Returns the days since 1970-01-01 of a `date` as PostgreSQL prints it. Returns `None` for an infinity and for a text
/// that is not a date.
pub(super) fn parse_postgres_date(text: &str) -> Option<i64> {
    let (day, before_christ) = text.strip_suffix(" BC").map_or((text, ""), |text| (text, " BC"));
    let midnight = parse_postgres(&format!("{day} 00:00:00{before_christ}"), false)?;
    Some(midnight.div_euclid(86_400_000_000)).filter(|_| !text.ends_with("infinity"))
}

/// Does the same as `cut_micros` in epoch milliseconds, and cuts finer digits towards the past.
pub fn parse_millis(text: &str) -> Option<i64> {
    let (micros, _) = parse(text)?;
    Some(micros.div_euclid(1_000))
}

/// Returns the whole microseconds of a text, and whether the text is finer than microseconds.
fn parse(text: &str) -> Option<(i64, bool)> {
    let mut scan = Scan { rest: text.as_bytes() };
    let year = scan.year()?;
    scan.moment(year, true)
}

struct Scan<'a> {
    rest: &'a [u8],
}

impl Scan<'_> {
    /// Reads every part of a time after the year. Returns the whole microseconds of the time, and whether the text is
    /// finer than microseconds.
    fn moment(&mut self, year: i64, zoned: bool) -> Option<(i64, bool)> {
        self.one(b"-")?;
        let month = self.digits(2)?;
        self.one(b"-")?;
        let day = self.digits(2)?;
        self.one(b"Tt ")?;
        let hour = self.digits(2)?;
        self.one(b":")?;
        let minute = self.digits(2)?;
        self.one(b":")?;
        let second = self.digits(2)?;
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return None;
        }
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (micros, finer) = self.fraction()?;
        let offset_s = if zoned { self.offset()? } else { 0 };
        if !self.rest.is_empty() {
            return None;
        }
        let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_s;
        let micros = i128::from(seconds) * 1_000_000 + i128::from(micros);
        Some((i64::try_from(micros).ok()?, finer))
    }

    fn one(&mut self, of: &[u8]) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        if !of.contains(first) {
            return None;
        }
        self.rest = rest;
        Some(*first)
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.rest.split_at_checked(count)?;
        let mut value = 0;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return None;
            }
            value = value * 10 + i64::from(digit - b'0');
        }
        self.rest = rest;
        Some(value)
    }

    /// Reads a year of four digits, or of a sign and four to seven digits.
    fn year(&mut self) -> Option<i64> {
        let Some(sign) = self.one(b"+-") else { return self.digits(4) };
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(4..=7).contains(&count) {
            return None;
        }
        let year = self.digits(count)?;
        Some(if sign == b'-' { -year } else { year })
    }

    /// Reads the fraction of a second. Returns the microseconds of the fraction, and whether a finer digit is not zero.
    /// If the text has no fraction, the function returns zero and false.
    fn fraction(&mut self) -> Option<(i64, bool)> {
        if self.one(b".").is_none() {
            return Some((0, false));
        }
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=FRACTION_MAX_DIGITS).contains(&count) {
            return None;
        }
        let micros = (count..6).fold(self.digits(count.min(6))?, |micros, _| micros * 10);
        let (finer, rest) = self.rest.split_at_checked(count.saturating_sub(6))?;
        self.rest = rest;
        Some((micros, finer.iter().any(|digit| *digit != b'0')))
    }

    /// Reads an offset and returns the seconds east of UTC. The forms are `Z`, `+02`, `+02:00`, `+0200` and
    /// `-00:25:21`.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.one(b"Zz+-")? {
            b'-' => -1,
            b'+' => 1,
            _ => return Some(0),
        };
        let mut total = self.digits(2)? * 3_600;
        for unit in [60, 1] {
            if self.rest.is_empty() {
                break;
            }
            let _ = self.one(b":");
            let value = self.digits(2)?;
            if value > 59 {
                return None;
            }
            total += value * unit;
        }
        (total < 24 * 3_600).then_some(sign * total)
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Returns the days of a date since 1970-01-01 in the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // In this calculation the year begins in March, so that the leap day is the last day of the year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_postgresql_and_debezium_write() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1969-12-31T23:59:59.999000Z", Some(-1_000)),
            ("2026-11-20T09:00:00.500000Z", Some(1_795_165_200_500_000)),
            ("2026-11-20 11:00:00.5+02", Some(1_795_165_200_500_000)),
            ("2026-11-20T11:00:00.500000000+02:00", Some(1_795_165_200_500_000)),
            ("2400-02-29T00:00:00-00:25:21", Some(13_574_564_721_000_000)),
            ("+10000-01-01T00:00:00Z", Some(253_402_300_800_000_000)),
            ("-0001-12-31T00:00:00Z", Some(-62_167_305_600_000_000)),
            ("infinity", Some(i64::MAX)),
            ("-infinity", Some(i64::MIN)),
            ("2026-11-20T09:00:00.0000001Z", None),
            ("2026-11-20T09:00:00", None),
            ("2026-02-29T09:00:00Z", None),
            ("2026-11-20T24:00:00Z", None),
            ("2026-11-20T23:59:61Z", None),
            ("2026-11-20T09:00:00.Z", None),
            ("2026-11-20T09:00:00+24:00", None),
            ("+9999999-01-01T00:00:00Z", None),
            ("2026-11-20T09:00:00Z ", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_micros(text), expected, "{text}");
        }
        assert_eq!(parse_millis("1969-12-31T23:59:59.9999999Z"), Some(-1));
    }

    /// RFC 3339 §5.6 has `time-secfrac = "." 1*DIGIT`.
    #[test]
    fn a_fraction_has_any_number_of_digits_and_what_is_too_fine_is_cut_only_where_that_is_asked_for() {
        let whole = 1_795_165_200_500_000;
        for digits in 1..=FRACTION_MAX_DIGITS {
            let zeros = format!("2026-11-20T09:00:00.5{}Z", "0".repeat(digits - 1));
            assert_eq!((parse_micros(&zeros), cut_micros(&zeros)), (Some(whole), Some(whole)), "{zeros}");
            if digits > 7 {
                let fine = format!("2026-11-20T09:00:00.5{}1Z", "0".repeat(digits - 2));
                assert_eq!((parse_micros(&fine), cut_micros(&fine)), (None, Some(whole)), "{fine}");
                assert_eq!(parse_millis(&fine), Some(whole / 1_000), "{fine}");
            }
        }
        let longer = format!("2026-11-20T09:00:00.{}Z", "0".repeat(FRACTION_MAX_DIGITS + 1));
        assert_eq!((parse_millis(&longer), cut_micros(&longer)), (None, None));
        assert_eq!((cut_micros("infinity"), cut_micros("2026-11-20T09:00:00.5")), (Some(i64::MAX), None));
    }

    /// In PostgreSQL, `select timestamptz '2016-12-31 23:59:60+00'` gives 2017-01-01 00:00:00+00.
    #[test]
    fn a_leap_second_is_the_first_second_of_the_next_minute() {
        for (leap, next) in [
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
            ("2016-12-31T23:59:60.25Z", "2017-01-01T00:00:00.25Z"),
            ("2016-12-31T15:59:60-08:00", "2017-01-01T00:00:00Z"),
        ] {
            assert!(parse_micros(next).is_some());
            assert_eq!((parse_micros(leap), parse_millis(leap)), (parse_micros(next), parse_millis(next)), "{leap}");
        }
    }

    #[test]
    fn what_postgresql_prints() {
        let cases = [
            ("2026-11-20 09:00:00.5+00", true, Some(1_795_165_200_500_000)),
            ("2026-11-20 09:00:00.5", false, Some(1_795_165_200_500_000)),
            ("1970-01-01 00:00:00+00", true, Some(0)),
            ("10000-01-01 00:00:00+00", true, Some(253_402_300_800_000_000)),
            // PostgreSQL's last time does not fit into 64 bits of microseconds since 1970.
            ("294276-12-31 23:59:59.999999", false, None),
            ("0002-12-31 00:00:00+00 BC", true, Some(-62_167_305_600_000_000)),
            ("4714-11-24 00:00:00 BC", false, Some(-210_866_803_200_000_000)),
            ("infinity", true, Some(i64::MAX)),
            ("-infinity", false, Some(i64::MIN)),
            ("0000-01-01 00:00:00", false, None),
            ("2026-11-20 09:00:00", true, None),
            ("2026-11-20 09:00:00+00", false, None),
            ("2026-02-30 09:00:00", false, None),
            ("26-11-20 09:00:00", false, None),
            (" BC", false, None),
        ];
        for (text, zoned, expected) in cases {
            assert_eq!(parse_postgres(text, zoned), expected, "{text}");
        }
        assert_eq!(parse_postgres_date("1970-01-02"), Some(1));
        assert_eq!(parse_postgres_date("0001-12-31 BC"), Some(-719_163));
        assert_eq!((parse_postgres_date("infinity"), parse_postgres_date("x")), (None, None));
    }

    proptest! {
        #[test]
        fn a_time_of_postgresql_is_that_of_jiff(micros in -62_135_596_800_000_000i64..253_402_207_200_000_000) {
            let stamp = jiff::Timestamp::from_microsecond(micros).unwrap();
            let text = stamp.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string();
            prop_assert_eq!(parse_postgres(&text, false), Some(micros));
            prop_assert_eq!(parse_postgres(&(text + "+00"), true), Some(micros));
        }

        #[test]
        fn agrees_with_jiff(micros in -377_000_000_000_000_000i64..253_000_000_000_000_000, offset_s in -86_000i32..86_000) {
            let stamp = jiff::Timestamp::from_microsecond(micros).unwrap();
            prop_assert_eq!(parse_micros(&format!("{stamp:.6}")), Some(micros));
            let offset = jiff::tz::Offset::from_seconds(offset_s / 60 * 60).unwrap();
            let shown = stamp.display_with_offset(offset).to_string();
            prop_assert_eq!(parse_micros(&shown), Some(micros), "{}", shown);
        }

        #[test]
        fn any_text_is_a_time_or_none(text in ".{0,40}") {
            let _ = (parse_micros(&text), cut_micros(&text), parse_millis(&text), parse_postgres_date(&text));
            let _ = (parse_postgres(&text, false), parse_postgres(&text, true));
        }
    }
}
