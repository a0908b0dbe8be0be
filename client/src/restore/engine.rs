//! One restore, from the snapshot to the files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::bounded;
use roaring::RoaringBitmap;
use tokio::runtime::Handle;

use super::dirs::Dirs;
use super::finish::finish;
use super::guard::{Guard, Sides};
use super::links::Links;
use super::options::{Existing, RestoreError, RestoreOptions, RestoreOutcome};
use super::plan::{Limits, Planner, WAITING};
use super::policy::{Overwrite, Ownership, Policy};
use super::pool::Pool;
use super::root::{RandomNames, Root};
use super::run::Run;
use super::transfer::{Budget, dispatch, fetch, work};
use super::verify::verify;
use super::walk::{Begin, Ctx, Start, Walker};
use super::way::{Scope, Way};
use crate::browse::chunks::Chunks;
use crate::browse::error::{PackFault, ReadError};
use crate::browse::ls::{Found, find_path};
use crate::browse::packs::Packs;
use crate::browse::resolve::Chosen;
use crate::browse::snapshots::packs_hold;
use crate::crypto::content_id::ChunkId;
use crate::progress::{Monitor, Note, Silent};
use crate::repo::{ReaderIndex, ReaderRepo};
use crate::scan::names::OwnerNames;
use crate::scan::os::{raise_fd_limit, running_as_root};
use crate::tree::entry::{Kind, Name};

/// Restores a snapshot, or the part of it that was chosen. Blocks; requests run on `runtime`.
pub fn restore(
    (repo, index): (&ReaderRepo, &ReaderIndex),
    chosen: &Chosen,
    options: &RestoreOptions,
    (monitor, interrupt): (&dyn Monitor, &AtomicBool),
    runtime: &Handle,
) -> Result<RestoreOutcome, RestoreError> {
    let prepared = Prepared::new((repo, index), chosen, options, monitor, runtime)?;
    prepared.open()?.run(interrupt)
}

/// A restore that has found what it is to restore, and written nothing yet.
///
/// The full path is made beneath the target for a whole snapshot, and for everything in place. Else
/// a directory that was chosen becomes the target, and anything else goes into it by its name.
#[derive(Debug)]
pub struct Prepared<'a> {
    packs: Packs<'a>,
    monitor: &'a dyn Monitor,
    options: &'a RestoreOptions,
    within: Arc<RoaringBitmap>,
    guard: Option<Guard>,
    begin: Begin,
}

/// A restore whose target is open.
#[derive(Debug)]
pub struct Ready<'a> {
    prepared: Prepared<'a>,
    root: Option<Root>,
}

impl<'a> Prepared<'a> {
    /// Finds what was chosen. Refuses what cannot be done.
    pub fn new(
        (repo, index): (&'a ReaderRepo, &'a ReaderIndex),
        chosen: &'a Chosen,
        options: &'a RestoreOptions,
        monitor: &'a dyn Monitor,
        runtime: &'a Handle,
    ) -> Result<Self, RestoreError> {
        let guard = options.delete.then(|| Guard::of(chosen)).transpose()?;
        raise_fd_limit();
        let packs = Packs::new(repo, index, monitor, runtime);
        let within = Arc::new(packs_of(&packs, chosen, monitor)?);
        let begin = begin(&packs, chosen, (options, guard.as_ref()), &within)?;
        Ok(Self { packs, monitor, options, within, guard, begin })
    }

    /// Counts what is at the target and would be replaced or deleted; fetches no files. A restore
    /// that goes on where it stopped finds nothing to replace.
    pub fn survey(&self, interrupt: &AtomicBool) -> Result<RestoreOutcome, RestoreError> {
        let options =
            RestoreOptions { dry_run: true, survey: true, verify: false, ..self.options.clone() };
        let Some(root) = open_target(&options)? else {
            return Ok(RestoreOutcome::default());
        };
        let dirs = Dirs::new(Some(root), policy(&options));
        let links = Links::new(self.packs.index.folder(), Limits::DEFAULT.links);
        let run = Run::new(&self.packs, &dirs, (&Silent, interrupt), false, links);
        // In a dry run nothing is planned: what comes out is one empty window.
        let (windows_in, windows) = bounded(1);
        let planner = Planner::new(windows_in, Arc::default(), Limits::DEFAULT);
        let how = (Arc::clone(&self.within), self.guard.as_ref());
        match Walker::new(&run, &options, how, planner).walk(self.begin.clone()) {
            Ok(()) | Err(ReadError::Stopped) => {}
            Err(error) => run.fail(error),
        }
        drop(windows);
        run.finish()
    }

    /// Makes the target, unless this is a dry run, and opens it.
    pub fn open(self) -> Result<Ready<'a>, RestoreError> {
        let root = open_target(self.options)?;
        if let Some(root) = root.as_ref().filter(|_| !self.options.dry_run) {
            if self.begin.meta.is_some() {
                root.dir().let_owner_write();
            }
            if !self.options.in_place {
                root.dir().remove_leftovers();
            }
        }
        Ok(Ready { prepared: self, root })
    }
}

