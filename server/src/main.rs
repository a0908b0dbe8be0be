//! `backup-server`: see [`unseen_server::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    unseen_server::cli::run(std::env::args_os())
}
