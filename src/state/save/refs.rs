//! What a chunk refers to, so that it can be compared with what there is once all are read.

use nova_storage::codec::{CodecError, Reader};

/// One more than the largest numbers that a chunk refers to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refs {
    pub users: u64,
    pub posts: u64,
}

impl Refs {
    pub fn user(&mut self, reader: &mut Reader<'_>) -> Result<u32, CodecError> {
        let user = reader.varint_u32()?;
        self.has_user(user);
        Ok(user)
    }

    pub fn post(&mut self, reader: &mut Reader<'_>) -> Result<u32, CodecError> {
        let post = reader.varint_u32()?;
        self.posts = self.posts.max(u64::from(post) + 1);
        Ok(post)
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
