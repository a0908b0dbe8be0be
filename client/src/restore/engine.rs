//! One restore, from the snapshot to the files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::bounded;
use roaring::RoaringBitmap;
use tokio::runtime::Handle;
use unseen_common::log::entry::Status;

use super::dirs::Dirs;
use super::finish::finish;
use super::options::{Existing, RestoreError, RestoreOptions, RestoreOutcome};
use super::plan::{Limits, Planner};
use super::policy::{Overwrite, Ownership, Policy};
use super::root::{RandomNames, Root};
use super::run::Run;
use super::select::{Pick, SelectCtx};
use super::transfer::{Budget, dispatch, fetch, work};
use super::verify::verify;
use super::walk::{Start, Walker};
use crate::browse::chunks::Chunks;
use crate::browse::error::{PackFault, ReadError};
use crate::browse::ls::{Found, find_path};
use crate::browse::packs::Packs;
use crate::browse::resolve::Chosen;
use crate::browse::snapshots::packs_hold;
use crate::progress::{Monitor, Note};
use crate::repo::{ReaderIndex, ReaderRepo};
use crate::scan::names::OwnerNames;
use crate::scan::os::{raise_fd_limit, running_as_root};
use crate::tree::entry::{Kind, Name};

/// Restores a snapshot, or the part of it that was chosen. Blocks; requests run on `runtime`.
///
/// The whole snapshot, and a file or link, keeps its place: the full path is made beneath the
/// target for the whole, and its name alone for a file. Of a directory that was chosen, what is in
/// it goes into the target.
pub fn restore(
    (repo, index): (&ReaderRepo, &ReaderIndex),
    chosen: &Chosen,
    options: &RestoreOptions,
    (monitor, interrupt): (&dyn Monitor, &AtomicBool),
    runtime: &Handle,
) -> Result<RestoreOutcome, RestoreError> {
    let limited = (options, Limits::DEFAULT);
    restore_within((repo, index), chosen, limited, (monitor, interrupt), runtime)
}

fn restore_within(
    (repo, index): (&ReaderRepo, &ReaderIndex),
    chosen: &Chosen,
    (options, limits): (&RestoreOptions, Limits),
    (monitor, interrupt): (&dyn Monitor, &AtomicBool),
    runtime: &Handle,
) -> Result<RestoreOutcome, RestoreError> {
    if options.delete && chosen.snapshot.status != Status::Complete {
        return Err(RestoreError::DeleteNeedsWhole);
    }
    raise_fd_limit();
    let packs = Packs::new(repo, index, monitor, runtime);
    let within = Arc::new(packs_of(&packs, chosen, monitor)?);
    let (start, path, ctx) = begin(&packs, chosen, options, &within)?;
    let root = open_target(options)?;
    let dirs = Dirs::new(root, policy(options));
    let listens = (monitor, interrupt);
    let run = Run::new(&packs, &dirs, listens, options.verify);
    let place = (path, ctx);
    write(
        &run,
        (options, limits),
        (start.clone(), place.clone()),
        (&within, &chosen.manifest.paths),
    );
    if options.verify && !options.dry_run && !run.stopped() {
        match verify(&run, options, start, place, &within) {
            Ok(()) | Err(ReadError::Stopped) => {}
            Err(error) => run.fail(error),
        }
    }
    run.finish()
}

/// The packs of the snapshot: the first ones to be asked. Where a list is missing or false, a
/// chunk is looked for everywhere, and is checked wherever it comes from.
fn packs_of(
    packs: &Packs<'_>,
    chosen: &Chosen,
    monitor: &dyn Monitor,
) -> Result<RoaringBitmap, RestoreError> {
    let asked = packs.wait(packs.repo.vault.packs_of(chosen.snapshot.id));
    let within = match asked.map_err(PackFault::from) {
        Ok(within) => within.0,
        Err(PackFault::Pack(_)) => RoaringBitmap::new(),
        Err(PackFault::Vault(error)) => return Err(ReadError::Vault(error).into()),
    };
    if !packs_hold(packs.repo, packs.index, &chosen.snapshot, &within) {
        monitor.note(&Note::warning(
            "the server's list of the snapshot's packs is not the signed one, or some are damaged; \
             all packs are searched",
        ));
    }
    Ok(within)
}

