//! The power is cut between any two calls that change the folder of a real store. Whatever the disk
//! then has of what was not synced: it opens, what was acknowledged is there, and what was under way
//! can be done again.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use tempfile::TempDir;
use unseen_common::id::PackNumber;
use unseen_common::log::entry::PublicKey;

use super::account::Account;
use super::fault_tests::Kept;
use super::{Core, Options};
use crate::store::trace::{self, Op};
use crate::testkit::TestClock;
use deeds::{Deed, Story};
use disk::{Disk, Image, Lucky};

mod deeds;
mod disk;

/// What was acknowledged at some point of the story.
#[derive(Clone, Default)]
struct Promised {
    identity: Option<PublicKey>,
    invite: bool,
    account: Option<Rc<Kept>>,
    erased: bool,
}

impl Promised {
    /// It is kept; by an account that is being erased no longer.
    fn is_kept(&self, core: &Core, deed: &dyn Deed) {
        assert!(self.identity.is_none_or(|identity| identity == core.identity()));
        assert!(!self.invite || !core.0.ledger.invites(core.now()).is_empty());
        if let Some(kept) = &self.account
            && !(deed.erases() && core.0.ledger.is_erased(deeds::vault()))
        {
            kept.holds(core);
        }
        if self.erased {
            assert!(core.0.ledger.receipt(deeds::vault()).is_some());
            assert!(core.account(deeds::vault()).unwrap().is_none());
        }
    }
}

/// A deed of the story as it was done, with what was acknowledged before and after.
struct Chapter {
    deed: Rc<dyn Deed>,
    /// Seconds since the tests' time began.
    time: u64,
    before: Promised,
    after: Promised,
    ops: Vec<Op>,
}

impl Chapter {
    /// Does the deed again, and looks whether it is done.
    fn again(&self, core: &Core) {
        self.deed.act(core).unwrap();
        self.is_done(core);
    }

    fn is_done(&self, core: &Core) {
        self.after.is_kept(core, &*self.deed);
        self.deed.is_done(core);
    }
}

fn open(root: &Path, time: u64) -> Core {
    let clock = Arc::new(TestClock::default());
    clock.advance(time);
    Core::open(root, Options { clock, open_accounts: true }).unwrap()
}

fn account(core: &Core) -> Arc<Account> {
    core.account(deeds::vault()).unwrap().unwrap()
}

/// In memory where there is such a folder: what is written here need not outlive anything.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Lives through the story on a real folder; tells what happened to it, call by call.
fn live(root: &Path) -> Vec<Chapter> {
    let clock = Arc::new(TestClock::default());
    let options = Options { clock: Arc::<TestClock>::clone(&clock), open_accounts: true };
    let (core, ops) = trace::record(|| Core::open(root, options).unwrap());
    let (deed, before, after) = (Rc::new(deeds::Nothing), Promised::default(), Promised::default());
    let mut chapters = vec![Chapter { deed, time: 0, before, after, ops }];
    let mut promised = Promised { identity: Some(core.identity()), ..Promised::default() };
    let (mut story, mut time) = (Story::default(), 0);
    loop {
        let (next, mut ops) = trace::record(|| story.next(&core, root));
        let Some((deed, later)) = next else { return chapters };
        if deed.erases() {
            // A copy of files that are being written: the index need not be better than that.
            copy(&root.join("index"), &root.with_file_name("index"));
        }
        clock.advance(later);
        time += later;
        let kept = |goes: &[PackNumber]| {
            let there = core.account(deeds::vault()).unwrap();
            there.map(|account| Rc::new(Kept::of(&account, goes)))
        };
        promised.account = kept(&deed.goes());
        let before = promised.clone();
        let (done, acts) = trace::record(|| deed.act(&core));
        done.unwrap();
        ops.extend(acts);
        promised.invite = true;
        promised.erased = deed.erases();
        promised.account = kept(&deed.goes());
        let mut chapter = Chapter { deed, time, before, after: promised.clone(), ops };
        chapter.ops.extend(trace::record(|| chapter.is_done(&core)).1);
        chapters.push(chapter);
    }
}

/// What a program forgets that is less careful than ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forgets {
    Nothing,
    /// To sync files.
    Files,
    /// To sync folders.
    Folders,
    /// To sync files that another process may have written.
    FilesOfOthers,
    /// To sync this folder where another process may have made the names in it.
    NamesOfOthers(&'static str),
    /// To sync the folder of accounts where another process may have removed one.
    RemovedByOthers,
}

impl Forgets {
    /// Whether it can be seen in this chapter.
    fn matters(self, chapter: &Chapter) -> bool {
        self != Self::RemovedByOthers || chapter.deed.erases()
    }

    /// What it does not forget of what it should have done.
    fn left(self, root: &Path, ops: Vec<Op>) -> Vec<Op> {
        let (mut written, mut named) = (HashSet::new(), HashSet::new());
        let mut left = Vec::new();
        for op in ops {
            match &op {
                Op::Wrote { inode, .. } | Op::Cut { inode, .. } => drop(written.insert(*inode)),
                Op::Renamed { to: path, .. }
                | Op::File { path, .. }
                | Op::Folder(path)
                | Op::Linked { to: path, .. }
                | Op::Removed(path) => drop(named.insert(path.parent().unwrap().to_owned())),
                _ => {}
            }
            let others = |name, path: &PathBuf| *path == root.join(name) && !named.contains(path);
            let forgotten = match (self, &op) {
                (Self::Files, Op::Synced { .. }) | (Self::Folders, Op::SyncedFolder(_)) => true,
                (Self::FilesOfOthers, Op::Synced { inode }) => !written.contains(inode),
                (Self::NamesOfOthers(name), Op::SyncedFolder(path)) => others(name, path),
                (Self::RemovedByOthers, Op::SyncedFolder(path)) => others("accounts", path),
                _ => false,
            };
            if !forgotten {
                left.push(op);
            }
        }
        left
    }
}

