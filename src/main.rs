//! Parses the arguments, runs the command, and ends with the exit code. No other place of nova exits.

use std::process::ExitCode;

/// Records are made on one thread and freed on another. glibc's allocator does this slowly and leaves holes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    nova::cli::main()
}
