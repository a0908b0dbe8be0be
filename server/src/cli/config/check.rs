//! `backup-server config check`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rustix::fs::{Access, access};

use super::file::File;
use super::flags::Flags;
use super::{Serving, Settings};
use crate::cli::error::CliError;
use crate::cli::{admin, output, pinned};
use crate::http::{Listen, Listener};
use crate::vault::OpenError;
use crate::vault::folder::foreign;

/// Look at the settings without serving
#[derive(Debug, Args)]
pub(in crate::cli) struct Config {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    Check(Check),
}

/// Print the settings in force and where each came from, and try whether the server could start
///
/// Run it as the user that the server runs as. Nothing is changed.
#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    flags: Flags<false>,
}

pub(in crate::cli) fn run(
    config: &Config,
    file: &File,
    everywhere: &Flags<true>,
) -> Result<(), CliError> {
    let ConfigCommand::Check(command) = &config.command;
    let settings = Settings::new(file, everywhere, &command.flags);
    show(&settings, file);
    let serving = Serving::read(&settings)?;
    let problems = problems(&serving);
    for problem in &problems {
        output::note(&format!("backup-server: {problem}"));
    }
    if problems.is_empty() {
        output::line("the server can start with this");
        Ok(())
    } else {
        Err(CliError::Problems(problems.len()))
    }
}

fn show(settings: &Settings, file: &File) {
    match &file.path {
        Some(path) => output::line(&format!("configuration file {}", path.display())),
        None => output::line("no configuration file"),
    }
    let width = settings.values.iter().map(|(_, value, _)| value.len()).max().unwrap_or(0).min(40);
    for (key, value, source) in &settings.values {
        output::line(&format!("  {:<18} {value:<width$}  {source}", key.name));
    }
}

fn problems(serving: &Serving) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(folder(&serving.data));
    if let Err(error) = pinned::Tls::look(serving) {
        found.push(output::with_causes(&error));
    }
    found.extend(serving.on_silent.as_deref().and_then(program));
    // Our own server holds its addresses: that is no problem.
    if !admin::is_running(&serving.data) {
        for place in std::iter::once(&serving.listen).chain(&serving.metrics) {
            found.extend(is_taken(place));
        }
    }
    found
}

/// What is wrong with the data folder, or with the one that it would be made in.
fn folder(data: &Path) -> Option<String> {
    let there = data
        .ancestors()
        .find(|path| path.exists())
        .map_or_else(|| PathBuf::from("."), Path::to_owned);
    let there = if there.as_os_str().is_empty() { PathBuf::from(".") } else { there };
    if !there.is_dir() {
        return Some(format!("data: {} is not a folder", there.display()));
    }
    if there == data
        && let Ok(Some(name)) = foreign(data)
    {
        let error = OpenError::Foreign { folder: data.to_owned(), name };
        return Some(format!("data: {error}"));
    }
    access(&there, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
        .err()
        .map(|error| format!("data: {} cannot be written: {error}", there.display()))
}

/// What is wrong with a program that the server is to run.
fn program(path: &Path) -> Option<String> {
    let allowed = access(path, Access::EXEC_OK);
    allowed.err().map(|error| format!("on-silent: {} cannot be run: {error}", path.display()))
}

fn is_taken(place: &Listen) -> Option<String> {
    if let Listen::Unix(file) = place
        && let Some(above) = file.path.parent()
    {
        // A trial would be visible to others.
        let allowed = access(above, Access::WRITE_OK | Access::EXEC_OK);
        return allowed.err().map(|error| format!("cannot listen on {place}: {error}"));
    }
    Listener::is_free(place).err().map(|error| format!("cannot listen on {place}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_addresses_are_tried() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(folder(&dir.path().join("new/below")), None);
        assert!(!dir.path().join("new").exists());
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(folder(&file.join("below")).unwrap().contains("is not a folder"));
        assert!(folder(dir.path()).unwrap().contains("has other files in it"));
        assert!(program(&file).unwrap().contains("cannot be run"));
        assert_eq!(program(Path::new("/bin/sh")), None);
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Listen::Tcp(taken.local_addr().unwrap());
        assert!(is_taken(&place).unwrap().contains("cannot listen on 127.0.0.1"));
        drop(taken);
        assert_eq!(is_taken(&place), None);
        let nowhere: Listen = "unix:/nowhere/below/socket".parse().unwrap();
        assert!(is_taken(&nowhere).is_some());
    }
}
