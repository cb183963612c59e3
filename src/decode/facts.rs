//! Reads the columns of a row on which ranking and visibility depend.

use crate::event::{Cell, Facts, Id, Row, Table};

/// Reads the facts from the columns of a row. Returns `None` if a needed column has no value: the column is missing or
/// unavailable, or it is null although the table does not allow null. A column that the row lacks counts as null if the
/// column is nullable, and a creation time that is null counts as 0. A user whose name is unknown still counts as a
/// user, because the activity of the account decides what nova shows.
pub fn facts(table: Table, row: &Row) -> Option<Facts> {
    let columns = Columns { table, row };
    match table {
        Table::Users => Some(Facts::User {
            username: columns.text("username").unwrap_or_default().into(),
            active: columns.bool("is_active")? && columns.is_null("deleted_at")?,
            created_at_us: columns.micros("created_at")?,
        }),
        Table::Posts => Some(Facts::Post {
            author: columns.id("user_id")?,
            created_at_us: columns.micros("created_at")?,
            published: columns.text("status")? == "published" && columns.is_null("soft_delete")?,
        }),
        Table::Follows => Some(Facts::Follow {
            follower: columns.id("follower_id")?,
            followee: columns.id("following_id")?,
            created_at_us: columns.micros("created_at")?,
        }),
        Table::Likes => Some(Facts::Like {
            user: columns.id("user_id")?,
            post: columns.id("post_id")?,
            created_at_us: columns.micros("created_at")?,
        }),
        Table::Comments => Some(Facts::Comment {
            user: columns.id("user_id")?,
            post: columns.id("post_id")?,
            created_at_us: columns.micros("created_at")?,
            counts: columns.is_null("soft_delete")?,
        }),
    }
}

struct Columns<'a> {
    table: Table,
    row: &'a Row,
}

impl<'a> Columns<'a> {
    /// Returns the cell of a column. A nullable column that is `Missing` counts as null.
    fn cell(&self, name: &str) -> Option<&'a Cell> {
        let mut cells = self.table.columns().iter().zip(&self.row.cells);
        let (column, cell) = cells.find(|(column, _)| column.name == name)?;
        match cell {
            Cell::Missing if column.nullable => Some(&Cell::Null),
            Cell::Missing | Cell::Unavailable => None,
            cell => Some(cell),
        }
    }

    fn id(&self, name: &str) -> Option<Id> {
        if let Cell::Uuid(id) = self.cell(name)? { Some(*id) } else { None }
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        if let Cell::Text(text) = self.cell(name)? { Some(text) } else { None }
    }

    fn bool(&self, name: &str) -> Option<bool> {
        if let Cell::Bool(value) = self.cell(name)? { Some(*value) } else { None }
    }

    fn micros(&self, name: &str) -> Option<i64> {
        match self.cell(name)? {
            Cell::Micros(micros) => Some(*micros),
            Cell::Null => Some(0),
            _ => None,
        }
    }

    fn is_null(&self, name: &str) -> Option<bool> {
        Some(*self.cell(name)? == Cell::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The simulation found (seeds 1611 and 2739) that a post of an inactive user was shown, because the user's name
    /// was unknown.
    #[test]
    fn a_user_whose_name_is_not_known_is_active_or_not() {
        for active in [true, false] {
            let mut cells = vec![Cell::Null; Table::Users.columns().len()];
            let index = |name: &str| Table::Users.columns().iter().position(|column| column.name == name).unwrap();
            cells[index("username")] = Cell::Unavailable;
            cells[index("is_active")] = Cell::Bool(active);
            let row = Row { cells: cells.into(), extra: None, extra_unavailable: Box::default() };
            let user = Facts::User { username: "".into(), active, created_at_us: 0 };
            assert_eq!(facts(Table::Users, &row), Some(user));
        }
    }
}
