//! Splits a line into words with the quotes of Redis's `sdssplitargs` (src/sds.c).

/// Appends the words of `line` to `out`, and their positions to `places`. Returns `None` if a quote has no end, or if a
/// closing quote is followed by something other than a space.
pub(super) fn split(line: &[u8], out: &mut Vec<u8>, places: &mut Vec<(u32, u32)>) -> Option<()> {
    // Redis treats a line as a C string, so the line ends at its first NUL byte.
    let mut rest = line.split(|byte| *byte == 0).next().unwrap_or_default();
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(());
        }
        let from = out.len();
        rest = word(rest, out)?;
        places.push((from as u32, out.len() as u32));
    }
}

/// Appends one word of the line to `out`. Returns the rest of the line after the word.
fn word<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    while let Some((byte, after)) = rest.split_first() {
        match byte {
            b'"' => return ended(double(after, out)?),
            b'\'' => return ended(single(after, out)?),
            b' ' | b'\t' | b'\n' | b'\r' => break,
            other => out.push(*other),
        }
        rest = after;
    }
    Some(rest)
}

/// A closing quote must be followed by a space or by the end of the line.
fn ended(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(u8::is_ascii_whitespace).then_some(rest)
}

fn double<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = rest.split_first()?;
        rest = match (byte, after) {
            (b'"', _) => return Some(after),
            (b'\\', [b'x', high, low, more @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |digit: &u8| char::from(*digit).to_digit(16).unwrap_or(0) as u8;
                out.push(digit(high) << 4 | digit(low));
                more
            }
            (b'\\', [escaped, more @ ..]) => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                more
            }
            _ => {
                out.push(*byte);
                after
            }
        };
    }
}

fn single<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = rest.split_first()?;
        rest = match (byte, after) {
            (b'\'', _) => return Some(after),
            (b'\\', [b'\'', more @ ..]) => {
                out.push(b'\'');
                more
            }
            _ => {
                out.push(*byte);
                after
            }
        };
    }
}
