//! Captures are files of JSON lines, plain or compressed with gzip. Each line of a capture is one Kafka record
//! (`docs/decode.md`, "Captures").

mod line;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use rustc_hash::{FxHashMap, FxHashSet};
use xxhash_rust::xxh3::xxh3_64;

use crate::event::{DEAD_VALUE_MAX_BYTES, Dead, NO_TIMESTAMP, Record, Stage, TopicPartition};

use super::{PollLimits, Polled, Source, SourceError};

pub(super) use self::line::parse as parse_line;

/// The longest line of a capture that is read as a record, in bytes. If a line is longer than this limit, the beginning
/// of the line becomes a dead letter.
pub const LINE_MAX_BYTES: usize = 64 << 20;
const BUFFER_BYTES: usize = 1 << 18;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Returns the path of the schemas beside a capture. For `x.jsonl` and `x.jsonl.gz` the path is `x.schemas.json`.
pub fn schemas_path(capture: &Path) -> PathBuf {
    let name = capture.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    let stem = stem.strip_suffix(".jsonl").or(stem.strip_suffix(".json")).unwrap_or(stem);
    capture.with_file_name(format!("{stem}.schemas.json"))
}

/// A source that reads several captures one after the other.
pub struct CaptureSource {
    files: Vec<PathBuf>,
    open: Option<OpenFile>,
    /// The index of the next file in `files`.
    next_file: usize,
    paused: FxHashSet<TopicPartition>,
    /// The partitions that nova reads again, each from an offset, after it has read all files.
    again: FxHashMap<TopicPartition, i64>,
    /// The only partitions whose records are delivered while the files are read again. `only` is `None` while the files
    /// are read for the first time.
    only: Option<FxHashMap<TopicPartition, i64>>,
    topics: FxHashSet<Arc<str>>,
    read_bytes: Arc<AtomicU64>,
}

struct OpenFile {
    reader: Box<dyn BufRead + Send>,
    path: String,
    /// The topic for lines of the file that are not records.
    defects: Arc<str>,
    line: i64,
}

/// Counts compressed bytes as they are read, for a progress bar.
struct Counted(Input, Arc<AtomicU64>);

