//! An administrator's connection for `nova postgres setup`: it reads the present state of the server, and runs the
//! missing statements in one transaction.

use tokio_postgres::{Client, Row};

use crate::decode::is_private;
use crate::event::Table;
use crate::source::postgres::publication::quoted;
use crate::source::postgres::server::Failure;
use crate::source::postgres::setup::{Existing, Plan, Role, SourceColumn, SourceTable, Wanted};

use super::answer::{within, within_all};
use super::errors::failed;
use super::settings::ConnectSettings;
use super::{catalogue, connect};

/// The longest wait for a lock on a table, after which the setup fails; a person can repeat the setup later.
const LOCK_MAX: &str = "SET LOCAL lock_timeout = '5s'";

const ROLE: &str = "
SELECT r.rolcanlogin, r.rolsuper, r.rolbypassrls,
       r.rolreplication OR EXISTS (SELECT FROM pg_roles m WHERE m.rolname = 'rds_replication'
                                                            AND pg_has_role(r.oid, m.oid, 'member'))
  FROM pg_roles r WHERE r.rolname = $1";

/// The query for the rights of a role. A role that does not exist yet has the rights of `public`.
const RIGHTS: &str = "
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication'),
       has_database_privilege(w.name, current_database(), 'CONNECT'),
       coalesce((SELECT has_schema_privilege(w.name, n.oid, 'USAGE') FROM pg_namespace n WHERE n.nspname = $2), false)
  FROM (SELECT coalesce((SELECT rolname::text FROM pg_roles WHERE rolname = $1), 'public') AS name) w";

const TABLES: &str = "
SELECT c.relname::text, c.relkind = 'p', c.relreplident::text,
       c.relrowsecurity AND (c.relforcerowsecurity OR NOT EXISTS (
         SELECT FROM pg_roles o WHERE o.rolname = $1 AND pg_has_role(o.oid, c.relowner, 'USAGE'))),
       (SELECT jsonb_agg(jsonb_build_array(
                 a.attname, a.attgenerated <> '', a.attgenerated = '' AND a.attidentity <> 'a',
                 c.relreplident = 'f' OR a.attnum = ANY (
                   SELECT unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) FROM pg_index i
                    WHERE i.indrelid = c.oid AND i.indimmediate AND i.indisvalid
                      AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END),
                 has_column_privilege(w.name, c.oid, a.attnum, 'SELECT')) ORDER BY a.attnum)::text
          FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
  FROM (SELECT coalesce((SELECT rolname::text FROM pg_roles WHERE rolname = $1), 'public') AS name) w,
       pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $2 AND c.relname = ANY ($3) AND c.relkind IN ('r', 'p') AND NOT c.relispartition";

/// An administrator's connection to a PostgreSQL server.
pub struct Administrator {
    client: Client,
    settings: ConnectSettings,
}

/// A statement that the PostgreSQL server refused.
#[derive(Debug, thiserror::Error)]
#[error("{failure}, at: {statement}")]
pub struct Refused {
    pub statement: String,
    #[source]
    pub failure: Failure,
}

impl Administrator {
    pub async fn connect(settings: ConnectSettings) -> Result<Administrator, Failure> {
        let (client, _) = connect::primary(&settings).await?;
        Ok(Administrator { client, settings })
    }

    /// Returns the present state of the server, as the current transaction sees it.
    pub async fn existing(&self, wanted: &Wanted) -> Result<Existing, Failure> {
        let client = &self.client;
        let (slot, names) = (&self.settings.slot, Table::ALL.map(Table::name).to_vec());
        let role = within(client.query_opt(ROLE, &[&wanted.role])).await?;
        let rights = within(client.query_one(RIGHTS, &[&wanted.role, &wanted.schema])).await?;
        let rows = within(client.query(TABLES, &[&wanted.role, &wanted.schema, &names])).await?;
        let mut tables: Vec<_> = rows.iter().map(table).collect::<Result<_, _>>()?;
        tables.sort_by_key(|one| one.table as usize);
        let mut seen = within_all(catalogue::look(client, slot, &wanted.publication)).await?;
        // The wanted schema may have no published table, so the query covers all tables of the database.
        seen.around.tables = within_all(catalogue::places(client, &[], i64::MAX)).await?;
        let mut existing = Existing {
            role: role.map(|row| Role {
                may_login: row.get(0),
                is_superuser: row.get(1),
                bypasses_rls: row.get(2),
                may_replicate: row.get(3),
            }),
            has_rds_replication: rights.get(0),
            may_connect: rights.get(1),
            may_use_schema: rights.get(2),
            tables,
            seen,
        };
        seen_by_the_role(wanted, &mut existing);
        Ok(existing)
    }

