//! The dense numbers of users and posts. Each kind is a type of its own, so that nobody looks a post up by the number
//! of a user. Inside packed entries, and on disk, they are plain `u32`.

/// A number that [`super::ids::Ids`] assigns, in the order of the first use.
pub trait Dense: Copy {
    /// Makes a number, either an assigned one or one that is compared with the count before it is looked up.
    fn of(number: u32) -> Self;
    /// The plain number, as in packed entries and on disk.
    fn get(self) -> u32;
}

/// The number of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct UserNo(u32);

impl UserNo {
    /// The number belongs to nobody. It stands for a user whom the state does not know.
    pub const NOBODY: UserNo = UserNo(u32::MAX);

    /// Makes a number; see [`Dense::of`].
    pub const fn of(number: u32) -> UserNo {
        UserNo(number)
    }

    /// The plain number; see [`Dense::get`].
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The index in a list that has one entry for each user.
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
    /// Makes a number; see [`Dense::of`].
    pub const fn of(number: u32) -> PostNo {
        PostNo(number)
    }

    /// The plain number; see [`Dense::get`].
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The index in a list that has one entry for each post.
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
