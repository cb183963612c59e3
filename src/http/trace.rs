//! W3C Trace Context: a request continues the caller's trace, or begins a new one.

#![warn(clippy::indexing_slicing)]

use http::{HeaderMap, HeaderName};

use crate::otlp::Place;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The position of the flags in a `traceparent`.
const FLAGS: std::ops::Range<usize> = 53..55;
/// The flag `sampled` of a trace that nova sends to a collector.
const SAMPLED: u8 = 1;

/// A trace, and the span of a request in the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    /// The text of a `traceparent` of version 00.
    text: [u8; 55],
    /// The id of the caller's span.
    parent: Option<u64>,
}

#[allow(clippy::indexing_slicing, reason = "the parts of a version 00 stand at the same places of every text")]
impl Trace {
    /// The trace of a request's `traceparent`, or a new trace if the header is missing or invalid.
    pub fn of(headers: &HeaderMap) -> Trace {
        let mut given = headers.get_all(TRACEPARENT).iter();
        let one = match (given.next(), given.next()) {
            (Some(value), None) => value.to_str().ok().and_then(parse),
            _ => None,
        };
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let mut parent = None;
        match one {
            Some((trace_id, span_id, flags)) => {
                text[3..35].copy_from_slice(trace_id.as_bytes());
                text[FLAGS].copy_from_slice(flags.as_bytes());
                parent = u64::from_str_radix(span_id, 16).ok();
            }
            None => hex(fastrand::u128(1..), &mut text[3..35]),
        }
        // The request gets a new span id, and the caller's span is the parent. A span id of only zeros would be
        // invalid.
        hex(fastrand::u64(1..).into(), &mut text[36..52]);
        Trace { text, parent }
    }

    /// The id of the caller's span, and whether the caller sends the trace to a collector.
    pub fn parent(&self) -> Option<(u64, bool)> {
        self.parent.map(|span| (span, self.sampled()))
    }

    pub fn sampled(&self) -> bool {
        self.flags() & SAMPLED != 0
    }

    /// Sets the flag `sampled`, which nova sends to the servers that it calls and to the reader of the answer.
    pub fn set_sampled(&mut self, sampled: bool) {
        let flags = if sampled { self.flags() | SAMPLED } else { self.flags() & !SAMPLED };
        hex(flags.into(), &mut self.text[FLAGS]);
    }

    fn flags(&self) -> u8 {
        u8::from_str_radix(self.part(3), 16).unwrap_or_default()
    }

    pub fn place(&self) -> Place {
        let trace_id = u128::from_str_radix(self.trace_id(), 16).unwrap_or_default();
        Place { trace_id, span_id: u64::from_str_radix(self.span_id(), 16).unwrap_or_default() }
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    pub fn trace_id(&self) -> &str {
        self.part(1)
    }

    pub fn span_id(&self) -> &str {
        self.part(2)
    }

    fn part(&self, number: usize) -> &str {
        self.text().split('-').nth(number).unwrap_or_default()
    }
}

/// Fills `out` with the last hexadecimal digits of a number.
fn hex(number: u128, out: &mut [u8]) {
    for (place, digit) in out.iter_mut().rev().enumerate() {
        let nibble = (number >> (4 * place)) as u8 & 0xf;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
    }
}

/// Parses a `traceparent` into the trace id, the caller's span and the flags
/// (<https://www.w3.org/TR/trace-context/#traceparent-header>). A later version of `traceparent` may have more parts.
fn parse(text: &str) -> Option<(&str, &str, &str)> {
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let form = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let fits = form && version != "ff" && (version != "00" || parts.next().is_none()) && !zero(trace) && !zero(parent);
    fits.then_some((trace, parent, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_parent_is_taken_over() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, value.parse().unwrap());
            Trace::of(&headers)
        };
        let good = of(&format!("00-{id}-b7ad6b7169203331-01"));
        assert_eq!(parse(good.text()), Some((id, good.span_id(), "01")));
        assert!(good.trace_id() == id && good.span_id() != "b7ad6b7169203331" && good.span_id().len() == 16);
        assert_eq!(of(&format!("cc-{id}-b7ad6b7169203331-01-what-comes")).trace_id(), id);
        for bad in [
            format!("00-{id}-b7ad6b7169203331-01-more"),
            format!("ff-{id}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{}-b7ad6b7169203331-01", id.to_uppercase()),
            format!("00-{id}-b7ad6b7169203331"),
            "x".to_owned(),
        ] {
            let new = of(&bad);
            assert!(parse(new.text()).is_some() && new.trace_id() != id, "{bad}");
        }
    }
}
