//! The statements about a publication: what nova proposes where one is missing, and what `nova postgres setup` runs.

use std::fmt;

use crate::event::Table;

/// A table as a publication lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub table: Table,
    /// None: the one that the search path finds.
    pub schema: Option<String>,
    /// None: every column, later ones too.
    pub columns: Option<Vec<String>>,
}

impl Listed {
    /// As nova proposes it without a look at the server. Of users only the columns that nova keeps leave the server, so that
    /// private ones do not (column lists: PostgreSQL 15 and later).
    pub fn by_default(table: Table) -> Listed {
        let names = || table.columns().iter().map(|column| column.name.to_owned()).collect();
        Listed { table, schema: None, columns: (table == Table::Users).then(names) }
    }

    /// The table's name, quoted where it has to be.
    pub fn name(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quoted(schema), self.table),
            None => self.table.to_string(),
        }
    }

    /// The columns in parentheses; empty where all are meant.
    pub fn list(&self) -> String {
        let quoted = |columns: &Vec<String>| columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        self.columns.as_ref().map_or_else(String::new, |columns| format!(" ({})", quoted(columns)))
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name(), self.list())
    }
}

/// All tables, as nova proposes them without a look at the server.
pub fn by_default() -> Vec<Listed> {
    Table::ALL.map(Listed::by_default).to_vec()
}

/// `via_root`: changes of partitions come under the name of the partitioned table.
pub fn create(publication: &str, listed: &[Listed], via_root: bool) -> String {
    let with = if via_root { " WITH (publish_via_partition_root = true)" } else { "" };
    format!("CREATE PUBLICATION {publication} FOR TABLE {}{with}", all(listed))
}

pub fn add(publication: &str, listed: &[Listed]) -> String {
    format!("ALTER PUBLICATION {publication} ADD TABLE {}", all(listed))
}

pub fn remove(publication: &str, listed: &Listed) -> String {
    format!("ALTER PUBLICATION {publication} DROP TABLE {}", listed.name())
}

pub fn publish_all(publication: &str) -> String {
    format!("ALTER PUBLICATION {publication} SET (publish = 'insert, update, delete, truncate')")
}

pub fn via_root(publication: &str) -> String {
    format!("ALTER PUBLICATION {publication} SET (publish_via_partition_root = true)")
}

fn all(listed: &[Listed]) -> String {
    listed.iter().map(Listed::to_string).collect::<Vec<_>>().join(", ")
}

/// An identifier as it stands in SQL: plain ones without quotes, for people.
pub fn quoted(name: &str) -> String {
    /// Words that a plain identifier may not be, among the names that columns have.
    const RESERVED: [&str; 12] =
        ["user", "order", "group", "table", "column", "desc", "end", "limit", "offset", "default", "check", "primary"];
    let plain =
        |(place, byte): (usize, u8)| byte.is_ascii_lowercase() || byte == b'_' || (place > 0 && byte.is_ascii_digit());
    match !name.is_empty() && name.bytes().enumerate().all(plain) && !RESERVED.contains(&name) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTS: [&str; 2] = [include_str!("../../../README.md"), include_str!("../../../docs/postgres.md")];

    #[test]
    fn no_private_column_is_listed_and_the_statement_of_the_documents_is_this_one() {
        let statement = create("nova", &by_default(), false);
        assert!(statement.starts_with("CREATE PUBLICATION nova FOR TABLE users (id, username, "));
        assert!(statement.ends_with("), posts, follows, comments, likes"));
        let columns = Listed::by_default(Table::Users).columns.unwrap();
        assert!(!columns.iter().any(|column| crate::decode::is_private(column)));
        for document in DOCUMENTS {
            let words = document.split_whitespace().collect::<Vec<_>>().join(" ");
            if words.contains("CREATE PUBLICATION nova FOR") {
                assert!(words.contains(&statement), "{statement}");
            }
        }
    }

    #[test]
    fn names_are_quoted_where_they_have_to_be() {
        for (name, expected) in [
            ("plain_1", "plain_1"),
            ("1st", "\"1st\""),
            ("Odd", "\"Odd\""),
            ("a\"b", "\"a\"\"b\""),
            ("order", "\"order\""),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(name), expected);
        }
        let listed = Listed { schema: Some("App".to_owned()), ..Listed::by_default(Table::Posts) };
        assert_eq!(
            create("p", &[listed], true),
            "CREATE PUBLICATION p FOR TABLE \"App\".posts WITH (publish_via_partition_root = true)"
        );
    }
}
