//! nova's position in the log of a PostgreSQL server. The store keeps the position beside the partition's next offset.
//! The commit that stores the position also stores the effects of every change before the position.

#![warn(clippy::indexing_slicing)]

use nova_storage::codec::{COOKIE_MAX_BYTES, CodecError, Put, Reader};

use crate::event::{Table, Tables};

/// The version of the stored format of a position. Version 1 had no [`Position::copied`], [`Position::shapes`] and
/// [`Position::partitions`].
const VERSION: u8 = 2;
const WHAT: &str = "position in PostgreSQL's log";
/// nova begins at most this number of snapshots within [`AUTOMATIC_WITHIN_MS`] without a person's order.
pub const AUTOMATIC_MAX: usize = 3;
pub const AUTOMATIC_WITHIN_MS: i64 = 3_600_000;

/// What nova does next with the slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// nova must read all tables with a new slot. If the slot already exists, it is nova's own slot from an earlier
    /// attempt, and nova drops it.
    #[default]
    Snapshot,
    /// nova reads the stream of the slot.
    Stream,
}

/// nova's position in the log of a PostgreSQL server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub phase: Phase,
    /// The `system_identifier` of the server, and its timeline.
    pub system_id: u64,
    pub timeline: u32,
    /// The end of the last whole transaction, or a later position up to which the server had nothing to send.
    pub end_lsn: u64,
    /// The LSN and the time (epoch microseconds) of the last commit that contained something for nova, or 0 before the
    /// first such commit. If the slot is older than the position, the transaction at `commit_lsn` is read again, and
    /// shows whether the server still has the same log.
    pub commit_lsn: u64,
    pub commit_us: i64,
    /// The offset of the partition's next record.
    pub offset: i64,
    /// How each table was published at nova's position ([`super::slot::Published::identity`]), in the order of
    /// [`Table::ALL`]. 0 means that the table was not published, so that its rows are unknown.
    pub published: [u64; Table::ALL.len()],
    /// For each table in the order of [`Table::ALL`], the position in the log at which the table was copied. The value
    /// is 0 as soon as the stream has passed the position of the copy. The copy of a table already has the changes that
    /// were committed before the copy. The stream may have outdated versions of these changes, so nova skips the
    /// stream's versions.
    pub copied: [u64; Table::ALL.len()],
    /// The shape of each table when its rows were read ([`super::redefined`]), in the order of [`Table::ALL`]. 0 means
    /// that the shape of the table is unknown.
    pub shapes: [u64; Table::ALL.len()],
    /// The mark of each table's partitions when its rows were read ([`super::redefined`]), in the order of
    /// [`Table::ALL`]. 0 means that the table had no partitions, or that the partitions are unknown.
    pub partitions: [u64; Table::ALL.len()],
    /// The tables that a person has ordered nova to read again.
    pub wanted: Tables,
    /// The times at which the last automatic snapshots began, in epoch milliseconds.
    pub automatic_ms: Vec<i64>,
}

#[allow(clippy::indexing_slicing, reason = "each array has a place for each table")]
impl Position {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_u8(match self.phase {
            Phase::Snapshot => 0,
            Phase::Stream => 1,
        });
        out.put_fixed(&self.system_id.to_le_bytes());
        out.put_varint(u64::from(self.timeline));
        out.put_varint(self.end_lsn);
        out.put_varint(self.commit_lsn);
        out.put_zigzag(self.commit_us);
        out.put_zigzag(self.offset);
        out.put_varint(self.published.len() as u64);
        for table in Table::ALL {
            let at = table as usize;
            out.put_u8(table.number());
            out.put_fixed(&self.published[at].to_le_bytes());
            out.put_varint(self.copied[at]);
            out.put_fixed(&self.shapes[at].to_le_bytes());
            out.put_fixed(&self.partitions[at].to_le_bytes());
        }
        out.put_u8(self.wanted.bits());
        out.put_varint(self.automatic_ms.len() as u64);
        self.automatic_ms.iter().for_each(|at_ms| out.put_zigzag(*at_ms));
        debug_assert!(out.len() <= COOKIE_MAX_BYTES);
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Position, CodecError> {
        let invalid = || CodecError::Invalid(WHAT);
        let (mut reader, version) = Reader::versioned(WHAT, bytes, VERSION)?;
        let phase = match reader.u8()? {
            0 => Phase::Snapshot,
            1 => Phase::Stream,
            number => return Err(CodecError::Unknown { what: WHAT, number: number.into() }),
        };
        let mut position = Position {
            phase,
            system_id: u64::from_le_bytes(reader.fixed()?),
            timeline: reader.varint_u32()?,
            end_lsn: reader.varint()?,
            commit_lsn: reader.varint()?,
            commit_us: reader.zigzag()?,
            offset: reader.zigzag()?,
            ..Position::default()
        };
        let mut last = None;
        for _ in 0..reader.varint()? {
            let number = reader.u8()?;
            let table = Table::numbered(number)?;
            // The numbers of the tables must rise, so that no table comes twice.
            if last.replace(number).is_some_and(|last| last >= number) {
                return Err(invalid());
            }
            position.published[table as usize] = u64::from_le_bytes(reader.fixed()?);
            if version > 1 {
                position.copied[table as usize] = reader.varint()?;
                position.shapes[table as usize] = u64::from_le_bytes(reader.fixed()?);
                position.partitions[table as usize] = u64::from_le_bytes(reader.fixed()?);
            }
        }
        position.wanted = Tables::from_bits(reader.u8()?).ok_or_else(invalid)?;
        for _ in 0..reader.varint()? {
            if position.automatic_ms.len() >= AUTOMATIC_MAX {
                return Err(invalid());
            }
            position.automatic_ms.push(reader.zigzag()?);
        }
        reader.end()?;
        Ok(position)
    }

