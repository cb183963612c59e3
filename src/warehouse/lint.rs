//! What in ClickHouse would lose or double rows: told at start, every hour, and by `nova check`.

use super::clickhouse::ClickHouse;
use super::verdict::Failure;
use super::{Target, Wire};

/// A smaller window could forget a token before its batch is confirmed.
pub const WINDOW_MIN: u64 = 1_000;
/// The tables that the views fill.
const VIEW_TARGETS: [&str; 3] = ["post_metrics_1m", "post_metrics_1h", "user_author_90d"];
/// Settings of an insert that a profile may forbid to change.
const NEEDED: [(&str, &str); 3] =
    [("async_insert", "0"), ("insert_deduplicate", "1"), ("deduplicate_blocks_in_dependent_materialized_views", "1")];

/// Something that is wrong, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The table that takes no rows before it is repaired; `None` concerns all.
    pub target: Option<Target>,
    /// A short stable code.
    pub code: &'static str,
    pub detail: String,
    pub remedy: String,
}

/// Looks at every table that receives inserts.
pub async fn lint(clickhouse: &ClickHouse) -> Result<Vec<Finding>, Failure> {
    let database = clickhouse.database().replace('\'', "");
    let tables = clickhouse
        .rows(&format!(
            "SELECT name, engine, sorting_key, replaceAll(engine_full, '\\t', ' ') FROM system.tables \
             WHERE database = '{database}'"
        ))
        .await?;
    let columns =
        clickhouse.rows(&format!("SELECT table, name, type FROM system.columns WHERE database = '{database}'")).await?;
    let mut findings = Vec::new();
    for target in Target::ALL {
        let Some(table) = tables.iter().find(|row| row.first().is_some_and(|name| name == target.name())) else {
            findings.push(missing(Some(target), target.name()));
            continue;
        };
        window(Some(target), table, &mut findings);
        engine(target, table, &mut findings);
        let of = columns.iter().filter(|row| row.first().is_some_and(|name| name == target.name()));
        let of: Vec<_> = of.filter_map(|row| Some((row.get(1)?.as_str(), row.get(2)?.as_str()))).collect();
        findings.extend(schema(target, &of));
    }
    for name in VIEW_TARGETS {
        match tables.iter().find(|row| row.first().is_some_and(|known| known == name)) {
            Some(table) => window(Some(Target::Events), table, &mut findings),
            None => findings.push(missing(None, name)),
        }
    }
    let names = NEEDED.map(|(name, _)| format!("'{name}'")).join(", ");
    let settings = format!("SELECT name, value, toString(readonly) FROM system.settings WHERE name IN ({names})");
    for row in clickhouse.rows(&settings).await? {
        let [name, value, readonly] = row.as_slice() else { continue };
        let wanted = NEEDED.iter().find(|(known, _)| known == name).map_or("", |(_, wanted)| wanted);
        if readonly == "1" && value != wanted {
            findings.push(Finding {
                target: None,
                code: "setting-fixed",
                detail: format!("{name} is {value} and this user may not change it"),
                remedy: format!(
                    "let nova's user set {name} = {wanted}: remove the constraint from its settings profile"
                ),
            });
        }
    }
    Ok(findings)
}

/// The columns of a table against what nova writes: `None` when every column is there with its type.
pub async fn schema_of(clickhouse: &ClickHouse, target: Target) -> Result<Option<Finding>, Failure> {
    let (database, table) = (clickhouse.database().replace('\'', ""), target.name());
    let sql = format!("SELECT name, type FROM system.columns WHERE database = '{database}' AND table = '{table}'");
    let rows = clickhouse.rows(&sql).await?;
    let columns: Vec<_> = rows.iter().filter_map(|row| Some((row.first()?.as_str(), row.get(1)?.as_str()))).collect();
    Ok(schema(target, &columns))
}

fn missing(target: Option<Target>, name: &str) -> Finding {
    Finding {
        target,
        code: "table-missing",
        detail: format!("there is no table {name}"),
        remedy: "run nova migrate; if it was dropped by hand, remove its line from schema_migrations first".to_owned(),
    }
}

fn window(target: Option<Target>, table: &[String], findings: &mut Vec<Finding>) {
    let [name, engine, _, full] = table else { return };
    let setting = match engine.starts_with("Replicated") || engine.starts_with("Shared") {
        true => "replicated_deduplication_window",
        false => "non_replicated_deduplication_window",
    };
    let value = full.split(&format!(" {setting} = ")).nth(1).map(|rest| {
        rest.bytes().take_while(u8::is_ascii_digit).fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'))
    });
    // Replicated tables have a window unless it is taken away.
    let enough = value.map_or(engine.starts_with("Replicated") || engine.starts_with("Shared"), |v| v >= WINDOW_MIN);
    if !enough {
        findings.push(Finding {
            target,
            code: "dedup-window",
            detail: format!("{name}: {setting} is {}: a retried insert would be stored twice", value.unwrap_or(0)),
            remedy: format!("ALTER TABLE {name} MODIFY SETTING {setting} = 10000"),
        });
    }
}

