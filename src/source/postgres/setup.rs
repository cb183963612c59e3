//! What a database needs before nova can follow it: a role, rights, and a publication. The module does no input or
//! output: it derives the statements to run from the present state of the database. `net::Administrator` reads the
//! state and runs the statements, and `nova postgres setup` prints the statements.

use crate::decode::{KeepUnknown, is_private};
use crate::event::{Table, Tables};

use super::around;
use super::finding::{Code, Finding};
use super::hazards;
use super::publication::{self, Listed, Through, quoted, through};
use super::slot::{Published, Seen};

/// The state of the database that the setup must reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The role with which nova connects.
    pub role: String,
    pub publication: String,
    pub schema: String,
    /// The unknown columns of `users` that nova also follows.
    pub keep_unknown: KeepUnknown,
}

/// The present state of the database, as the setup sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    pub role: Option<Role>,
    /// Whether the role `rds_replication` exists in the database. On Amazon RDS and Aurora, members of
    /// `rds_replication` have the right to replicate.
    pub has_rds_replication: bool,
    /// Whether the role (or `public`) may connect to the database. `may_use_schema` says whether the role may use the
    /// schema.
    pub may_connect: bool,
    pub may_use_schema: bool,
    pub tables: Vec<SourceTable>,
    pub seen: Seen,
}

/// A row of `pg_roles`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Role {
    pub may_login: bool,
    pub is_superuser: bool,
    /// Whether the role may replicate, by its attribute or by membership in another role.
    pub may_replicate: bool,
    pub bypasses_rls: bool,
}

/// A table of the database that nova would follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTable {
    pub table: Table,
    pub partitioned: bool,
    /// The table's `pg_class.relreplident`.
    pub replica_identity: char,
    /// Whether row-level security is on for the table, and applies to roles that do not bypass it.
    pub has_rls: bool,
    pub columns: Vec<SourceColumn>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceColumn {
    pub name: String,
    /// Whether PostgreSQL computes the column (`GENERATED ALWAYS AS (…)`).
    pub generated: bool,
    /// Whether an UPDATE may set the column to its own value.
    pub settable: bool,
    /// Whether the column is in the replica identity.
    pub in_identity: bool,
    /// Whether the role may read the column.
    pub readable: bool,
}

/// A statement in the form in which it is run. `shown` is the form for people. `shown` differs from the statement that
/// is run if the statement contains a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub sql: String,
    pub shown: String,
}

impl From<String> for Step {
    fn from(sql: String) -> Step {
        Step { shown: sql.clone(), sql }
    }
}

/// The statements that the setup runs in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The missing statements. The list is empty if nothing is missing.
    pub steps: Vec<Step>,
    /// Statements that fail if PostgreSQL would refuse an UPDATE or DELETE of the application. A probe touches no row,
    /// and the effects of statement triggers are rolled back.
    pub probes: Vec<String>,
    /// The tables that must be read again if nova already follows them.
    pub read_again: Tables,
}

/// Plans the setup of a database. `verifier` is what PostgreSQL stores for the password of a new role (SCRAM-SHA-256).
/// If a person must solve problems first, the plan fails with a finding for each problem, and nothing is changed.
pub fn plan(wanted: &Wanted, existing: &Existing, verifier: Option<&str>) -> Result<Plan, Vec<Finding>> {
    let mut plan = Plan { steps: role(wanted, existing, verifier), ..Plan::default() };
    let (mut wrong, mut listed) = (absent(wanted, existing), Vec::new());
    let places = existing.seen.around.tables.iter().filter(|place| place.namespace == wanted.schema);
    wrong.extend(places.filter_map(around::inherited));
    for table in &existing.tables {
        match listing(wanted, table) {
            Ok(one) => {
                plan.steps.extend(grant(wanted, table, &one).map(Step::from));
                listed.push(one);
            }
            Err(finding) => wrong.push(finding),
        }
    }
    wrong.extend(published(wanted, existing, &listed, &mut plan));
    plan.probes = existing.tables.iter().zip(&listed).flat_map(|(table, one)| probes(table, one)).collect();
    if wrong.is_empty() { Ok(plan) } else { Err(wrong) }
}

