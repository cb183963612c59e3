//! The seal of a backup. The seal is in the first page of the file after redb's header (`mark` explains why nova may
//! write there). The seal contains the backup's manifest and the SHA-256 of the whole file, in which the 32 bytes of
//! the hash itself count as zeros. A sealed backup is still one file that opens as a store. The first write would break
//! the seal, so opening the backup as a store removes the seal.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::disk::Disk;
use crate::mark::PAGE_BYTES;

/// The position of the seal: 8 bytes of [`MAGIC`], 32 bytes of the hash, 2 bytes of the manifest's length (little
/// endian), and the manifest.
const SEAL_AT: usize = 2_048;
const MAGIC: [u8; 8] = *b"novaseal";
const HASH_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + HASH_BYTES + 2;
/// The maximum number of bytes of a manifest.
pub const MANIFEST_MAX_BYTES: usize = PAGE_BYTES - SEAL_AT - HEAD_BYTES;
/// The number of bytes that one read takes during hashing.
const PIECE_BYTES: usize = 1 << 18;

/// The content of a valid seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub manifest: Vec<u8>,
    pub sha256: [u8; HASH_BYTES],
}

/// The reason why a backup does not pass the check of its seal.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error(
        "it has the SHA-256 {found}, and its manifest says {sealed}: it was changed or damaged after it was made; take another backup"
    )]
    Differs { found: String, sealed: String },
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Returns bytes as hexadecimal text.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the hash of the file, in which the bytes of the stored hash count as zeros.
fn hash(file: &File) -> io::Result<[u8; HASH_BYTES]> {
    let hash_at = SEAL_AT + MAGIC.len();
    let (mut hash, mut at, mut reader) = (Sha256::new(), 0, file);
    let mut piece = vec![0; PIECE_BYTES];
    io::Seek::seek(&mut reader, io::SeekFrom::Start(0))?;
    loop {
        let read = reader.read(&mut piece)?;
        if read == 0 {
            return Ok(hash.finalize().into());
        }
        let stored = hash_at.clamp(at, at + read)..(hash_at + HASH_BYTES).clamp(at, at + read);
        piece[stored.start - at..stored.end - at].fill(0);
        hash.update(&piece[..read]);
        at += read;
    }
}

/// Seals a file that no process has open.
pub(crate) fn seal(path: &Path, manifest: &[u8]) -> io::Result<Sealed> {
    if manifest.len() > MANIFEST_MAX_BYTES {
        let text = format!("the manifest has {} bytes, at most {MANIFEST_MAX_BYTES} fit", manifest.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut head = vec![0; HEAD_BYTES];
    head[..MAGIC.len()].copy_from_slice(&MAGIC);
    head[HEAD_BYTES - 2..].copy_from_slice(&(manifest.len() as u16).to_le_bytes());
    file.write_all_at(&head, SEAL_AT as u64)?;
    file.write_all_at(manifest, (SEAL_AT + HEAD_BYTES) as u64)?;
    let sha256 = hash(&file)?;
    file.write_all_at(&sha256, (SEAL_AT + MAGIC.len()) as u64)?;
    file.sync_all()?;
    Ok(Sealed { manifest: manifest.to_vec(), sha256 })
}

/// Reads the whole file and checks the seal. Returns `None` if the file has no seal. A backup has no seal if an earlier
/// version made the backup, or if the backup was later opened as a store.
pub fn verify_seal(path: &Path) -> Result<Option<Sealed>, SealError> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file").into());
    }
    let mut seal = vec![0; PAGE_BYTES - SEAL_AT];
    let sealed = file.read_exact_at(&mut seal, SEAL_AT as u64).is_ok() && seal.starts_with(&MAGIC);
    if !sealed {
        return Ok(None);
    }
    let found = hash(&file)?;
    let stored = &seal[MAGIC.len()..MAGIC.len() + HASH_BYTES];
    if stored != found {
        return Err(SealError::Differs { found: hex(&found), sealed: hex(stored) });
    }
    let length = usize::from(u16::from_le_bytes([seal[HEAD_BYTES - 2], seal[HEAD_BYTES - 1]]));
    let manifest = seal.get(HEAD_BYTES..HEAD_BYTES + length).unwrap_or_default().to_vec();
    Ok(Some(Sealed { manifest, sha256: found }))
}

/// Removes the seal of a file that is going to be written.
pub(crate) fn erase(disk: &Disk) -> io::Result<()> {
    let mut magic = [0; MAGIC.len()];
    disk.read_at(SEAL_AT as u64, &mut magic)?;
    if magic == MAGIC { disk.overwrite(SEAL_AT as u64, &[0; PAGE_BYTES - SEAL_AT]) } else { Ok(()) }
}
