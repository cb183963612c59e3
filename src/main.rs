//! Arguments, then work, then the exit code: the only place that exits.

use std::process::ExitCode;

fn main() -> ExitCode {
    nova::cli::main()
}
