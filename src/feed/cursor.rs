//! A cursor: the place of a reader in a snapshot and the posts that the reader was shown. A cursor is an opaque text
//! with a MAC and is bound to the user.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::event::Id;

use super::shown::{SHOWN_MAX_BYTES, Shown};

/// The version of the cursor's format. Cursors of version 1 did not contain the shown posts.
const VERSION: u8 = 2;
/// The length of a cursor in bytes without the shown posts.
const PLACE_BYTES: usize = 14;
const MAC_BYTES: usize = 16;
/// The maximum length in bytes of a cursor's text.
pub const CURSOR_MAX_BYTES: usize = (PLACE_BYTES + SHOWN_MAX_BYTES + MAC_BYTES) * 4 / 3 + 4;

/// The place in a snapshot at which the next page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub algorithm: u8,
    pub snapshot: u64,
    pub position: u32,
}

impl Cursor {
    /// Encodes a cursor. `shown` contains all posts that come before the cursor's place: posts of the cursor's
    /// snapshot, and posts of the older snapshots that the cursor's snapshot continues.
    pub fn encode(&self, shown: &Shown, user: Id, key: &[u8; 32]) -> String {
        let mut bytes = vec![VERSION, self.algorithm];
        bytes.extend_from_slice(&self.snapshot.to_be_bytes());
        bytes.extend_from_slice(&self.position.to_be_bytes());
        shown.encode(&mut bytes);
        let mac = mac(&bytes, user, key);
        bytes.extend_from_slice(&mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Decodes a cursor. Returns `None` for any text that [`Cursor::encode`] did not make for this user.
    pub fn decode(text: &str, user: Id, key: &[u8; 32]) -> Option<(Cursor, Shown)> {
        if text.len() > CURSOR_MAX_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, given) = bytes.split_at_checked(bytes.len().checked_sub(MAC_BYTES)?)?;
        // The comparison looks at every byte of the MAC, so that the time of the comparison does not show how many
        // bytes were right.
        let differs = mac(body, user, key).iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b));
        if differs != 0 {
            return None;
        }
        let ([version, algorithm], rest) = body.split_first_chunk::<2>()?;
        let (snapshot, rest) = rest.split_first_chunk::<8>()?;
        let (position, shown) = rest.split_first_chunk::<4>()?;
        let shown = match *version {
            VERSION => Shown::decode(shown)?,
            1 if shown.is_empty() => Shown::default(),
            _ => return None,
        };
        let (snapshot, position) = (u64::from_be_bytes(*snapshot), u32::from_be_bytes(*position));
        Some((Cursor { algorithm: *algorithm, snapshot, position }, shown))
    }
}

/// Returns the HMAC-SHA-256 (RFC 2104) over the body and the user, cut to 16 bytes.
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
            algorithm: u8, snapshot: u64, position: u32, user: u128, flip: prop::sample::Index, key: [u8; 32],
            posts in proptest::collection::vec(any::<u128>(), 0..300),
        ) {
            let shown = Shown::default().and(posts.into_iter().map(Id::from_u128));
            let (user, cursor) = (Id::from_u128(user), Cursor { algorithm, snapshot, position });
            let text = cursor.encode(&shown, user, &key);
            prop_assert!(text.len() <= CURSOR_MAX_BYTES);
            prop_assert_eq!(Cursor::decode(&text, user, &key), Some((cursor, shown)));
            prop_assert_eq!(Cursor::decode(&text, Id::from_u128(user.as_u128() ^ 1), &key), None);
            let mut bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
            let flip = flip.index(bytes.len() * 8);
            bytes[flip / 8] ^= 1 << (flip % 8);
            prop_assert_eq!(Cursor::decode(&URL_SAFE_NO_PAD.encode(bytes), user, &key), None);
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in ".{0,60}") {
            prop_assert_eq!(Cursor::decode(&text, Id::NIL, &[0; 32]), None);
        }
    }

    #[test]
    fn a_cursor_of_version_1_is_read_and_tells_nothing_of_what_was_shown() {
        let (user, key) = (Id::from_u128(5), [7; 32]);
        let mut bytes = vec![1, 0];
        bytes.extend_from_slice(&9u64.to_be_bytes());
        bytes.extend_from_slice(&40u32.to_be_bytes());
        let mac = mac(&bytes, user, &key);
        bytes.extend_from_slice(&mac);
        let cursor = Cursor { algorithm: 0, snapshot: 9, position: 40 };
        assert_eq!(Cursor::decode(&URL_SAFE_NO_PAD.encode(bytes), user, &key), Some((cursor, Shown::default())));
    }
}