    /// Notes that the stream has reached the LSN `end_lsn` and has passed all copies that were taken before this LSN.
    pub fn reach(&mut self, end_lsn: u64) {
        self.end_lsn = end_lsn;
        self.copied.iter_mut().filter(|copied_lsn| **copied_lsn <= end_lsn).for_each(|copied_lsn| *copied_lsn = 0);
    }

    /// Takes the present shape of each table for which no earlier shape is known. `partitions` has the present marks of
    /// the tables whose partitions have changed only in ways that the stream contains ([`super::redefined`]).
    pub fn learn(&mut self, shapes: [u64; Table::ALL.len()], partitions: [u64; Table::ALL.len()]) {
        self.partitions = partitions;
        let unknown = self.shapes.iter_mut().zip(shapes).filter(|(known, _)| **known == 0);
        unknown.for_each(|(known, now)| *known = now);
    }

    /// Notes that an automatic snapshot begins, without a person's order. Returns false if too many automatic snapshots
    /// began within the last hour.
    pub fn begin_automatic(&mut self, now_ms: i64) -> bool {
        self.automatic_ms.retain(|at_ms| (0..AUTOMATIC_WITHIN_MS).contains(&now_ms.saturating_sub(*at_ms)));
        let allowed = self.automatic_ms.len() < AUTOMATIC_MAX;
        if allowed {
            self.automatic_ms.push(now_ms);
        }
        allowed
    }
}

