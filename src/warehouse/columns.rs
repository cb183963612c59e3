//! The columns of an insert. A sealed batch has the list of columns for which its rows were written. A sealed batch is
//! inserted with its own list of columns, even much later and by a newer build of nova.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use nova_storage::codec::{CodecError, Put, Reader};

use crate::event::Table;

use super::target::Target;
use super::wire::Wire;

/// The maximum number of columns in a list.
pub const COLUMNS_MAX: usize = 1_000;
/// The maximum number of bytes of a column's name. The name of a column consists of letters, digits and underscores.
pub const NAME_MAX_BYTES: usize = 200;
const WHAT: &str = "column list";

/// Columns with their types, in the order in which rows contain them. Clones of a list share its memory.
#[derive(Clone, Debug, Eq)]
pub struct Columns(Arc<[(Cow<'static, str>, Wire)]>);

impl PartialEq for Columns {
    fn eq(&self, other: &Columns) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Columns {
    pub(super) fn new(list: impl Iterator<Item = (&'static str, Wire)>) -> Columns {
        Columns(list.map(|(name, wire)| (Cow::Borrowed(name), wire)).collect())
    }

    /// Returns the names and types of the columns in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Wire)> {
        self.0.iter().map(|(name, wire)| (&**name, *wire))
    }

    /// Returns the names of the columns as an INSERT statement lists them.
    pub fn names(&self) -> String {
        self.iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
    }

    /// Returns those columns whose names are in `names`. The argument `names` has the form of [`Columns::names`].
    pub fn only(&self, names: &str) -> Columns {
        let named: Vec<_> = names.split(", ").collect();
        Columns(self.0.iter().filter(|(name, _)| named.contains(&&**name)).cloned().collect())
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.0.len() as u64);
        for (name, wire) in self.iter() {
            out.put_bytes(name.as_bytes());
            out.put_u8(wire.number());
        }
    }

    /// Reads a list of columns. Returns `None` for an empty list. If the list equals this build's list, the result
    /// shares the memory of this build's list.
    pub(super) fn decode(target: Target, reader: &mut Reader<'_>) -> Result<Option<Columns>, CodecError> {
        let count = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
        if count > COLUMNS_MAX {
            return Err(CodecError::Invalid(WHAT));
        }
        let mut list = Vec::new();
        for _ in 0..count {
            let name = reader.text()?;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || name.len() > NAME_MAX_BYTES || !name.bytes().all(plain) {
                return Err(CodecError::Invalid(WHAT));
            }
            list.push((Cow::Owned(name.to_owned()), Wire::numbered(reader.u8()?)?));
        }
        let found = Columns(list.into());
        Ok((count > 0).then(|| if found == *target.columns() { target.columns().clone() } else { found }))
    }

    /// Returns the columns of a batch that version 0.1.0 began. Version 0.1.0 stored no list of columns.
    pub(super) fn first(target: Target) -> Columns {
        let version = FIRST_VERSION.iter().copied();
        match target {
            Target::Events => Columns::new(FIRST_EVENTS.iter().copied()),
            Target::Rows(table) => Columns::new(first_rows(table).iter().copied().chain(version)),
        }
    }
}

static CURRENT: LazyLock<[Columns; Target::COUNT]> = LazyLock::new(|| {
    Target::ALL.map(|target| match target {
        Target::Events => Columns::new(EVENTS.iter().copied()),
        Target::Rows(table) => {
            let own = table.columns().iter().map(|column| (column.name, Wire::of(column.kind, column.nullable)));
            Columns::new(own.chain(VERSION.iter().copied()))
        }
    })
});

impl Target {
    /// The columns that this build writes, in the order in which rows contain them.
    pub fn columns(self) -> &'static Columns {
        &CURRENT[self.index()]
    }
}

const EVENTS: &[(&str, Wire)] = FIRST_EVENTS;
const VERSION: &[(&str, Wire)] = FIRST_VERSION;

const FIRST_EVENTS: &[(&str, Wire)] = &[
    ("event_id", Wire::Uuid),
    ("event_time", Wire::Millis),
    ("user_id", Wire::Uuid),
    ("post_id", Wire::Uuid),
    ("author_id", Wire::Uuid),
    ("action", Wire::Word),
    ("dwell_ms", Wire::U32),
    ("device", Wire::Word),
    ("app_ver", Wire::Word),
    ("ingested_at", Wire::Millis),
    ("_nova_store", Wire::U64),
    ("_nova_batch", Wire::U64),
];

const FIRST_VERSION: &[(&str, Wire)] = &[
    ("_version", Wire::U128),
    ("_deleted", Wire::U8),
    ("_op", Wire::Word),
    ("_lsn", Wire::U64),
    ("_source_ts", Wire::Micros),
    ("_extra", Wire::Text),
];

/// The columns that version 0.1.0 wrote for a table. The list of version 0.1.0 never changes, even if
/// [`Table::columns`] does.
fn first_rows(table: Table) -> &'static [(&'static str, Wire)] {
    match table {
        Table::Users => &[
            ("id", Wire::Uuid),
            ("username", Wire::Text),
            ("email_verified", Wire::Bool),
            ("is_active", Wire::Bool),
            ("created_at", Wire::Micros),
            ("updated_at", Wire::Micros),
            ("deleted_at", Wire::NullableMicros),
        ],
        Table::Posts => &[
            ("id", Wire::Uuid),
            ("user_id", Wire::Uuid),
            ("caption", Wire::NullableText),
            ("image_key", Wire::Text),
            ("image_sizes", Wire::NullableText),
            ("status", Wire::Text),
            ("created_at", Wire::Micros),
            ("updated_at", Wire::Micros),
            ("soft_delete", Wire::NullableMicros),
        ],
        Table::Follows => &[
            ("id", Wire::Uuid),
            ("follower_id", Wire::Uuid),
            ("following_id", Wire::Uuid),
            ("created_at", Wire::NullableMicros),
        ],
        Table::Comments => &[
            ("id", Wire::Uuid),
            ("post_id", Wire::Uuid),
            ("user_id", Wire::Uuid),
            ("content", Wire::Text),
            ("parent_comment_id", Wire::NullableUuid),
            ("created_at", Wire::NullableMicros),
            ("updated_at", Wire::NullableMicros),
            ("soft_delete", Wire::NullableMicros),
        ],
        Table::Likes => &[
            ("id", Wire::Uuid),
            ("user_id", Wire::Uuid),
            ("post_id", Wire::Uuid),
            ("created_at", Wire::NullableMicros),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_storage::testing::mutate::check_bytes;
    use proptest::prelude::*;

    fn lists() -> impl Strategy<Value = Columns> {
        let column = ("[a-z_0-9]{1,9}", 0..Wire::ALL.len()).prop_map(|(name, wire)| (name.into(), Wire::ALL[wire]));
        proptest::collection::vec(column, 1..20).prop_map(|list| Columns(list.into()))
    }

    proptest! {
        #[test]
        fn lists_round_trip_and_mutants_are_errors_or_lists_with_these_bytes(list in lists(), seed: u64) {
            let decode = |bytes: &[u8]| {
                let mut reader = Reader::new(WHAT, bytes);
                let found = Columns::decode(Target::Events, &mut reader)?.ok_or(CodecError::Invalid(WHAT));
                reader.end()?;
                found
            };
            let encode = |list: &Columns| {
                let mut out = Vec::new();
                list.encode(&mut out);
                out
            };
            prop_assert_eq!(decode(&encode(&list)), Ok(list.clone()));
            check_bytes(&encode(&list), seed, decode, encode);
        }
    }

    #[test]
    fn a_list_of_this_build_is_shared_and_a_name_that_is_none_refused() {
        for target in Target::ALL {
            let mut out = Vec::new();
            target.columns().encode(&mut out);
            let found = Columns::decode(target, &mut Reader::new(WHAT, &out)).unwrap().unwrap();
            assert!(Arc::ptr_eq(&found.0, &target.columns().0), "{target}");
        }
        let bad = Columns::new([("id) FORMAT Null --", Wire::Uuid)].into_iter());
        let mut out = Vec::new();
        bad.encode(&mut out);
        assert!(Columns::decode(Target::Events, &mut Reader::new(WHAT, &out)).is_err());
    }

    /// A new column comes after the columns of stored rows, and a batch that an earlier build sealed does not have the
    /// new column.
    #[test]
    fn what_this_build_writes_begins_with_what_the_first_version_wrote() {
        for table in Table::ALL {
            let first = first_rows(table);
            let own: Vec<_> = table.columns().iter().map(|one| (one.name, Wire::of(one.kind, one.nullable))).collect();
            assert_eq!(own[..first.len()], *first, "{table}: cells are stored by their place");
            let older = Columns::first(Target::Rows(table));
            assert_eq!(Target::Rows(table).columns().only(&older.names()), older);
        }
    }
}