enum Input {
    File(File),
    /// An input that is not a file, such as a pipe. A pipe can be read only once.
    Once(Box<dyn Read + Send>),
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = match &mut self.0 {
            Input::File(file) => file.read(out)?,
            Input::Once(stream) => stream.read(out)?,
        };
        self.1.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl CaptureSource {
    /// Opens the captures, and fails at once if a file cannot be opened. The path `-` stands for standard input.
    pub fn new(files: Vec<PathBuf>) -> Result<CaptureSource, SourceError> {
        for path in files.iter().filter(|path| !is_stdin(path)) {
            let known = path.metadata().map_err(|source| read_error(path, source))?;
            // Opening a pipe would consume its data.
            if known.is_file() {
                File::open(path).map_err(|source| read_error(path, source))?;
            } else if known.is_dir() {
                return Err(read_error(path, std::io::ErrorKind::IsADirectory.into()));
            }
        }
        Ok(CaptureSource {
            files,
            open: None,
            next_file: 0,
            paused: FxHashSet::default(),
            again: FxHashMap::default(),
            only: None,
            topics: FxHashSet::default(),
            read_bytes: Arc::default(),
        })
    }

    /// The bytes of the files that were read so far.
    pub fn read_bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read_bytes)
    }

    /// The size of all files together. A pipe has no known size, and counts as empty.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().filter_map(|path| path.metadata().ok()).map(|meta| meta.len()).sum()
    }

    fn open(&mut self) -> Result<bool, SourceError> {
        if self.open.is_some() {
            return Ok(true);
        }
        let Some(path) = self.files.get(self.next_file) else { return Ok(false) };
        let input = input(path, self.only.is_some()).map_err(|source| read_error(path, source))?;
        let mut plain = BufReader::with_capacity(BUFFER_BYTES, Counted(input, Arc::clone(&self.read_bytes)));
        let head = plain.fill_buf().map_err(|source| read_error(path, source))?;
        let reader: Box<dyn BufRead + Send> = match head.starts_with(&GZIP_MAGIC) {
            true => Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(plain))),
            false => Box::new(plain),
        };
        // A damaged line has no topic, so its dead letter gets a topic that is made from the path of the file.
        let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
        let hash = xxh3_64(whole.as_os_str().as_encoded_bytes()) as u32;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let defects = format!("_capture.{name}.{hash:08x}").into();
        self.open = Some(OpenFile { reader, path: path.display().to_string(), defects, line: 0 });
        self.next_file += 1;
        Ok(true)
    }

    /// Begins one more pass over the files for the partitions that were resumed. Returns false if no partition was
    /// resumed.
    fn again(&mut self) -> bool {
        let ready: Vec<_> = self.again.keys().filter(|name| !self.paused.contains(name)).cloned().collect();
        if ready.is_empty() {
            return false;
        }
        self.only = Some(ready.into_iter().filter_map(|name| self.again.remove_entry(&name)).collect());
        self.next_file = 0;
        true
    }

    fn wanted(&self, record: &Record) -> bool {
        if self.paused.is_empty() && self.again.is_empty() && self.only.is_none() {
            return true;
        }
        let name = TopicPartition { topic: Arc::clone(&record.topic), partition: record.partition };
        if self.paused.contains(&name) || self.again.contains_key(&name) {
            return false;
        }
        self.only.as_ref().is_none_or(|only| only.get(&name).is_some_and(|from| record.offset >= *from))
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Opens a capture. `again` says that the capture was already opened before.
fn input(path: &Path, again: bool) -> std::io::Result<Input> {
    if !is_stdin(path) {
        let file = File::open(path)?;
        if file.metadata()?.is_file() {
            return Ok(Input::File(file));
        }
        if !again {
            return Ok(Input::Once(Box::new(file)));
        }
    } else if !again {
        return Ok(Input::Once(Box::new(std::io::stdin())));
    }
    Err(std::io::Error::other("a pipe cannot be read a second time; save it as a file, and replay that"))
}

fn read_error(path: &Path, source: std::io::Error) -> SourceError {
    SourceError::Read { path: path.display().to_string(), source }
}

impl OpenFile {
    /// Returns the next line as a record, or `None` at the end of the file.
    fn next(&mut self, topics: &mut FxHashSet<Arc<str>>) -> Result<Option<Record>, SourceError> {
        loop {
            let (line, length) = match self.read_line() {
                Ok(Some(read)) => read,
                Ok(None) => return Ok(None),
                Err(source) => {
                    return Err(SourceError::Broken { path: self.path.clone(), line: self.line + 1, source });
                }
            };
            let number = self.line;
            self.line += 1;
            if line.iter().all(u8::is_ascii_whitespace) && length == line.len() {
                continue;
            }
            let parsed = match length > line.len() {
                true => Err(Dead {
                    stage: Stage::Source,
                    reason: "line-too-long",
                    detail: format!(
                        "line {}: {length} bytes; a capture's lines have at most {LINE_MAX_BYTES}",
                        number + 1
                    ),
                }),
                false => line::parse(&line, topics).map_err(|detail| Dead {
                    stage: Stage::Source,
                    reason: "malformed-capture-line",
                    detail: format!("line {}: {detail}", number + 1),
                }),
            };
            return Ok(Some(parsed.unwrap_or_else(|dead| self.defect(number, line, dead))));
        }
    }

    /// Returns a line without its line end, and the length of the whole line. A line that is too long is cut, but its
    /// whole length is returned.
    fn read_line(&mut self) -> std::io::Result<Option<(Vec<u8>, usize)>> {
        let (mut line, mut length) = (Vec::new(), 0);
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok((length > 0).then_some((line, length)));
            }
            let end = memchr::memchr(b'\n', buffer);
            let part = &buffer[..end.unwrap_or(buffer.len())];
            length += part.len();
            if length <= LINE_MAX_BYTES {
                line.extend_from_slice(part);
            } else {
                line.truncate(DEAD_VALUE_MAX_BYTES);
                line.shrink_to_fit();
            }
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                // An empty line has no bytes, but it is not the end of the file.
                return Ok(Some((line, length)));
            }
        }
    }

    fn defect(&self, number: i64, mut line: Vec<u8>, dead: Dead) -> Record {
        line.truncate(DEAD_VALUE_MAX_BYTES);
        Record {
            topic: Arc::clone(&self.defects),
            partition: 0,
            offset: number,
            timestamp_ms: NO_TIMESTAMP,
            key: None,
            value: Some(Bytes::from(line)),
            headers: Vec::new(),
            defect: Some(Box::new(dead)),
            origin: None,
            lsn_delta: 0,
        }
    }
}

impl Source for CaptureSource {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        let (mut bytes, before) = (0, out.len());
        while out.len() - before < limits.max_records && bytes < limits.max_bytes {
            if !self.open()? {
                if out.len() > before || self.again() {
                    return Ok(Polled::Records);
                }
                return Ok(Polled::End);
            }
            let Some(file) = &mut self.open else { continue };
            match file.next(&mut self.topics)? {
                None => self.open = None,
                Some(record) if self.wanted(&record) => {
                    bytes += record.value.as_ref().map_or(0, Bytes::len);
                    out.push(record);
                }
                Some(_) => {}
            }
        }
        Ok(Polled::Records)
    }

    fn pause(&mut self, partition: &TopicPartition) -> Result<(), SourceError> {
        self.paused.insert(partition.clone());
        Ok(())
    }

    fn resume(&mut self, partition: &TopicPartition, from: i64) -> Result<(), SourceError> {
        self.paused.remove(partition);
        self.again.insert(partition.clone(), from);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
