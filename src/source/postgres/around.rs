//! Finds problems around a publication: problems of the database's tables, published or not, and of the text encoding.
//! Each problem that this module finds would otherwise lose rows silently. The module does no input or output. Every
//! check of the PostgreSQL server uses this module, so nova also reports these problems while it streams.

use crate::event::{Table, Tables};

use super::finding::{Code, Finding};
use super::publication::{self, Listed, Through, quoted, through};
use super::slot::{CHILDREN_MAX, Place, Published, Seen};

/// Returns a table in the form that a publication needs, with the schema of the published tables. If no table is
/// published, the schema is the one that has most of the tables. If the database was not checked, the table has no
/// schema, and PostgreSQL finds it by the search path.
pub fn listed(seen: &Seen, table: Table) -> Listed {
    let near = seen.tables.iter().find(|one| !one.is_leaf).map(|one| one.namespace.as_str());
    let near = near.or_else(|| most(&seen.around.tables));
    let mut places = seen.around.tables.iter();
    match places.find(|one| one.table == table && Some(one.namespace.as_str()) == near) {
        Some(place) => {
            let columns: Vec<_> = place.columns.iter().map(String::as_str).collect();
            Listed::of(table, &place.namespace, &columns, &[])
        }
        None => Listed { schema: near.map(str::to_owned), ..Listed::by_default(table) },
    }
}

/// Whether at least one of the listed tables is partitioned.
pub fn is_partitioned(seen: &Seen, listed: &[Listed]) -> bool {
    let is_listed = |place: &Place| {
        let here = |one: &Listed| one.table == place.table && one.schema.as_deref() == Some(&*place.namespace);
        listed.iter().any(here)
    };
    seen.around.tables.iter().any(|place| place.partitioned && is_listed(place))
}

/// Returns the schema with the most tables. If several schemas have the same number of tables, the result is the first
/// of them.
fn most(places: &[Place]) -> Option<&str> {
    let count = |name: &str| places.iter().filter(|one| one.namespace == name).count();
    let names = places.iter().map(|one| one.namespace.as_str());
    names.reduce(|most, name| if count(name) > count(most) { name } else { most })
}

/// Returns the table's name with its schema.
fn name_of(place: &Place) -> String {
    format!("{}.{}", quoted(&place.namespace), place.table)
}

/// Returns the problems of the published tables.
pub fn findings(seen: &Seen, publication: &str) -> Vec<Finding> {
    let mut found: Vec<_> = encoding(&seen.around.encoding).into_iter().collect();
    for (place, published) in published_places(seen) {
        found.extend(inherited(place));
        found.extend(hidden(seen, place));
        found.extend(left_out(seen, place, published, publication));
    }
    found
}

fn published_places(seen: &Seen) -> impl Iterator<Item = (&Place, &Published)> {
    seen.around.tables.iter().filter_map(move |place| {
        let is_it = |one: &&Published| one.table == Some(place.table) && one.namespace == place.namespace;
        Some((place, seen.tables.iter().filter(|one| !one.is_leaf).find(is_it)?))
    })
}

/// Returns the reason why PostgreSQL would refuse a copy of the given tables. nova does not begin a copy that
/// PostgreSQL would refuse.
pub fn uncopyable(seen: &Seen, tables: Tables) -> Option<Finding> {
    let mut places = published_places(seen).filter(|(place, _)| tables.contains(place.table));
    places.find_map(|(place, _)| hidden(seen, place))
}

fn hidden(seen: &Seen, place: &Place) -> Option<Finding> {
    place.hides_rows.then(|| hides_rows(&seen.limits.role, &name_of(place)))
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

/// Returns the finding for a table that has inheriting tables. The rows of the inheriting tables are in no copy, and
/// come in the stream under the names of the inheriting tables.
pub fn inherited(place: &Place) -> Option<Finding> {
    let first = place.children.first()?;
    let mut names = place.children[..place.children.len().min(CHILDREN_MAX)].join(", ");
    if place.children.len() > CHILDREN_MAX {
        names.push_str(" and more");
    }
    let name = name_of(place);
    let detail = format!("{names} inherit from {name}: nova would know nothing of their rows");
    let remedy = format!(
        "Move the rows: BEGIN; ALTER TABLE {first} NO INHERIT {name}; INSERT INTO {name} SELECT * FROM {first}; DROP TABLE \
         {first}; COMMIT. Or make {name} a table PARTITION BY RANGE, whose partitions nova follows. \
         Chunks of TimescaleDB inherit: a hypertable cannot be followed"
    );
    Some(Finding::new(Code::Inheritance, detail, remedy))
}

/// Returns the finding for row-level security: PostgreSQL refuses to copy a table with policies that apply to the role.
/// The replication stream ignores policies of row-level security.
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

/// Returns the finding for columns that exist in the table and that nova would follow, but that are not published. The
/// module `fitness` reports unpublished columns that nova must have.
fn left_out(seen: &Seen, place: &Place, published: &Published, publication: &str) -> Option<Finding> {
    let sent = |name: &str| published.columns.iter().any(|(known, _)| known == name);
    let there = |name: &str| place.columns.iter().any(|known| known == name);
    let known = place.table.columns().iter().filter(|column| column.nullable);
    let lacks: Vec<_> = known.map(|column| column.name).filter(|name| there(name) && !sent(name)).collect();
    if lacks.is_empty() {
        return None;
    }
    let (table, name, names) = (place.table, name_of(place), lacks.join(", "));
    let detail =
        format!("the publication {publication} leaves out {name} ({names}): nova never learns of their changes");
    let how = seen.publication.as_ref().map_or(Through::ItsName, |row| through(row, published));
    let listed = Listed::of_published(published)?;
    let sent = || published.columns.iter().map(|(name, _)| name.clone()).collect();
    let mut columns: Vec<String> = listed.columns.clone().unwrap_or_else(sent);
    columns.extend(lacks.iter().map(|name| (*name).to_owned()));
    let listed = Listed { columns: Some(columns), ..listed };
    // A publication can have a list of columns only for a table that it names.
    let remedy = match how {
        Through::ItsName => format!("{}; then nova cdc resnapshot {table}", again(publication, &listed, published)),
        _ => format!("Publish {name} ({names})"),
    };
    Some(Finding::new(Code::ColumnsLeftOut, detail, remedy))
}

/// Returns the statements that remove a table from the publication and add it again with a new list of columns. The row
/// filter of the table stays the same.
pub fn again(publication: &str, listed: &Listed, published: &Published) -> String {
    let filter = published.filter.as_ref().map_or(String::new(), |filter| format!(" WHERE ({filter})"));
    let put_back = publication::add(publication, std::slice::from_ref(listed));
    format!("{}; {put_back}{filter}", publication::remove(publication, listed))
}

#[cfg(test)]
mod tests;
