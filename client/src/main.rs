//! `backup`: the program people run. Everything is in the library.

use std::process::ExitCode;

use unseen_client::cli;

fn main() -> ExitCode {
    cli::process::harden();
    // Fails only if there is one already.
    rustls::crypto::ring::default_provider().install_default().ok();
    let args: Vec<_> = std::env::args_os().collect();
    cli::main(&args)
}