/// Where to begin, the path of that in the snapshot, and what the patterns make of it.
fn begin(
    packs: &Packs<'_>,
    chosen: &Chosen,
    options: &RestoreOptions,
    within: &Arc<RoaringBitmap>,
) -> Result<(Start, Vec<u8>, SelectCtx), RestoreError> {
    let mut chunks = Chunks::new(packs, Arc::clone(within));
    let wanted = chosen.path.as_deref().unwrap_or_default();
    let found = find_path(&mut chunks, chosen.manifest.root, wanted)?;
    let (start, above) = match found {
        Found::Root(tree) => (Start::Dir(tree), wanted),
        Found::Entry(entry) => {
            if let Kind::Directory { tree } = entry.kind {
                (Start::Dir(tree), wanted)
            } else {
                let (_, above) = wanted.split_last().unwrap_or((&entry.name, &[]));
                (Start::One(entry), above)
            }
        }
    };
    let mut ctx = options.select.root();
    for name in above {
        let pick = match options.select.pick(&ctx, name, true) {
            // It was asked for by name.
            Pick::Leave => Pick::Through,
            pick => pick,
        };
        ctx = options.select.enter(&ctx, name, pick);
    }
    Ok((start, joined(above), ctx))
}

fn joined(path: &[Name]) -> Vec<u8> {
    path.iter().fold(Vec::new(), |mut joined, name| {
        joined.push(b'/');
        joined.extend_from_slice(name.as_bytes());
        joined
    })
}

/// Makes the target; a dry run makes none.
fn open_target(options: &RestoreOptions) -> Result<Option<Root>, RestoreError> {
    if options.dry_run && !Path::new(&options.target).exists() {
        return Ok(None);
    }
    let root = Root::open(&options.target, Arc::new(RandomNames)).map_err(RestoreError::Target)?;
    if !options.dry_run {
        root.dir().remove_leftovers();
    }
    Ok(Some(root))
}

fn policy(options: &RestoreOptions) -> Policy {
    let overwrite = match options.existing {
        Existing::Never => Overwrite::Never,
        _ => Overwrite::Replace,
    };
    let mut policy = Policy::safe(overwrite);
    policy.privileged = options.privileged;
    if options.ownership_by_name && running_as_root() {
        policy.ownership = Ownership::ByName(Arc::new(OwnerNames::of_this_machine()));
    }
    policy
}

/// Runs the threads of a restore until all is written, or somebody stops it.
fn write(
    run: &Run<'_>,
    (options, limits): (&RestoreOptions, Limits),
    (start, place): (Start, (Vec<u8>, SelectCtx)),
    (within, saved): (&Arc<RoaringBitmap>, &[Vec<u8>]),
) {
    let workers = match options.workers {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        workers => workers,
    };
    // A network has to be kept busy while answers are on their way; a disk has not.
    let is_local = run.packs.repo.is_local();
    let fetchers = if is_local { 2 } else { 4 };
    let (windows_in, windows) = bounded(0);
    let (jobs_in, jobs) = bounded(fetchers);
    let (tasks_in, tasks) = bounded(4 * workers);
    let (finishes_in, finishes) = bounded(0);
    let budget = Budget::new(is_local);
    std::thread::scope(|scope| {
        let packs = (Arc::clone(within), saved);
        scope.spawn(move || {
            let planner = Planner::new(windows_in, limits);
            match Walker::new(run, options, packs, planner).walk(start, place) {
                Ok(()) | Err(ReadError::Stopped) => {}
                Err(error) => run.fail(error),
            }
        });
        for _ in 0..fetchers {
            let (jobs, tasks, budget) = (jobs.clone(), tasks_in.clone(), budget.clone());
            scope.spawn(move || fetch(run, &jobs, &tasks, &budget));
        }
        for _ in 0..workers {
            let tasks = tasks.clone();
            scope.spawn(move || work(run, &tasks));
        }
        scope.spawn(move || dispatch(&windows, (&jobs_in, &tasks_in, &finishes_in)));
        drop((jobs, tasks));
        finish(run, &finishes, within);
    });
}

#[cfg(test)]
mod tests;
