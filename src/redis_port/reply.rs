//! Writes answers in RESP2, or in RESP3 for a client that requested RESP3 with HELLO 3.

/// The buffer that collects the bytes of answers, so that the session can send several answers together.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub bytes: Vec<u8>,
    pub resp3: bool,
}

impl Out {
    pub fn ok(&mut self) {
        self.simple("OK");
    }

    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// Writes an error as the answer. The text of an error begins with a code such as `ERR`. Line ends within the text
    /// become spaces, and line ends at the end of the text are removed.
    pub fn error(&mut self, text: &str) {
        let text = text.trim_end_matches(['\r', '\n']);
        self.bytes.push(b'-');
        self.bytes.extend(text.bytes().map(|byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }));
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub fn int(&mut self, value: i64) {
        self.line(b':', itoa::Buffer::new().format(value).as_bytes());
    }

    pub fn bulk(&mut self, text: &[u8]) {
        self.head(b'$', text.len());
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub fn bulk_or_null(&mut self, text: Option<impl AsRef<[u8]>>) {
        match text {
            Some(text) => self.bulk(text.as_ref()),
            None => self.null(),
        }
    }

    pub fn null(&mut self) {
        self.bytes.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    pub fn array(&mut self, len: usize) {
        self.head(b'*', len);
    }

    /// Begins a map of `pairs` pairs. The caller writes the pairs of the map after its beginning.
    pub fn map(&mut self, pairs: usize) {
        if self.resp3 { self.head(b'%', pairs) } else { self.head(b'*', 2 * pairs) }
    }

    pub fn set(&mut self, len: usize) {
        self.head(if self.resp3 { b'~' } else { b'*' }, len);
    }

    /// Writes a text for people to read, which RESP3 marks as verbatim.
    pub fn verbatim(&mut self, text: &str) {
        if !self.resp3 {
            return self.bulk(text.as_bytes());
        }
        self.head(b'=', text.len() + 4);
        self.bytes.extend_from_slice(b"txt:");
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub fn double(&mut self, value: f64) {
        let text = double(value);
        if self.resp3 { self.line(b',', text.as_bytes()) } else { self.bulk(text.as_bytes()) }
    }

    fn head(&mut self, kind: u8, len: usize) {
        self.line(kind, itoa::Buffer::new().format(len).as_bytes());
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// Returns the shortest text that reads back as this number, as Redis 7.2 and later write numbers.
pub(super) fn double(value: f64) -> String {
    /// Whole numbers below this limit are written without an exponent.
    const PLAIN: f64 = 1e17;
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    if (1e-4..PLAIN).contains(&value.abs()) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Write = fn(&mut Out);

    fn written(resp3: bool, write: impl Fn(&mut Out)) -> String {
        let mut out = Out { resp3, ..Out::default() };
        write(&mut out);
        String::from_utf8(out.bytes).unwrap()
    }

    #[test]
    fn each_kind_is_written_as_its_protocol_has_it() {
        let each: [(Write, &str, &str); 9] = [
            (|out| out.ok(), "+OK\r\n", "+OK\r\n"),
            (|out| out.error("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
            (|out| out.int(-7), ":-7\r\n", ":-7\r\n"),
            (|out| out.bulk(b"a\r\nb"), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"),
            (|out| out.null(), "$-1\r\n", "_\r\n"),
            (|out| out.map(2), "*4\r\n", "%2\r\n"),
            (|out| out.set(3), "*3\r\n", "~3\r\n"),
            (|out| out.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
            (|out| out.verbatim("ab"), "$2\r\nab\r\n", "=6\r\ntxt:ab\r\n"),
        ];
        for (write, resp2, resp3) in each {
            assert_eq!((written(false, write), written(true, write)), (resp2.to_owned(), resp3.to_owned()));
        }
    }

    #[test]
    fn numbers_are_written_so_that_they_are_the_same_when_read() {
        for (value, text) in [
            (3.0, "3"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1e300, "1e+300"),
            (-1e300, "-1e+300"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (1_700_000_000_123.0, "1700000000123"),
        ] {
            assert_eq!(double(value), text);
            assert_eq!(double(value).parse(), Ok(value));
        }
    }
}
