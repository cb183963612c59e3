//! Finds problems of the PostgreSQL server or of the publication that do not depend on the store. Each finding
//! disappears when its cause is corrected. The module does no input or output; the follower, `nova check` and `nova
//! postgres` use it.

use crate::event::{Table, Tables};

use super::around;
use super::finding::{Code, Effect, Finding};
use super::hazards;
use super::publication::{self, Through, create, through};
use super::slot::Seen;

/// The oldest version of PostgreSQL that nova follows, because it is the first version with column lists of
/// publications.
pub const VERSION_MIN: u32 = 15_00_00;

/// All findings. Returns the findings; those that stop nova come first.
pub fn findings(seen: &Seen, slot: &str, publication: &str) -> Vec<Finding> {
    let mut found = of_server(seen);
    found.extend(of_publication(seen, slot, publication));
    found.extend(hazards::findings(seen, slot, publication));
    found.extend(around::findings(seen, publication));
    found.sort_by_key(|finding| finding.code.effect() == Effect::Warns);
    found
}

/// Returns the first finding that keeps nova from reading.
pub fn unfit(seen: &Seen, slot: &str, publication: &str) -> Option<Finding> {
    findings(seen, slot, publication).into_iter().find(|finding| finding.code.effect() == Effect::Stops)
}

fn of_server(seen: &Seen) -> Vec<Finding> {
    let mut found = Vec::new();
    if seen.version < VERSION_MIN {
        let detail = format!("the server has version {}", seen.version_text());
        found.push(Finding::new(Code::Version, detail, "nova follows PostgreSQL 15 and later"));
    }
    if seen.in_recovery {
        let remedy = "Name the primary in postgres.url, or every host of the cluster";
        found.push(Finding::new(Code::Standby, "the server is a standby", remedy));
    }
    if seen.wal_level != "logical" {
        let detail = format!("wal_level is {}", seen.wal_level);
        let remedy = "Set it and restart the server: ALTER SYSTEM SET wal_level = logical; managed services have a switch \
                      for it (rds.logical_replication, cloudsql.logical_decoding, on Neon and Azure a setting of the console)";
        found.push(Finding::new(Code::WalLevel, detail, remedy));
    }
    if !seen.may_replicate {
        found.push(no_replication_right(&seen.limits.role));
    }
    found
}

/// Returns the finding that the role lacks the right to replicate, with the statement that grants the right.
pub fn no_replication_right(role: &str) -> Finding {
    let role = if role.is_empty() { "nova" } else { role };
    let name = publication::quoted(role);
    let remedy = format!("ALTER ROLE {name} REPLICATION; on Amazon RDS and Aurora: GRANT rds_replication TO {name}");
    Finding::new(Code::NoReplicationRight, format!("the role {role} may not replicate"), remedy)
}

fn of_publication(seen: &Seen, slot: &str, publication: &str) -> Vec<Finding> {
    let Some(row) = &seen.publication else { return vec![missing(seen, slot, publication)] };
    let mut found = Vec::new();
    if let Some(leaf) = seen.tables.iter().find(|one| one.is_leaf) {
        let detail = format!("changes of the partition {}.{} come under its own name", leaf.namespace, leaf.name);
        found.push(Finding::new(Code::PublicationLeaf, detail, publication::via_root(publication)));
    }
    found.extend(lacking(seen, publication));
    let several =
        |table: &Table| seen.tables.iter().filter(|one| one.table == Some(*table) && !one.is_leaf).count() > 1;
    if let Some(table) = Table::ALL.into_iter().find(several) {
        let detail = format!("the publication {publication} has several tables {table}, in different schemas");
        let remedy = format!("Leave one of them: ALTER PUBLICATION {publication} DROP TABLE …");
        found.push(Finding::new(Code::PublicationAmbiguous, detail, remedy));
    }
    let kinds =
        [("insert", row.inserts), ("update", row.updates), ("delete", row.deletes), ("truncate", row.truncates)];
    let silent: Vec<_> = kinds.iter().filter(|(_, publishes)| !publishes).map(|(name, _)| *name).collect();
    if !silent.is_empty() {
        // If the publication lacks only truncates, only the rows of emptied tables are wrong in nova. If the
        // publication lacks an operation other than truncate, the rows of every table become wrong.
        let (code, words) = match silent[..] {
            ["truncate"] => (Code::PublicationNoTruncate, ": a TRUNCATE leaves every row of the table here"),
            _ => (Code::PublicationNoDeletes, ""),
        };
        let detail = format!("the publication {publication} does not publish: {}{words}", silent.join(", "));
        found.push(Finding::new(code, detail, publication::publish_all(publication)));
    }
    found.extend(Table::ALL.into_iter().filter_map(|table| uncovered(seen, table, publication)));
    found
}

