//! Reads lines of `COPY … TO STDOUT` in text format ("COPY", section "Text Format", in PostgreSQL's manual).

use std::borrow::Cow;

/// Returns the fields of a line. The line may end with its line feed. A field is `None` for NULL.
pub fn fields(line: &[u8]) -> impl Iterator<Item = Option<Cow<'_, [u8]>>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    // `COPY` writes a tab within a value as an escape, so each tab of a line separates fields.
    line.split(|byte| *byte == b'\t').map(|field| if field == b"\\N" { None } else { Some(unescaped(field)) })
}

fn unescaped(field: &[u8]) -> Cow<'_, [u8]> {
    let parts = memchr::memchr(b'\\', field).and_then(|first| field.split_at_checked(first));
    let Some((before, mut rest)) = parts else { return Cow::Borrowed(field) };
    let mut out = Vec::with_capacity(field.len());
    out.extend_from_slice(before);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let (byte, taken) = escape(rest);
        out.push(byte);
        rest = rest.get(taken..).unwrap_or_default();
    }
    Cow::Owned(out)
}

/// Returns the character that an escape after a backslash stands for, and the number of bytes of the escape.
fn escape(rest: &[u8]) -> (u8, usize) {
    match *rest {
        [b'b', ..] => (8, 1),
        [b'f', ..] => (12, 1),
        [b'n', ..] => (b'\n', 1),
        [b'r', ..] => (b'\r', 1),
        [b't', ..] => (b'\t', 1),
        [b'v', ..] => (11, 1),
        [b'0'..=b'7', ..] => digits(rest, 8, 3),
        [b'x', digit, ..] if digit.is_ascii_hexdigit() => {
            let (byte, taken) = digits(rest.get(1..).unwrap_or_default(), 16, 2);
            (byte, taken + 1)
        }
        [other, ..] => (other, 1),
        [] => (b'\\', 0),
    }
}

fn digits(text: &[u8], radix: u32, most: usize) -> (u8, usize) {
    let known = text.iter().take(most).map_while(|byte| char::from(*byte).to_digit(radix));
    let (value, taken) = known.fold((0u32, 0), |(value, taken), digit| (value * radix + digit, taken + 1));
    // Three octal digits may be a number that is too large for a byte. Like PostgreSQL, nova drops the highest bit of a
    // number that is too large for a byte.
    (value as u8, taken)
}

/// Writes a value in the text format as PostgreSQL does. [`fields`] reads the same value from the written text.
#[cfg(test)]
pub(super) fn escaped(value: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(value) = value else { return out.extend_from_slice(b"\\N") };
    for byte in value {
        match byte {
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            11 => out.extend_from_slice(b"\\v"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            byte => out.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_manual_says() {
        let line = b"a\\tb\t\\N\t\t\\\\N\t\\101\\x41\\x4\\q\\\n";
        let read: Vec<_> = fields(line).map(|field| field.map(Cow::into_owned)).collect();
        let expected: [Option<&[u8]>; 5] = [Some(b"a\tb"), None, Some(b""), Some(b"\\N"), Some(b"AA\x04q\\")];
        assert_eq!(read, expected.map(|field| field.map(<[u8]>::to_vec)));
    }

    proptest! {
        #[test]
        fn lines_read_back(values in prop::collection::vec(any::<Option<Vec<u8>>>(), 1..8)) {
            let mut line = Vec::new();
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    line.push(b'\t');
                }
                escaped(value.as_deref(), &mut line);
            }
            line.push(b'\n');
            let read: Vec<_> = fields(&line).map(|field| field.map(Cow::into_owned)).collect();
            prop_assert_eq!(read, values);
        }

        #[test]
        fn any_bytes_are_fields(line: Vec<u8>) {
            let tabs = line.iter().filter(|byte| **byte == b'\t').count();
            prop_assert_eq!(fields(&line).count(), tabs + 1);
        }
    }
}
