//! `nova status` prints the state of a running node on one screen.

use serde_json::Value;

use crate::config::Config;

use super::error::CliError;
use super::out;
use super::remote::{Node, Place, Remote, plain};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    remote: Remote,
}

/// The exit code of `nova status` if the node does not answer.
const UNASKED: u8 = 2;

/// Finds the named node, or the node that has the store of `--data`.
pub(super) fn node(remote: &Remote, config: &Config) -> Result<Node, CliError> {
    match remote.place(config)? {
        Place::Running(node) => Ok(node),
        Place::Stopped(_) => {
            let data = config.data_dir.display();
            Err(CliError::Failed(format!("no node runs over the store of {data}: start it, or name one with --url")))
        }
    }
}

/// Runs `nova status`. The exit code is 0 if the node is ready, 1 if the node is not ready, and 2 if the node does not
/// answer.
pub(super) fn run(args: &Args, config: &Config, json: bool) -> Result<(), CliError> {
    let asked = node(&args.remote, config).and_then(|node| node.get("status"));
    let status = asked.map_err(|error| CliError::Coded { code: UNASKED, words: error.to_string() })?;
    if json {
        out::line(&status.to_string())?;
    } else {
        lines(&status).iter().try_for_each(|line| out::line(line))?;
    }
    match status["reasons"].as_array().map_or(0, Vec::len) {
        0 => Ok(()),
        1 => Err(CliError::Failed("not ready: one reason, above".to_owned())),
        reasons => Err(CliError::Failed(format!("not ready: {reasons} reasons, above"))),
    }
}

/// The status of a node in words, with one line for each subject.
pub(super) fn lines(status: &Value) -> Vec<String> {
    let text = |value: &Value| plain(value.as_str().unwrap_or_default());
    let (source, disk) = (&status["source"], &status["disk"]);
    let detail = source["detail"].as_str().map_or(String::new(), |detail| format!(", {}", plain(detail)));
    let mut lines = vec![
        format!(
            "nova       {}, store format {}, up {}, {}",
            text(&status["version"]),
            status["store_format"],
            span(status["uptime_s"].as_i64().unwrap_or_default()),
            text(&status["status"])
        ),
        format!(
            "source     {}: {}{detail}, {} s behind",
            text(&source["kind"]),
            text(&source["state"]),
            source["lag_s"]
        ),
        format!("dead       {}", dead(&status["dead_letters"])),
        format!("outbox     {}", outbox(&status["outbox"])),
        format!(
            "disk       {} in the store, {} free; pages: {}",
            bytes(&disk["store_bytes"]),
            bytes(&disk["free_bytes"]),
            text(&status["store_check"])
        ),
        format!("backup     {}", backup(&status["backup"])),
    ];
    for (title, name) in [("reason", "reasons"), ("warning", "warnings")] {
        for told in status[name].as_array().into_iter().flatten() {
            lines.push(format!("{title:<10} {}", text(&told["reason"])));
            let commands = told["commands"].as_array().into_iter().flatten();
            lines.extend(commands.map(|command| format!("           $ {}", text(command))));
        }
    }
    lines
}

fn dead(dead: &Value) -> String {
    let by_reason = dead["by_reason"].as_array().into_iter().flatten().map(|one| {
        let text = |name: &str| plain(one[name].as_str().unwrap_or_default());
        format!("; {} {} {}: {}", text("topic"), text("stage"), text("reason"), one["letters"])
    });
    format!("{} letters{}", dead["waiting"], by_reason.collect::<String>())
}

fn outbox(outbox: &Value) -> String {
    if outbox.is_null() {
        return "none: clickhouse.url is not set".to_owned();
    }
    let oldest = outbox["oldest_s"].as_i64().map_or(String::new(), |age_s| format!(", the oldest for {}", span(age_s)));
    let full = if outbox["full"] == true { ", full" } else { "" };
    format!("{} rows, {}{oldest}{full}", outbox["rows"], bytes(&outbox["bytes"]))
}

fn backup(backup: &Value) -> String {
    let text = |name: &str| plain(backup[name].as_str().unwrap_or_default());
    match (backup.is_null(), backup["verify_failed"] == true) {
        (true, _) => "none was made".to_owned(),
        (_, true) => format!("made {}; one that was verified since is not what was made", text("made_at")),
        (_, false) => format!("made {}, verified {}", text("made_at"), text("verified_at")),
    }
}

/// Writes a number of bytes for a person.
pub(super) fn bytes(value: &Value) -> String {
    let Some(bytes) = value.as_u64() else { return "unknown".to_owned() };
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// Writes a time span, given in seconds, for a person.
pub(super) fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_said_in_the_unit_that_fits() {
        let said = [0, 59, 60, 3_599, 3_600, 86_399, 90_000].map(span);
        assert_eq!(said, ["0 s", "59 s", "1 min", "59 min", "1 h 0 min", "23 h 59 min", "1 d 1 h"]);
        let said = [0u64, 1_023, 1_024, 1 << 20, 3 << 29, 1 << 40].map(|one| bytes(&one.into()));
        assert_eq!(said, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.5 GiB", "1.0 TiB"]);
        assert_eq!(bytes(&Value::Null), "unknown");
    }
}