fn role(wanted: &Wanted, existing: &Existing, verifier: Option<&str>) -> Vec<Step> {
    let (name, mut steps) = (quoted(&wanted.role), Vec::new());
    let attribute = if existing.has_rds_replication { "" } else { " REPLICATION" };
    let role = match existing.role {
        Some(role) => role,
        None => {
            let statement = format!("CREATE ROLE {name} LOGIN{attribute}");
            steps.push(match verifier {
                Some(verifier) => Step {
                    sql: format!("{statement} PASSWORD '{verifier}'"),
                    shown: format!("{statement} PASSWORD '…'"),
                },
                None => statement.into(),
            });
            Role { may_login: true, may_replicate: !existing.has_rds_replication, ..Role::default() }
        }
    };
    if !role.may_login {
        steps.push(format!("ALTER ROLE {name} LOGIN").into());
    }
    if !role.may_replicate && !role.is_superuser {
        steps.push(match existing.has_rds_replication {
            true => format!("GRANT rds_replication TO {name}").into(),
            false => format!("ALTER ROLE {name} REPLICATION").into(),
        });
    }
    // The stream ignores policies of row-level security, so a copy under policies would have fewer rows than the
    // stream.
    if existing.tables.iter().any(|table| table.has_rls) && !role.bypasses_rls && !role.is_superuser {
        steps.push(format!("ALTER ROLE {name} BYPASSRLS").into());
    }
    if !existing.may_connect {
        steps.push(format!("GRANT CONNECT ON DATABASE {} TO {name}", quoted(&existing.seen.database)).into());
    }
    if !existing.may_use_schema {
        steps.push(format!("GRANT USAGE ON SCHEMA {} TO {name}", quoted(&wanted.schema)).into());
    }
    steps
}

/// Returns the findings for missing tables and columns without which nova cannot make feeds.
fn absent(wanted: &Wanted, existing: &Existing) -> Vec<Finding> {
    let schema = &wanted.schema;
    let mut wrong = Vec::new();
    for table in Table::ALL {
        let Some(found) = existing.tables.iter().find(|one| one.table == table) else {
            let detail = format!("there is no table {schema}.{table} in the database {}", existing.seen.database);
            wrong.push(Finding::new(
                Code::PublicationIncomplete,
                detail,
                "Say --schema, or make the table or a view's table: docs/postgres.md",
            ));
            continue;
        };
        let has = |name: &str| found.columns.iter().any(|column| column.name == name);
        let lacks = table.columns().iter().filter(|column| !column.nullable && !has(column.name));
        let lacks: Vec<_> = lacks.map(|column| column.name).collect();
        if !lacks.is_empty() {
            let detail = format!("the table {schema}.{table} lacks {}", lacks.join(", "));
            wrong.push(Finding::new(
                Code::PublicationColumns,
                detail,
                "nova needs them: deploy/postgres/10-schema.sql",
            ));
        }
    }
    wrong
}

