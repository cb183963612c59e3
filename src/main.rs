//! Arguments, then work, then the exit code: the only place that exits.

use std::process::ExitCode;

/// Records are made on one thread and freed on another, which glibc's allocator does slowly and with holes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    nova::cli::main()
}
