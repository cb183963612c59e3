//! The values of each gauge in the last ten minutes, one point a second, so that the console shows plots as soon as it
//! opens. The list of gauges is fixed, so the history always takes the same memory.

use serde_json::{Map, Number, Value, json};

/// The number of points of each gauge that the history keeps.
pub const POINTS: usize = 600;
/// The interval between two points in milliseconds.
pub const STEP_MS: i64 = 1_000;

/// The gauges. The discriminant of a gauge is the gauge's index in a point. The names of gauges contain their units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    RecordsPerS,
    LagS,
    CommitsPerS,
    CommitP50Ms,
    CommitP99Ms,
    MemoryBytes,
    OutboxRows,
    OutboxOldestS,
    AcknowledgedPerS,
    DeadLetters,
    RequestsPerS,
    RefusedPerS,
    FeedsPerS,
    HeldWalBytes,
    DiskFreeBytes,
    HealthFactor,
}

impl Gauge {
    pub const ALL: [Gauge; 16] = [
        Gauge::RecordsPerS,
        Gauge::LagS,
        Gauge::CommitsPerS,
        Gauge::CommitP50Ms,
        Gauge::CommitP99Ms,
        Gauge::MemoryBytes,
        Gauge::OutboxRows,
        Gauge::OutboxOldestS,
        Gauge::AcknowledgedPerS,
        Gauge::DeadLetters,
        Gauge::RequestsPerS,
        Gauge::RefusedPerS,
        Gauge::FeedsPerS,
        Gauge::HeldWalBytes,
        Gauge::DiskFreeBytes,
        Gauge::HealthFactor,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Gauge::RecordsPerS => "records_per_s",
            Gauge::LagS => "lag_s",
            Gauge::CommitsPerS => "commits_per_s",
            Gauge::CommitP50Ms => "commit_p50_ms",
            Gauge::CommitP99Ms => "commit_p99_ms",
            Gauge::MemoryBytes => "memory_bytes",
            Gauge::OutboxRows => "outbox_rows",
            Gauge::OutboxOldestS => "outbox_oldest_s",
            Gauge::AcknowledgedPerS => "acknowledged_per_s",
            Gauge::DeadLetters => "dead_letters",
            Gauge::RequestsPerS => "requests_per_s",
            Gauge::RefusedPerS => "refused_per_s",
            Gauge::FeedsPerS => "feeds_per_s",
            Gauge::HeldWalBytes => "held_wal_bytes",
            Gauge::DiskFreeBytes => "disk_free_bytes",
            Gauge::HealthFactor => "health_factor",
        }
    }
}

/// The values of all gauges at one moment. The value of a gauge is `None` if there is nothing to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point(pub [Option<f64>; Gauge::ALL.len()]);

impl Point {
    pub fn set(&mut self, gauge: Gauge, value: f64) {
        self.0[gauge as usize] = value.is_finite().then_some(value);
    }

    pub fn get(&self, gauge: Gauge) -> Option<f64> {
        self.0[gauge as usize]
    }

    /// Returns the values as a JSON object with the names of the gauges as members.
    pub fn json(&self) -> Value {
        let each = Gauge::ALL.map(|gauge| (gauge.name().to_owned(), short(self.get(gauge))));
        Value::Object(each.into_iter().collect())
    }
}

/// Rounds a number for a plot: to a whole number from a thousand on, and to three decimals below a thousand.
fn short(value: Option<f64>) -> Value {
    let Some(value) = value else { return Value::Null };
    if value.abs() >= 1e3 || value.fract() == 0.0 {
        return Value::from(value.round() as i64);
    }
    Number::from_f64((value * 1e3).round() / 1e3).map_or(Value::Null, Value::Number)
}

/// The values of all gauges in the last ten minutes.
#[derive(Debug)]
pub struct History {
    points: Box<[Point; POINTS]>,
    /// The index at which the next point is written.
    next: usize,
    /// The time of the newest point in epoch milliseconds. The time is 0 before the history has a point.
    at_ms: i64,
}

impl Default for History {
    fn default() -> History {
        History { points: Box::new([Point::default(); POINTS]), next: 0, at_ms: 0 }
    }
}

impl History {
    /// Adds a point, which replaces the oldest point.
    pub fn put(&mut self, at_ms: i64, point: Point) {
        self.points[self.next] = point;
        self.next = (self.next + 1) % POINTS;
        self.at_ms = at_ms;
    }

    /// Returns the value that a gauge had `points` points before the newest point.
    pub fn before(&self, gauge: Gauge, points: usize) -> Option<f64> {
        let at = (self.next + POINTS - 1).checked_sub(points)? % POINTS;
        self.points.get(at)?.get(gauge)
    }

    /// Returns the history as JSON: `{"until_ms", "step_ms", "gauges": {name: [oldest, …, newest]}}`.
    pub fn json(&self) -> Value {
        let list = |gauge: Gauge| -> Value {
            let (newer, older) = self.points.split_at(self.next);
            older.iter().chain(newer).map(|point| short(point.get(gauge))).collect()
        };
        let gauges: Map<_, _> = Gauge::ALL.map(|gauge| (gauge.name().to_owned(), list(gauge))).into_iter().collect();
        json!({ "until_ms": self.at_ms, "step_ms": STEP_MS, "gauges": gauges })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_last_points_in_order() {
        let mut history = History::default();
        for n in 0..POINTS + 5 {
            let mut point = Point::default();
            point.set(Gauge::DeadLetters, n as f64);
            history.put(n as i64, point);
        }
        assert_eq!(history.before(Gauge::DeadLetters, 0), Some((POINTS + 4) as f64));
        assert_eq!(history.before(Gauge::DeadLetters, 60), Some((POINTS - 56) as f64));
        let json = history.json();
        let list = json["gauges"]["dead_letters"].as_array().unwrap();
        assert_eq!((list.len(), list[0].clone(), list[POINTS - 1].clone()), (POINTS, 5.into(), 604.into()));
        assert_eq!(json["gauges"]["lag_s"][0], Value::Null);
        assert_eq!(json["until_ms"], 604);
    }

    #[test]
    fn every_gauge_has_the_place_of_its_number_and_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Gauge::ALL.map(Gauge::name).into_iter().collect();
        assert_eq!(names.len(), Gauge::ALL.len());
        assert!(Gauge::ALL.iter().zip(0..).all(|(gauge, place)| *gauge as usize == place));
        let mut point = Point::default();
        point.set(Gauge::LagS, f64::NAN);
        assert_eq!(point.get(Gauge::LagS), None);
        assert_eq!((short(Some(1.23456)), short(Some(12_345.6))), (1.235.into(), 12_346.into()));
    }
}