/// What was tried.
#[derive(Debug, Default)]
struct Count {
    calls: usize,
    cuts: usize,
    kills: usize,
}

struct Cutter {
    index: PathBuf,
    forgets: Forgets,
    seen: HashSet<(usize, blake3::Hash)>,
    count: Count,
}

impl Cutter {
    /// Cuts the power before every call of the story, and after the last one.
    fn cut_everywhere(&mut self, root: &Path, chapters: Vec<Chapter>) {
        let mut disk = Disk::new(root);
        for (number, mut chapter) in chapters.into_iter().enumerate() {
            let ops = self.forgets.left(root, std::mem::take(&mut chapter.ops));
            for op in &ops {
                // Rot comes before the deed; it is done when all has rotted.
                if !matches!(op, Op::Rotted { .. }) && self.forgets.matters(&chapter) {
                    println!("{}, before {op:.60?}", chapter.deed.name());
                    self.cut(&disk, number, &chapter);
                    self.kill(&disk, &chapter);
                }
                disk.apply(op);
                self.count.calls += 1;
            }
            // All of it is acknowledged.
            chapter.before = chapter.after.clone();
            println!("{}, at the end", chapter.deed.name());
            self.cut(&disk, usize::MAX - number, &chapter);
        }
        assert_eq!(texts(&disk), disk::read(root), "the record is whole");
    }

    /// Tells whether this image has been looked at for this chapter.
    fn is_known(&mut self, chapter: usize, image: &Image) -> bool {
        let mut hasher = blake3::Hasher::new();
        for (path, (_, bytes)) in image {
            hasher.update(format!("{path:?} {:?}", bytes.as_ref().map(Vec::len)).as_bytes());
            hasher.update(bytes.as_deref().unwrap_or_default());
        }
        !self.seen.insert((chapter, hasher.finalize()))
    }

    /// The power is cut, in every way.
    fn cut(&mut self, disk: &Disk, number: usize, chapter: &Chapter) {
        for lucky in Lucky::CUTS {
            let image = disk.image(lucky);
            if self.is_known(number, &image) {
                continue;
            }
            self.count.cuts += 1;
            let dir = folder();
            disk::write(&image, dir.path());
            if matches!(lucky, Lucky::All | Lucky::None) {
                // The index may be newer than all else.
                copy(&self.index, &dir.path().join("index"));
            }
            println!("  {lucky:?}");
            let core = open(dir.path(), chapter.time);
            chapter.before.is_kept(&core, &*chapter.deed);
            chapter.again(&core);
        }
    }

    /// The process is killed, the next one does it again, and then the power is cut.
    fn kill(&mut self, disk: &Disk, chapter: &Chapter) {
        self.count.kills += 1;
        let dir = folder();
        disk::write(&disk.image(Lucky::All), dir.path());
        let mut disk = disk.moved(dir.path());
        let ((core, identity), ops) = trace::record(|| {
            let core = open(dir.path(), chapter.time);
            chapter.deed.act(&core).unwrap();
            let identity = core.identity();
            (core, identity)
        });
        drop(core);
        for op in self.forgets.left(dir.path(), ops) {
            disk.apply(&op);
        }
        assert_eq!(texts(&disk), disk::read(dir.path()), "the record is whole");
        let some = Lucky::Some(self.count.kills.to_le_bytes()[0]);
        // The worst always; the others take their time.
        let others = if self.count.kills.is_multiple_of(4) { Some(some) } else { None };
        for lucky in std::iter::once(Lucky::None).chain(others) {
            println!("  killed, then {lucky:?}");
            let dir = folder();
            disk::write(&disk.image(lucky), dir.path());
            let core = open(dir.path(), chapter.time);
            assert_eq!(core.identity(), identity);
            chapter.is_done(&core);
        }
    }
}

fn texts(disk: &Disk) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    disk.image(Lucky::All).into_iter().map(|(path, (_, bytes))| (path, bytes)).collect()
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

fn tried(forgets: Forgets) -> Count {
    let dir = folder();
    let root = dir.path().join("data");
    fs::create_dir(&root).unwrap();
    let chapters = live(&root);
    let index = dir.path().join("index");
    let (seen, count) = (HashSet::new(), Count::default());
    let mut cutter = Cutter { index, forgets, seen, count };
    cutter.cut_everywhere(&root, chapters);
    cutter.count
}

#[test]
fn wherever_the_power_is_cut_what_was_acknowledged_is_there() {
    let count = tried(Forgets::Nothing);
    assert!(count.calls > 200 && count.cuts > 150 && count.kills > 200, "{count:?}");
}

/// The test above can fail.
#[test]
fn every_sync_that_is_forgotten_is_found_out() {
    let all = [
        Forgets::Files,
        Forgets::Folders,
        Forgets::FilesOfOthers,
        Forgets::NamesOfOthers(""),
        Forgets::NamesOfOthers("journal"),
        Forgets::NamesOfOthers("accounts"),
        Forgets::RemovedByOthers,
    ];
    for forgets in all {
        assert!(std::panic::catch_unwind(|| tried(forgets)).is_err(), "{forgets:?}");
    }
}
