//! Reads the rows of a table in the format of COPY.

#![warn(clippy::indexing_slicing)]

use std::pin::Pin;
use std::task::Context;

use bytes::Bytes;
use tokio_postgres::{Client, CopyOutStream};

use crate::decode::is_private;
use crate::event::{Relation, WireColumn};
use crate::source::postgres::server::{Copy, Failure};
use crate::source::postgres::slot::Published;

use super::errors::{failed, of_copy};

/// The oids of the types whose values are text: `text`, `bpchar` and `varchar`.
const TEXTS: [u32; 3] = [25, 1_042, 1_043];

/// The rows of a table in the format of COPY.
pub struct TableCopy {
    relation: Relation,
    rows: Pin<Box<CopyOutStream>>,
}

impl TableCopy {
    /// Begins to copy the rows of a table. The copy requests only published columns that nova keeps, so that private
    /// columns never leave the server.
    pub(super) async fn begin(client: &Client, table: &Published) -> Result<TableCopy, Failure> {
        let wanted = table.columns.iter().filter(|(name, _)| !is_private(name));
        let columns = wanted.map(|(name, type_oid)| WireColumn { name: name.as_str().into(), type_oid: *type_oid });
        let (namespace, name) = (table.namespace.as_str().into(), table.name.as_str().into());
        let relation = Relation { oid: table.oid, namespace, name, columns: columns.collect() };
        let sql = statement(table, &relation);
        let rows = client.copy_out(&sql).await.map_err(|error| said_of(&relation, failed(&error)))?;
        Ok(TableCopy { relation, rows: Box::pin(rows) })
    }
}

/// Adds the name of the table to a failure in the middle of its copy, because the server's message does not name the
/// table.
fn said_of(relation: &Relation, failure: Failure) -> Failure {
    let texts = relation.columns.iter().filter(|column| TEXTS.contains(&column.type_oid));
    let texts: Vec<_> = texts.map(|column| quoted(&column.name)).collect();
    of_copy(failure, &format!("{}.{}", quoted(&relation.namespace), quoted(&relation.name)), &texts)
}

fn statement(table: &Published, relation: &Relation) -> String {
    let names: Vec<_> = relation.columns.iter().map(|column| quoted(&column.name)).collect();
    let (columns, of) = (names.join(", "), format!("{}.{}", quoted(&table.namespace), quoted(&table.name)));
    match &table.filter {
        // PostgreSQL can copy a partitioned table only as the result of a query.
        None if !table.partitioned => format!("COPY {of} ({columns}) TO STDOUT"),
        None => format!("COPY (SELECT {columns} FROM {of}) TO STDOUT"),
        // The stream never has rows that the row filter excludes, so the copy excludes them with the same filter.
        Some(filter) => format!("COPY (SELECT {columns} FROM {of} WHERE {filter}) TO STDOUT"),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Copy for TableCopy {
    fn columns(&self) -> &Relation {
        &self.relation
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let rows = &mut self.rows;
        let next =
            std::future::poll_fn(|context: &mut Context<'_>| futures_core::Stream::poll_next(rows.as_mut(), context));
        next.await.transpose().map_err(|error| said_of(&self.relation, failed(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_of_the_publication_is_that_of_the_snapshot_and_names_are_quoted() {
        let relation = |names: &[&str]| Relation {
            oid: 1,
            namespace: "a".into(),
            name: "posts".into(),
            columns: names.iter().map(|name| WireColumn { name: (*name).into(), type_oid: 25 }).collect(),
        };
        let mut table =
            Published { namespace: "Odd\"one".to_owned(), name: "posts".to_owned(), ..Published::default() };
        assert_eq!(statement(&table, &relation(&["id", "x y"])), r#"COPY "Odd""one"."posts" ("id", "x y") TO STDOUT"#);
        table.filter = Some("(id > 5)".to_owned());
        let filtered = r#"COPY (SELECT "id" FROM "Odd""one"."posts" WHERE (id > 5)) TO STDOUT"#;
        assert_eq!(statement(&table, &relation(&["id"])), filtered);
        (table.filter, table.partitioned) = (None, true);
        assert_eq!(statement(&table, &relation(&["id"])), r#"COPY (SELECT "id" FROM "Odd""one"."posts") TO STDOUT"#);
    }
}
