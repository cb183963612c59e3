//! Parses what clients send: RESP arrays of bulk strings, or a line of words ("inline"). The commands depend only on
//! the bytes, in whatever pieces these come.

#![warn(clippy::indexing_slicing)]

mod inline;
#[cfg(test)]
mod tests;

/// The most arguments of one command, including its name.
pub(super) const ARGS_MAX: usize = 65_536;
/// The most bytes of one command. A value of the cache cannot be larger than a shard, which has at least this many
/// bytes.
pub(super) const COMMAND_MAX_BYTES: usize = 8 << 20;
/// The most bytes of a command in one line, and of the numbers before arguments.
const LINE_MAX_BYTES: usize = 64 << 10;
/// The limits of a client that has not authenticated, as in Redis: arguments of a command, and bytes of each. A token
/// fits.
const STRANGER_ARGS_MAX: usize = 10;
const STRANGER_ARG_MAX_BYTES: usize = 16 << 10;

/// A defect of what was sent. It is unknown where the next command begins, so the connection ends. The texts are
/// Redis's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("Protocol error: invalid multibulk length")]
    Count,
    #[error("Protocol error: unauthenticated multibulk length")]
    StrangersCount,
    #[error("Protocol error: invalid bulk length")]
    Length,
    #[error("Protocol error: unauthenticated bulk length")]
    StrangersLength,
    #[error("Protocol error: expected '$', got '{0}'")]
    NoLength(char),
    #[error("Protocol error: too big mbulk count string")]
    LongCount,
    #[error("Protocol error: too big bulk count string")]
    LongLength,
    #[error("Protocol error: too big inline request")]
    LongLine,
    #[error("Protocol error: unbalanced quotes in request")]
    Quotes,
}

/// The arguments of a command, in the bytes that were read or in the unquoted line.
#[derive(Clone, Copy)]
pub(super) struct Args<'a> {
    bytes: &'a [u8],
    places: &'a [(u32, u32)],
}

impl<'a> Args<'a> {
    pub fn len(self) -> usize {
        self.places.len()
    }

    /// The argument at an index, or an empty one beyond the last.
    pub fn at(self, place: usize) -> &'a [u8] {
        let Some((from, to)) = self.places.get(place) else { return &[] };
        self.bytes.get(*from as usize..*to as usize).unwrap_or_default()
    }

    /// The arguments from an index on.
    pub fn from(self, place: usize) -> impl Iterator<Item = &'a [u8]> + Clone {
        (place..self.places.len()).map(move |place| self.at(place))
    }
}

/// The arguments of a command that runs later.
#[derive(Debug)]
pub(super) struct ArgsKept {
    bytes: Box<[u8]>,
    places: Box<[(u32, u32)]>,
}

impl ArgsKept {
    pub fn args(&self) -> Args<'_> {
        Args { bytes: &self.bytes, places: &self.places }
    }

    /// The memory of the arguments in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<ArgsKept>() + self.bytes.len() + size_of_val(&*self.places)
    }
}

impl Args<'_> {
    /// A copy that owns its bytes.
    pub fn kept(self) -> ArgsKept {
        let (mut bytes, mut places) = (Vec::new(), Vec::with_capacity(self.places.len()));
        for arg in self.from(0) {
            let from = bytes.len() as u32;
            bytes.extend_from_slice(arg);
            places.push((from, bytes.len() as u32));
        }
        ArgsKept { bytes: bytes.into(), places: places.into() }
    }
}

/// The state of the parser within an incomplete command. Positions count from the beginning of the command, which stays
/// at the beginning of the buffer.
#[derive(Debug, Default)]
pub(super) struct Parser {
    places: Vec<(u32, u32)>,
    /// The words of a line without quotes.
    line: Vec<u8>,
    inline: bool,
    /// The number of arguments still to come. `None` before it is known.
    left: Option<usize>,
    /// The length of the next argument, once it is known.
    length: Option<usize>,
    at: usize,
    /// Up to this position the awaited line has no end.
    searched: usize,
}

impl Parser {
    /// The length of the first command in `read`, if it is complete. [`Parser::args`] then has the command until
    /// [`Parser::clear`]. A command without arguments is empty.
    pub fn next(&mut self, read: &[u8], stranger: bool) -> Result<Option<usize>, Malformed> {
        let mut left = match self.left {
            Some(left) => left,
            None => match read.first() {
                None => return Ok(None),
                Some(b'*') => {
                    let Some(count) = self.number(read, 1, Malformed::LongCount)? else { return Ok(None) };
                    let count = count.map_err(|()| Malformed::Count)?;
                    let most = if stranger { STRANGER_ARGS_MAX } else { ARGS_MAX };
                    match usize::try_from(count).unwrap_or(0) {
                        count if count > ARGS_MAX => return Err(Malformed::Count),
                        count if count > most => return Err(Malformed::StrangersCount),
                        count => count,
                    }
                }
                Some(_) => return self.line(read),
            },
        };
        while left > 0 {
            self.left = Some(left);
            if !self.argument(read, stranger)? {
                return Ok(None);
            }
            left -= 1;
        }
        self.left = Some(0);
        Ok(Some(self.at))
    }

