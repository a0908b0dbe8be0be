//! What is told is saved, and nothing else is looked at: is the snapshot what the files are?

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use unseen_common::id::SnapshotId;
use unseen_common::time::Clock;
use unseen_common::vault::VaultError;

use super::Coverage;
use crate::backup::{self, Changes, Source, Visit};
use crate::browse::resolve::{Filter, parse, resolve};
use crate::daemon::book::Book;
use crate::daemon::core::{Core, Now, SetSpec, Step};
use crate::daemon::dirty::DirtySets;
use crate::daemon::inbox::{Inbox, Noticed};
use crate::daemon::job::{Job, RunResult, Summary, Trouble};
use crate::daemon::schedule::Pace;
use crate::progress::{Monitor, Recorder, Silent};
use crate::repo::RepoError;
use crate::restore::engine::restore;
use crate::restore::options::RestoreOptions;
use crate::scan::exclude::Rules;
use crate::sets::JobSource;
use crate::testing::{Gate, World, options, picture};

const SET: &str = "s";
/// So long after what happened it is saved: everything has its turn by then.
pub(super) const LATER: u64 = 3600;

/// A daemon's mind with marks on disk, the engine, and a vault.
#[derive(Debug)]
pub(super) struct Saver {
    world: World,
    pub(super) gate: Gate,
    core: Core,
    root: PathBuf,
    /// Seconds since the beginning.
    time: u64,
    restored: u32,
}

/// A run.
#[derive(Debug)]
pub(super) struct Ran {
    /// What it looked at; everything with none.
    pub(super) changes: Option<Changes>,
    pub(super) result: RunResult,
}

impl Saver {
    /// Looks at all of the root once. Never again, unless there is a reason.
    pub(super) fn begin(root: &Path) -> Self {
        let (world, machine) = World::new();
        // Each run opens the vault.
        drop(machine);
        let gate = Gate::new(world.core.clone());
        let wall = world.clock.now();
        let now = Now { at: Duration::ZERO, wall };
        let marks = DirtySets::open(&world.folder("marks"), &[], now);
        assert!(marks.is_kept());
        let core = Core::new(Box::new(marks), Book::default(), now);
        let root = root.to_path_buf();
        let mut saver = Self { world, gate, core, root, time: 0, restored: 0 };
        let never = Duration::from_secs(10_000 * 86_400);
        let spec = SetSpec {
            name: SET.to_owned(),
            source: JobSource::Paths(vec![saver.root.clone()]),
            rules: Rules::default(),
            one_file_system: false,
            pace: Pace { rescan: never, ..Pace::default() },
        };
        saver.core.set_sets(vec![spec], now);
        let runs = saver.due();
        assert!(matches!(&runs[..], [Ran { changes: None, result: Ok(_) }]), "{runs:?}");
        saver
    }

    fn now(&self) -> Now {
        Now { at: Duration::from_secs(self.time), wall: self.world.clock.now() }
    }

    /// So much time goes by.
    pub(super) fn wait(&mut self, seconds: u64) {
        self.time += seconds;
        self.world.clock.advance(seconds);
    }

    /// Takes in what was told, and how well is watched.
    pub(super) fn noticed(&mut self, inbox: &Inbox, coverage: &[(PathBuf, Coverage)]) {
        let noticed: Noticed = inbox.take();
        self.core.noticed(&noticed, self.now());
        self.core.covered(coverage, self.now().at);
    }

    /// As if somebody asked for a backup now.
    pub(super) fn ask(&mut self) {
        self.core.want(SET, false, self.now().at);
    }

    /// Makes all the runs that are due now.
    pub(super) fn due(&mut self) -> Vec<Ran> {
        let mut runs = Vec::new();
        while let Step::Run(job) = self.core.step(self.now()) {
            let result = self.back_up(&job);
            self.core.ended(&job, &result, (self.now(), 1 << 31));
            runs.push(Ran { changes: job.changes, result });
        }
        runs
    }

    /// How many directories are marked.
    pub(super) fn pending(&self) -> usize {
        self.core.status(self.now()).sets[0].pending
    }

    fn back_up(&self, job: &Job) -> RunResult {
        let (secrets, service) = (World::secrets_of_desk(), Arc::new(self.gate.clone()));
        let mut machine = match self.world.machine_through(service, secrets, "desk") {
            Ok(machine) => machine,
            Err(RepoError::Vault(error @ VaultError::Unreachable(_))) => {
                return Err(Trouble::new(Trouble::UNREACHABLE, error.to_string()));
            }
            Err(error) => panic!("{error:?}"),
        };
        let mut options = options(SET);
        options.changes.clone_from(&job.changes);
        let (recorder, stop) = (Recorder::default(), AtomicBool::new(false));
        let source = Source::Paths(vec![self.root.clone()]);
        let runtime = self.world.runtime.handle();
        let ran =
            backup::run(&mut machine.repo, source, &options, (&recorder, &stop), runtime).unwrap();
        assert_eq!((ran.problem_count, ran.left_out), (0, 0));
        if let Some(changes) = &job.changes {
            self.looked_only_at(changes, &recorder);
        }
        Ok(Summary::new(&ran, recorder.counts(), Duration::ZERO))
    }

    /// What was not told was not looked at.
    fn looked_only_at(&self, changes: &Changes, recorder: &Recorder) {
        for (path, _) in recorder.events().done {
            let path = Path::new(std::ffi::OsStr::from_bytes(&path));
            let told = |dir: &Path| changes.visit(dir) != Visit::Skip;
            let above = path.parent().is_some_and(told);
            let ours = path.starts_with(&self.root);
            assert!(above || told(path) || !ours, "{} was looked at", path.display());
        }
    }

    /// The snapshot is what the files are.
    pub(super) fn must_hold_everything(&mut self, snapshot: SnapshotId) {
        let (repo, index) = self.world.reader();
        let wanted = parse(&format!("{snapshot}:{}", self.root.display())).unwrap();
        let all = Filter::default();
        let found = self.world.runtime.block_on(resolve(&repo, &wanted, &all)).unwrap();
        self.restored += 1;
        let target = self.world.dir.path().join(format!("restored {}", self.restored));
        let options = RestoreOptions { target: target.clone(), ..RestoreOptions::default() };
        let listens = (&Silent as &dyn Monitor, &AtomicBool::new(false));
        restore((&repo, &index), &found, &options, listens, self.world.runtime.handle()).unwrap();
        let (saved, there) = (picture(&target), picture(&self.root));
        let paths = saved.keys().chain(there.keys());
        let differ: Vec<_> = paths
            .filter(|path| saved.get(*path) != there.get(*path))
            .map(|path| (path, saved.get(path), there.get(path)))
            .take(5)
            .collect();
        assert!(differ.is_empty(), "path, saved, there: {differ:#?}");
    }
}
