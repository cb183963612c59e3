//! Decides what ClickHouse's answer to an insert means. The decision is one function, so that the code has the table of
//! `docs/clickhouse.md` in one place.

use crate::mutant::{self, Mutant};

/// The reason why an insert ended without an acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// nova did not reach the server, so nothing was sent.
    #[error("not reached: {0}")]
    Unreachable(String),
    /// The connection broke after nova had sent something.
    #[error("no answer: {0}")]
    Broken(String),
    #[error("no answer in time")]
    TimedOut,
    /// The server, or a proxy before it, refused the insert. `code` is the error code of ClickHouse, or `None` if a
    /// proxy refused the insert.
    #[error("{text}")]
    Refused { code: Option<u32>, text: String },
}

/// What the delivery does after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server stored nothing. nova repeats the bytes unchanged until the server stores them.
    Retry,
    /// The server may have stored the rows. While the server remembers the token, nova repeats the bytes and the token
    /// unchanged. Later, nova first looks whether the table has the rows.
    Ambiguous,
    /// The server may have stored the rows, and it is overloaded, so the sender must slow down.
    Overload,
    /// The table cannot take rows before a person repairs it. nova still delivers to all tables that can take rows.
    Stall,
    /// A row may be the cause of the failure, so nova searches for the row.
    Suspect,
    /// nova does not know the error code. nova repeats the insert a few times, and then suspects the rows.
    Unknown,
}

/// Returns the verdict about a failure, as the table of `docs/clickhouse.md` has it.
pub fn verdict(failure: &Failure) -> Verdict {
    let (code, text) = match failure {
        Failure::Unreachable(_) => return Verdict::Retry,
        // A proxy may answer in place of a server that is still working on the insert.
        Failure::Broken(_) | Failure::TimedOut | Failure::Refused { code: None, .. } => return Verdict::Ambiguous,
        Failure::Refused { code: Some(code), text } => (*code, text),
    };
    // The base table may already have the rows, and a search for a bad row would insert the good rows a second time.
    if text.contains("while pushing to view") {
        return Verdict::Stall;
    }
    match code {
        202 if mutant::is(Mutant::BlameRows) => Verdict::Suspect,
        159 | 164 | 202 | 203 | 209 | 210 | 225 | 242 | 244 | 285 | 286 | 425 | 999 => Verdict::Retry,
        319 => Verdict::Ambiguous,
        241 | 252 | 439 => Verdict::Overload,
        16 | 20 | 60 | 81 | 192 | 193 | 194 | 497 | 516 => Verdict::Stall,
        6 | 26 | 27 | 33 | 38 | 41 | 53 | 69 | 70 | 72 | 117 | 131 | 321 | 349 | 469 => Verdict::Suspect,
        _ => Verdict::Unknown,
    }
}

/// Whether the table may have the rows although the insert was not acknowledged. A refusal after the rows were stored
/// can come from a proxy, a view, or a replica that lost its connection to Keeper.
pub fn may_be_stored(failure: &Failure) -> bool {
    !matches!(failure, Failure::Unreachable(_))
}

/// Whether nova's user lacks the right to run the statement, so that a repetition would also fail.
pub fn may_not(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused { code: Some(164 | 497), .. })
}

/// Returns ClickHouse's error code from a text such as `Code: 60. DB::Exception: …`.
pub fn code(text: &str) -> Option<u32> {
    let rest = &text[text.find("Code: ")? + 6..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

/// Returns the number of the row that the text of an error names, counted from zero. The row that the text of an error
/// names is a hint and no proof.
pub fn row_hint(text: &str) -> Option<usize> {
    let rest = ["at row ", "at row: ", "row "].iter().find_map(|mark| text.split(mark).nth(1))?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse::<usize>().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u32, text: &str) -> Failure {
        Failure::Refused { code: Some(code), text: text.to_owned() }
    }

    #[test]
    fn an_outage_is_never_suspect_and_a_data_error_never_retried_for_ever() {
        for code in [159, 164, 202, 203, 209, 210, 225, 242, 244, 285, 286, 425, 999] {
            assert_eq!(verdict(&refused(code, "")), Verdict::Retry, "{code}");
        }
        for code in [252, 241, 439] {
            assert_eq!(verdict(&refused(code, "")), Verdict::Overload, "{code}");
        }
        for code in [60, 81, 16, 20, 497, 516, 192] {
            assert_eq!(verdict(&refused(code, "")), Verdict::Stall, "{code}");
        }
        for code in [6, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 131, 321, 349, 469] {
            assert_eq!(verdict(&refused(code, "")), Verdict::Suspect, "{code}");
            let view = "Violated constraint: while pushing to view nova.post_metrics_1m_mv";
            assert_eq!(verdict(&refused(code, view)), Verdict::Stall, "{code} in a view");
        }
        assert_eq!(verdict(&refused(319, "")), Verdict::Ambiguous);
        assert_eq!(verdict(&Failure::TimedOut), Verdict::Ambiguous);
        assert_eq!(verdict(&Failure::Broken(String::new())), Verdict::Ambiguous);
        assert_eq!(verdict(&Failure::Unreachable(String::new())), Verdict::Retry);
        assert_eq!(verdict(&Failure::Refused { code: None, text: "502 Bad Gateway".to_owned() }), Verdict::Ambiguous);
        assert_eq!(verdict(&refused(4_711, "")), Verdict::Unknown);
    }

    #[test]
    fn only_a_lack_of_rights_is_no_outage() {
        assert!(may_not(&refused(497, "")) && may_not(&refused(164, "")));
        for passing in [refused(202, ""), Failure::Refused { code: None, text: String::new() }, Failure::TimedOut] {
            assert!(!may_not(&passing), "{passing}");
        }
    }

    #[test]
    fn codes_and_row_numbers_are_read_from_the_text() {
        let text = "Code: 469. DB::Exception: Constraint `c` for table t is violated at row 12. Expression: (x)";
        assert_eq!((code(text), row_hint(text)), (Some(469), Some(12)));
        assert_eq!(code("Code: 33. DB::Exception: Cannot read all data"), Some(33));
        assert_eq!((code("<html>502</html>"), row_hint("no number here")), (None, None));
        assert_eq!(code("Code: "), None);
    }
}
