//! The dense numbers of users and posts. Each kind is a type of its own, so that nobody looks a post up by the number of a
//! user. Inside packed entries, and on disk, they are plain `u32`.

/// A number that [`super::ids::Ids`] gives out, in the order of first mention.
pub trait Dense: Copy {
    /// A number that was given out, or that is compared with how many there are before somebody looks it up.
    fn of(number: u32) -> Self;
    /// The plain number: of packed entries, and on disk.
    fn get(self) -> u32;
}

/// The number of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct UserNo(u32);

impl UserNo {
    /// Nobody has this number: it stands for a user whom the state does not know.
    pub const NOBODY: UserNo = UserNo(u32::MAX);

    /// See [`Dense::of`].
    pub const fn of(number: u32) -> UserNo {
        UserNo(number)
    }

    /// See [`Dense::get`].
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The place in a list that has one entry for each user.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Dense for UserNo {
    fn of(number: u32) -> UserNo {
        UserNo(number)
    }

    fn get(self) -> u32 {
        self.0
    }
}

/// The number of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PostNo(u32);

impl PostNo {
    /// See [`Dense::of`].
    pub const fn of(number: u32) -> PostNo {
        PostNo(number)
    }

    /// See [`Dense::get`].
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The place in a list that has one entry for each post.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Dense for PostNo {
    fn of(number: u32) -> PostNo {
        PostNo(number)
    }

    fn get(self) -> u32 {
        self.0
    }
}
