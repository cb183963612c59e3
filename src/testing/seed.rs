//! The initial content of a server for tests: rows or captures.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::http::Edge;
use crate::http::rows;
use crate::http::testing::Testing as _;
use crate::source::handed;

use super::ground::Ground;

/// The maximum number of bytes of a seed after it was decompressed.
const SEED_MAX_BYTES: u64 = 1 << 30;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// One seed.
pub(crate) enum Seed {
    /// The seed is JSON with rows, in the form of the body of `POST /_test/rows`.
    Rows(Value),
    /// The seed is JSON lines with one record each.
    Capture(Vec<u8>),
    /// The seed is a file with rows or a capture, either plain or compressed with gzip. The content of the file decides
    /// whether it has rows or a capture.
    File(PathBuf),
}

/// Applies a seed to a node.
pub(super) fn put(ground: &Arc<Ground>, edge: &Arc<Edge>, runtime: &Runtime, seed: &Seed) -> Result<(), String> {
    match seed {
        Seed::Rows(given) => rows_in(edge, runtime, given.clone()),
        Seed::Capture(text) => capture_in(ground, text),
        Seed::File(path) => file_in(ground, edge, runtime, path).map_err(|why| format!("{}: {why}", path.display())),
    }
}

fn file_in(ground: &Arc<Ground>, edge: &Arc<Edge>, runtime: &Runtime, path: &Path) -> Result<(), String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let text = match bytes.starts_with(&GZIP_MAGIC) {
        true => {
            let mut out = Vec::new();
            let limited = MultiGzDecoder::new(&bytes[..]).take(SEED_MAX_BYTES);
            std::io::BufReader::new(limited).read_to_end(&mut out).map_err(|error| error.to_string())?;
            out
        }
        false => bytes,
    };
    // A record of a capture is also a JSON object, but it has the member `topic`.
    match serde_json::from_slice::<Value>(&text) {
        Ok(given @ Value::Object(_)) if given.get("topic").is_none() => rows_in(edge, runtime, given),
        _ => capture_in(ground, &text),
    }
}

fn rows_in(edge: &Arc<Edge>, runtime: &Runtime, given: Value) -> Result<(), String> {
    runtime.block_on(rows::seed(edge, given))
}

fn capture_in(ground: &Arc<Ground>, text: &[u8]) -> Result<(), String> {
    let records = handed::parse(text)?;
    let done = ground.captures(records).map_err(|refused| refused.to_string())?;
    match done.iter().find(|one| one.held.is_some()) {
        Some(held) => Err(format!("{} {} is held: {}", held.topic, held.partition, held.held.as_deref().unwrap_or(""))),
        None => Ok(()),
    }
}
