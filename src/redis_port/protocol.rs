//! Parses the bytes that clients send: RESP arrays of bulk strings, or a line of words ("inline"). The commands that
//! the parser finds depend only on the bytes, and not on the pieces in which the bytes arrive.

#![warn(clippy::indexing_slicing)]

mod inline;
#[cfg(test)]
mod tests;

/// The maximum number of arguments of one command, including its name.
pub(super) const ARGS_MAX: usize = 65_536;
/// The maximum number of bytes of one command. A command above this limit would be useless: a value of the cache cannot
/// be larger than a shard, and a shard has at least as many bytes as a command may have.
pub(super) const COMMAND_MAX_BYTES: usize = 8 << 20;
/// The maximum number of bytes of a command in one line, and of a number before an argument.
const LINE_MAX_BYTES: usize = 64 << 10;
/// The limits for a client that has not authenticated, as in Redis: the number of a command's arguments, and the bytes
/// of each argument. The limits for a client that has not authenticated are large enough for a token.
const STRANGER_ARGS_MAX: usize = 10;
const STRANGER_ARG_MAX_BYTES: usize = 16 << 10;

/// A syntax error in the bytes of a client. After a syntax error nova does not know where the next command begins, so
/// the connection ends. The texts of the syntax errors are those of Redis.
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

/// The arguments of a command. The arguments are ranges of the received bytes, or ranges of a line whose quotes were
/// removed.
#[derive(Clone, Copy)]
pub(super) struct Args<'a> {
    bytes: &'a [u8],
    places: &'a [(u32, u32)],
}

impl<'a> Args<'a> {
    pub fn len(self) -> usize {
        self.places.len()
    }

    /// Returns the argument at an index, or an empty argument if the index is beyond the last.
    pub fn at(self, place: usize) -> &'a [u8] {
        let Some((from, to)) = self.places.get(place) else { return &[] };
        self.bytes.get(*from as usize..*to as usize).unwrap_or_default()
    }

    /// Returns the arguments from an index on.
    pub fn from(self, place: usize) -> impl Iterator<Item = &'a [u8]> + Clone {
        (place..self.places.len()).map(move |place| self.at(place))
    }
}

/// A copy of a command's arguments, for a command that runs later.
#[derive(Debug)]
pub(super) struct ArgsKept {
    bytes: Box<[u8]>,
    places: Box<[(u32, u32)]>,
}

impl ArgsKept {
    pub fn args(&self) -> Args<'_> {
        Args { bytes: &self.bytes, places: &self.places }
    }

    /// Returns the number of bytes that the arguments take in memory.
    pub fn bytes(&self) -> usize {
        size_of::<ArgsKept>() + self.bytes.len() + size_of_val(&*self.places)
    }
}

impl Args<'_> {
    /// Returns a copy of the arguments that owns its bytes.
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

/// The state of the parser while a command is incomplete. Positions in the parser count from the beginning of the
/// command, which stays at the beginning of the buffer.
#[derive(Debug, Default)]
pub(super) struct Parser {
    places: Vec<(u32, u32)>,
    /// The words of a command in one line, without quotes.
    line: Vec<u8>,
    inline: bool,
    /// The number of the command's arguments that the parser has not read yet. The number of arguments is `None` until
    /// the parser has read it.
    left: Option<usize>,
    /// The length of the next argument, or `None` until the parser has read it.
    length: Option<usize>,
    at: usize,
    /// The parser has found no line end before this position.
    searched: usize,
}

impl Parser {
    /// Returns the length of the first command in `read`, if this command is complete. After `next`, [`Parser::args`]
    /// has the command until [`Parser::clear`] is called. A command without arguments is possible, and has no effect.
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

    /// Returns the arguments of the complete command.
    pub fn args<'a>(&'a self, read: &'a [u8]) -> Args<'a> {
        Args { bytes: if self.inline { &self.line } else { read }, places: &self.places }
    }

    /// Returns the number of bytes from the beginning of the command that the parser needs before it can continue, or 0
    /// if the number is unknown.
    pub fn needed(&self) -> usize {
        self.length.map_or(0, |length| self.at + length + 2)
    }

    /// Resets the parser after the command was executed and its bytes were removed.
    pub fn clear(&mut self) {
        let places = std::mem::take(&mut self.places);
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        line.shrink_to(LINE_MAX_BYTES);
        *self = Parser { places, line, ..Parser::default() };
        self.places.clear();
        self.places.shrink_to(1_024);
    }

    /// Parses one argument of a command. Returns false if the argument is incomplete.
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
        // The parser does not check that the two bytes after an argument are a line end: after two wrong bytes, the
        // next argument usually fails. Redis does not check the two bytes after an argument, either.
        if read.len() < end + 2 {
            return Ok(false);
        }
        self.places.push((self.at as u32, end as u32));
        self.at = end + 2;
        self.searched = self.at;
        self.length = None;
        Ok(true)
    }

    /// Parses the number in the line that begins at `from`. Sets `self.at` to the beginning of the next line. Returns
    /// `None` while the line is incomplete.
    fn number(&mut self, read: &[u8], from: usize, long: Malformed) -> Result<Option<Result<i64, ()>>, Malformed> {
        let start = self.searched.max(from);
        let rest = read.get(start..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\r', rest).map(|end| start + end).filter(|end| end + 1 < read.len()) else {
            if read.len() - from > LINE_MAX_BYTES {
                return Err(long);
            }
            // The last byte may be the first byte of a line end.
            self.searched = read.len().saturating_sub(1).max(from);
            return Ok(None);
        };
        self.at = end + 2;
        self.searched = self.at;
        Ok(Some(read.get(from..end).and_then(number).ok_or(())))
    }

    /// Parses a command that is written in one line.
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

/// Whether a command's name is the beginning of a line of an HTTP request, which a browser may send for any web page.
/// Redis also ends the connection of a client that sends an HTTP request (`securityWarningCommand` in src/server.c).
pub(super) fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Parses a decimal number as Redis does: without a plus sign, without leading zeros, without spaces.
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
