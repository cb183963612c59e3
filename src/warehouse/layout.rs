//! The layout of ClickHouse's tables: on one server, or as replicas in a cluster. The migrations are written for one
//! server, and this module changes their statements for replicated tables.

use super::pace::SAFE_HORIZON_MS;

/// The path and the name of a replica in ClickHouse Keeper. ClickHouse replaces the macros in braces by its own values.
const REPLICA: &str = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'";
/// The setting `WINDOW` in the migrations becomes `REPLICATED_WINDOW` for a replicated table. Keeper forgets tokens by
/// number and by time. The time `WINDOW_S` is well above the time for which nova relies on a token.
const WINDOW: &str = "non_replicated_deduplication_window = ";
const REPLICATED_WINDOW: &str = "replicated_deduplication_window = ";
const WINDOW_S: i64 = 4 * SAFE_HORIZON_MS / 1_000;

/// The layout of ClickHouse's tables. The default layout has one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Whether the tables have `Replicated…MergeTree` engines.
    pub replicated: bool,
    /// The name of the cluster, if DDL statements have ` ON CLUSTER`.
    pub cluster: Option<String>,
}

impl Layout {
    /// Returns the text ` ON CLUSTER '…'`, or an empty text if no cluster is set.
    pub fn on_cluster(&self) -> String {
        self.cluster.as_ref().map(|name| format!(" ON CLUSTER '{name}'")).unwrap_or_default()
    }

    /// Returns a statement of a migration in the form in which nova runs it.
    pub fn statement(&self, sql: &str) -> String {
        let lines: Vec<_> = sql.lines().map(|line| self.line(line)).collect();
        lines.join("\n")
    }

    fn line(&self, line: &str) -> String {
        if let Some((before, rest)) = named(line) {
            let (name, rest) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
            return format!("{before}{name}{}{rest}", self.on_cluster());
        }
        if !self.replicated {
            return line.to_owned();
        }
        if let Some(engine) = line.strip_prefix("ENGINE = ") {
            return match engine.split_once('(') {
                Some((name, arguments)) => format!("ENGINE = Replicated{name}({REPLICA}, {arguments}"),
                None => format!("ENGINE = Replicated{engine}({REPLICA})"),
            };
        }
        match line.split_once(WINDOW) {
            Some((before, rest)) => {
                format!("{before}replicated_deduplication_window_seconds = {WINDOW_S}, {REPLICATED_WINDOW}{rest}")
            }
            None => line.to_owned(),
        }
    }
}

/// Splits the first line of a statement before the name of the object that the statement makes or changes.
fn named(line: &str) -> Option<(&str, &str)> {
    let marks: &[&str] = match line.split(' ').next() {
        Some("ALTER") => &["ALTER TABLE "],
        Some("CREATE") => &["CREATE OR REPLACE VIEW ", " IF NOT EXISTS "],
        _ => &[],
    };
    marks.iter().find_map(|mark| Some(line.split_at(line.find(mark)? + mark.len())))
}

#[cfg(test)]
mod tests {
    use super::super::migrate::{MIGRATIONS, Migration};
    use super::*;

    fn statements(layout: &Layout) -> Vec<(&'static str, String)> {
        let all = MIGRATIONS.iter().flat_map(|migration| migration.statements());
        all.map(|statement| (statement, layout.statement(statement))).collect()
    }

    #[test]
    fn on_one_server_statements_are_run_as_they_are_written() {
        for (written, run) in statements(&Layout::default()) {
            assert_eq!(written, run);
        }
    }

    #[test]
    fn every_table_is_replicated_with_its_arguments_and_windows() {
        let layout = Layout { replicated: true, cluster: None };
        let mut tables = 0;
        for (written, run) in statements(&layout) {
            assert!(!run.contains("ON CLUSTER") && !run.contains("non_replicated"), "{run}");
            if !written.contains("ENGINE = ") {
                assert_eq!(written, run, "views hold no rows");
                continue;
            }
            tables += 1;
            let engine = |sql: &str| sql.lines().find_map(|line| Some(line.strip_prefix("ENGINE = ")?.to_owned()));
            let (plain, replicated) = (engine(written).unwrap(), engine(&run).unwrap());
            let (name, arguments) = plain.split_once('(').unwrap_or((&plain, ")"));
            let comma = if arguments == ")" { "" } else { ", " };
            let path = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'";
            assert_eq!(replicated, format!("Replicated{name}({path}{comma}{arguments}"));
            let windows =
                "SETTINGS replicated_deduplication_window_seconds = 7200, replicated_deduplication_window = 10000";
            assert!(run.ends_with(windows), "{run}");
        }
        assert_eq!(tables, 9);
        // The test compares a whole migration file with its printed form.
        for migration in MIGRATIONS {
            let printed = Migration { sql: layout.statement(migration.sql).leak(), ..*migration };
            let run: Vec<_> = migration.statements().map(|statement| layout.statement(statement)).collect();
            assert_eq!(printed.statements().collect::<Vec<_>>(), run);
        }
    }

    #[test]
    fn on_a_cluster_every_statement_says_so_after_its_name() {
        let layout = Layout { replicated: true, cluster: Some("{cluster}".to_owned()) };
        for (written, run) in statements(&layout) {
            let marks = run.matches(" ON CLUSTER '{cluster}'").count();
            assert_eq!(marks, 1, "{run}");
            let plain = Layout { replicated: true, cluster: None }.statement(written);
            assert_eq!(run.replace(" ON CLUSTER '{cluster}'", ""), plain);
        }
        for (written, run) in [
            "CREATE MATERIALIZED VIEW IF NOT EXISTS a_mv? TO a AS\nSELECT 1",
            "CREATE OR REPLACE VIEW a_current? AS\nSELECT 1",
            "ALTER TABLE a? ADD COLUMN IF NOT EXISTS b String AFTER c",
        ]
        .map(|sql| (sql.replace('?', ""), sql.replace('?', " ON CLUSTER '{cluster}'")))
        {
            assert_eq!(layout.statement(&written), run);
        }
    }
}
