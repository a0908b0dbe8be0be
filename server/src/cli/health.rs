//! `backup-server health`.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use clap::Args;

use super::config::file::File;
use super::config::flags::Flags;
use super::config::{Serving, Settings};
use super::error::CliError;
use super::output;
use crate::http::Listen;

/// Ask the server that runs with these settings whether it can be used
///
/// Prints `ready` and exits with 0, or says why not and exits with 1. It asks /readyz, so
/// metrics-listen must be set.
#[derive(Debug, Args)]
pub(super) struct Health {
    #[command(flatten)]
    flags: Flags<false>,
}

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer that are read.
const ANSWER: u64 = 16 * 1024;

pub(super) fn run(command: &Health, file: &File, everywhere: &Flags<true>) -> Result<(), CliError> {
    let settings = Settings::new(file, everywhere, &command.flags);
    let place = Serving::metrics(&settings)?.ok_or(CliError::NoMetrics)?;
    let answer = ask(&place).map_err(|source| CliError::Silent { place, source })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.starts_with("HTTP/1.1 200 ") {
        output::line(body.trim_end());
        Ok(())
    } else {
        Err(CliError::NotReady(body.trim_end().replace('\n', "; ")))
    }
}

fn ask(place: &Listen) -> io::Result<String> {
    match place {
        Listen::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream)
        }
        Listen::Unix(file) => {
            let stream = UnixStream::connect(&file.path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream)
        }
    }
}

fn exchange(mut stream: impl Read + Write) -> io::Result<String> {
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}
