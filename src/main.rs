//! Parses the arguments, runs the command, and ends the process with the exit code. No code of nova outside of this
//! file ends the process.

use std::process::ExitCode;

/// nova uses the allocator mimalloc, because it makes records on one thread and frees them on another. The allocator of
/// glibc is slow when one thread frees what another thread has made, and leaves holes in memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    nova::cli::main()
}
