//! Reads the messages of PostgreSQL's output plugin `pgoutput` in protocol version 1, with values as text ("Logical
//! Replication Message Formats" in PostgreSQL's manual). The module does no I/O. Messages borrow their bytes and are
//! never copied.

use crate::event::{Relation, WireColumn};

/// The number of microseconds from 1970-01-01 to 2000-01-01, at which PostgreSQL's times begin.
pub const EPOCH_OFFSET_US: i64 = 946_684_800_000_000;
/// The maximum number of columns that a table of PostgreSQL can have.
const COLUMNS_MAX: usize = 1_600;
/// The maximum number of relations that one TRUNCATE can name. A correct count of relations is limited by the length of
/// the message. The constant limits a wrong count.
const TRUNCATED_MAX: usize = 65_536;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    Begin { final_lsn: u64, commit_us: i64, xid: u32 },
    Commit { lsn: u64, end_lsn: u64, commit_us: i64 },
    Origin,
    Relation(Relation),
    Type,
    Insert { oid: u32, new: Tuple<'a> },
    Update { oid: u32, old: Option<Old<'a>>, new: Tuple<'a> },
    Delete { oid: u32, old: Old<'a> },
    Truncate { oids: Vec<u32> },
    Logical { transactional: bool, lsn: u64, prefix: &'a [u8], content: &'a [u8] },
}

/// The part of the old row that an update or a delete contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Old<'a> {
    /// Whether the old row has every column (REPLICA IDENTITY FULL). If `whole` is false, only the columns of the
    /// replica identity have their values. PostgreSQL writes the columns outside of the replica identity as null,
    /// although their values need not be null.
    pub whole: bool,
    pub tuple: Tuple<'a>,
}

/// The values of a row, which were checked to be well formed. [`Tuple::values`] returns exactly `columns` values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple<'a> {
    columns: usize,
    bytes: &'a [u8],
}

/// The value of one column in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Null,
    /// The value is stored out of line and did not change, so the message does not repeat it.
    Unchanged,
    Text(&'a [u8]),
    /// The value is in the binary format of its type, which nova does not request.
    Binary,
}

/// The reason for which bytes are not a message: the part that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pgoutput message is malformed in {0}")]
pub struct Malformed(pub &'static str);

/// Reads one `pgoutput` message.
pub fn message(bytes: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut scan = Scan { bytes };
    let message = match scan.u8("its type")? {
        b'B' => {
            let (final_lsn, commit_us) = (scan.u64("Begin")?, time(scan.u64("Begin")?));
            Message::Begin { final_lsn, commit_us, xid: scan.u32("Begin")? }
        }
        b'C' => {
            scan.u8("Commit")?;
            let (lsn, end_lsn) = (scan.u64("Commit")?, scan.u64("Commit")?);
            Message::Commit { lsn, end_lsn, commit_us: time(scan.u64("Commit")?) }
        }
        b'O' => {
            scan.u64("Origin")?;
            scan.text("Origin")?;
            Message::Origin
        }
        b'R' => Message::Relation(relation(&mut scan)?),
        b'Y' => {
            scan.u32("Type")?;
            scan.text("Type")?;
            scan.text("Type")?;
            Message::Type
        }
        b'I' => {
            let oid = scan.u32("Insert")?;
            scan.one(b'N', "Insert")?;
            Message::Insert { oid, new: scan.tuple()? }
        }
        b'U' => update(&mut scan)?,
        b'D' => {
            let oid = scan.u32("Delete")?;
            let whole = old_kind(scan.u8("Delete")?).ok_or(Malformed("Delete"))?;
            Message::Delete { oid, old: Old { whole, tuple: scan.tuple()? } }
        }
        b'T' => truncate(&mut scan)?,
        b'M' => {
            let transactional = scan.u8("Message")? & 1 != 0;
            let (lsn, prefix) = (scan.u64("Message")?, scan.text("Message")?);
            let length = scan.length("Message")?;
            Message::Logical { transactional, lsn, prefix, content: scan.take(length, "Message")? }
        }
        _ => return Err(Malformed("its type")),
    };
    if scan.bytes.is_empty() { Ok(message) } else { Err(Malformed("bytes behind its end")) }
}

fn time(since_2000_us: u64) -> i64 {
    since_2000_us.cast_signed().saturating_add(EPOCH_OFFSET_US)
}

/// Returns whether the tuple after the letter `K` or `O` has every column of the old row. Returns `None` for any other
/// letter.
fn old_kind(letter: u8) -> Option<bool> {
    match letter {
        b'K' => Some(false),
        b'O' => Some(true),
        _ => None,
    }
}

fn update<'a>(scan: &mut Scan<'a>) -> Result<Message<'a>, Malformed> {
    let oid = scan.u32("Update")?;
    let letter = scan.u8("Update")?;
    let old = match old_kind(letter) {
        Some(whole) => {
            let tuple = scan.tuple()?;
            scan.one(b'N', "Update")?;
            Some(Old { whole, tuple })
        }
        None if letter == b'N' => None,
        None => return Err(Malformed("Update")),
    };
    Ok(Message::Update { oid, old, new: scan.tuple()? })
}

