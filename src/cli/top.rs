//! `nova top` shows a running node's status and rates again and again. On a terminal the command overwrites the screen
//! until q or Ctrl-C. On a dumb terminal, or without a terminal, the command prints the frames below each other.

use std::io::{Read as _, Write as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use serde_json::Value;

use crate::clock::monotonic_now;
use crate::config::Config;

use super::error::CliError;
use super::out;
use super::remote::{Remote, plain};
use super::signals::Signals;
use super::status::{self, bytes};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The seconds from frame to frame.
    #[arg(long, default_value_t = 2, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// End after this many frames.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    remote: Remote,
}

/// The width of a frame in columns.
const WIDTH: usize = 80;
/// The number of memory structures that a frame shows, largest first.
const MEMORY_SHOWN: usize = 6;
const OUTCOMES: [&str; 6] = ["applied", "duplicate", "stale", "ignored", "late", "dead"];
/// Control sequences of ECMA-48. `HOME` moves the cursor to the top left corner. `CLEAR_BELOW` clears the screen from
/// the cursor on, `CLEAR_LINE` clears the line from the cursor on, and `CLEAR_ALL` clears the whole screen.
const HOME: &str = "\x1b[H";
const CLEAR_BELOW: &str = "\x1b[J";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_ALL: &str = "\x1b[2J";

pub(super) fn run(args: &Args, config: &Config, json: bool, signals: &Signals) -> Result<(), CliError> {
    let node = status::node(&args.remote, config)?;
    let ask = || -> Result<(Instant, Value), CliError> { Ok((monotonic_now(), node.get("status?letters=0")?)) };
    let screen = !json && out::drawn_over(&std::io::stdout());
    let (sender, ends) = sync_channel(ENDS_MAX);
    let _keyboard = if screen { Keyboard::listen(&sender) } else { None };
    let ends = signalled(signals, sender, ends)?;
    let (mut before, mut left) = (ask()?, args.count.unwrap_or(u64::MAX));
    if screen {
        write(CLEAR_ALL)?;
    }
    while left > 0 {
        // A key or a signal ends the command. The channel stays open, because its senders live as long as the process.
        if ends.recv_timeout(Duration::from_secs(args.interval)) != Err(RecvTimeoutError::Timeout) {
            return Ok(());
        }
        let now = ask()?;
        let seconds = now.0.duration_since(before.0).as_secs_f64();
        if json {
            out::line(&now.1.to_string())?;
        } else {
            draw(&frame(&before.1, &now.1, seconds), screen)?;
        }
        (before, left) = (now, left - 1);
    }
    Ok(())
}

/// The number of keys and signals that may wait. A queue for one message is enough, because the command ends at the
/// first key or signal.
const ENDS_MAX: usize = 1;

/// Lets a signal end the command cleanly, so that the terminal is restored.
fn signalled(signals: &Signals, sender: SyncSender<()>, ends: Receiver<()>) -> Result<Receiver<()>, CliError> {
    let mut waiting = signals.handled();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    std::thread::Builder::new().name("signalled".to_owned()).spawn(move || {
        loop {
            runtime.block_on(waiting.next());
            // If the channel is full, the waiting message already ends the command.
            let _ = sender.try_send(());
        }
    })?;
    Ok(ends)
}

/// Puts the terminal into a mode without echo in which each key arrives at once (termios(3)), until this value is
/// dropped.
struct Keyboard(Termios);