/// Returns how a table must be published: with all columns, or without its private columns.
fn listing(wanted: &Wanted, table: &SourceTable) -> Result<Listed, Finding> {
    let name = format!("{}.{}", quoted(&wanted.schema), table.table);
    let identity: Vec<_> = table.columns.iter().filter(|column| column.in_identity).collect();
    if identity.is_empty() {
        let detail = format!(
            "{name} has no primary key or other replica identity: once it is published, PostgreSQL refuses the \
             application's UPDATE and DELETE"
        );
        return Err(Finding::new(Code::NoReplicaIdentity, detail, hazards::primary_key(&name)));
    }
    let sent = table.columns.iter().filter(|column| !column.generated);
    let known = |name: &str| table.table.columns().iter().any(|column| column.name == name);
    let is_followed = |name: &str| match table.table {
        Table::Users => known(name) || wanted.keep_unknown.keeps(Table::Users, name),
        _ => true,
    };
    let columns = sent.filter(|one| (is_followed(&one.name) || one.in_identity) && !is_private(&one.name));
    let columns: Vec<_> = columns.map(|column| column.name.clone()).collect();
    let whole = table.table != Table::Users && !table.columns.iter().any(|column| is_private(&column.name));
    let listed =
        Listed { table: table.table, schema: Some(wanted.schema.clone()), columns: (!whole).then_some(columns) };
    let covered = |column: &&&SourceColumn| match &listed.columns {
        Some(columns) => columns.contains(&column.name),
        None => !column.generated,
    };
    let uncovered: Vec<_> = identity.iter().filter(|column| !covered(column)).collect();
    let left_out = uncovered.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    // If a table is published with all columns, PostgreSQL before version 18 ignores generated columns of the table's
    // replica identity. For a replica identity with generated columns, a probe of the plan shows whether PostgreSQL
    // refuses an UPDATE.
    if listed.columns.is_none() || uncovered.is_empty() {
        let identity: Vec<_> = identity.iter().map(|column| column.name.as_str()).collect();
        return match identity.contains(&"id") {
            true => Ok(listed),
            false => Err(hazards::without_key(&name, &identity, table.replica_identity)),
        };
    }
    let detail = format!(
        "{name} is to be published without its private columns, and its replica identity has {left_out}: PostgreSQL would \
         refuse the application's UPDATE and DELETE"
    );
    let remedy = match table.replica_identity {
        'f' => format!("nova needs no REPLICA IDENTITY FULL: ALTER TABLE {name} REPLICA IDENTITY DEFAULT"),
        _ => format!("Give {name} a replica identity without them: ALTER TABLE {name} REPLICA IDENTITY USING INDEX …"),
    };
    Err(Finding::new(Code::IdentityUncovered, detail, remedy))
}

/// Returns the statement that grants the right to read the published columns of a table, if the role lacks this right.
fn grant(wanted: &Wanted, table: &SourceTable, listed: &Listed) -> Option<String> {
    let is_listed = |column: &&SourceColumn| match &listed.columns {
        Some(columns) => columns.contains(&column.name),
        None => !column.generated,
    };
    let lacks = table.columns.iter().filter(is_listed).any(|column| !column.readable);
    lacks.then(|| format!("GRANT SELECT{} ON {} TO {}", listed.list(), listed.name(), quoted(&wanted.role)))
}

/// Adds to the plan the statements that make the publication, or that add what the publication lacks. The tables of the
/// publication that nova does not follow stay in the publication.
fn published(wanted: &Wanted, existing: &Existing, listed: &[Listed], plan: &mut Plan) -> Vec<Finding> {
    let (publication, seen) = (wanted.publication.as_str(), &existing.seen);
    let partitioned = existing.tables.iter().any(|table| table.partitioned);
    let Some(row) = &seen.publication else {
        plan.steps.push(publication::create(publication, listed, partitioned).into());
        return Vec::new();
    };
    let mut wrong = Vec::new();
    if !(row.inserts && row.updates && row.deletes && row.truncates) {
        plan.steps.push(publication::publish_all(publication).into());
    }
    if partitioned && !row.via_root {
        plan.steps.push(publication::via_root(publication).into());
    }
    for one in listed {
        let Some(published) = seen.tables.iter().find(|other| other.table == Some(one.table) && !other.is_leaf) else {
            plan.steps.push(publication::add(publication, std::slice::from_ref(one)).into());
            continue;
        };
        if published.namespace != wanted.schema {
            let detail = format!(
                "the publication {publication} has {}.{}, and not that of the schema {}",
                published.namespace, one.table, wanted.schema
            );
            wrong.push(Finding::new(
                Code::PublicationAmbiguous,
                detail,
                "Say --schema, or name another publication: postgres.publication",
            ));
            continue;
        }
        let lacks = lacks(existing, one, published);
        let leaks = published.columns.iter().any(|(name, _)| is_private(name));
        let how = through(row, published);
        if (lacks || leaks) && how != Through::ItsName {
            let detail = format!("the publication {publication} is {}, which takes no column lists", how.words());
            wrong.push(Finding::new(Code::PrivateColumns, detail, hazards::of_its_own(seen, publication, how)));
        } else if lacks || leaks {
            let filter = published.filter.as_ref().map_or(String::new(), |filter| format!(" WHERE ({filter})"));
            plan.steps.push(publication::remove(publication, one).into());
            plan.steps.push(format!("{}{filter}", publication::add(publication, std::slice::from_ref(one))).into());
            plan.read_again = plan.read_again.union([one.table].into_iter().collect());
        }
    }
    wrong
}

