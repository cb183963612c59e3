//! Detects changes of a table's rows that PostgreSQL makes without a record in the stream: a column gets a new type, or
//! a partition is attached or detached with its rows. To detect such changes, nova compares the table's present state
//! with its state at the time when nova read the rows. nova reports the changes until the rows are read again. The
//! module does no input or output. A partition that is truncated under its own name is not detected by the module.

use xxhash_rust::xxh3::xxh3_64;

use crate::event::{Table, Tables};

use super::finding::{Code, Finding};
use super::position::Position;
use super::slot::{Published, Seen};

impl Published {
    /// Returns a hash of the published columns that nova keeps, with their types. If the hash changes, PostgreSQL may
    /// have given rows new values without a record in the stream.
    pub fn shape(&self) -> u64 {
        let of_nova = self.table.map(Table::columns).unwrap_or_default();
        let published = of_nova.iter().filter_map(|one| self.columns.iter().find(|(name, _)| name == one.name));
        let text: String = published.map(|(name, type_oid)| format!("{name}\0{type_oid}\0")).collect();
        // The lowest bit is set because 0 means that the shape is unknown.
        xxh3_64(text.as_bytes()) | 1
    }

    /// Returns a mark of the table's present partitions: a hash of their OIDs in the high 32 bits, and their highest
    /// OID in the low 32 bits. The mark is 0 for a table that is not partitioned.
    pub fn partitions_mark(&self) -> u64 {
        let highest = self.partitions.iter().map(|(oid, _)| *oid).max().unwrap_or(0);
        if self.partitioned { self.partitions_up_to(highest) } else { 0 }
    }

    fn partitions_up_to(&self, highest: u32) -> u64 {
        let mut oids: Vec<_> = self.partitions.iter().map(|(oid, _)| *oid).filter(|oid| *oid <= highest).collect();
        oids.sort_unstable();
        let bytes: Vec<u8> = oids.iter().flat_map(|oid| oid.to_le_bytes()).collect();
        // The lowest bit of the hash is set, so that the mark is never 0.
        ((xxh3_64(&bytes) | 1) << 32) | u64::from(highest)
    }

    /// Whether the table gained or lost rows together with a partition since the mark `known` was taken: a partition is
    /// gone, or was attached with its rows. A partition that was created as a partition was empty at first, and its OID
    /// is higher than the OIDs of all earlier partitions.
    pub fn regrouped(&self, known: u64) -> bool {
        let highest = u32::try_from(known & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let attached = self.partitions.iter().any(|(oid, attached)| *attached && *oid > highest);
        known != 0 && self.partitioned && (attached || self.partitions_up_to(highest) != known)
    }
}

impl Seen {
    /// Returns the shape of each table, in the order of [`Table::ALL`]. The shape is 0 if the table is not published.
    pub fn shapes(&self) -> [u64; Table::ALL.len()] {
        Table::ALL.map(|table| self.published(table).map_or(0, Published::shape))
    }