impl Keyboard {
    /// Lets the key q end the command. The result is `None` if standard input is not a terminal.
    fn listen(sender: &SyncSender<()>) -> Option<Keyboard> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut at_once = before.clone();
        at_once.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        at_once.special_codes[SpecialCodeIndex::VMIN] = 1;
        tcsetattr(std::io::stdin(), OptionalActions::Now, &at_once).ok()?;
        let sender = sender.clone();
        std::thread::spawn(move || {
            for key in std::io::stdin().lock().bytes().map_while(Result::ok) {
                if key.eq_ignore_ascii_case(&b'q') {
                    let _ = sender.try_send(());
                }
            }
        });
        Some(Keyboard(before))
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

fn write(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn draw(lines: &[String], screen: bool) -> Result<(), CliError> {
    let (begin, end) = if screen { (HOME, CLEAR_LINE) } else { ("", "") };
    let mut text = begin.to_owned();
    for line in lines {
        text.extend([line.as_str(), end, "\n"]);
    }
    text.push_str(if screen { CLEAR_BELOW } else { "\n" });
    write(&text)
}

/// Makes a frame of at most [`WIDTH`] columns from two answers of the node that are `seconds` apart.
fn frame(before: &Value, now: &Value, seconds: f64) -> Vec<String> {
    // The frame begins with the lines of `nova status`, without the texts that the end of the frame shows on lines of
    // their own.
    let mut lines: Vec<String> = status::lines(now).into_iter().filter(|line| !line.starts_with("backup")).collect();
    let reasons = lines.iter().position(|line| line.starts_with("reason") || line.starts_with("warning"));
    let reasons = reasons.map_or(Vec::new(), |at| lines.split_off(at));
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds.max(1e-3);
    let commits = |status: &Value| status["counts"]["commits"].as_u64().unwrap_or_default();
    lines.push(format!("commits    {:.1}/s", rate(commits(now), commits(before))));
    lines.push(String::new());
    lines.push(format!("{:<20}{}", "records/s", OUTCOMES.map(|outcome| format!("{outcome:>10}")).concat()));
    let records = |status: &Value, topic: &str, outcome: &str| {
        let all = status["counts"]["records"].as_array().into_iter().flatten();
        let same = all.filter(|one| one["topic"] == topic && one["outcome"] == outcome);
        same.filter_map(|one| one["count"].as_u64()).sum::<u64>()
    };
    let all = now["counts"]["records"].as_array().into_iter().flatten();
    let mut topics: Vec<_> = all.filter_map(|one| one["topic"].as_str()).collect();
    topics.dedup();
    for topic in topics {
        let rates = OUTCOMES
            .map(|outcome| format!("{:>10.1}", rate(records(now, topic, outcome), records(before, topic, outcome))));
        lines.push(format!("{:<20}{}", short(&plain(topic), 19), rates.concat()));
    }
    lines.push(String::new());
    lines.push(format!("{:<20}{:>10}{:>12}{:>10}", "requests/s", "granted", "over quota", "shed"));
    let classes = |status: &Value| status["counts"]["requests"].as_array().cloned().unwrap_or_default();
    for (one, old) in classes(now).iter().zip(classes(before)) {
        let of = |name: &str| rate(one[name].as_u64().unwrap_or_default(), old[name].as_u64().unwrap_or_default());
        let class = plain(one["class"].as_str().unwrap_or_default());
        lines.push(format!("{class:<20}{:>10.1}{:>12.1}{:>10.1}", of("granted"), of("over_quota"), of("shed")));
    }
    lines.push(String::new());
    let mut memory: Vec<_> = now["memory"].as_array().into_iter().flatten().collect();
    memory.sort_by_key(|one| std::cmp::Reverse(one["bytes"].as_u64()));
    let shown = memory.iter().take(MEMORY_SHOWN);
    let shown =
        shown.map(|one| format!("{} {}", plain(one["structure"].as_str().unwrap_or_default()), bytes(&one["bytes"])));
    lines.push(format!("memory     {}", shown.collect::<Vec<_>>().join(", ")));
    lines.extend(reasons);
    lines.iter().map(|line| short(line, WIDTH)).collect()
}

/// Shortens a text to at most `most` characters.
fn short(text: &str, most: usize) -> String {
    match text.chars().count() <= most {
        true => text.to_owned(),
        false => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_frame_has_rates_between_two_answers_and_fits_eighty_columns() {
        let status = |applied: u64, granted: u64, commits: u64| {
            json!({
                "version": "0.1.0", "store_format": 2, "uptime_s": 5, "status": "not-ready",
                "reasons": [{ "reason": "x".repeat(300), "commands": ["nova cdc state"] }], "warnings": [],
                "source": { "kind": "kafka", "state": "reading", "detail": null, "lag_s": 3 },
                "dead_letters": { "waiting": 2, "by_reason": [] }, "outbox": null,
                "disk": { "store_bytes": 1, "free_bytes": 2 }, "store_check": "ok", "backup": null,
                "memory": [{ "structure": "rows", "bytes": 2048 }, { "structure": "posts", "bytes": 4096 }],
                "counts": {
                    "commits": commits,
                    "records": [{ "topic": "cdc.a_topic_with_a_long_name", "outcome": "applied", "count": applied }],
                    "requests": [{ "class": "feed", "granted": granted, "over_quota": 0, "shed": 0 }],
                },
            })
        };
        let lines = frame(&status(10, 100, 1), &status(30, 100, 5), 2.0);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:#?}");
        let has = |parts: &[&str]| lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(has(&["cdc.a_topic_with_a…", "10.0", "0.0"]), "{lines:#?}");
        assert!(has(&["commits", "2.0/s"]) && has(&["feed", "0.0"]) && has(&["$ nova cdc state"]), "{lines:#?}");
        assert!(has(&["memory     posts 4.0 KiB, rows 2.0 KiB"]), "{lines:#?}");
    }
}