fn engine(target: Target, table: &[String], findings: &mut Vec<Finding>) {
    let [name, engine, sorting_key, full] = table else { return };
    let replacing = engine.contains("ReplacingMergeTree") && full.contains("(_version, _deleted)");
    // A replicated engine has its path and replica before the columns.
    let replacing = replacing || (engine.contains("ReplacingMergeTree") && full.contains("_version, _deleted)"));
    let (fits, wanted) = match target {
        Target::Events => (engine.contains("MergeTree"), "MergeTree"),
        Target::Rows(_) => (replacing, "ReplacingMergeTree(_version, _deleted)"),
    };
    if !fits {
        findings.push(Finding {
            target: Some(target),
            code: "engine",
            detail: format!("{name} has the engine {engine}, expected {wanted}"),
            remedy: format!("rename the table away, remove its line from schema_migrations, run nova migrate, and copy the rows back ({wanted})"),
        });
    }
    if matches!(target, Target::Rows(_)) && sorting_key != "id" {
        findings.push(Finding {
            target: Some(target),
            code: "sorting-key",
            detail: format!("{name} is ordered by ({sorting_key}): only rows with equal keys replace each other"),
            remedy: "make the table again with ORDER BY id".to_owned(),
        });
    }
}

fn schema(target: Target, columns: &[(&str, &str)]) -> Option<Finding> {
    let differs = |(name, wire): (&'static str, Wire)| {
        let found = columns.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        (found != Some(wire.type_name())).then(|| match found {
            Some(found) => format!("{name} is {found}, expected {}", wire.type_name()),
            None => format!("{name} ({}) is missing", wire.type_name()),
        })
    };
    let problems: Vec<_> = target.columns().into_iter().filter_map(differs).collect();
    (!problems.is_empty()).then(|| Finding {
        target: Some(target),
        code: "columns",
        detail: format!("{target}: {}", problems.join("; ")),
        remedy: format!(
            "ALTER TABLE {target} so that its columns have these types; more columns with defaults are fine"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: [&str; 4]) -> Vec<String> {
        fields.map(str::to_owned).to_vec()
    }

    fn of(target: Target, table: [&str; 4]) -> Vec<&'static str> {
        let mut findings = Vec::new();
        window(Some(target), &row(table), &mut findings);
        engine(target, &row(table), &mut findings);
        findings.into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn windows_engines_and_keys_are_checked() {
        let likes = Target::Rows(crate::event::Table::Likes);
        let full = "ReplacingMergeTree(_version, _deleted) ORDER BY id SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000";
        assert!(of(likes, ["likes_cdc", "ReplacingMergeTree", "id", full]).is_empty());
        let bare = "ReplacingMergeTree(_version, _deleted) ORDER BY id SETTINGS index_granularity = 8192";
        assert_eq!(of(likes, ["likes_cdc", "ReplacingMergeTree", "id", bare]), ["dedup-window"]);
        let zero = full.replace("10000", "0");
        assert_eq!(of(likes, ["likes_cdc", "ReplacingMergeTree", "id", &zero]), ["dedup-window"]);
        assert_eq!(of(likes, ["likes_cdc", "ReplacingMergeTree", "id, _version", full]), ["sorting-key"]);
        let plain = full.replace("ReplacingMergeTree(_version, _deleted)", "MergeTree");
        assert_eq!(of(likes, ["likes_cdc", "MergeTree", "id", &plain]), ["engine"]);
        let replicated = "ReplicatedReplacingMergeTree('/p', '{replica}', _version, _deleted) ORDER BY id";
        assert!(of(likes, ["likes_cdc", "ReplicatedReplacingMergeTree", "id", replicated]).is_empty());
    }

    #[test]
    fn columns_must_be_there_with_their_types_and_more_are_fine() {
        let mut columns: Vec<_> =
            Target::Events.columns().into_iter().map(|(name, wire)| (name, wire.type_name())).collect();
        columns.push(("ours", "String"));
        assert_eq!(schema(Target::Events, &columns), None);
        columns[1].1 = "DateTime('UTC')";
        columns.remove(0);
        let finding = schema(Target::Events, &columns).unwrap();
        assert!(
            finding.detail.contains("event_id (UUID) is missing") && finding.detail.contains("event_time is DateTime")
        );
    }
}
