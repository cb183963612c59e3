//! Backends of redb for tests of crashes and faults. `Recorder` records every write and sync, so that a test can get
//! the file that a crash at any moment would have left. `Recorder` can also fail writes, syncs and reads. `mutate`
//! makes nearly valid bytes for tests of codecs.

pub mod mutate;

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

#[derive(Debug, Clone)]
enum Step {
    Write { offset: u64, data: Vec<u8> },
    SetLen(u64),
    Sync,
}

#[derive(Debug, Default)]
struct Log {
    steps: Vec<Step>,
    now: Vec<u8>,
    syncs: usize,
}

/// A file in memory that records all its writes. Clones of a `Recorder` share the recording.
#[derive(Debug, Clone)]
pub struct Recorder {
    log: Arc<Mutex<Log>>,
    /// The number of writes that succeed before writes fail with ENOSPC. A negative number means no limit.
    writes_left: Arc<AtomicI64>,
    /// The number of reads that succeed before reads fail with EIO. A negative number means no limit.
    reads_left: Arc<AtomicI64>,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder::new()
    }
}

impl Recorder {
    pub fn new() -> Recorder {
        Recorder::from_bytes(Vec::new())
    }

    fn from_bytes(now: Vec<u8>) -> Recorder {
        let steps = vec![Step::SetLen(now.len() as u64), Step::Write { offset: 0, data: now.clone() }];
        Recorder {
            log: Arc::new(Mutex::new(Log { steps, now, syncs: 0 })),
            writes_left: Arc::new(AtomicI64::new(-1)),
            reads_left: Arc::new(AtomicI64::new(-1)),
        }
    }

    /// Returns the number of syncs so far.
    pub fn syncs(&self) -> usize {
        self.lock().syncs
    }

    /// Returns the present bytes of the file.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().now.clone()
    }

    /// Returns a new recorder with the present bytes of the file, as a killed process leaves them.
    pub fn copy(&self) -> Recorder {
        Recorder::from_bytes(self.bytes())
    }

    /// Flips bits of one byte, as a damaged disk may do.
    pub fn flip(&self, at: usize, bits: u8) {
        if let Some(byte) = self.lock().now.get_mut(at) {
            *byte ^= bits;
        }
    }

    /// Makes every write fail as on a full disk, after this many further writes.
    pub fn fail_writes_after(&self, writes: u32) {
        self.writes_left.store(i64::from(writes), Ordering::SeqCst);
    }

    /// Makes every read fail as on a broken disk, after this many further reads.
    pub fn fail_reads_after(&self, reads: u32) {
        self.reads_left.store(i64::from(reads), Ordering::SeqCst);
    }

    /// Returns a new recorder with the file that a power loss right after the sync number `sync` would leave. The sync
    /// number 0 means the time before the first sync. Each write after the given sync is kept, lost or torn. With the
    /// seed 0, all writes after the given sync are lost; with any other seed, some of these writes are lost.
    pub fn image(&self, sync: usize, seed: u64) -> Recorder {
        let log = self.lock();
        let mut bytes = Vec::new();
        let mut syncs = 0;
        let mut random = seed;
        for step in &log.steps {
            let durable = syncs < sync;
            match step {
                Step::Sync => syncs += 1,
                Step::SetLen(len) => {
                    // A file that grows before its sync does no harm. A crash must not shrink a file before the sync of
                    // the shrinking.
                    if durable || *len as usize > bytes.len() {
                        bytes.resize(*len as usize, 0);
                    }
                }
                Step::Write { offset, data } => {
                    // SplitMix64 (Steele, Lea, Flood 2014) draws a number for each write. Equal seeds give equal
                    // numbers.
                    random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
                    let mut coin = random;
                    coin = (coin ^ (coin >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                    coin = (coin ^ (coin >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                    coin ^= coin >> 31;
                    if durable || (seed != 0 && coin & 1 == 1) {
                        // Only the first part of a torn write has reached the disk.
                        let torn = !durable && coin & 2 == 2;
                        let kept = if torn { &data[..(coin >> 8) as usize % data.len().max(1)] } else { &data[..] };
                        let end = *offset as usize + kept.len();
                        if bytes.len() < end {
                            bytes.resize(end, 0);
                        }
                        bytes[*offset as usize..end].copy_from_slice(kept);
                    }
                }
            }
            if syncs > sync {
                break;
            }
        }
        Recorder::from_bytes(bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn spend(counter: &AtomicI64, error: io::ErrorKind) -> io::Result<()> {
        let left = counter.load(Ordering::SeqCst);
        if left == 0 {
            return Err(io::Error::new(error, "injected"));
        }
        if left > 0 {
            counter.store(left - 1, Ordering::SeqCst);
        }
        Ok(())
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        Recorder::spend(&self.reads_left, io::ErrorKind::Other)?;
        let log = self.lock();
        let start = offset as usize;
        let found = log.now.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Recorder::spend(&self.writes_left, io::ErrorKind::StorageFull)?;
        let mut log = self.lock();
        log.now.resize(len as usize, 0);
        log.steps.push(Step::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Recorder::spend(&self.writes_left, io::ErrorKind::StorageFull)?;
        let mut log = self.lock();
        log.syncs += 1;
        log.steps.push(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Recorder::spend(&self.writes_left, io::ErrorKind::StorageFull)?;
        let mut log = self.lock();
        let end = offset as usize + data.len();
        if log.now.len() < end {
            log.now.resize(end, 0);
        }
        log.now[offset as usize..end].copy_from_slice(data);
        log.steps.push(Step::Write { offset, data: data.to_vec() });
        Ok(())
    }
}
