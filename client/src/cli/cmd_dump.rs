//! `backup dump`: one file of a snapshot, on standard output.

use std::path::PathBuf;

use super::args::SnapshotFilter;
use super::args::values::SnapshotPath;
use super::context::Context;
use super::escape::escape_for_terminal;
use super::exit::{CliError, Exit};
use super::reading;
use super::vault;
use crate::browse::chunks::Chunks;
use crate::browse::dump::{DumpError, dump};
use crate::browse::ls::{Found, find_path};
use crate::browse::resolve::{Chosen, parse_path};
use crate::tree::entry::Kind;

/// What `dump` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Example:
  backup dump latest /home/anna/notes.txt | less")]
pub struct DumpArgs {
    /// The snapshot: an id or its beginning, latest or latest~N; and a folder in it
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: SnapshotPath,
    /// The file
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Which one `latest` is.
    #[command(flatten)]
    pub filter: SnapshotFilter,
}

/// Prints a file.
pub fn run(ctx: &Context<'_>, args: &DumpArgs) -> Result<Exit, CliError> {
    let runtime = vault::reading_runtime()?;
    let reading = reading::open(ctx, &runtime)?;
    let named = (&args.snapshot, &args.filter);
    reading.look(ctx, named, &runtime, |chosen, chunks| print(ctx, args, chosen, chunks))?;
    Ok(Exit::Done)
}

fn print(
    ctx: &Context<'_>,
    args: &DumpArgs,
    chosen: &Chosen,
    chunks: &mut Chunks<'_>,
) -> Result<(), CliError> {
    let mut path = chosen.path.clone().unwrap_or_default();
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(args.path.as_os_str());
    path.extend(parse_path(bytes).map_err(|error| CliError::from_error(Exit::Usage, error))?);
    let shown = escape_for_terminal(bytes).into_owned();
    let folder = || CliError::usage(format!("{shown} is a folder")).hint("`backup ls` lists it");
    let Found::Entry(entry) = find_path(chunks, chosen.manifest.root, &path)? else {
        return Err(folder());
    };
    let (size, content) = match &entry.kind {
        Kind::File { size, content } => (*size, content),
        Kind::Directory { .. } => return Err(folder()),
        _ => return Err(CliError::usage(format!("{shown} is not a regular file"))),
    };
    match dump(chunks, (content, size), &mut ctx.ui.stdout()) {
        // `Ui::finish` tells about standard output; a reader that left early is no failure.
        Err(DumpError::Write(_)) => Ok(()),
        done => Ok(done?),
    }
}
