//! Applies each `clickhouse/NNNN_*.sql` once, in order, and records it in the table `schema_migrations`.

use xxhash_rust::xxh3::xxh3_64;

use super::clickhouse::ClickHouse;
use super::target::{Target, VIEW_TARGETS};
use super::verdict::Failure;

/// A numbered file of DDL statements. An applied file never changes, and every change is a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    pub name: &'static str,
    pub sql: &'static str,
}

macro_rules! migrations {
    ($($name:literal),+ $(,)?) => {
        &[$(Migration { name: $name, sql: include_str!(concat!("../../clickhouse/", $name, ".sql")) }),+]
    };
}

/// All migrations in the order in which they are applied.
pub const MIGRATIONS: &[Migration] = migrations!["0001_post_events", "0002_cdc_tables", "0003_metrics"];

/// The statement that makes the table of applied migrations. Each server has its own table of applied migrations, even
/// in a replicated layout, because the table says what was applied on that server.
const RECORD_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (name String, checksum String, \
    applied_at DateTime('UTC') DEFAULT now('UTC')) ENGINE = ReplacingMergeTree ORDER BY name";

/// The reason why the migration stopped. Migrations that were applied before an error stay applied.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("{migration}: {failure}")]
    Failed {
        migration: &'static str,
        #[source]
        failure: Failure,
    },
    #[error(
        "{0} was applied with another content: an applied file never changes; take the file as it was, and put what \
         is new into a new one"
    )]
    Changed(&'static str),
    #[error(
        "{table} has the engine {engine}, and clickhouse.replicated is {replicated}: set it to {}, or name another \
         clickhouse.database. nova converts no tables; docs/clickhouse.md tells how it is done",
        !.replicated
    )]
    OtherLayout { table: String, engine: String, replicated: bool },
}

impl Migration {
    /// Returns the statements of the migration.
    pub fn statements(&self) -> impl Iterator<Item = &'static str> {
        let code = |part: &&str| part.lines().any(|line| !line.trim().is_empty() && !line.starts_with("--"));
        self.sql.split(";\n").map(str::trim).filter(code).map(|statement| statement.trim_end_matches(';'))
    }

    fn checksum(&self) -> String {
        format!("{:016x}", xxh3_64(self.sql.as_bytes()))
    }
}

/// Makes the database and everything that it lacks. Returns the names of the migrations that this call has applied.
pub async fn migrate(clickhouse: &ClickHouse) -> Result<Vec<&'static str>, MigrateError> {
    let failed = |migration| move |failure| MigrateError::Failed { migration, failure };
    let database = clickhouse.database().replace('`', "");
    let layout = clickhouse.layout();
    let create = format!("CREATE DATABASE IF NOT EXISTS `{database}`{}", layout.on_cluster());
    clickhouse.run_bare(&create).await.map_err(failed("the database"))?;
    same_layout(clickhouse).await?;
    clickhouse.run(RECORD_TABLE).await.map_err(failed("schema_migrations"))?;
    let known = clickhouse.rows("SELECT name, checksum FROM schema_migrations FINAL").await;
    let known = known.map_err(failed("schema_migrations"))?;
    let mut applied = Vec::new();
    for migration in MIGRATIONS {
        match known.iter().find(|row| row.first().is_some_and(|name| name == migration.name)) {
            Some(row) if row.get(1) == Some(&migration.checksum()) => continue,
            Some(_) => return Err(MigrateError::Changed(migration.name)),
            None => {}
        }
        for statement in migration.statements() {
            clickhouse.run(&layout.statement(statement)).await.map_err(failed(migration.name))?;
        }
        let (name, checksum) = (migration.name, migration.checksum());
        let record = format!("INSERT INTO schema_migrations (name, checksum) VALUES ('{name}', '{checksum}')");
        clickhouse.run(&record).await.map_err(failed(migration.name))?;
        applied.push(migration.name);
    }
    Ok(applied)
}

/// Refuses tables that were not made in the configured layout, because nova supports no mixture of replicated and
/// unreplicated tables.
async fn same_layout(clickhouse: &ClickHouse) -> Result<(), MigrateError> {
    let database = clickhouse.database().replace('\'', "");
    let sql = format!("SELECT name, engine FROM system.tables WHERE database = '{database}'");
    let rows = clickhouse.rows(&sql).await;
    let rows = rows.map_err(|failure| MigrateError::Failed { migration: "the database", failure })?;
    let ours =
        |name: &String| VIEW_TARGETS.contains(&name.as_str()) || Target::ALL.iter().any(|one| one.name() == name);
    let replicated = clickhouse.layout().replicated;
    for row in rows {
        let [table, engine, ..] = row.as_slice() else { continue };
        // ClickHouse Cloud replaces replicated and unreplicated engines by `Shared…` engines.
        if ours(table) && !engine.starts_with("Shared") && engine.starts_with("Replicated") != replicated {
            return Err(MigrateError::OtherLayout { table: table.clone(), engine: engine.clone(), replicated });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_listed_in_order_and_cut_into_statements() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("clickhouse");
        let mut files: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".sql").to_owned())
            .collect();
        files.sort();
        assert_eq!(files, MIGRATIONS.iter().map(|migration| migration.name).collect::<Vec<_>>());
        for migration in MIGRATIONS {
            for statement in migration.statements() {
                let code: Vec<_> = statement.lines().filter(|line| !line.starts_with("--")).collect();
                // A replica may run a statement of a migration a second time, so each statement must allow that.
                let again = code[0].starts_with("CREATE OR REPLACE VIEW ") || code[0].contains(" IF NOT EXISTS ");
                let known = code[0].starts_with("CREATE ") || code[0].starts_with("ALTER TABLE ");
                assert!(known && again, "{}: {statement}", migration.name);
                assert!(!statement.contains(';'), "{statement}");
            }
        }
        assert_eq!(MIGRATIONS[1].statements().count(), 10);
    }
}
