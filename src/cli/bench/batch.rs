//! The bench's alternative to nova's trending: in every period, one query for each window reads `post_events` and makes
//! the list, and a map keeps the result.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::error::CliError;
use crate::clock::monotonic_now;
use crate::feed::trending::{TRENDING_MAX, Window};
use crate::warehouse::clickhouse::ClickHouse;
use crate::warehouse::verdict::Failure;

/// The number of shares of each trending post.
pub(super) type Shares = BTreeMap<String, u64>;

/// One run of the batch's queries.
pub(super) struct Run {
    /// The shares of each post in [`Window::Week`].
    pub shares: Shares,
    /// The time for the queries of all windows, which run one after the other.
    pub took: Duration,
}

pub(super) fn failed(failure: Failure) -> CliError {
    CliError::Failed(format!("ClickHouse: {failure}"))
}

fn from_ms(window: Window, now_ms: i64) -> i64 {
    window.range(now_ms).start * crate::state::MINUTE_MS
}

/// The query of a window, with the weights of nova's scores: a view 0.1, a like 2, a comment 3, a share 5.
fn query(window: Window, now_ms: i64, mark: &str) -> String {
    let from_ms = from_ms(window, now_ms);
    format!(
        "/* {mark} */ SELECT post_id, sum(multiIf(action = 'view', 1, action = 'like', 20, action = 'comment', 30, \
         action = 'share', 50, 0)) AS score, countIf(action = 'share') AS shares FROM post_events \
         WHERE event_time >= fromUnixTimestamp64Milli({from_ms}, 'UTC') GROUP BY post_id HAVING score > 0 \
         ORDER BY score DESC, post_id LIMIT {TRENDING_MAX}"
    )
}

/// Runs the queries of all windows once.
pub(super) async fn run(clickhouse: &ClickHouse, now_ms: i64, mark: &str) -> Result<Run, CliError> {
    let began = monotonic_now();
    let mut shares = Shares::new();
    for window in Window::ALL {
        let rows = clickhouse.rows(&query(window, now_ms, mark)).await.map_err(failed)?;
        if window == Window::Week {
            let pair = |row: Vec<String>| Some((row.first()?.clone(), row.get(2)?.parse().ok()?));
            shares = rows.into_iter().filter_map(pair).collect();
        }
    }
    Ok(Run { shares, took: began.elapsed() })
}

/// The number of rows that the queries of one run read, and the origin of this number. The origin is the server's log
/// if the log is available. If the log is not available, the function counts the rows of the partitions that a window
/// touches, because the table is not ordered by time.
pub(super) async fn rows_read(
    clickhouse: &ClickHouse,
    now_ms: i64,
    mark: &str,
) -> Result<(u64, &'static str), CliError> {
    let logged = format!(
        "SELECT intDiv(sum(read_rows) * {}, count()) FROM system.query_log WHERE type = 'QueryFinish' \
         AND startsWith(query, '/* {mark} */')",
        Window::ALL.len()
    );
    if clickhouse.run("SYSTEM FLUSH LOGS").await.is_ok()
        && let Ok(rows) = clickhouse.number(&logged).await
    {
        return Ok((rows, "read_rows of system.query_log"));
    }
    let mut rows = 0;
    for window in Window::ALL {
        let from_ms = from_ms(window, now_ms);
        let sql = format!(
            "SELECT count() FROM post_events WHERE toYYYYMM(event_time) >= toYYYYMM(fromUnixTimestamp64Milli({from_ms}, 'UTC'))"
        );
        rows += clickhouse.number(&sql).await.map_err(failed)?;
    }
    Ok((rows, "there is no system.query_log: rows of the partitions that the windows meet"))
}
