//! Where a reader is in a snapshot: opaque text with a MAC, bound to the user.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::event::Id;

const VERSION: u8 = 1;
const BODY_BYTES: usize = 14;
const MAC_BYTES: usize = 16;

/// The next place of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub algorithm: u8,
    pub snapshot: u64,
    pub position: u32,
}

impl Cursor {
    pub fn encode(&self, user: Id, key: &[u8; 32]) -> String {
        let mut bytes = vec![VERSION, self.algorithm];
        bytes.extend_from_slice(&self.snapshot.to_be_bytes());
        bytes.extend_from_slice(&self.position.to_be_bytes());
        let mac = mac(&bytes, user, key);
        bytes.extend_from_slice(&mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None` for anything that [`Cursor::encode`] did not make for this user.
    pub fn decode(text: &str, user: Id, key: &[u8; 32]) -> Option<Cursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let bytes: &[u8; BODY_BYTES + MAC_BYTES] = bytes.as_slice().try_into().ok()?;
        let (body, given) = bytes.split_at(BODY_BYTES);
        // Compared without a shortcut: the time must not tell how much was right.
        let differs = mac(body, user, key).iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b));
        if differs != 0 || body[0] != VERSION {
            return None;
        }
        let (snapshot, position) = body[2..].split_first_chunk::<8>()?;
        Some(Cursor {
            algorithm: body[1],
            snapshot: u64::from_be_bytes(*snapshot),
            position: u32::from_be_bytes(position.try_into().ok()?),
        })
    }
}

/// HMAC-SHA-256 (RFC 2104) over the body and the user, cut to 16 bytes.
fn mac(body: &[u8], user: Id, key: &[u8; 32]) -> [u8; MAC_BYTES] {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(body).chain_update(user.0).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    let mut mac = [0; MAC_BYTES];
    mac.copy_from_slice(&outer[..MAC_BYTES]);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_only_by_whom_it_was_made_for(
            algorithm: u8, snapshot: u64, position: u32, user: u128, flip in 0usize..240, key: [u8; 32],
        ) {
            let (user, cursor) = (Id::from_u128(user), Cursor { algorithm, snapshot, position });
            let text = cursor.encode(user, &key);
            prop_assert_eq!(Cursor::decode(&text, user, &key), Some(cursor));
            prop_assert_eq!(Cursor::decode(&text, Id::from_u128(user.as_u128() ^ 1), &key), None);
            let mut bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
            bytes[flip / 8] ^= 1 << (flip % 8);
            prop_assert_eq!(Cursor::decode(&URL_SAFE_NO_PAD.encode(bytes), user, &key), None);
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in ".{0,60}") {
            prop_assert_eq!(Cursor::decode(&text, Id::NIL, &[0; 32]), None);
        }
    }
}
