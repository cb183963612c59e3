//! `nova tap`: records as a running node commits them, with outcome and effect.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write as _};

use http::Method;
use serde_json::Value;

use crate::config::Config;
use crate::event::{Id, Outcome};

use super::dump::user;
use super::remote::{Remote, plain};
use super::{CliError, out, status};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Of this topic only: its name, or its last part.
    #[arg(long)]
    topic: Option<String>,
    /// With this outcome only: applied, duplicate, stale, ignored, late or dead.
    #[arg(long, value_parser = outcome)]
    outcome: Option<Outcome>,
    /// About this user only.
    #[arg(long, value_parser = user, value_name = "USER")]
    user: Option<Id>,
    /// Ends after so many records.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    remote: Remote,
}

/// A longer line is none.
const LINE_MAX_BYTES: usize = 64 << 10;

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
            // Server-sent events: names and comments are of no interest.
            if let Some(data) = line.strip_prefix(b"data: ") {
                told(data, json)?;
                left -= 1;
            }
            if left == 0 {
                // As if whoever reads had seen enough.
                return Err(CliError::Output(ErrorKind::BrokenPipe.into()));
            }
        }
        Ok(())
    })
}

/// A value of a query: what could be something else there is escaped (RFC 3986 §2.1).
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
    }
    Ok(std::io::stdout().flush()?)
}
