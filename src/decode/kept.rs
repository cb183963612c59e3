//! An allow-list says which columns nova keeps although it does not know them. For `users`, the default list has only
//! columns that every profile shows. A new column of `users` may be private, and no record says whether a column is
//! private.

use std::sync::LazyLock;

use super::private;
use super::private::shown::Shown;
use crate::event::Table;

/// The tables whose unknown columns are all kept by default.
const TABLES_BY_DEFAULT: [Table; 4] = [Table::Posts, Table::Follows, Table::Comments, Table::Likes];
/// The unknown columns of `users` that are kept by default. The listed columns contain what users publish about
/// themselves.
const USERS_BY_DEFAULT: [&str; 1] = ["bio"];

/// The allow-list of columns that nova keeps although it does not know them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepUnknown {
    /// For each table, whether all its unknown columns are kept.
    tables: [bool; Table::ALL.len()],
    /// The kept columns of the tables whose unknown columns are not all kept.
    columns: Vec<(Table, Box<str>)>,
}

#[allow(clippy::indexing_slicing, reason = "the array has a place for each table")]
impl Default for KeepUnknown {
    fn default() -> KeepUnknown {
        let mut tables = [false; Table::ALL.len()];
        TABLES_BY_DEFAULT.iter().for_each(|table| tables[*table as usize] = true);
        KeepUnknown { tables, columns: USERS_BY_DEFAULT.map(|column| (Table::Users, column.into())).to_vec() }
    }
}

#[allow(clippy::indexing_slicing, reason = "the array has a place for each table")]
impl KeepUnknown {
    /// Parses entries of the forms `TABLE` (all unknown columns of the table) and `TABLE.COLUMN` (one column).
    pub fn parse(entries: &[String]) -> Result<KeepUnknown, String> {
        let mut kept = KeepUnknown { tables: [false; Table::ALL.len()], columns: Vec::new() };
        for entry in entries {
            let (table, column) = entry.split_once('.').map_or((entry.as_str(), None), |(t, c)| (t, Some(c)));
            let table = Table::from_name(&table.to_lowercase())
                .ok_or("expected tables (users, posts, follows, comments, likes) or columns such as users.locale")?;
            match column {
                None => kept.tables[table as usize] = true,
                Some("") => return Err("expected a column's name behind the dot, such as users.locale".to_owned()),
                Some(column) if private::column(column).is_some() => {
                    return Err(format!("expected no private column: {column} is never kept"));
                }
                Some(column) => kept.columns.push((table, column.into())),
            }
        }
        Ok(kept)
    }

    /// Returns the entries of the list in the form that the configuration has.
    pub fn entries(&self) -> impl Iterator<Item = String> {
        let tables =
            Table::ALL.into_iter().filter(|table| self.tables[*table as usize]).map(|table| table.name().into());
        tables.chain(self.columns.iter().map(|(table, column)| format!("{table}.{column}")))
    }

    /// Whether nova keeps a column that is not in the table's list of columns. The comparison of names ignores letter
    /// case, underscores, hyphens and spaces.
    pub fn keeps(&self, table: Table, column: &str) -> bool {
        self.tables[table as usize]
            || self.columns.iter().any(|(of, name)| *of == table && private::same_letters(name, column))
    }

    /// Says what a dead letter shows of a column. A dead letter of a table with private columns shows only the columns
    /// that nova reads or keeps.
    pub(super) fn shown(&self, table: Table, column: &str) -> Shown {
        let read = || table.columns().iter().any(|known| private::same_letters(known.name, column));
        match private::column(column) {
            Some(_) => Shown::Nothing,
            None if read() => Shown::Scalar,
            None if self.keeps(table, column) => Shown::All,
            None => Shown::Nothing,
        }
    }

    /// The allow-list that applies if none is configured.
    pub(super) fn shared_default() -> std::sync::Arc<KeepUnknown> {
        static DEFAULT: LazyLock<std::sync::Arc<KeepUnknown>> = LazyLock::new(Default::default);
        std::sync::Arc::clone(&DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &[&str]) -> Result<KeepUnknown, String> {
        KeepUnknown::parse(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn columns_of_users_are_kept_by_name_only_in_any_case() {
        let default = KeepUnknown::default();
        for private in ["phone", "Phone", "totp_secret", "TOTPSecret", "locale"] {
            assert!(!default.keeps(Table::Users, private) && default.keeps(Table::Posts, private), "{private}");
        }
        assert_eq!(parse(&["posts", "follows", "comments", "likes", "users.bio"]), Ok(default));
        let some = parse(&["USERS.Display_Name", "likes"]).unwrap();
        for name in ["display_name", "DISPLAY_NAME", "displayName", "Display-Name"] {
            assert!(some.keeps(Table::Users, name), "{name}");
        }
        assert!(!some.keeps(Table::Users, "display") && !some.keeps(Table::Posts, "display_name"));
        assert!(!parse(&[]).unwrap().keeps(Table::Posts, "locale"));
    }

    #[test]
    fn entries_read_back_and_wrong_ones_name_what_is_expected() {
        let some = parse(&["likes", "users.locale", "posts.lang"]).unwrap();
        assert_eq!(KeepUnknown::parse(&some.entries().collect::<Vec<_>>()), Ok(some));
        for wrong in ["", "people", "users.", "users.email", "users.PasswordHash"] {
            assert!(parse(&[wrong]).unwrap_err().starts_with("expected "), "{wrong}");
        }
    }
}
