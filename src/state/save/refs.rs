//! Collects the references of a chunk, which are checked after all chunks were read.

use nova_storage::codec::{CodecError, Reader};

use crate::state::dense::{PostNo, UserNo};

/// The largest user number and the largest post number to which a chunk refers, each plus one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refs {
    pub users: u64,
    pub posts: u64,
}

impl Refs {
    pub fn user(&mut self, reader: &mut Reader<'_>) -> Result<UserNo, CodecError> {
        let user = reader.varint_u32()?;
        self.has_user(user);
        Ok(UserNo::of(user))
    }

    pub fn post(&mut self, reader: &mut Reader<'_>) -> Result<PostNo, CodecError> {
        let post = reader.varint_u32()?;
        self.has_post(post);
        Ok(PostNo::of(post))
    }

    pub fn has_user(&mut self, user: u32) {
        self.users = self.users.max(u64::from(user) + 1);
    }

    pub fn has_post(&mut self, post: u32) {
        self.posts = self.posts.max(u64::from(post) + 1);
    }

    pub fn merge(&mut self, other: Refs) {
        (self.users, self.posts) = (self.users.max(other.users), self.posts.max(other.posts));
    }
}
