//! Defines the dense numbers of users and posts. Users and posts have numbers of different types, so that nobody looks
//! a post up by the number of a user. Inside packed entries, and on disk, a dense number is a plain `u32`.

/// A number that [`super::ids::Ids`] assigns to ids in the order of their first use.
pub trait Dense: Copy {
    /// Makes a dense number. If the caller does not know whether the number was assigned, the caller must compare the
    /// number with the count of assigned numbers before using it.
    fn of(number: u32) -> Self;
    /// Returns the plain number, which packed entries and the disk have.
    fn get(self) -> u32;
}

/// The number of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct UserNo(u32);

impl UserNo {
    /// The number that belongs to no user. `NOBODY` stands for a user whom the state does not know.
    pub const NOBODY: UserNo = UserNo(u32::MAX);

    /// Makes a number of a user (see [`Dense::of`]).
    pub const fn of(number: u32) -> UserNo {
        UserNo(number)
    }

    /// Returns the plain number (see [`Dense::get`]).
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the index of the user in a list that has one entry for each user.
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
    /// Makes a number of a post (see [`Dense::of`]).
    pub const fn of(number: u32) -> PostNo {
        PostNo(number)
    }

    /// Returns the plain number (see [`Dense::get`]).
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the index of the post in a list that has one entry for each post.
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