    /// Runs a plan completely or not at all. The probes of the plan run even if the plan changes nothing.
    pub async fn apply(&self, wanted: &Wanted, plan: &Plan) -> Result<(), Refused> {
        self.run("BEGIN", "BEGIN").await?;
        let done = self.within_transaction(wanted, plan).await;
        let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = self.run(end, end).await;
        done.and(ended)
    }

    async fn within_transaction(&self, wanted: &Wanted, plan: &Plan) -> Result<(), Refused> {
        self.run(LOCK_MAX, LOCK_MAX).await?;
        for step in &plan.steps {
            self.run(&step.sql, &step.shown).await?;
        }
        self.run("SAVEPOINT probe", "SAVEPOINT probe").await?;
        // The triggers of the application must find their objects as they do in the application's own sessions.
        let schema = quoted(&wanted.schema);
        let settings = format!("SET LOCAL search_path = {schema}, \"$user\", public; SET LOCAL row_security = on");
        self.run(&settings, &settings).await?;
        for probe in &plan.probes {
            self.run(probe, probe).await?;
        }
        self.run("ROLLBACK TO SAVEPOINT probe", "ROLLBACK TO SAVEPOINT probe").await
    }

    async fn run(&self, sql: &str, shown: &str) -> Result<(), Refused> {
        let done = within_all(async { self.client.batch_execute(sql).await.map_err(|error| said(&error)) }).await;
        done.map_err(|failure| Refused { statement: shown.to_owned(), failure })
    }
}

/// Returns a refusal in the server's own words, because the refusal concerns the administrator and not nova's role.
fn said(error: &tokio_postgres::Error) -> Failure {
    let Some(db) = error.as_db_error() else { return failed(error) };
    let more = [db.detail(), db.hint()].into_iter().flatten();
    let text = std::iter::once(db.message()).chain(more).collect::<Vec<_>>().join(". ");
    Failure::Refused { code: db.code().code().to_owned(), text }
}

/// Replaces the administrator's rights in the catalogue's answer by the rights of the role with which nova connects.
fn seen_by_the_role(wanted: &Wanted, existing: &mut Existing) {
    let role = existing.role.unwrap_or_default();
    existing.seen.limits.role = wanted.role.clone();
    existing.seen.may_replicate = role.may_replicate || role.is_superuser;
    for published in existing.seen.tables.iter_mut().filter(|one| one.namespace == wanted.schema) {
        let Some(table) = existing.tables.iter().find(|one| published.table == Some(one.table)) else { continue };
        let readable = |name: &str| {
            existing.may_use_schema && table.columns.iter().any(|column| column.name == name && column.readable)
        };
        let names = published.columns.iter().map(|(name, _)| name.clone());
        published.unreadable = names.filter(|name| !is_private(name) && !readable(name)).collect();
    }
    for place in existing.seen.around.tables.iter_mut().filter(|one| one.namespace == wanted.schema) {
        let has_rls = existing.tables.iter().any(|one| one.table == place.table && one.has_rls);
        place.hides_rows = has_rls && !role.bypasses_rls && !role.is_superuser;
    }
}

fn table(row: &Row) -> Result<SourceTable, Failure> {
    let missing = |what: &str| Failure::Away(format!("the server returned no {what}"));
    let name: &str = row.get(0);
    let columns: Option<&str> = row.get(4);
    let columns: Vec<(String, bool, bool, bool, bool)> =
        serde_json::from_str(columns.unwrap_or("[]")).map_err(|_| missing("columns"))?;
    let column = |(name, generated, settable, in_identity, readable)| SourceColumn {
        name,
        generated,
        settable,
        in_identity,
        readable,
    };
    Ok(SourceTable {
        table: Table::from_name(name).ok_or_else(|| missing("table"))?,
        partitioned: row.get(1),
        replica_identity: row.get::<_, &str>(2).chars().next().unwrap_or('d'),
        has_rls: row.get(3),
        columns: columns.into_iter().map(column).collect(),
    })
}
