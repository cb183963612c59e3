//! What clients send: RESP arrays of bulk strings, or a line of words ("inline"). A pure function of the bytes that came:
//! however they come in pieces, the commands are the same.

mod inline;
#[cfg(test)]
mod tests;

/// Arguments of one command, its name among them.
pub(super) const ARGS_MAX: usize = 65_536;
/// Bytes of one command. A value of the cache cannot be larger than a shard of it, which has as many at least.
pub(super) const COMMAND_MAX_BYTES: usize = 8 << 20;
/// Bytes of a command of one line, and of the numbers before arguments.
const LINE_MAX_BYTES: usize = 64 << 10;
/// Of whoever has not said who it is: arguments of a command and bytes of each, as in Redis. A token fits.
const STRANGER_ARGS_MAX: usize = 10;
const STRANGER_ARG_MAX_BYTES: usize = 16 << 10;

/// What is wrong with what was sent; after it nobody can tell where the next command begins, so the connection ends. The
/// texts are Redis's own.
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

/// The arguments of a command, in what was read or in the unquoted line.
#[derive(Clone, Copy)]
pub(super) struct Args<'a> {
    bytes: &'a [u8],
    places: &'a [(u32, u32)],
}

impl<'a> Args<'a> {
    pub fn len(self) -> usize {
        self.places.len()
    }

    /// The argument at a place; empty where there is none.
    pub fn at(self, place: usize) -> &'a [u8] {
        let Some((from, to)) = self.places.get(place) else { return &[] };
        self.bytes.get(*from as usize..*to as usize).unwrap_or_default()
    }

    /// Those from a place on.
    pub fn from(self, place: usize) -> impl Iterator<Item = &'a [u8]> + Clone {
        (place..self.places.len()).map(move |place| self.at(place))
    }
}

/// The arguments of a command that is done later.
#[derive(Debug)]
pub(super) struct ArgsKept {
    bytes: Box<[u8]>,
    places: Box<[(u32, u32)]>,
}

impl ArgsKept {
    pub fn args(&self) -> Args<'_> {
        Args { bytes: &self.bytes, places: &self.places }
    }

    /// Memory that they take.
    pub fn bytes(&self) -> usize {
        size_of::<ArgsKept>() + self.bytes.len() + size_of_val(&*self.places)
    }
}

impl Args<'_> {
    /// A copy of their own.
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

/// Where the parser is in a command that is not whole yet. Places are counted from the begin of the command, which stays at
/// the begin of what is read.
#[derive(Debug, Default)]
pub(super) struct Parser {
    places: Vec<(u32, u32)>,
    /// The words of a line, without quotes.
    line: Vec<u8>,
    inline: bool,
    /// Arguments still to come; `None` before their number is known.
    left: Option<usize>,
    /// The length of the argument that comes next, once it is known.
    length: Option<usize>,
    at: usize,
    /// Up to here the line that is waited for has no end.
    searched: usize,
}

impl Parser {
    /// Bytes of the first command of `read`, if it is whole: then [`Parser::args`] has it until [`Parser::clear`]. A command
    /// without arguments is one that says nothing.
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

    /// The command that is whole.
    pub fn args<'a>(&'a self, read: &'a [u8]) -> Args<'a> {
        Args { bytes: if self.inline { &self.line } else { read }, places: &self.places }
    }

    /// Bytes from the begin of the command that are needed before there is anything more to parse; 0 where that is not known.
    pub fn needed(&self) -> usize {
        self.length.map_or(0, |length| self.at + length + 2)
    }

    /// The command was done, and its bytes are gone.
    pub fn clear(&mut self) {
        let places = std::mem::take(&mut self.places);
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        line.shrink_to(LINE_MAX_BYTES);
        *self = Parser { places, line, ..Parser::default() };
        self.places.clear();
        self.places.shrink_to(1_024);
    }

    /// One argument; false if it is not whole.
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
        // The two bytes behind it are an end of line by what comes next; Redis looks at them as little.
        if read.len() < end + 2 {
            return Ok(false);
        }
        self.places.push((self.at as u32, end as u32));
        self.at = end + 2;
        self.searched = self.at;
        self.length = None;
        Ok(true)
    }

    /// The number of a line that begins at `from`; the next line is at `self.at` then. `None` while it has no end.
    fn number(&mut self, read: &[u8], from: usize, long: Malformed) -> Result<Option<Result<i64, ()>>, Malformed> {
        let start = self.searched.max(from);
        let rest = read.get(start..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\r', rest).map(|end| start + end).filter(|end| end + 1 < read.len()) else {
            if read.len() - from > LINE_MAX_BYTES {
                return Err(long);
            }
            // The last byte may be the first one of its end.
            self.searched = read.len().saturating_sub(1).max(from);
            return Ok(None);
        };
        self.at = end + 2;
        self.searched = self.at;
        Ok(Some(number(&read[from..end]).ok_or(())))
    }

    /// A command of one line.
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
        let line = read[..end].strip_suffix(b"\r").unwrap_or(&read[..end]);
        self.inline = true;
        inline::split(line, &mut self.line, &mut self.places).ok_or(Malformed::Quotes)?;
        self.at = end + 1;
        self.left = Some(0);
        Ok(Some(self.at))
    }
}

/// Whether a command's name is a line of a request of HTTP, as a browser sends it for whatever page: Redis, too, takes no
/// further word of such a client (`securityWarningCommand` in src/server.c).
pub(super) fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// A decimal number as Redis writes it: no sign `+`, no zeros before it, no spaces.
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
