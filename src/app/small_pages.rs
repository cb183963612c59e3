//! Memory in small pages while a node starts.
//!
//! The allocator asks Linux for transparent huge pages. At the first touch of a huge page, Linux clears 2 MiB, and a
//! start touches most of its memory for the first time. On a machine with slow memory, a start with a million users
//! took 10 s with huge pages and 8 s with small pages. After the start, Linux may give the process huge pages again.

/// Keeps Linux from giving huge pages to the process until the value is dropped. `SmallPages` changes nothing on other
/// systems, and nothing if somebody has already switched huge pages off for the process.
#[derive(Debug)]
pub(super) struct SmallPages {
    switched: bool,
}

impl SmallPages {
    #[cfg(target_os = "linux")]
    pub fn begin() -> SmallPages {
        use rustix::thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled};

        let on = transparent_huge_pages_are_disabled().is_ok_and(|off| !off);
        SmallPages { switched: on && disable_transparent_huge_pages(true).is_ok() }
    }

    #[cfg(not(target_os = "linux"))]
    pub fn begin() -> SmallPages {
        SmallPages { switched: false }
    }
}

impl Drop for SmallPages {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if self.switched {
            let _ = rustix::thread::disable_transparent_huge_pages(false);
        }
    }
}