/// Returns the finding for tables that are not in the publication.
fn lacking(seen: &Seen, publication: &str) -> Option<Finding> {
    let lacks: Tables = Table::ALL.into_iter().filter(|table| seen.published(*table).is_none()).collect();
    if lacks.is_empty() {
        return None;
    }
    let names = lacks.iter().map(Table::name).collect::<Vec<_>>().join(", ");
    let listed: Vec<_> = lacks.iter().map(|table| around::listed(seen, table)).collect();
    let mut remedy = publication::add(publication, &listed);
    if around::is_partitioned(seen, &listed) && seen.publication.as_ref().is_some_and(|row| !row.via_root) {
        remedy.push_str(&format!("; {}", publication::via_root(publication)));
    }
    if listed.iter().all(|one| one.schema.is_none()) {
        remedy.push_str(ELSEWHERE);
    }
    Some(match lacks == Tables::ALL {
        true => {
            let detail = format!("the publication {publication} has none of the tables {names}");
            Finding::new(Code::PublicationEmpty, detail, remedy)
        }
        false => {
            let detail = format!("the publication {publication} lacks {names}: nova knows nothing of their rows");
            Finding::new(Code::PublicationIncomplete, detail, remedy)
        }
    })
}

/// The statement names each table without its schema, because the schemas of the tables in the database are not known.
const ELSEWHERE: &str = ". Where they are in another schema, or partitioned, nova postgres setup --url URL --schema NAME prints \
                         the statement that fits";

fn missing(seen: &Seen, slot: &str, publication: &str) -> Finding {
    let detail = format!("there is no publication {publication} in the database {}", seen.database);
    let listed = Table::ALL.map(|table| around::listed(seen, table));
    let statement = create(publication, &listed, around::is_partitioned(seen, &listed));
    let elsewhere = if listed.iter().all(|one| one.schema.is_none()) { ELSEWHERE } else { "" };
    let remedy = match seen.slot {
        // PostgreSQL looks a publication up as of the slot's position in the log, which may be older than the
        // publication.
        Some(_) => format!(
            "Make it: {statement}; then a slot that is younger than it: nova cdc resnapshot (it drops the slot \
             {slot}){elsewhere}"
        ),
        None => format!("Make it: {statement}; nova postgres setup prints it with role and grants{elsewhere}"),
    };
    Finding::new(Code::PublicationMissing, detail, remedy)
}

/// Returns the finding for a table if some columns that nova needs are not published.
fn uncovered(seen: &Seen, table: Table, publication: &str) -> Option<Finding> {
    let published = seen.published(table)?;
    let lacks = |name: &str| !published.columns.iter().any(|(known, _)| known == name);
    let columns = table.columns();
    let missing: Vec<_> =
        columns.iter().filter(|column| !column.nullable && lacks(column.name)).map(|one| one.name).collect();
    if missing.is_empty() {
        return None;
    }
    let detail = format!("the publication {publication} leaves out {table}.{}", missing.join(", "));
    let columns: Vec<_> = columns.iter().map(|column| column.name).collect();
    let how = seen.publication.as_ref().map_or(Through::ItsName, |row| through(row, published));
    let remedy = match how {
        Through::ItsName => format!(
            "Add them to the column list of the table (ALTER PUBLICATION {publication} SET TABLE … names all tables \
             again); nova needs {table} ({})",
            columns.join(", ")
        ),
        // The publication has no list of columns, so the table itself lacks the columns, or PostgreSQL computes them.
        _ => {
            format!("The table needs columns of its own with these names: nova needs {table} ({})", columns.join(", "))
        }
    };
    Some(Finding::new(Code::PublicationColumns, detail, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::postgres::slot::Publication;

    #[test]
    fn a_missing_publication_is_proposed_by_the_statement_of_setup() {
        let seen =
            Seen { version: VERSION_MIN, wal_level: "logical".to_owned(), may_replicate: true, ..Seen::default() };
        let found = unfit(&seen, "nova", "feeds").unwrap();
        assert_eq!(found.code, Code::PublicationMissing);
        assert!(found.remedy.contains(&create("feeds", &publication::by_default(), false)), "{found}");
        assert!(!found.remedy.contains("password_hash") && !found.remedy.contains("email,"));
    }

    #[test]
    fn what_is_not_published_is_said_truncates_alone_as_a_warning() {
        let found = |row: Publication| {
            let seen = Seen { publication: Some(row), ..Seen::default() };
            let found = findings(&seen, "nova", "nova");
            let found = found.into_iter().filter(|one| one.remedy == publication::publish_all("nova"));
            found.map(|one| (one.code, one.detail)).collect::<Vec<_>>()
        };
        let all =
            Publication { inserts: true, updates: true, deletes: true, truncates: true, ..Publication::default() };
        assert!(found(all.clone()).is_empty());
        let emptied = found(Publication { truncates: false, ..all.clone() });
        assert_eq!(emptied[0].0, Code::PublicationNoTruncate);
        assert_eq!((emptied.len(), emptied[0].0.effect()), (1, Effect::Warns));
        let silent = found(Publication { inserts: true, ..Publication::default() });
        assert_eq!((silent.len(), silent[0].0), (1, Code::PublicationNoDeletes));
        assert!(silent[0].1.ends_with("update, delete, truncate"), "{silent:?}");
    }

    #[test]
    fn everything_that_is_wrong_is_said_and_what_stops_nova_comes_first() {
        let codes: Vec<_> = findings(&Seen::default(), "nova", "nova").iter().map(|one| one.code).collect();
        assert_eq!(codes[..4], [Code::Version, Code::WalLevel, Code::NoReplicationRight, Code::PublicationMissing]);
        let version = |version: u32| Seen { version, ..Seen::default() }.version_text();
        assert_eq!((version(18_00_06), version(15_00_18)), ("18.6".to_owned(), "15.18".to_owned()));
    }
}
