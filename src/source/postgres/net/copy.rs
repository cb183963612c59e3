//! The rows of a table, as COPY writes them.

use std::pin::Pin;
use std::task::Context;

use bytes::Bytes;
use tokio_postgres::{Client, CopyOutStream};

use crate::decode::is_private;
use crate::event::{Relation, WireColumn};
use crate::source::postgres::server::{Copy, Failure};
use crate::source::postgres::slot::Published;

use super::failed;

/// A table up to this size is read in the order of its key: rows that come so cost nova a third of what they cost otherwise.
/// The server sorts them, with temporary files of about the table's size.
const SORTED_MAX_BYTES: i64 = 2 << 30;
/// The name of the primary key, the first column of every table.
const KEY: &str = "id";

/// See the module.
pub struct TableCopy {
    relation: Relation,
    rows: Pin<Box<CopyOutStream>>,
}

impl TableCopy {
    /// Only published columns are asked for, and of those none that nova drops: what it does not want never leaves the
    /// server.
    pub(super) async fn begin(client: &Client, table: &Published) -> Result<TableCopy, Failure> {
        let wanted = table.columns.iter().filter(|(name, _)| !is_private(name));
        let columns = wanted.map(|(name, type_oid)| WireColumn { name: name.as_str().into(), type_oid: *type_oid });
        let (namespace, name) = (table.namespace.as_str().into(), table.name.as_str().into());
        let relation = Relation { oid: table.oid, namespace, name, columns: columns.collect() };
        let sql = statement(table, &relation, is_sortable(client, table.oid).await?);
        let rows = client.copy_out(&sql).await.map_err(|error| failed(&error))?;
        Ok(TableCopy { relation, rows: Box::pin(rows) })
    }
}

/// Whether the server is to sort a table, its partitions together.
async fn is_sortable(client: &Client, oid: u32) -> Result<bool, Failure> {
    let sql = "SELECT coalesce(sum(pg_relation_size(relid)), 0)::int8,
                      (SELECT setting::int8 FROM pg_settings WHERE name = 'temp_file_limit')
               FROM pg_partition_tree($1::oid)";
    let row = client.query_one(sql, &[&oid]).await.map_err(|error| failed(&error))?;
    let (bytes, limit_kib): (i64, Option<i64>) = (row.get(0), row.get(1));
    // -1 is no limit. What is sorted has its own overhead.
    let allowed = limit_kib.filter(|kib| *kib >= 0).map_or(i64::MAX, |kib| kib.saturating_mul(1_024) / 2);
    Ok(bytes <= SORTED_MAX_BYTES.min(allowed))
}

fn statement(table: &Published, relation: &Relation, sorted: bool) -> String {
    let names: Vec<_> = relation.columns.iter().map(|column| quoted(&column.name)).collect();
    let (columns, of) = (names.join(", "), format!("{}.{}", quoted(&table.namespace), quoted(&table.name)));
    let sorted = sorted && relation.columns.iter().any(|column| &*column.name == KEY);
    // The stream never tells of rows outside of the filter.
    let filter = table.filter.as_ref().map_or_else(String::new, |filter| format!(" WHERE {filter}"));
    match sorted {
        true => format!("COPY (SELECT {columns} FROM {of}{filter} ORDER BY {}) TO STDOUT", quoted(KEY)),
        // COPY of a partitioned table needs a query.
        false if table.partitioned || table.filter.is_some() => {
            format!("COPY (SELECT {columns} FROM {of}{filter}) TO STDOUT")
        }
        false => format!("COPY {of} ({columns}) TO STDOUT"),
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
        next.await.transpose().map_err(|error| failed(&error))
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
        assert_eq!(
            statement(&table, &relation(&["id", "x y"]), false),
            r#"COPY "Odd""one"."posts" ("id", "x y") TO STDOUT"#
        );
        table.filter = Some("(id > 5)".to_owned());
        let filtered = r#"COPY (SELECT "id" FROM "Odd""one"."posts" WHERE (id > 5)) TO STDOUT"#;
        assert_eq!(statement(&table, &relation(&["id"]), false), filtered);
        let sorted = r#"COPY (SELECT "id" FROM "Odd""one"."posts" WHERE (id > 5) ORDER BY "id") TO STDOUT"#;
        assert_eq!(statement(&table, &relation(&["id"]), true), sorted);
        assert_eq!(statement(&table, &relation(&["x"]), true), statement(&table, &relation(&["x"]), false));
        (table.filter, table.partitioned) = (None, true);
        assert_eq!(
            statement(&table, &relation(&["id"]), false),
            r#"COPY (SELECT "id" FROM "Odd""one"."posts") TO STDOUT"#
        );
    }
}
