//! The development key, its file in the data directory, and the issuer and audience of its tokens.

use std::io::{Read as _, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey};

use super::key_error::KeyError;
use super::keys::KeySet;

/// The file of the development key within the data directory.
pub const KEY_FILE: &str = "dev-key.pem";
pub(crate) const ISSUER: &str = "nova-dev";
pub(crate) const AUDIENCE: &str = "nova";
/// The first bytes of an Ed25519 private key in PKCS #8 (RFC 8410), before the 32 random bytes.
const PKCS8_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The development key, its id, and the key set with its public half.
pub(super) fn development(pem: &[u8]) -> Result<(EncodingKey, String, KeySet), KeyError> {
    let key = EncodingKey::from_ed_pem(pem)?;
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::EdDSA)?;
    // Each key has its own id, so revoking a key does not lock out its successor.
    let id = format!("dev-{}", &jwk.thumbprint(ThumbprintHash::SHA256)?[..8]);
    jwk.common.key_id = Some(id.clone());
    let keys = KeySet::parse(&serde_json::json!({ "keys": [jwk] }).to_string())?;
    Ok((key, id, keys))
}

/// The development key of a data directory as PEM. nova makes the key if it is missing.
pub(super) fn own_key(data_dir: &Path) -> Result<Vec<u8>, KeyError> {
    let path = data_dir.join(KEY_FILE);
    let io = |source| KeyError::Io { path: path.display().to_string(), source };
    // If the file is empty, a second nova process has created the file and has not yet written the key.
    if !path.metadata().is_ok_and(|found| found.len() > 0) {
        crate::files::private_dir(data_dir).map_err(io)?;
        make_key(&path).map_err(io)?;
    }
    crate::files::check_private_key(&path).map_err(io)?;
    std::fs::read(&path).map_err(io)
}

/// A new key as PEM.
pub fn new_key() -> std::io::Result<String> {
    let mut der = PKCS8_PREFIX.to_vec();
    std::fs::File::open("/dev/urandom")?.take(32).read_to_end(&mut der)?;
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&der)))
}

/// Makes the development key, unless a second nova process that starts at the same time has already written the file.
/// Only one process at a time has the lock of the file.
fn make_key(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.lock()?;
    if file.metadata()?.len() > 0 {
        return Ok(());
    }
    crate::files::check_private_key(path)?;
    file.write_all(new_key()?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_start_at_once_have_the_same_key() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let data = dir.path().join("data");
            let made: Vec<Vec<u8>> = std::thread::scope(|scope| {
                let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| own_key(&data).unwrap())).collect();
                starts.into_iter().map(|start| start.join().unwrap()).collect()
            });
            assert!(made.iter().all(|key| !key.is_empty() && *key == made[0]));
        }
    }

    #[test]
    fn a_file_that_was_left_empty_gets_its_key() {
        let dir = tempfile::tempdir().unwrap();
        crate::files::private_dir(dir.path()).unwrap();
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(dir.path().join(KEY_FILE)).unwrap();
        let key = own_key(dir.path()).unwrap();
        assert!(development(&key).is_ok());
        assert_eq!(own_key(dir.path()).unwrap(), key);
    }
}
