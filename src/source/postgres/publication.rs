//! The statements about a publication: nova proposes them if the publication is missing, and `nova postgres setup` runs
//! them.

use std::fmt;

use crate::decode::is_private;
use crate::event::Table;

use super::slot::{Publication, Published};

/// A table in the form in which a publication names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub table: Table,
    /// The schema. The schema of the table, or `None` for the table that the search path finds.
    pub schema: Option<String>,
    /// The columns. The published columns, or `None` for every column, including columns that are added later.
    pub columns: Option<Vec<String>>,
}

impl Listed {
    /// Returns a table in the form that nova proposes without checking the server. From `users`, only the columns that
    /// nova keeps leave the server, so private columns stay there. Column lists need PostgreSQL 15 or later.
    pub fn by_default(table: Table) -> Listed {
        let names = || table.columns().iter().map(|column| column.name.to_owned()).collect();
        Listed { table, schema: None, columns: (table == Table::Users).then(names) }
    }

    /// Returns a table with the given columns except private columns. For `users`, the result has only columns that
    /// nova knows or needs. `needed` are further columns that must be published because they are in the replica
    /// identity.
    pub fn of(table: Table, schema: &str, columns: &[&str], needed: &[&str]) -> Listed {
        let known = |name: &str| table.columns().iter().any(|column| column.name == name);
        let follows = |name: &str| table != Table::Users || known(name) || needed.contains(&name);
        let kept = columns.iter().filter(|name| follows(name) && !is_private(name));
        let kept: Vec<_> = kept.map(|name| (*name).to_owned()).collect();
        let whole = table != Table::Users && kept.len() == columns.len();
        Listed { table, schema: Some(schema.to_owned()), columns: (!whole).then_some(kept) }
    }

    /// Returns the form of a table that is already published.
    pub fn of_published(published: &Published) -> Option<Listed> {
        let columns: Vec<_> = published.columns.iter().map(|(name, _)| name.as_str()).collect();
        let identity: Vec<_> = published.identity_columns.iter().map(|column| column.name.as_str()).collect();
        Some(Listed::of(published.table?, &published.namespace, &columns, &identity))
    }

    /// Returns the table's name, quoted if necessary.
    pub fn name(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quoted(schema), self.table),
            None => self.table.to_string(),
        }
    }

    /// Returns the list of columns in parentheses. The text is empty if every column is published.
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

/// How a table belongs to a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// The publication names the table: it can be removed, and may have a list of columns.
    ItsName,
    /// The publication has `FOR TABLES IN SCHEMA`, so none of its tables may have a list of columns.
    ItsSchema,
    /// `FOR ALL TABLES`: the publication has every table.
    AllTables,
}

impl Through {
    /// Returns the words with which the publication's statement includes the table.
    pub const fn words(self) -> &'static str {
        match self {
            Through::ItsName => "FOR TABLE",
            Through::ItsSchema => "FOR TABLES IN SCHEMA",
            Through::AllTables => "FOR ALL TABLES",
        }
    }
}

/// Returns how the table belongs to the publication according to the catalogue: `{publication}/{its row}/{the row of
/// its schema}`.
pub fn through(row: &Publication, published: &Published) -> Through {
    match published.membership.split('/').nth(2) {
        _ if row.all_tables => Through::AllTables,
        Some(of_schema) if !of_schema.is_empty() => Through::ItsSchema,
        _ => Through::ItsName,
    }
}

/// Returns the name for a second publication, if the present publication cannot have lists of columns.
pub fn beside(publication: &str) -> String {
    // A name in PostgreSQL has at most 63 bytes.
    format!("{}_tables", publication.get(..56).unwrap_or(publication))
}

/// Returns all tables in the form that nova proposes without checking the server.
pub fn by_default() -> Vec<Listed> {
    Table::ALL.map(Listed::by_default).to_vec()
}

/// Returns the statement that makes a publication. With `via_root`, changes of partitions come under the name of the
/// partitioned table.
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

/// Returns the name as an SQL identifier, with quotes only if the name needs quotes.
pub fn quoted(name: &str) -> String {
    /// The names of columns that are reserved words in SQL, and therefore must be quoted.
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
    fn a_table_that_is_not_listed_is_known_by_its_membership() {
        let published = |membership: &str| Published { membership: membership.to_owned(), ..Published::default() };
        let all = Publication { all_tables: true, ..Publication::default() };
        for (row, membership, expected) in [
            (Publication::default(), "9.7/16.700/", Through::ItsName),
            (Publication::default(), "9.7//17.701", Through::ItsSchema),
            (Publication::default(), "9.7/16.700/17.701", Through::ItsSchema),
            (Publication::default(), "", Through::ItsName),
            (all, "9.7//", Through::AllTables),
        ] {
            assert_eq!(through(&row, &published(membership)), expected, "{membership}");
        }
        assert_eq!((beside("nova"), beside(&"a".repeat(63)).len()), ("nova_tables".to_owned(), 63));
    }

    #[test]
    fn a_list_has_no_private_column_and_of_users_only_what_nova_knows_or_postgresql_needs() {
        let users =
            Listed::of(Table::Users, "app", &["id", "email", "username", "birthday", "tenant"], &["id", "tenant"]);
        assert_eq!(users.to_string(), "app.users (id, username, tenant)");
        assert_eq!(Listed::of(Table::Likes, "app", &["id", "extra"], &[]).to_string(), "app.likes");
        assert_eq!(
            Listed::of(Table::Likes, "app", &["id", "Email", "extra"], &[]).to_string(),
            "app.likes (id, extra)"
        );
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
