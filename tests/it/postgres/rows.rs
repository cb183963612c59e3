//! Rows and random transactions for the double of the PostgreSQL server.

use nova::event::{ColumnType, Table};

use super::pgoutput::{Values, Wire};
use super::walsender::{Pg, Write, text};
use crate::support::events::Rng;

pub fn key(number: u64) -> String {
    format!("{number:08x}-0000-4000-8000-{number:012x}")
}

const AT: &str = "2026-11-20 09:00:00";

/// Makes a row of a table for the double. The values of the row depend on `version`.
pub fn row(table: Table, id: u64, version: u64) -> Values {
    let zoned = || text(format!("{AT}.{:06}+00", version % 1_000_000));
    let plain = || text(format!("{AT}.{:06}", version % 1_000_000));
    let other = |number: u64| text(key(number % 16));
    let id = text(key(id));
    let mut values = match table {
        Table::Users => {
            vec![id, text(format!("user {version}")), text("t"), text("t"), zoned(), zoned(), Wire::Null]
        }
        Table::Posts => vec![
            id,
            other(version),
            // The text is long enough to be stored out of line, and changes rarely.
            text(format!("a caption\tthat is long \\ {}", version / 4)),
            text("key"),
            if version.is_multiple_of(3) { Wire::Null } else { text(format!("{{\"w\": {}}}", version / 5)) },
            text("published"),
            zoned(),
            zoned(),
            Wire::Null,
        ],
        Table::Follows => vec![id, other(version), other(version + 1), plain()],
        Table::Comments => {
            vec![
                id,
                other(version),
                other(version + 2),
                text(format!("comment {version}")),
                Wire::Null,
                plain(),
                plain(),
                Wire::Null,
            ]
        }
        Table::Likes => {
            vec![id, other(version), other(version + 3), if version.is_multiple_of(5) { Wire::Null } else { plain() }]
        }
    };
    // Later versions of the schema added the columns that the loop below fills.
    for column in &table.columns()[values.len()..] {
        values.push(match column.kind {
            ColumnType::Text => text(format!("{} {version}", column.name)),
            _ if column.nullable => Wire::Null,
            kind => panic!("{table}.{}: say what a {kind:?} is here", column.name),
        });
    }
    values
}

/// Draws a transaction of up to `most` writes, with `keys` possible keys for each table.
pub fn transaction(rng: &mut Rng, most: u64, keys: u64) -> Vec<Write> {
    (0..1 + rng.below(most))
        .map(|_| {
            let table = Table::ALL[rng.below(5) as usize];
            let (id, version) = (rng.below(keys), rng.below(1_000));
            match rng.below(10) {
                0 | 1 => Write::Delete(table, key(id)),
                2 => Write::Rekey(table, key(id), key(rng.below(keys))),
                _ => Write::Put(table, row(table, id, version)),
            }
        })
        .collect()
}

/// Commits some rows of every table.
pub fn fill(pg: &mut Pg, rng: &mut Rng, transactions: u64) {
    (0..transactions).for_each(|_| pg.commit(&transaction(rng, 6, 30)));
}
