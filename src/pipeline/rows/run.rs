//! A sorted run of rows, which has its segments in the order of their keys.

use nova_storage::codec::CodecError;
use nova_storage::{WriteError, WriteTxn};

use crate::pipeline::filter::Probe;

use super::key::Key;
use super::segment::{Home, Segment};

/// The number of runs of about the same size that nova merges into one run.
pub const MERGE_RUNS: usize = 16;
/// Runs up to this size count as runs of about the same size. Each larger class of sizes ends at [`MERGE_RUNS`] times
/// as many bytes as the class before it.
const FIRST_TIER_BYTES: u64 = 128 << 20;
/// The name of runs in the errors of codecs.
pub const WHAT: &str = "runs of rows";

/// The rows of one flush, or of several flushes that were merged.
#[derive(Debug)]
pub struct Run {
    pub number: u64,
    /// The number of the latest flush that has rows in this run. Of two runs, the one with the higher number is newer.
    pub newest: u64,
    /// The segments of the run, in the order of their keys. A run without segments no longer exists.
    pub segments: Vec<Segment>,
    /// The first key of each segment.
    firsts: Vec<Key>,
    /// The number of bytes of all segments of the run.
    pub bytes: u64,
    pub mem_bytes: usize,
    /// The rows up to this key, including the row of this key, have been merged into another run.
    pub merged: Option<Key>,
    /// Whether the filter over all keys ([`super::known::Known`]) has every key of the run.
    pub known: bool,
}

impl Run {
    pub fn new(home: Home, known: bool) -> Run {
        let (segments, firsts) = (Vec::new(), Vec::new());
        Run { number: home.run, newest: home.newest, segments, firsts, bytes: 0, mem_bytes: 0, merged: None, known }
    }

    pub fn push(&mut self, segment: Segment) -> Result<(), CodecError> {
        if self.segments.last().is_some_and(|last| last.last >= segment.first()) {
            return Err(CodecError::Invalid(WHAT));
        }
        self.firsts.push(segment.first());
        self.bytes += segment.bytes;
        self.mem_bytes += mem_bytes(&segment);
        self.segments.push(segment);
        Ok(())
    }

    /// Removes the segments that have no key above `done`.
    pub fn drop_upto(&mut self, done: Option<Key>, write: &WriteTxn) -> Result<(), WriteError> {
        let gone = self.segments.partition_point(|segment| Some(segment.last) <= done);
        self.firsts.drain(..gone);
        for segment in self.segments.drain(..gone) {
            self.bytes -= segment.bytes;
            self.mem_bytes -= mem_bytes(&segment);
            segment.remove(write)?;
        }
        Ok(())
    }

    pub fn tier(&self) -> u32 {
        let (mut tier, mut most) = (0, FIRST_TIER_BYTES);
        while self.bytes > most {
            tier += 1;
            most = most.saturating_mul(MERGE_RUNS as u64);
        }
        tier
    }

    pub fn segment_of(&self, key: Key, probe: &Probe) -> Option<&Segment> {
        if self.merged.is_some_and(|merged| key <= merged) {
            return None;
        }
        let at = self.firsts.partition_point(|first| *first <= key).checked_sub(1)?;
        self.segments.get(at).filter(|segment| key <= segment.last && segment.may_contain(probe))
    }
}

/// The number of bytes that a segment takes in the memory of its run.
fn mem_bytes(segment: &Segment) -> usize {
    segment.mem_bytes() + size_of::<Segment>() + size_of::<Key>()
}