/// Returns the position that makes nova read the given tables again, or read all tables with a new slot if `tables` is
/// [`Tables::ALL`]. A position that cannot be decoded is replaced by the position of a new node.
pub fn again(bytes: &[u8], tables: Tables) -> Vec<u8> {
    let mut position = Position::decode(bytes).unwrap_or_default();
    match tables == Tables::ALL {
        true => position = Position { phase: Phase::Snapshot, offset: position.offset, ..Position::default() },
        false => position.wanted = position.wanted.union(tables),
    }
    position.encode()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_storage::testing::mutate::check_values;
    use proptest::prelude::*;

    fn positions() -> impl Strategy<Value = Position> {
        let numbers = (any::<bool>(), any::<u64>(), any::<u32>(), any::<u64>(), any::<i64>());
        let more = (any::<[u64; 5]>(), 0u8..32, prop::collection::vec(any::<i64>(), 0..=AUTOMATIC_MAX));
        let commits = (any::<(u64, i64)>(), any::<([u64; 5], [u64; 5], [u64; 5])>());
        (numbers, more, commits).prop_map(|(numbers, (published, wanted, automatic_ms), (commit, more))| {
            let (copied, shapes, partitions) = more;
            let (streams, system_id, timeline, end_lsn, offset) = numbers;
            let (commit_lsn, commit_us) = commit;
            let phase = if streams { Phase::Stream } else { Phase::Snapshot };
            let wanted = Tables::from_bits(wanted).unwrap();
            Position {
                phase,
                system_id,
                timeline,
                end_lsn,
                commit_lsn,
                commit_us,
                offset,
                published,
                copied,
                shapes,
                partitions,
                wanted,
                automatic_ms,
            }
        })
    }

    /// A position in format version 1, byte for byte as stores have it.
    const OF_VERSION_1: [&[u8]; 15] = [
        // A stored position begins with the version and the phase in which the slot is read.
        b"\x01\x01",
        // A stored position contains the system identifier of the server and its timeline.
        b"\x22\x6f\xb9\x7f\x89\xf7\x53\x67",
        b"\x03",
        // A stored position contains the end of the last transaction, the LSN and the time of its commit, and the next
        // offset.
        b"\xc8\xb0\xd3\x9b\xeb\x02",
        b"\x80\xb0\xd3\x9b\xeb\x02",
        b"\x80\xe9\x9c\xbb\xed\xbf\xb0\x06",
        b"\xe2\xc5\x08",
        // The stored position has five tables, each with its number and how it is published.
        b"\x05",
        b"\x00\x45\x44\x33\x33\x22\x22\x11\x11",
        b"\x01\x09\x07\x06\x05\x04\x03\x02\x01",
        b"\x02\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x03\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x04\x01\x00\x00\x00\x00\x00\x00\x80",
        // The stored position says that posts and likes must be read again.
        b"\x12",
        // The stored position has the times at which two automatic snapshots began.
        b"\x02\x80\x83\xa4\xc1\xc1\x68\xc2\xf1\x91\xc2\xc1\x68",
    ];

    /// Encodes a position in format version 1.
    fn first(position: &Position) -> Vec<u8> {
        let mut out = vec![1];
        out.put_u8(u8::from(position.phase == Phase::Stream));
        out.put_fixed(&position.system_id.to_le_bytes());
        out.put_varint(u64::from(position.timeline));
        out.put_varint(position.end_lsn);
        out.put_varint(position.commit_lsn);
        out.put_zigzag(position.commit_us);
        out.put_zigzag(position.offset);
        out.put_varint(position.published.len() as u64);
        for (table, identity) in Table::ALL.iter().zip(&position.published) {
            out.put_u8(table.number());
            out.put_fixed(&identity.to_le_bytes());
        }
        out.put_u8(position.wanted.bits());
        out.put_varint(position.automatic_ms.len() as u64);
        position.automatic_ms.iter().for_each(|at_ms| out.put_zigzag(*at_ms));
        out
    }

    proptest! {
        #[test]
        fn positions_read_back_and_mutants_are_errors_or_positions(position in positions(), seed: u64) {
            let bytes = position.encode();
            prop_assert_eq!(Position::decode(&bytes), Ok(position));
            // A stored position may lack tables that a later version of nova follows.
            check_values(&bytes, seed, Position::decode, Position::encode);
        }

        #[test]
        fn a_position_of_version_1_is_read_and_knows_of_no_copies_and_shapes(position in positions()) {
            let (copied, shapes, partitions) = ([0; 5], [0; 5], [0; 5]);
            let expected = Position { copied, shapes, partitions, ..position.clone() };
            prop_assert_eq!(Position::decode(&first(&position)), Ok(expected));
        }

        #[test]
        fn what_is_to_be_read_again_is_added_and_everything_begins_anew_at_the_same_offset(position in positions(), bits in 0u8..31) {
            let some = Tables::from_bits(bits).unwrap();
            let one = Position::decode(&again(&position.encode(), some)).unwrap();
            let expected = Position { wanted: position.wanted.union(some), ..position.clone() };
            prop_assert_eq!(one, expected);
            let all = Position::decode(&again(&position.encode(), Tables::ALL)).unwrap();
            prop_assert_eq!(all, Position { offset: position.offset, ..Position::default() });
        }
    }

    #[test]
    fn the_bytes_of_a_store_with_version_1_are_read() {
        let expected = Position {
            phase: Phase::Stream,
            system_id: 7_445_566_778_899_001_122,
            timeline: 3,
            end_lsn: 0x16_b374_d848,
            commit_lsn: 0x16_b374_d800,
            commit_us: 1_795_500_000_123_456,
            offset: 70_001,
            published: [0x1111_2222_3333_4445, 0x0102_0304_0506_0709, 0, u64::MAX, 0x8000_0000_0000_0001],
            wanted: Tables::NONE.with(Table::Posts).with(Table::Likes),
            automatic_ms: vec![1_795_499_000_000, 1_795_499_900_001],
            ..Position::default()
        };
        let bytes = OF_VERSION_1.concat();
        assert_eq!(Position::decode(&bytes), Ok(expected.clone()));
        // If a command on a stopped node orders tables to be read again, it writes the position in the present format
        // version.
        let wanted = expected.wanted.with(Table::Users);
        let again = Position::decode(&again(&bytes, Tables::NONE.with(Table::Users)));
        assert_eq!(again, Ok(Position { wanted, ..expected }));
    }

    #[test]
    fn a_copy_is_remembered_until_the_stream_has_passed_it() {
        let mut position = Position { copied: [0, 50, 51, 60, 0], ..Position::default() };
        position.reach(50);
        assert_eq!((position.end_lsn, position.copied), (50, [0, 0, 51, 60, 0]));
        position.reach(60);
        assert_eq!((position.end_lsn, position.copied), (60, [0; 5]));
    }

    #[test]
    fn three_snapshots_an_hour_begin_without_an_order() {
        let mut position = Position::default();
        for at_ms in [0, 1, 2] {
            assert!(position.begin_automatic(at_ms));
        }
        assert!(!position.begin_automatic(AUTOMATIC_WITHIN_MS - 1));
        assert!(position.begin_automatic(AUTOMATIC_WITHIN_MS) && !position.begin_automatic(AUTOMATIC_WITHIN_MS));
        // After the clock was set back, snapshots with later times are not counted.
        assert!(position.begin_automatic(-1));
    }
}
