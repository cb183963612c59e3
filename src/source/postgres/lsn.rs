//! Reads and writes positions in PostgreSQL's log (LSNs) as the server prints them.

/// Returns an LSN as PostgreSQL prints it.
pub fn lsn_text(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

/// Returns the LSN that a text contains.
pub fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let part = |digits: &str| u32::from_str_radix(digits, 16).ok().map(u64::from);
    Some(part(high)? << 32 | part(low)?)
}

/// Returns the LSN at which `timeline` ended, according to the history file of a later timeline ("Timelines" in
/// PostgreSQL's manual). Each line of the file has the number of a timeline, the LSN of its end, and a reason.
pub fn branch_of(history: &str, timeline: u32) -> Option<u64> {
    history.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let number: u32 = words.next()?.parse().ok()?;
        (number == timeline).then(|| words.next().and_then(parse_lsn)).flatten()
    })
}