    /// The arguments of the complete command.
    pub fn args<'a>(&'a self, read: &'a [u8]) -> Args<'a> {
        Args { bytes: if self.inline { &self.line } else { read }, places: &self.places }
    }

    /// The number of bytes from the beginning of the command that are needed before parsing can continue, or 0 if it is
    /// unknown.
    pub fn needed(&self) -> usize {
        self.length.map_or(0, |length| self.at + length + 2)
    }

    /// Forgets the command, which was executed and whose bytes were removed.
    pub fn clear(&mut self) {
        let places = std::mem::take(&mut self.places);
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        line.shrink_to(LINE_MAX_BYTES);
        *self = Parser { places, line, ..Parser::default() };
        self.places.clear();
        self.places.shrink_to(1_024);
    }

    /// Parses one argument. Returns false if it is incomplete.
    fn argument(&mut self, read: &[u8], stranger: bool) -> Result<bool, Malformed> {
        let length = match self.length {
            Some(length) => length,
            None => {
                match read.get(self.at) {
                    None => return Ok(false),
                    Some(b'$') => {}
                    Some(other) => return Err(Malformed::NoLength(char::from(*other))),
                }
                let Some(length) = self.number(read, self.at + 1, Malformed::LongLength)? else { return Ok(false) };
                let length = length.ok().and_then(|length| usize::try_from(length).ok());
                let length = length.filter(|length| length + self.at <= COMMAND_MAX_BYTES).ok_or(Malformed::Length)?;
                if stranger && length > STRANGER_ARG_MAX_BYTES {
                    return Err(Malformed::StrangersLength);
                }
                self.length = Some(length);
                length
            }
        };
        let end = self.at + length;
        // The next argument decides whether the two bytes after this one are an end of line. Redis does not check them
        // either.
        if read.len() < end + 2 {
            return Ok(false);
        }
        self.places.push((self.at as u32, end as u32));
        self.at = end + 2;
        self.searched = self.at;
        self.length = None;
        Ok(true)
    }

    /// Parses the number in a line that begins at `from`. The next line is then at `self.at`. `None` while the line has
    /// no end.
    fn number(&mut self, read: &[u8], from: usize, long: Malformed) -> Result<Option<Result<i64, ()>>, Malformed> {
        let start = self.searched.max(from);
        let rest = read.get(start..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\r', rest).map(|end| start + end).filter(|end| end + 1 < read.len()) else {
            if read.len() - from > LINE_MAX_BYTES {
                return Err(long);
            }
            // The last byte may be the first byte of the line's end.
            self.searched = read.len().saturating_sub(1).max(from);
            return Ok(None);
        };
        self.at = end + 2;
        self.searched = self.at;
        Ok(Some(read.get(from..end).and_then(number).ok_or(())))
    }

    /// Parses a command in one line.
    fn line(&mut self, read: &[u8]) -> Result<Option<usize>, Malformed> {
        let rest = read.get(self.searched..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', rest).map(|end| self.searched + end) else {
            if read.len() > LINE_MAX_BYTES {
                return Err(Malformed::LongLine);
            }
            self.searched = read.len();
            return Ok(None);
        };
        if end > LINE_MAX_BYTES {
            return Err(Malformed::LongLine);
        }
        let line = read.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.inline = true;
        inline::split(line, &mut self.line, &mut self.places).ok_or(Malformed::Quotes)?;
        self.at = end + 1;
        self.left = Some(0);
        Ok(Some(self.at))
    }
}

/// Whether a command's name is a line of an HTTP request, which a browser may send for any page. Redis takes no further
/// command of such a client either (`securityWarningCommand` in src/server.c).
pub(super) fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// A decimal number in Redis's form: no sign `+`, no leading zeros, no spaces.
pub(super) fn number(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [] | [b'0', ..] => return None,
        _ => {}
    }
    let mut value: i64 = 0;
    for digit in digits {
        let digit = i64::from(digit.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        let next = value.checked_mul(10)?;
        value = if negative { next.checked_sub(digit)? } else { next.checked_add(digit)? };
    }
    Some(value)
}
