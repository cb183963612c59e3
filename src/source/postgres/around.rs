//! What stands around a publication: the tables as they are in the database, published or not, and how texts are stored. Rows
//! that would be missing without a word are found here. Pure; `net::NetServer::around` asks, `nova check`, `nova postgres` and
//! every snapshot before it begins look at it.

use crate::event::Table;

use super::finding::{Code, Finding};
use super::publication::{self, Listed, Through, quoted, through};
use super::slot::{Published, Seen};

/// Tables that inherit from another are named up to this number.
pub const CHILDREN_MAX: usize = 3;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// `server_encoding`; empty where it was not asked.
    pub encoding: String,
    pub tables: Vec<Place>,
}

/// A table of the database that has the name of one that nova follows. No partition of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub table: Table,
    pub namespace: String,
    pub partitioned: bool,
    /// All columns but those that PostgreSQL computes.
    pub columns: Vec<String>,
    /// Tables that inherit from it, as SQL names them; not more than one above [`CHILDREN_MAX`].
    pub children: Vec<String>,
    /// Row-level security holds for the role.
    pub hides_rows: bool,
}

impl Place {
    /// The table's name, with its schema.
    pub fn name(&self) -> String {
        format!("{}.{}", quoted(&self.namespace), self.table)
    }
}

impl Around {
    /// A table as it is to be published: where the others are, or where most of the tables are. Without a look at the database
    /// where the search path finds it.
    pub fn listed(&self, seen: &Seen, table: Table) -> Listed {
        let near = seen.tables.iter().find(|one| !one.is_leaf).map(|one| one.namespace.as_str());
        let near = near.or_else(|| self.most());
        let place = self.tables.iter().find(|one| one.table == table && Some(one.namespace.as_str()) == near);
        match place {
            Some(place) => {
                let columns: Vec<_> = place.columns.iter().map(String::as_str).collect();
                Listed::of(table, &place.namespace, &columns, &[])
            }
            None => Listed { schema: near.map(str::to_owned), ..Listed::by_default(table) },
        }
    }

    /// Whether one of the listed tables is partitioned.
    pub fn is_partitioned(&self, listed: &[Listed]) -> bool {
        let is_listed = |place: &Place| {
            let here = |one: &Listed| one.table == place.table && one.schema.as_deref() == Some(&*place.namespace);
            listed.iter().any(here)
        };
        self.tables.iter().any(|place| place.partitioned && is_listed(place))
    }

    /// The schema that has most of the tables, the first of those that have as many.
    fn most(&self) -> Option<&str> {
        let count = |name: &str| self.tables.iter().filter(|one| one.namespace == name).count();
        let names = self.tables.iter().map(|one| one.namespace.as_str());
        names.reduce(|most, name| if count(name) > count(most) { name } else { most })
    }
}

/// What is wrong with the tables that are published.
pub fn findings(seen: &Seen, around: &Around, publication: &str) -> Vec<Finding> {
    let mut found: Vec<_> = encoding(&around.encoding).into_iter().collect();
    let published = |place: &Place| {
        let is_it = |one: &&Published| one.table == Some(place.table) && one.namespace == place.namespace;
        seen.tables.iter().filter(|one| !one.is_leaf).find(is_it)
    };
    for place in &around.tables {
        let Some(published) = published(place) else { continue };
        found.extend(inherited(place));
        found.extend(place.hides_rows.then(|| hides_rows(&seen.limits.role, &place.name())));
        found.extend(left_out(seen, place, published, publication));
    }
    found
}

fn encoding(name: &str) -> Option<Finding> {
    if name != "SQL_ASCII" {
        return None;
    }
    let detail = "the database has the encoding SQL_ASCII, which takes any bytes as a text: a value that is no UTF-8 ends a copy \
                  of its table, and the stream at its change";
    let remedy = "Rows with bytes that are no ASCII: SELECT id FROM posts WHERE caption ~ '[^\\x01-\\x7F]', and so for each \
                  column of text. Correct those that are no UTF-8, or bring the database over to UTF8 (pg_dump, createdb -E UTF8)";
    Some(Finding::new(Code::Encoding, detail, remedy))
}

/// Rows of tables that inherit are in no copy, and come in the stream under another name.
pub fn inherited(place: &Place) -> Option<Finding> {
    let first = place.children.first()?;
    let mut names = place.children[..place.children.len().min(CHILDREN_MAX)].join(", ");
    if place.children.len() > CHILDREN_MAX {
        names.push_str(" and more");
    }
    let name = place.name();
    let detail = format!("{names} inherit from {name}: nova would know nothing of their rows");
    let remedy = format!(
        "Move the rows: BEGIN; ALTER TABLE {first} NO INHERIT {name}; INSERT INTO {name} SELECT * FROM {first}; DROP TABLE \
         {first}; COMMIT. Or make {name} a table PARTITION BY RANGE, whose partitions nova follows. \
         Chunks of TimescaleDB inherit: a hypertable cannot be followed"
    );
    Some(Finding::new(Code::Inheritance, detail, remedy))
}

/// PostgreSQL refuses to copy a table with policies that hold for the role; what is streamed knows no policies.
pub fn hides_rows(role: &str, name: &str) -> Finding {
    let role = if role.is_empty() { "nova" } else { role };
    let detail =
        format!("row-level security of {name} holds for the role {role}: PostgreSQL refuses to copy the table");
    let remedy = format!(
        "ALTER ROLE {} BYPASSRLS (a policy for the role is not enough: nova asks for all rows, row_security = off)",
        quoted(role)
    );
    Finding::new(Code::RowSecurity, detail, remedy)
}

/// Columns that nova would follow, are there, and are not sent. Those that it cannot do without, `fitness` finds.
fn left_out(seen: &Seen, place: &Place, published: &Published, publication: &str) -> Option<Finding> {
    let sent = |name: &str| published.columns.iter().any(|(known, _)| known == name);
    let there = |name: &str| place.columns.iter().any(|known| known == name);
    let known = place.table.columns().iter().filter(|column| column.nullable);
    let lacks: Vec<_> = known.map(|column| column.name).filter(|name| there(name) && !sent(name)).collect();
    if lacks.is_empty() {
        return None;
    }
    let (table, name, names) = (place.table, place.name(), lacks.join(", "));
    let detail =
        format!("the publication {publication} leaves out {name} ({names}): nova never learns of their changes");
    let how = seen.publication.as_ref().map_or(Through::ItsName, |row| through(row, published));
    let listed = Listed::of_published(published)?;
    let sent = || published.columns.iter().map(|(name, _)| name.clone()).collect();
    let mut columns: Vec<String> = listed.columns.clone().unwrap_or_else(sent);
    columns.extend(lacks.iter().map(|name| (*name).to_owned()));
    let listed = Listed { columns: Some(columns), ..listed };
    // Only a table that is listed has a list of columns.
    let remedy = match how {
        Through::ItsName => format!("{}; then nova cdc resnapshot {table}", again(publication, &listed, published)),
        _ => format!("Publish {name} ({names})"),
    };
    Some(Finding::new(Code::ColumnsLeftOut, detail, remedy))
}

/// Takes a table out and puts it back with other columns; its filter stays.
pub fn again(publication: &str, listed: &Listed, published: &Published) -> String {
    let filter = published.filter.as_ref().map_or(String::new(), |filter| format!(" WHERE ({filter})"));
    let put_back = publication::add(publication, std::slice::from_ref(listed));
    format!("{}; {put_back}{filter}", publication::remove(publication, listed))
}

#[cfg(test)]
mod tests;