fn truncate<'a>(scan: &mut Scan<'a>) -> Result<Message<'a>, Malformed> {
    let count = scan.length("Truncate")?;
    scan.u8("Truncate")?;
    if count > TRUNCATED_MAX {
        return Err(Malformed("Truncate"));
    }
    let oids = (0..count).map(|_| scan.u32("Truncate")).collect::<Result<_, _>>()?;
    Ok(Message::Truncate { oids })
}

fn relation(scan: &mut Scan<'_>) -> Result<Relation, Malformed> {
    const WHAT: &str = "Relation";
    let oid = scan.u32(WHAT)?;
    let (namespace, name) = (scan.utf8(WHAT)?, scan.utf8(WHAT)?);
    scan.u8(WHAT)?;
    let count = usize::from(scan.u16(WHAT)?);
    if count > COLUMNS_MAX {
        return Err(Malformed(WHAT));
    }
    let column = |_| {
        scan.u8(WHAT)?;
        let (name, type_oid) = (scan.utf8(WHAT)?, scan.u32(WHAT)?);
        scan.u32(WHAT)?;
        Ok(WireColumn { name, type_oid })
    };
    let columns = (0..count).map(column).collect::<Result<_, Malformed>>()?;
    // PostgreSQL sends an empty namespace for the system catalogue `pg_catalog`.
    let namespace = if namespace.is_empty() { "pg_catalog".into() } else { namespace };
    Ok(Relation { oid, namespace, name, columns })
}

impl<'a> Tuple<'a> {
    /// Returns the number of values in the row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Returns the values of the row, in the order of the relation's columns.
    pub fn values(&self) -> Values<'a> {
        Values { scan: Scan { bytes: self.bytes } }
    }
}

/// Iterates over the values of a row (see [`Tuple::values`]).
pub struct Values<'a> {
    scan: Scan<'a>,
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        // A malformed value was already refused when the tuple was read.
        self.scan.value().ok()
    }
}

struct Scan<'a> {
    bytes: &'a [u8],
}

impl<'a> Scan<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.bytes.split_at_checked(count).ok_or(Malformed(what))?;
        self.bytes = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.bytes.split_first_chunk::<N>().ok_or(Malformed(what))?;
        self.bytes = rest;
        Ok(*head)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        let [byte] = self.array::<1>(what)?;
        Ok(byte)
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array(what)?))
    }

    /// Reads a length or a count: an `Int32` that is not negative.
    fn length(&mut self, what: &'static str) -> Result<usize, Malformed> {
        let length = i32::from_be_bytes(self.array(what)?);
        usize::try_from(length).map_err(|_| Malformed(what))
    }

    fn one(&mut self, letter: u8, what: &'static str) -> Result<(), Malformed> {
        if self.u8(what)? == letter { Ok(()) } else { Err(Malformed(what)) }
    }

    /// Reads bytes up to a zero byte, and consumes the zero byte.
    fn text(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let end = memchr::memchr(0, self.bytes).ok_or(Malformed(what))?;
        let text = self.take(end, what)?;
        self.u8(what)?;
        Ok(text)
    }

    fn utf8(&mut self, what: &'static str) -> Result<Box<str>, Malformed> {
        let text = std::str::from_utf8(self.text(what)?).map_err(|_| Malformed(what))?;
        Ok(text.into())
    }

    fn tuple(&mut self) -> Result<Tuple<'a>, Malformed> {
        let columns = usize::from(self.u16("a row")?);
        let start = self.bytes;
        for _ in 0..columns {
            self.value()?;
        }
        let bytes = start.get(..start.len() - self.bytes.len()).ok_or(Malformed("a row"))?;
        Ok(Tuple { columns, bytes })
    }

    fn value(&mut self) -> Result<Value<'a>, Malformed> {
        match self.u8("a value")? {
            b'n' => Ok(Value::Null),
            b'u' => Ok(Value::Unchanged),
            b't' => {
                let length = self.length("a value")?;
                Ok(Value::Text(self.take(length, "a value")?))
            }
            b'b' => {
                let length = self.length("a value")?;
                self.take(length, "a value")?;
                Ok(Value::Binary)
            }
            _ => Err(Malformed("a value")),
        }
    }
}
