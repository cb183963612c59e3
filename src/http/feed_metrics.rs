//! `GET /api/v1/feed/metrics` shows the figures of a day. The counts of events are part of the state. The job
//! `figures_save` stores the figures about served pages.

use http::StatusCode;

use crate::event::Action;
use crate::state::DAY_MS;

use super::answers::{self, Answer};
use super::edge::Serving;
use super::error::Problem;
use super::percent;
use super::shapes::DayFigures;

/// The quotient of `part` and `whole`, rounded to four digits, or 0 if `whole` is 0.
fn rate(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 1e4).round() / 1e4 }
}

pub(super) fn answer(serving: &Serving, query: &str) -> Answer {
    let now_ms = serving.clock.now_ms();
    let day = match percent::parameter(query, "date")?.filter(|text| !text.is_empty()) {
        None => now_ms.div_euclid(DAY_MS),
        Some(text) => {
            // A date that is longer than 10 characters has a year with a sign, which nova refuses.
            let begin: Option<jiff::Timestamp> = format!("{text}T00:00:00Z").parse().ok().filter(|_| text.len() == 10);
            let wrong = || Problem::InvalidParameter { field: "date", detail: "date: expected YYYY-MM-DD".to_owned() };
            begin.ok_or_else(wrong)?.as_millisecond().div_euclid(DAY_MS)
        }
    };
    serving.shown.settle(&serving.state, now_ms);
    let events =
        i32::try_from(day).ok().and_then(|day| serving.state.read().daily.day(day).cloned()).unwrap_or_default();
    let (served, suggestions) = (serving.feeds.served.day(day).unwrap_or_default(), serving.shown.day(day));
    let count = |action: Action| events.events[action as usize];
    let date = jiff::Timestamp::from_millisecond(day * DAY_MS).unwrap_or_default();
    let figures = DayFigures {
        date: date.strftime("%Y-%m-%d").to_string(),
        impressions: count(Action::Impression),
        clicks: count(Action::View),
        ctr: rate(count(Action::View), count(Action::Impression)),
        shares: count(Action::Share),
        dwell_p50_ms: events.dwell_ms.percentile(50),
        dwell_p95_ms: events.dwell_ms.percentile(95),
        suggested: suggestions.suggested,
        suggested_followed: suggestions.followed,
        suggestion_conversion: rate(suggestions.followed, suggestions.suggested),
        feed_requests: served.feeds,
        hit_rate: rate(served.feed_hits, served.feeds),
        event_visible_p95_ms: served.visible_ms.percentile(95),
    };
    Ok(answers::object(StatusCode::OK, &figures))
}