impl Ready<'_> {
    /// Writes everything, until somebody interrupts it.
    pub fn run(self, interrupt: &AtomicBool) -> Result<RestoreOutcome, RestoreError> {
        self.run_within(Limits::DEFAULT, interrupt)
    }

    fn run_within(
        self,
        limits: Limits,
        interrupt: &AtomicBool,
    ) -> Result<RestoreOutcome, RestoreError> {
        let Self { prepared, root } = self;
        let Prepared { packs, monitor, options, within, guard, begin } = prepared;
        let dirs = Dirs::new(root, policy(options));
        let links = Links::new(packs.index.folder(), limits.links);
        let run = Run::new(&packs, &dirs, (monitor, interrupt), options.verify, links);
        write(&run, (options, limits), begin.clone(), (&within, guard.as_ref()));
        if options.verify && !options.dry_run && !run.stopped() {
            match verify(&run, options, begin, &within) {
                Ok(()) | Err(ReadError::Stopped) => {}
                Err(error) => run.fail(error),
            }
        }
        run.finish()
    }
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

/// Where to begin.
fn begin(
    packs: &Packs<'_>,
    chosen: &Chosen,
    (options, guard): (&RestoreOptions, Option<&Guard>),
    within: &Arc<RoaringBitmap>,
) -> Result<Begin, RestoreError> {
    let mut chunks = Chunks::new(packs, Arc::clone(within));
    let (root, select) = (chosen.manifest.root, &options.select);
    let wanted = chosen.path.as_deref().unwrap_or_default();
    let all = (Start::Dir(root), &[][..], None);
    let ((start, above, meta), way) = match find_path(&mut chunks, root, wanted)? {
        Found::Root(_) if options.in_place => (all, Way::to_saved(&chosen.manifest.paths)),
        Found::Entry(_) if options.in_place => (all, Way::to(wanted)),
        Found::Root(_) => (all, Way::All),
        Found::Entry(entry) => {
            if let Kind::Directory { tree } = entry.kind {
                ((Start::Dir(tree), wanted, Some(Box::new(entry.meta))), Way::All)
            } else {
                let (_, above) = wanted.split_last().unwrap_or((&entry.name, &[]));
                let way = Way::to(std::slice::from_ref(&entry.name));
                ((Start::One(entry), above, None), way)
            }
        }
    };
    let sides = guard.map(|guard| sides(guard, &mut chunks, root, above)).transpose()?;
    let ctx = Ctx::new(Scope::at(select, above, way), sides.unwrap_or_default());
    Ok(Begin { start, path: joined(above), meta, ctx })
}

/// What the rules of the backup make of a directory of the snapshot, before a look at what is in it.
fn sides(
    guard: &Guard,
    chunks: &mut Chunks<'_>,
    root: ChunkId,
    path: &[Name],
) -> Result<Sides, RestoreError> {
    let mut sides = guard.root();
    for (depth, name) in path.iter().enumerate() {
        let above = path.get(..depth).unwrap_or_default();
        if guard.covers(&joined(above)) {
            let tree = match find_path(chunks, root, above)? {
                Found::Root(tree) => Some(tree),
                Found::Entry(entry) => match entry.kind {
                    Kind::Directory { tree } => Some(tree),
                    _ => None,
                },
            };
            if let Some(tree) = tree {
                guard.look_recorded(&mut sides, chunks, tree)?;
            }
        }
        sides = guard.enter(&sides, name);
    }
    sides.set_here();
    Ok(sides)
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
    let root = Root::open(&options.target, Arc::new(RandomNames::default()))
        .map_err(RestoreError::Target)?;
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
    begin: Begin,
    (within, guard): (&Arc<RoaringBitmap>, Option<&Guard>),
) {
    let workers = match options.workers {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        workers => workers,
    };
    // A network has to be kept busy while answers are on their way; a disk has not.
    let is_local = run.packs.repo.is_local();
    let fetchers = if is_local { 2 } else { 4 };
    let (windows_in, windows) = bounded(0);
    let (tasks_in, tasks) = bounded(4 * workers);
    let (finishes_in, finishes) = bounded(WAITING);
    let pool = Arc::<Pool>::default();
    let budget = Budget::new(is_local);
    std::thread::scope(|scope| {
        let packs = (Arc::clone(within), guard);
        let wanted = Arc::clone(&pool);
        scope.spawn(move || {
            let planner = Planner::new(windows_in, wanted, limits);
            match Walker::new(run, options, packs, planner).walk(begin) {
                Ok(()) | Err(ReadError::Stopped) => {}
                Err(error) => run.fail(error),
            }
        });
        for _ in 0..fetchers {
            let (pool, tasks, budget) = (Arc::clone(&pool), tasks_in.clone(), budget.clone());
            scope.spawn(move || fetch(run, &pool, &tasks, &budget));
        }
        for _ in 0..workers {
            let tasks = tasks.clone();
            scope.spawn(move || work(run, &tasks));
        }
        scope.spawn(move || dispatch(&windows, (&tasks_in, &finishes_in)));
        drop(tasks);
        finish(run, &finishes, within);
    });
}

#[cfg(test)]
mod tests;
