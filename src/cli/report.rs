//! The report of a replay, which accounts for the outcome of every record.

use serde::Serialize;

use crate::event::Outcome;
use crate::pipeline::progress::PartitionStatus;

use super::error::CliError;
use super::out;

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Counts {
    pub(super) consumed: u64,
    applied: u64,
    duplicate: u64,
    stale: u64,
    ignored: u64,
    late: u64,
    pub(super) dead: u64,
    redelivered: u64,
    conflicts: u64,
    /// The number of values that neither a record nor its stored row had.
    pub(super) unfilled: u64,
}

#[derive(Debug, Serialize)]
struct Partition<'a> {
    topic: &'a str,
    partition: i32,
    next_offset: i64,
    #[serde(flatten)]
    counts: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    partitions: Vec<Partition<'a>>,
    totals: &'a Counts,
}

fn counts(status: &PartitionStatus) -> Counts {
    Counts {
        consumed: status.consumed(),
        applied: status.count(Outcome::Applied),
        duplicate: status.count(Outcome::Duplicate),
        stale: status.count(Outcome::Stale),
        ignored: status.count(Outcome::Ignored),
        late: status.count(Outcome::Late),
        dead: status.count(Outcome::Dead),
        redelivered: status.redelivered,
        conflicts: status.row.conflicts - status.start.conflicts,
        unfilled: status.unfilled,
    }
}

pub(super) fn totals(statuses: &[PartitionStatus]) -> Counts {
    statuses.iter().map(counts).fold(Counts::default(), |sum, next| Counts {
        consumed: sum.consumed + next.consumed,
        applied: sum.applied + next.applied,
        duplicate: sum.duplicate + next.duplicate,
        stale: sum.stale + next.stale,
        ignored: sum.ignored + next.ignored,
        late: sum.late + next.late,
        dead: sum.dead + next.dead,
        redelivered: sum.redelivered + next.redelivered,
        conflicts: sum.conflicts + next.conflicts,
        unfilled: sum.unfilled + next.unfilled,
    })
}

/// Returns an error if a partition waits for a person's decision.
pub(super) fn none_held(statuses: &[PartitionStatus]) -> Result<(), CliError> {
    let held = statuses.iter().find_map(|status| Some((&status.name, status.hold.as_ref()?)));
    held.map_or(Ok(()), |(name, reason)| Err(CliError::Failed(format!("{name} is held: {reason}"))))
}

/// The partitions that this run read, by topic and number.
fn touched(statuses: &[PartitionStatus]) -> Vec<&PartitionStatus> {
    let of_run = |status: &&PartitionStatus| status.consumed() + status.redelivered > 0 || status.hold.is_some();
    let mut touched: Vec<_> = statuses.iter().filter(of_run).collect();
    touched.sort_by(|a, b| a.name.cmp(&b.name));
    touched
}

/// The report of a replay as one JSON document.
pub(super) fn json(statuses: &[PartitionStatus]) -> Result<String, CliError> {
    let totals = totals(statuses);
    let partitions = touched(statuses).into_iter().map(|status| Partition {
        topic: &status.name.topic,
        partition: status.name.partition,
        next_offset: status.row.next,
        counts: counts(status),
        held: status.hold.as_deref(),
    });
    let report = Report { partitions: partitions.collect(), totals: &totals };
    serde_json::to_string(&report).map_err(|error| CliError::Failed(error.to_string()))
}

const HEADS: [&str; 9] =
    ["next", "consumed", "applied", "duplicate", "stale", "ignored", "late", "dead", "redelivered"];
/// The number of leading columns of [`HEADS`] that the table has even if all their values are 0.
const ALWAYS: usize = 3;
const COLUMN: usize = 11;

/// Prints the report of a replay as a table. If the terminal is too narrow, nova leaves out columns with only zeros and
/// names them below the table.
pub(super) fn table(statuses: &[PartitionStatus]) -> Result<(), CliError> {
    for line in lines(statuses, out::width()) {
        out::line(&line)?;
    }
    Ok(())
}

fn lines(statuses: &[PartitionStatus], most: usize) -> Vec<String> {
    let cells = |next: i64, c: &Counts| {
        let counts = [c.consumed, c.applied, c.duplicate, c.stale, c.ignored, c.late, c.dead, c.redelivered];
        std::iter::once(next.max(0) as u64).chain(counts).collect::<Vec<_>>()
    };
    let touched = touched(statuses);
    let mut rows: Vec<_> =
        touched.iter().map(|status| (status.name.to_string(), cells(status.row.next, &counts(status)))).collect();
    rows.push(("total".to_owned(), cells(0, &totals(statuses))));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(15);
    let narrow = width + HEADS.len() * (COLUMN + 1) > most;
    let shown = |column: usize| !narrow || column < ALWAYS || rows.iter().any(|(_, cells)| cells[column] != 0);
    let line = |name: &str, cells: &dyn Fn(usize) -> String| {
        let cells =
            (0..HEADS.len()).filter(|column| shown(*column)).map(|column| format!(" {:>COLUMN$}", cells(column)));
        format!("{name:width$}{}", cells.collect::<String>())
    };
    let mut lines = vec![line("topic/partition", &|column| HEADS[column].to_owned())];
    for (name, cells) in &rows {
        let total = name == "total";
        lines.push(line(name, &|column| if total && column == 0 { String::new() } else { cells[column].to_string() }));
    }
    let left_out: Vec<_> = (0..HEADS.len()).filter(|column| !shown(*column)).map(|column| HEADS[column]).collect();
    if !left_out.is_empty() {
        lines.push(format!("0 everywhere: {}", left_out.join(", ")));
    }
    lines
}
