//! Reads the counts of ClickHouse's materialised views.

use std::ops::Range;
use std::sync::Arc;

use crate::event::Id;

use super::clickhouse::ClickHouse;
use super::status::Status;
use super::verdict::{Failure, Verdict, verdict};

/// ClickHouse's error codes for a table or a database that does not exist yet.
const NOT_MIGRATED: [u32; 2] = [60, 81];

/// The reason why nova could not read the views.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// ClickHouse gives no answer for now. If a person must repair ClickHouse, the sender reports the reason.
    Away(String),
    /// The query failed although ClickHouse answers.
    Failed(String),
}

/// The length of a view's buckets, which selects the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buckets {
    Minutes,
    Hours,
}

impl Buckets {
    fn table(self) -> &'static str {
        match self {
            Buckets::Minutes => "post_metrics_1m",
            Buckets::Hours => "post_metrics_1h",
        }
    }
}

/// The materialised views of ClickHouse.
pub struct Views {
    pub clickhouse: ClickHouse,
    pub status: Arc<Status>,
}

impl Views {
    /// Returns the rows of an answer. The result has no rows if the materialised views do not exist yet.
    fn ask(&self, sql: String) -> impl Future<Output = Result<Vec<Vec<String>>, Unread>> + Send + use<> {
        let (clickhouse, status) = (self.clickhouse.clone(), Arc::clone(&self.status));
        async move {
            match clickhouse.rows(&sql).await {
                Ok(rows) => Ok(rows),
                Err(Failure::Refused { code: Some(code), .. }) if NOT_MIGRATED.contains(&code) => Ok(Vec::new()),
                // The sender already reports why the tables cannot be made, so a query that fails for this reason is
                // not reported.
                Err(failure) if status.unprepared().is_some() => Err(Unread::Away(failure.to_string())),
                Err(failure) => Err(match verdict(&failure) {
                    Verdict::Retry | Verdict::Ambiguous | Verdict::Overload => Unread::Away(failure.to_string()),
                    Verdict::Stall | Verdict::Suspect | Verdict::Unknown => Unread::Failed(failure.to_string()),
                }),
            }
        }
    }

    /// Counts the events of each [`crate::event::Action`] in a range of hours since the epoch.
    pub fn events(&self, hours: Range<i64>) -> impl Future<Output = Result<[i64; 5], Unread>> + Send + use<> {
        let rows = self.ask(format!(
            "SELECT sum(impressions), sum(views), sum(likes), sum(comments), sum(shares) FROM {} WHERE {}",
            Buckets::Hours.table(),
            within(hours.start * 3_600, hours.end * 3_600)
        ));
        async move {
            let rows = rows.await?;
            let row = rows.first().map_or(&[][..], Vec::as_slice);
            Ok(std::array::from_fn(|action| count(row, action)))
        }
    }

    /// Returns the posts with the highest weighted sum of views and shares in a range of minutes since the epoch. Each
    /// post has its numbers of impressions, views and shares.
    pub fn posts(
        &self,
        buckets: Buckets,
        minutes: Range<i64>,
        weights: [i64; 5],
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Id, [i64; 5])>, Unread>> + Send + use<> {
        let [_, view, _, _, share] = weights;
        let rows = self.ask(format!(
            "SELECT toString(post_id), sum(impressions), sum(views), sum(shares) FROM {} WHERE {} GROUP BY post_id \
             ORDER BY {view} * sum(views) + {share} * sum(shares) DESC, post_id ASC LIMIT {limit}",
            buckets.table(),
            within(minutes.start * 60, minutes.end * 60)
        ));
        async move {
            let post = |row: Vec<String>| {
                let id = Id::parse(row.first()?.as_bytes()).ok()?;
                Some((id, [count(&row, 1), count(&row, 2), 0, 0, count(&row, 3)]))
            };
            Ok(rows.await?.into_iter().filter_map(post).collect())
        }
    }
}

/// Returns a condition on the views' buckets, with limits in epoch seconds.
fn within(from_s: i64, to_s: i64) -> String {
    format!("bucket >= toDateTime({}, 'UTC') AND bucket < toDateTime({}, 'UTC')", from_s.max(0), to_s.max(0))
}

fn count(row: &[String], field: usize) -> i64 {
    row.get(field).and_then(|text| text.parse().ok()).unwrap_or(0)
}
