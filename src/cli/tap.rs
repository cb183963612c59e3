//! `nova tap` shows records as a running node commits them, with outcome and effect.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write as _};

use http::Method;
use serde_json::Value;

use crate::config::Config;
use crate::event::{Id, Outcome};

use super::dump::user;
use super::error::CliError;
use super::remote::{Remote, plain};
use super::{out, status};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Show only records of this topic, given by its name or its last part.
    #[arg(long)]
    topic: Option<String>,
    /// Show only records with this outcome: applied, duplicate, stale, ignored, late or dead.
    #[arg(long, value_parser = outcome)]
    outcome: Option<Outcome>,
    /// Show only records about this user.
    #[arg(long, value_parser = user, value_name = "USER")]
    user: Option<Id>,
    /// Show only records about this post.
    #[arg(long, value_parser = user, value_name = "POST")]
    post: Option<Id>,
    /// Show the version of each change, and the bytes of each record, too. Private values are masked.
    #[arg(long)]
    raw: bool,
    /// End after this many records.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    remote: Remote,
}

/// The longest line that the command accepts from the node. A record takes six times its bytes if each byte is an
/// escape sequence of JSON (RFC 8259 §7).
const LINE_MAX_BYTES: usize = 512 << 10;

fn outcome(name: &str) -> Result<Outcome, String> {
    let found = Outcome::ALL.into_iter().find(|outcome| outcome.name() == name);
    found.ok_or_else(|| format!("expected one of {}", Outcome::ALL.map(Outcome::name).join(", ")))
}

pub(super) fn run(args: &Args, config: &Config, json: bool) -> Result<(), CliError> {
    let node = status::node(&args.remote, config)?;
    let topic = args.topic.as_deref().map(percent);
    let given = [
        ("topic", topic),
        ("outcome", args.outcome.map(|outcome| outcome.name().to_owned())),
        ("user_id", args.user.map(|user| user.to_string())),
        ("post_id", args.post.map(|post| post.to_string())),
        ("raw", args.raw.then(|| "1".to_owned())),
    ];
    let query: Vec<_> = given.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect();
    let (mut left, mut text) = (args.count.unwrap_or(u64::MAX), VecDeque::new());
    node.fetch(Method::GET, &format!("tap?{}", query.join("&")), |piece| {
        text.extend(piece);
        if text.len() > LINE_MAX_BYTES {
            return Err(CliError::Failed("the node sends a line that is too long".to_owned()));
        }
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            // The command needs only the data lines of server-sent events.
            if let Some(data) = line.strip_prefix(b"data: ") {
                told(data, json)?;
                left -= 1;
            }
            if left == 0 {
                // The command has shown enough records, and ends as if the reader of its output had closed the pipe.
                return Err(CliError::Output(ErrorKind::BrokenPipe.into()));
            }
        }
        Ok(())
    })
}

/// Percent-encodes a value of a query, so that a server does not read a part of the value as URL syntax (RFC 3986
/// §2.1).
fn percent(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn told(line: &[u8], json: bool) -> Result<(), CliError> {
    let record: Value =
        serde_json::from_slice(line).map_err(|error| CliError::Failed(format!("the node sends no JSON: {error}")))?;
    let text = |name: &str| plain(record[name].as_str().unwrap_or_default());
    if json {
        out::line(&record.to_string())?;
    } else {
        if let Some(left_out @ 1..) = record["left_out"].as_u64() {
            out::line(&format!("… {left_out} left out"))?;
        }
        let what = match record["kind"].as_str() {
            Some("event") => format!("{} of {} by {}", text("action"), text("post_id"), text("user_id")),
            Some("change") => format!("{} {} {}", text("op"), text("table"), text("key")),
            _ => text("kind"),
        };
        let effect = if text("effect").is_empty() { "no effect".to_owned() } else { text("effect") };
        let place = format!("{}/{}@{}", text("topic"), record["partition"], record["offset"]);
        out::line(&format!("{place}  {:<9}  {what}: {effect}", text("outcome")))?;
        bytes(&record)?;
    }
    Ok(std::io::stdout().flush()?)
}

/// Prints the version and the bytes of a record, if the node sends the bytes.
fn bytes(record: &Value) -> Result<(), CliError> {
    let raw = &record["raw"];
    if raw.is_null() {
        return Ok(());
    }
    let version = &record["version"];
    if version.is_object() {
        let lsn = version["lsn"].as_str().map_or_else(|| "none".to_owned(), visible);
        out::line(&format!("  version  epoch {}, LSN {lsn}, offset {}", version["epoch"], version["offset"]))?;
    }
    let part = |name: &str, part: &Value| {
        let Some(text) = part["text"].as_str() else { return out::line(&format!("  {name:<7}  none")) };
        let of = if part["cut"] == true { format!(" … of {} B", part["bytes"]) } else { String::new() };
        out::line(&format!("  {name:<7}  {}{of}", visible(text)))
    };
    part("key", &raw["key"])?;
    part("value", &raw["value"])?;
    for header in raw["headers"].as_array().into_iter().flatten() {
        part(&visible(header["name"].as_str().unwrap_or_default()), &header["value"])?;
    }
    if let Some(left_out @ 1..) = raw["headers_left_out"].as_u64() {
        out::line(&format!("  … {left_out} headers left out"))?;
    }
    Ok(())
}

/// Puts a text from outside nova on one line, with control characters and directional marks of Unicode as escape
/// sequences.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_wrote_moves_nothing_on_the_terminal() {
        let shown = visible("{\"a\":\"\u{1b}[2J\n\u{202e}é\\\"}\0");
        assert_eq!(shown, r#"{"a":"\u{1b}[2J\n\u{202e}é\"}\0"#);
    }
}