    /// Returns the mark of each table's present partitions, in the order of [`Table::ALL`]. If attaching, detaching or
    /// dropping a partition added or removed rows of a table, the result for that table is its entry in `known`.
    pub fn partitions_behind(&self, known: [u64; Table::ALL.len()]) -> [u64; Table::ALL.len()] {
        Table::ALL.map(|table| match self.published(table) {
            Some(published) if !published.regrouped(known[table as usize]) => published.partitions_mark(),
            Some(_) | None => known[table as usize],
        })
    }
}

/// Returns the finding for tables whose columns or partitions have changed since nova read the rows. In such a table
/// the server may have changed rows without a record in the stream.
pub fn redefined(position: &Position, seen: &Seen) -> Option<Finding> {
    let shapes = seen.shapes();
    let reshaped = |table: &Table| {
        let (known, now) = (position.shapes[*table as usize], shapes[*table as usize]);
        known != 0 && now != 0 && known != now
    };
    let regrouped = |table: &Table| {
        seen.published(*table).is_some_and(|published| published.regrouped(position.partitions[*table as usize]))
    };
    let reshaped = Table::ALL.into_iter().filter(reshaped).collect::<Tables>().without(position.wanted);
    let regrouped = Table::ALL.into_iter().filter(regrouped).collect::<Tables>().without(position.wanted);
    let names = |tables: Tables| tables.iter().map(Table::name).collect::<Vec<_>>().join(" ");
    let (columns, partitions) = (names(reshaped), names(regrouped));
    let of_columns = format!(
        "columns of {columns}, or their types, are others than when the rows were read: rows that were not written since may \
         have other values at the server"
    );
    let of_partitions = format!(
        "partitions of {partitions} were attached, detached or dropped, and the stream does not tell of the rows that came or \
         went with them"
    );
    let detail = match (reshaped.is_empty(), regrouped.is_empty()) {
        (true, true) => return None,
        (false, true) => of_columns,
        (true, false) => of_partitions,
        (false, false) => format!("{of_columns}; {of_partitions}"),
    };
    let remedy =
        format!("Read them again while nova goes on serving: nova cdc resnapshot {}", names(reshaped.union(regrouped)));
    Some(Finding::new(Code::TableRedefined, detail, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_came_or_went_with_a_partition_that_is_gone_or_was_attached_and_with_no_new_one() {
        let of = |partitions: &[(u32, bool)]| {
            let partitions = partitions.to_vec();
            Published { table: Some(Table::Posts), partitioned: true, partitions, ..Published::default() }
        };
        // The partitions' mark includes a partition that was attached before nova read the rows.
        let mark = of(&[(20, false), (30, true)]).partitions_mark();
        let cases: [(&[(u32, bool)], bool); 9] = [
            (&[(20, false), (30, true)], false),
            (&[(30, true), (20, false)], false),
            (&[(20, false), (30, true), (40, false)], false),
            (&[(20, false), (30, true), (40, true)], true),
            (&[(20, false), (25, false), (30, true)], true),
            (&[(20, false), (30, true), (25, true)], true),
            (&[(20, false)], true),
            (&[(30, true)], true),
            (&[], true),
        ];
        for (partitions, expected) in cases {
            assert_eq!(of(partitions).regrouped(mark), expected, "{partitions:?}");
        }
        // nova finds no change of the partitions if no earlier mark of the partitions is known, or if the table is not
        // partitioned.
        assert!(!of(&[(20, true)]).regrouped(0));
        let plain = Published::default();
        assert!(plain.partitions_mark() == 0 && !plain.regrouped(mark));
        assert_ne!(of(&[]).partitions_mark(), 0);
    }

    #[test]
    fn what_is_not_said_of_partitions_is_learned_and_what_is_said_is_not() {
        let seen = |partitions: &[(u32, bool)]| {
            let table = Table::Posts;
            let partitions = partitions.to_vec();
            let posts = Published { table: Some(table), oid: 7, partitioned: true, partitions, ..Published::default() };
            Seen { tables: vec![posts], ..Seen::default() }
        };
        let mut position = Position::default();
        position.learn([0; 5], seen(&[(20, false)]).partitions_behind(position.partitions));
        let first = position.partitions;
        assert_eq!(redefined(&position, &seen(&[(20, false), (30, false)])), None);
        position.learn([0; 5], seen(&[(20, false), (30, false)]).partitions_behind(position.partitions));
        assert_ne!(position.partitions, first);
        let later = position.clone();
        position.learn([0; 5], seen(&[(20, false)]).partitions_behind(position.partitions));
        assert_eq!(position, later);
        let finding = redefined(&position, &seen(&[(20, false)])).unwrap();
        assert!(
            finding.code == Code::TableRedefined && finding.remedy.ends_with("nova cdc resnapshot posts"),
            "{finding}"
        );
        // The table is already ordered to be read again, so nothing is reported for it.
        position.wanted = Tables::NONE.with(Table::Posts);
        assert_eq!(redefined(&position, &seen(&[(20, false)])), None);
    }
}