/// Whether the publication lacks a column of the table that must be sent or that nova knows.
fn lacks(existing: &Existing, wanted: &Listed, published: &Published) -> bool {
    let has = |name: &str| published.columns.iter().any(|(known, _)| known == name);
    let source = existing.tables.iter().find(|one| one.table == wanted.table);
    let there = |name: &str| {
        let columns = source.iter().flat_map(|one| &one.columns);
        columns.filter(|column| !column.generated).any(|column| column.name == name)
    };
    wanted.columns.iter().flatten().any(|name| !has(name))
        || wanted.table.columns().iter().any(|column| !has(column.name) && (!column.nullable || there(column.name)))
}

fn probes(table: &SourceTable, listed: &Listed) -> [String; 2] {
    let name = listed.name();
    let column = table.columns.iter().find(|column| column.settable).map_or("id", |column| column.name.as_str());
    let column = quoted(column);
    [format!("UPDATE {name} SET {column} = {column} WHERE false"), format!("DELETE FROM {name} WHERE false")]
}

/// Returns the statements of the plan as a script for psql.
pub fn script(wanted: &Wanted, plan: &Plan) -> String {
    let name = quoted(&wanted.role);
    let mut text = format!(
        "-- What nova needs in this database. Run it as an administrator: as a whole or not at all. The server needs\n\
         -- wal_level = logical (ALTER SYSTEM SET wal_level = logical, and a restart; managed services have a switch for it).\n\
         -- Who may not give REPLICATION:\n\
         --   Amazon RDS and Aurora   leave it out below, and GRANT rds_replication TO {name};\n\
         --   Cloud SQL, AlloyDB      as the user postgres, after cloudsql.logical_decoding (alloydb.logical_decoding) = on\n\
         --   Azure                   as the server's administrator, with wal_level LOGICAL in its parameters\n\
         --   Supabase                as postgres, over the direct host, not over the pooler\n\
         --   Neon                    make the role in the console, and leave the line out; logical replication is a switch there\n\
         BEGIN;\n"
    );
    for Step { shown, .. } in &plan.steps {
        text.push_str(&format!("{shown};\n"));
        if shown.starts_with("CREATE ROLE") {
            text.push_str(&format!("-- Then give it a password, in psql: \\password {name}\n"));
        }
    }
    if plan.steps.is_empty() {
        text.push_str("-- Everything is there.\n");
    }
    text.push_str(
        "-- The application's own UPDATE and DELETE must still work: these fail if not, and then nothing of this is done.\n\
         SAVEPOINT probe;\n",
    );
    plan.probes.iter().for_each(|probe| text.push_str(&format!("{probe};\n")));
    text.push_str("ROLLBACK TO SAVEPOINT probe;\nCOMMIT;\n");
    text
}

/// Returns the plan for the tables of `deploy/postgres/10-schema.sql`, without a check of the server.
pub fn by_default(wanted: &Wanted) -> Plan {
    let listed: Vec<_> = Table::ALL
        .map(|table| {
            let schema = (wanted.schema != DEFAULT_SCHEMA).then(|| wanted.schema.clone());
            Listed { schema, ..Listed::by_default(table) }
        })
        .to_vec();
    let name = quoted(&wanted.role);
    let mut steps = vec![
        format!("CREATE ROLE {name} LOGIN REPLICATION"),
        format!("GRANT USAGE ON SCHEMA {} TO {name}", quoted(&wanted.schema)),
    ];
    steps.extend(listed.iter().map(|one| format!("GRANT SELECT{} ON {} TO {name}", one.list(), one.name())));
    steps.push(publication::create(&wanted.publication, &listed, false));
    let probes = listed.iter().flat_map(|one| {
        let name = one.name();
        [format!("UPDATE {name} SET id = id WHERE false"), format!("DELETE FROM {name} WHERE false")]
    });
    Plan { steps: steps.into_iter().map(Step::from).collect(), probes: probes.collect(), read_again: Tables::NONE }
}

/// The schema of the tables if the caller names none.
pub const DEFAULT_SCHEMA: &str = "public";

#[cfg(test)]
mod tests;
