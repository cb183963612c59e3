//! Finds settings of ClickHouse with which rows would be lost or stored twice. nova reports the findings at its start,
//! every hour, and in `nova check`.

use std::collections::BTreeSet;

use super::clickhouse::ClickHouse;
use super::columns::Columns;
use super::mark::Mark;
use super::pace::{SAFE_HORIZON_MS, WINDOW_MIN};
use super::target::{Target, VIEW_TARGETS};
use super::verdict::Failure;
use super::wire::Wire;

pub use super::finding::{Finding, Stops, TABLE_MISSING};

/// A replicated table also forgets tokens by time. A token must be remembered for twice the time for which nova relies
/// on it, to allow for the duration of the insert and for differences of clocks.
pub const WINDOW_MIN_S: u64 = 2 * SAFE_HORIZON_MS as u64 / 1_000;
/// Settings of an insert that a settings profile may forbid to change.
const NEEDED: [(&str, &str); 3] =
    [("async_insert", "0"), ("insert_deduplicate", "1"), ("deduplicate_blocks_in_dependent_materialized_views", "1")];

/// Checks every table that gets inserts, and the settings of nova's user.
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
            findings.push(missing(Stops::Table(target), target.name()));
            continue;
        };
        window(target, table, &mut findings);
        engine(target, table, &mut findings);
        let of = columns.iter().filter(|row| row.first().is_some_and(|name| name == target.name()));
        let of: Vec<_> = of.filter_map(|row| Some((row.get(1)?.as_str(), row.get(2)?.as_str()))).collect();
        findings.extend(schema(target, target.columns(), &of));
    }
    for name in VIEW_TARGETS {
        match tables.iter().find(|row| row.first().is_some_and(|known| known == name)) {
            Some(table) => window(Target::Events, table, &mut findings),
            None => findings.push(missing(Stops::Everything, name)),
        }
    }
    let names = NEEDED.map(|(name, _)| format!("'{name}'")).join(", ");
    let settings = format!("SELECT name, value, toString(readonly) FROM system.settings WHERE name IN ({names})");
    for row in clickhouse.rows(&settings).await? {
        let [name, value, readonly] = row.as_slice() else { continue };
        let wanted = NEEDED.iter().find(|(known, _)| known == name).map_or("", |(_, wanted)| wanted);
        if readonly == "1" && value != wanted {
            findings.push(Finding {
                stops: Stops::Everything,
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

/// Whether none of nova's tables exists, and the check found no problem except the missing tables.
pub fn nothing_is_there(findings: &[Finding]) -> bool {
    findings.len() == Target::ALL.len() + VIEW_TARGETS.len() && findings.iter().all(|one| one.code == TABLE_MISSING)
}

/// Compares the columns of a table in ClickHouse with the columns for which rows were written. Returns `None` if every
/// column exists with its type.
pub async fn schema_of(clickhouse: &ClickHouse, target: Target, written: &Columns) -> Result<Option<Finding>, Failure> {
    let (database, table) = (clickhouse.database().replace('\'', ""), target.name());
    let sql = format!("SELECT name, type FROM system.columns WHERE database = '{database}' AND table = '{table}'");
    let rows = clickhouse.rows(&sql).await?;
    let columns: Vec<_> = rows.iter().filter_map(|row| Some((row.first()?.as_str(), row.get(1)?.as_str()))).collect();
    Ok(schema(target, written, &columns))
}

/// Checks that `post_events` still has the marked batches. For every hour of the last two days, one acknowledged batch
/// is marked. The highest batch number in ClickHouse would not show a loss, because the next insert has a higher number
/// than the lost batches.
pub async fn missing_batches(
    clickhouse: &ClickHouse,
    store_id: u64,
    marks: &[Mark],
) -> Result<Option<Finding>, Failure> {
    if marks.is_empty() {
        return Ok(None);
    }
    let list = |of: fn(&Mark) -> u64| marks.iter().map(|mark| of(mark).to_string()).collect::<Vec<_>>().join(", ");
    let (batches, months) = (list(|mark| mark.batch), list(|mark| u64::from(mark.partition)));
    let sql = format!(
        "SELECT DISTINCT _nova_batch FROM {} WHERE _nova_store = {store_id} AND _nova_batch IN ({batches}) \
         AND toYYYYMM(event_time) IN ({months})",
        Target::Events
    );
    let found = clickhouse.rows(&sql).await?;
    let found: BTreeSet<u64> = found.iter().filter_map(|row| row.first()?.parse().ok()).collect();
    let gone: Vec<_> = marks.iter().filter(|mark| !found.contains(&mark.batch)).collect();
    let Some(first) = gone.iter().min_by_key(|mark| mark.at_ms) else { return Ok(None) };
    let since = jiff::Timestamp::from_millisecond(first.at_ms).map(|time| time.to_string()).unwrap_or_default();
    Ok(Some(Finding {
        stops: Stops::Nothing,
        code: "batches-missing",
        detail: format!(
            "{}: {} of {} batches that were looked for are gone since they were acknowledged, the first of {since}",
            Target::Events,
            gone.len(),
            marks.len()
        ),
        remedy:
            "if ClickHouse was restored from a backup, stop nova and run nova rebuild --reconcile, which sends again \
                 what is missing; if rows were deleted on purpose, this ends by itself within two days"
                .to_owned(),
    }))
}

fn missing(stops: Stops, name: &str) -> Finding {
    Finding {
        stops,
        code: TABLE_MISSING,
        detail: format!("there is no table {name}"),
        remedy: "run nova migrate; if it was dropped by hand, remove its line from schema_migrations first".to_owned(),
    }
}

fn window(target: Target, table: &[String], findings: &mut Vec<Finding>) {
    let [name, engine, _, full] = table else { return };
    let mut least = |setting: &str, least: u64, wanted: u64, default: Option<u64>| {
        let value = full.split(&format!(" {setting} = ")).nth(1).map(|rest| {
            rest.bytes().take_while(u8::is_ascii_digit).fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'))
        });
        let value = value.or(default).unwrap_or(0);
        if value < least {
            findings.push(Finding {
                stops: Stops::Table(target),
                code: "dedup-window",
                detail: format!("{name}: {setting} is {value}: a retried insert could be stored twice"),
                remedy: format!("ALTER TABLE {name} MODIFY SETTING {setting} = {wanted}"),
            });
        }
    };
    if engine.starts_with("Replicated") || engine.starts_with("Shared") {
        // A replicated table has both windows unless somebody removed them, because in every version of ClickHouse the
        // defaults of the two windows are long enough.
        least("replicated_deduplication_window", WINDOW_MIN, 10_000, Some(WINDOW_MIN));
        least("replicated_deduplication_window_seconds", WINDOW_MIN_S, 2 * WINDOW_MIN_S, Some(WINDOW_MIN_S));
    } else {
        least("non_replicated_deduplication_window", WINDOW_MIN, 10_000, None);
    }
}

fn engine(target: Target, table: &[String], findings: &mut Vec<Finding>) {
    let [name, engine, sorting_key, full] = table else { return };
    let replacing = engine.contains("ReplacingMergeTree") && full.contains("(_version, _deleted)");
    // A replicated engine lists its path and its replica before the columns.
    let replacing = replacing || (engine.contains("ReplacingMergeTree") && full.contains("_version, _deleted)"));
    let (fits, wanted) = match target {
        Target::Events => (engine.contains("MergeTree"), "MergeTree"),
        Target::Rows(_) => (replacing, "ReplacingMergeTree(_version, _deleted)"),
    };
    if !fits {
        findings.push(Finding {
            stops: Stops::Table(target),
            code: "engine",
            detail: format!("{name} has the engine {engine}, expected {wanted}"),
            remedy: format!("rename the table away, remove its line from schema_migrations, run nova migrate, and copy the rows back ({wanted})"),
        });
    }
    if matches!(target, Target::Rows(_)) && sorting_key != "id" {
        findings.push(Finding {
            stops: Stops::Table(target),
            code: "sorting-key",
            detail: format!("{name} is ordered by ({sorting_key}): only rows with equal keys replace each other"),
            remedy: "make the table again with ORDER BY id".to_owned(),
        });
    }
}

fn schema(target: Target, written: &Columns, columns: &[(&str, &str)]) -> Option<Finding> {
    let differs = |(name, wire): (&str, Wire)| {
        let found = columns.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        (found != Some(wire.type_name())).then(|| match found {
            Some(found) => format!("{name} is {found}, expected {}", wire.type_name()),
            None => format!("{name} ({}) is missing", wire.type_name()),
        })
    };
    let problems: Vec<_> = written.iter().filter_map(differs).collect();
    (!problems.is_empty()).then(|| Finding {
        stops: Stops::Table(target),
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
        window(target, &row(table), &mut findings);
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
        for settings in
            ["", " SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 7200"]
        {
            let full = format!("{replicated}{settings}");
            assert!(of(likes, ["likes_cdc", "ReplicatedReplacingMergeTree", "id", &full]).is_empty(), "{settings}");
        }
        for taken in ["replicated_deduplication_window = 0", "replicated_deduplication_window_seconds = 600"] {
            let full = format!("{replicated} SETTINGS index_granularity = 8192, {taken}");
            assert_eq!(of(likes, ["likes_cdc", "ReplicatedReplacingMergeTree", "id", &full]), ["dedup-window"]);
        }
        // The window for tables that are not replicated has no effect on a replicated table.
        let other = format!("{replicated} SETTINGS non_replicated_deduplication_window = 0");
        assert!(of(likes, ["likes_cdc", "ReplicatedReplacingMergeTree", "id", &other]).is_empty());
    }

    #[test]
    fn columns_must_be_there_with_their_types_and_more_are_fine() {
        let mut columns: Vec<_> =
            Target::Events.columns().iter().map(|(name, wire)| (name, wire.type_name())).collect();
        columns.push(("ours", "String"));
        assert_eq!(schema(Target::Events, Target::Events.columns(), &columns), None);
        columns[1].1 = "DateTime('UTC')";
        columns.remove(0);
        let finding = schema(Target::Events, Target::Events.columns(), &columns).unwrap();
        assert!(
            finding.detail.contains("event_id (UUID) is missing") && finding.detail.contains("event_time is DateTime")
        );
    }
}
