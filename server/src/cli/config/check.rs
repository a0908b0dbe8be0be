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
use crate::ops::machine::Disk;
use crate::vault::folder::foreign;
use crate::vault::{OpenError, amount};

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
    found.extend(keep_free(serving));
    found.extend(serving.on_silent.as_deref().and_then(program));
    // Our own server holds its addresses: that is no problem.
    if !admin::is_running(&serving.data) {
        for place in std::iter::once(&serving.listen).chain(&serving.metrics) {
            found.extend(is_taken(place));
        }
    }
    found
}

/// The data folder, or the nearest one above it that is there.
fn nearest(data: &Path) -> PathBuf {
    let there = data.ancestors().find(|path| path.exists()).map(Path::to_owned);
    there.filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| PathBuf::from("."))
}

/// A disk that could never take a pack.
fn keep_free(serving: &Serving) -> Option<String> {
    let keep = serving.disk.keep_free?;
    let size = Disk::of(&nearest(&serving.data))?.size;
    (keep >= size).then(|| {
        let (keep, size) = (amount(keep), amount(size));
        format!("keep-free: {keep} can never be free on a disk of {size}: no pack would be taken")
    })
}

/// What is wrong with the data folder, or with the one that it would be made in.
fn folder(data: &Path) -> Option<String> {
    let there = nearest(data);
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
        let mut serving = super::super::test_serving(&dir.path().join("new"));
        assert_eq!(keep_free(&serving), None);
        serving.disk.keep_free = Some(1 << 20);
        assert_eq!(keep_free(&serving), None);
        serving.disk.keep_free = Some(999_000_000_000_000_000);
        assert!(keep_free(&serving).unwrap().contains("no pack would be taken"));
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
