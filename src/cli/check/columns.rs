//! Checks which columns a connector sends, by `column.exclude.list` and `column.include.list`.

use crate::event::{DROPPED_COLUMNS, Table};

use super::finding::Finding;
use super::setting::{Config, set, value};

/// Whether an include list or exclude list of Debezium matches a column's name. Debezium's lists of columns have
/// regular expressions, separated by commas. An expression must match the whole name `schema.table.column`, in upper or
/// lower case. This function understands only `.*`, an escaped dot and the bare dot; an expression with anything else
/// matches nothing.
fn listed(list: &str, name: &str) -> bool {
    list.split(',')
        .any(|pattern| whole(pattern.trim().replace("\\.", ".").to_ascii_lowercase().as_bytes(), name.as_bytes()))
}

fn whole(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'.', b'*', rest @ ..] => (0..=name.len()).any(|skip| whole(rest, &name[skip..])),
        [b'.', rest @ ..] => !name.is_empty() && whole(rest, &name[1..]),
        [first, rest @ ..] => name.first() == Some(first) && whole(rest, &name[1..]),
    }
}

/// Whether the connector's lists leave out a column. The function does not know the schema, so it assumes the schema
/// `public`.
fn left_out(config: &Config, table: Table, column: &str) -> bool {
    let name = format!("public.{table}.{column}");
    let (excluded, included) = (value(config, "column.exclude.list"), value(config, "column.include.list"));
    match included.is_empty() {
        true => listed(excluded, &name),
        false => !listed(included, &name),
    }
}

/// Adds findings for private columns that the connector sends, and for columns that nova needs and the connector leaves
/// out.
pub(super) fn findings(config: &Config, found: &mut Vec<Finding>) {
    for column in DROPPED_COLUMNS.iter().filter(|column| !left_out(config, Table::Users, column)) {
        let wanted = "public.users.password_hash,public.users.email";
        let reason = format!("users.{column} would be readable in Kafka");
        found.push(set("private-column", config, "column.exclude.list", wanted, &reason));
    }
    let key = match config.contains_key("column.include.list") {
        true => "column.include.list",
        false => "column.exclude.list",
    };
    for table in Table::ALL {
        let columns = table.columns().iter().map(|column| column.name);
        let missing: Vec<_> = columns.filter(|column| left_out(config, table, column)).collect();
        if !missing.is_empty() {
            let detail = format!("{key} leaves {} of {table} out, which nova stores", missing.join(", "));
            let remedy = format!("let {key} send them: rows without a NOT NULL column are not applied");
            found.push(Finding::new("column-excluded", detail, remedy));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_matches_whole_names_as_debezium_does() {
        let name = "public.users.email";
        for list in
            ["public.users.email", "a,PUBLIC\\.users\\.email", " .*\\.email", "public.users.*", ".*", "pu.*.e.*l"]
        {
            assert!(listed(list, name), "{list}");
        }
        for list in ["", "email", "users.email", "public.users.email_verified", "public.users.emai", ".*mails"] {
            assert!(!listed(list, name), "{list}");
        }
    }

    #[test]
    fn what_is_sent_and_what_is_missing_is_found_by_either_list() {
        let codes = |key: &str, list: &str| -> Vec<String> {
            let mut found = Vec::new();
            findings(&Config::from([(key.to_owned(), list.to_owned())]), &mut found);
            found.into_iter().map(|found| format!("{}: {}", found.code, found.detail)).collect()
        };
        let private = "public.users.password_hash,public.users.email";
        assert_eq!(codes("column.exclude.list", private), Vec::<String>::new());
        // `email_verified` contains the name of the private column `email`, but is a different column.
        let similar = codes("column.exclude.list", "public.users.password_hash,public.users.email_verified");
        assert_eq!(similar.len(), 2);
        assert!(similar[0].contains("users.email ") && similar[1].contains("email_verified of users"), "{similar:?}");
        let caption = codes("column.exclude.list", &format!("{private},public.posts.caption"));
        assert!(caption.len() == 1 && caption[0].contains("caption of posts"), "{caption:?}");
        let included = codes("column.include.list", "public.(users|posts).id,public.follows.*,public.likes.*");
        assert_eq!(included.len(), 3, "users, posts and comments: {included:?}");
    }
}
