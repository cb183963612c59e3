//! The log of nova: lines on standard error, as text or as JSON. If a line repeats within a minute, nova writes the
//! line once, and after the minute once more with the number of repetitions. Because nova holds back repeated lines,
//! the lines about an unreachable server do not bury the rest of the log.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use crate::clock::monotonic_now;
use crate::config::Config;

use super::out;

/// The time after a line of the log in which nova holds back its repetitions.
const REPEATS: Duration = Duration::from_secs(60);
/// The maximum number of lines of the log that nova remembers to recognise repetitions. A new line replaces the oldest
/// line.
const REMEMBERED_MAX: usize = 64;
/// The longest line of the log, in bytes, that nova may hold back.
const REMEMBERED_MAX_BYTES: usize = 4 << 10;

/// Starts logging as the configuration says.
pub(super) fn init(config: &Config) {
    let requests = if config.log_requests { "info" } else { "off" };
    let writer = Once { told: Arc::default(), json: config.log_json };
    let log = tracing_subscriber::fmt()
        .with_env_filter(format!(
            "{},rdkafka=off,librdkafka=off,pgwire_replication=off,nova::requests={requests}",
            config.log_level
        ))
        .with_writer(writer)
        .with_ansi(out::coloured(&io::stderr()));
    if config.log_json { log.json().init() } else { log.init() }
}

/// The lines that nova wrote to the log within the last minute.
#[derive(Default)]
struct Told(VecDeque<Line>);

struct Line {
    /// The text of the log's line without its time.
    text: Vec<u8>,
    at: Instant,
    /// How often the line has come since nova wrote it.
    repeated: u64,
}

/// The length of the time at the beginning of a line of the log.
fn time_of(line: &[u8], json: bool) -> usize {
    let end = line.iter().position(|byte| *byte == if json { b',' } else { b' ' });
    end.map_or(0, |end| end + 1)
}

impl Told {
    /// The text that nova writes when a line comes: the counts of earlier lines whose minute is over, and the new line
    /// unless it repeats an earlier line.
    fn take(&mut self, line: &[u8], json: bool, now: Instant) -> Vec<u8> {
        let (time, text) = line.split_at(time_of(line, json));
        let mut out = Vec::new();
        let over = self.0.iter().take_while(|known| now.duration_since(known.at) >= REPEATS).count();
        for known in self.0.drain(..over).filter(|known| known.repeated > 0) {
            counted(&mut out, time, &known, json);
        }
        if let Some(known) = self.0.iter_mut().find(|known| known.text == text) {
            known.repeated += 1;
            return out;
        }
        out.extend_from_slice(line);
        if text.len() <= REMEMBERED_MAX_BYTES {
            if self.0.len() == REMEMBERED_MAX
                && let Some(known) = self.0.pop_front().filter(|known| known.repeated > 0)
            {
                counted(&mut out, time, &known, json);
            }
            self.0.push_back(Line { text: text.to_vec(), at: now, repeated: 0 });
        }
        out
    }
}

/// Writes a line of the log a second time, with the number of its repetitions.
fn counted(out: &mut Vec<u8>, time: &[u8], known: &Line, json: bool) {
    out.extend_from_slice(time);
    if json {
        out.extend_from_slice(format!("\"repeated\":{},", known.repeated).as_bytes());
        out.extend_from_slice(&known.text);
    } else {
        let text = known.text.strip_suffix(b"\n").unwrap_or(&known.text);
        out.extend_from_slice(text);
        out.extend_from_slice(format!(" repeated={}\n", known.repeated).as_bytes());
    }
}

/// Writes whole lines of the log to standard error.
#[derive(Clone)]
struct Once {
    told: Arc<Mutex<Told>>,
    json: bool,
}

impl<'a> MakeWriter<'a> for Once {
    type Writer = Once;

    fn make_writer(&'a self) -> Once {
        self.clone()
    }
}

impl Write for Once {
    /// The subscriber hands over one whole line at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // nova holds the lock while it writes the line, because the lines of two threads must not mix.
        let mut told = self.told.lock();
        let out = told.take(line, self.json, monotonic_now());
        io::stderr().write_all(&out)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(seconds: u64, begun: Instant) -> Instant {
        begun + Duration::from_secs(seconds)
    }

    #[test]
    fn a_line_that_repeats_is_written_once_and_then_counted() {
        let (mut told, begun) = (Told::default(), monotonic_now());
        let mut take = |second: u64, rest: &str| {
            let line = format!("2026-11-26T00:00:{second:02}Z  WARN {rest}\n");
            String::from_utf8(told.take(line.as_bytes(), false, after(second, begun))).unwrap()
        };
        assert_eq!(take(0, "away"), "2026-11-26T00:00:00Z  WARN away\n");
        assert_eq!((take(1, "away"), take(59, "away")), (String::new(), String::new()));
        assert_eq!(take(5, "other"), "2026-11-26T00:00:05Z  WARN other\n");
        let end = take(60, "third");
        assert_eq!(end, "2026-11-26T00:00:60Z  WARN away repeated=2\n2026-11-26T00:00:60Z  WARN third\n");
        assert_eq!(take(61, "away"), "2026-11-26T00:00:61Z  WARN away\n");
    }

    #[test]
    fn a_count_is_a_member_of_json() {
        let (mut told, begun) = (Told::default(), monotonic_now());
        let line = |second: u64| format!("{{\"timestamp\":\"00:00:{second:02}\",\"level\":\"WARN\"}}\n");
        told.take(line(0).as_bytes(), true, begun);
        assert!(told.take(line(1).as_bytes(), true, after(1, begun)).is_empty());
        let out = told.take(line(60).as_bytes(), true, after(60, begun));
        let lines: Vec<serde_json::Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((lines.len(), &lines[0]["repeated"], &lines[0]["level"]), (2, &1.into(), &"WARN".into()));
    }

    proptest! {
        /// nova either writes or counts each line of the log, whenever and however often lines come.
        #[test]
        fn no_line_is_lost(lines in proptest::collection::vec((0..100u8, 0..30u64), 0..400)) {
            let (mut told, begun, mut second) = (Told::default(), monotonic_now(), 0);
            let mut out = Vec::new();
            for (text, later) in &lines {
                second += later;
                out.extend(told.take(format!("{second} {text}\n").as_bytes(), false, after(second, begun)));
            }
            prop_assert!(told.0.len() <= REMEMBERED_MAX);
            let waiting: u64 = told.0.iter().map(|line| line.repeated).sum();
            let written = String::from_utf8(out).unwrap();
            let count = |line: &str| line.split_once(" repeated=").map_or(1, |(_, count)| count.parse().unwrap());
            prop_assert_eq!(written.lines().map(count).sum::<u64>() + waiting, lines.len() as u64);
        }
    }
}
