//! A file in memory, for servers that keep nothing on disk. A file and its images share pages until one side writes a
//! page. An image costs one reference count for each page of the file, and a second store can begin with the image.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use redb::StorageBackend;

/// The size in bytes of a piece, which is shared or copied as a whole.
const PIECE_BYTES: usize = 16 << 10;

type Piece = [u8; PIECE_BYTES];

/// The content of a file in memory at one moment.
#[derive(Clone, Debug, Default)]
pub struct Image {
    len: u64,
    /// The pieces. The pieces of the file in memory, in their order. Pieces after the last written piece are left out,
    /// and are read as zeros.
    pieces: Vec<Option<Arc<Piece>>>,
}

#[derive(Debug, Default)]
struct Inner {
    file: RwLock<Image>,
    /// How long each sync takes, in milliseconds.
    sync_ms: AtomicU64,
}

/// A file in memory. Clones of a `Memory` are the same file.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Inner>);

impl Memory {
    /// Makes a file with the content of an image.
    pub fn of(image: &Image) -> Memory {
        Memory(Arc::new(Inner { file: RwLock::new(image.clone()), sync_ms: AtomicU64::new(0) }))
    }

    /// Returns an image of the present content of the file.
    pub fn image(&self) -> Image {
        self.shared().clone()
    }

    /// Makes each later sync take this long, as a slow disk does.
    pub fn slow_syncs(&self, sync_ms: u64) {
        self.0.sync_ms.store(sync_ms, Ordering::Relaxed);
    }

    fn shared(&self) -> RwLockReadGuard<'_, Image> {
        self.0.file.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn owned(&self) -> RwLockWriteGuard<'_, Image> {
        self.0.file.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the pieces that a range of bytes touches: the number of each piece, and the range within it.
fn touched(offset: u64, length: usize) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
    let (mut at, end) = (offset as usize, offset as usize + length);
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let (number, from) = (at / PIECE_BYTES, at % PIECE_BYTES);
        let to = PIECE_BYTES.min(from + (end - at));
        at += to - from;
        Some((number, from..to))
    })
}

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.shared().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let file = self.shared();
        if offset.saturating_add(out.len() as u64) > file.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        for (number, range) in touched(offset, out.len()) {
            let part = &mut out[done..done + range.len()];
            done += range.len();
            match file.pieces.get(number) {
                Some(Some(piece)) => part.copy_from_slice(&piece[range]),
                _ => part.fill(0),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut file = self.owned();
        let kept = (len as usize).div_ceil(PIECE_BYTES);
        file.pieces.truncate(kept);
        // The bytes that are cut off are set to zero, so that they are zeros if the file grows again.
        let within = len as usize % PIECE_BYTES;
        if len < file.len
            && within > 0
            && let Some(Some(last)) = file.pieces.get_mut(kept - 1)
        {
            Arc::make_mut(last)[within..].fill(0);
        }
        file.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let sync_ms = self.0.sync_ms.load(Ordering::Relaxed);
        if sync_ms > 0 {
            #[expect(clippy::disallowed_methods, reason = "a slow disk is what was asked for")]
            std::thread::sleep(Duration::from_millis(sync_ms));
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut file = self.owned();
        file.len = file.len.max(offset + data.len() as u64);
        let mut done = 0;
        for (number, range) in touched(offset, data.len()) {
            if file.pieces.len() <= number {
                file.pieces.resize(number + 1, None);
            }
            let piece = file.pieces[number].get_or_insert_with(|| Arc::new([0; PIECE_BYTES]));
            let part = &data[done..done + range.len()];
            done += range.len();
            Arc::make_mut(piece)[range].copy_from_slice(part);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Compares the file with a plain vector, and checks that an image never changes.
        #[test]
        fn a_file_in_memory_reads_as_it_was_written(
            steps in proptest::collection::vec((0u64..60_000, 0usize..40_000, any::<u8>(), any::<bool>()), 1..12),
        ) {
            let (memory, mut model, mut kept) = (Memory::default(), Vec::<u8>::new(), Vec::new());
            for (offset, length, byte, cut) in steps {
                if cut {
                    memory.set_len(offset).unwrap();
                    model.resize(offset as usize, 0);
                } else {
                    memory.write(offset, &vec![byte; length]).unwrap();
                    let end = offset as usize + length;
                    model.resize(model.len().max(end), 0);
                    model[offset as usize..end].fill(byte);
                }
                kept.push((memory.image(), model.clone()));
            }
            for (image, model) in kept {
                let again = Memory::of(&image);
                let mut out = vec![1; model.len()];
                prop_assert_eq!(again.len().unwrap(), model.len() as u64);
                again.read(0, &mut out).unwrap();
                prop_assert_eq!(&out, &model);
                prop_assert!(again.read(1, &mut out).is_err() || model.is_empty());
            }
        }
    }
}
