//! The command line: parse, run one subcommand, map its result to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    zerotouch_worker::cli::main()
}
