//! A month in accelerated time: files change, the machine sleeps, its clock is set, the vault is out
//! of reach, runs are stopped, the daemon ends and begins anew with what it kept on disk. Afterwards
//! snapshots are what the files were, and the daemon holds no more than in the first days.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use unseen_common::id::SnapshotId;
use unseen_common::time::{Clock, Timestamp};

use super::alerts::{Touched, look_at};
use super::book::Book;
use super::changes::{Event, Lost};
use super::core::{Core, Now, SetSpec, Step};
use super::dirty::DirtySets;
use super::inbox::Noticed;
use super::job::{Job, RunResult, Summary, Trouble};
use super::marks::InMemory;
use super::schedule::Pace;
use crate::backup::{self, BackupError, Depth, Source};
use crate::browse::resolve::{Filter, parse, resolve};
use crate::progress::{Monitor, Silent, Tally, in_words};
use crate::repo::RepoError;
use crate::restore::engine::restore;
use crate::restore::options::RestoreOptions;
use crate::scan::exclude::Rules;
use crate::sets::JobSource;
use crate::testing::{Machine, World, noise, options};

const DAYS: u64 = 30;
/// Directories that are there at once.
const MOST_DIRS: usize = 12;
const HOUR: u64 = 3600;
/// The longest that the book of one set gets, with all its lists full, as bytes of text.
const BOOK: usize = 16_000;
/// By how many seconds the clock on the wall is wrong at times.
const WRONG: [i64; 4] = [3 * 3600, -5 * 3600, 366 * 86_400, -366 * 86_400];

/// Numbers that look random and are always the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What is known of the files: path from the root, and content.
type Model = BTreeMap<PathBuf, Vec<u8>>;

/// The files, and what somebody does to them.
struct Files {
    root: PathBuf,
    model: Model,
    dirs: Vec<PathBuf>,
    made: u64,
}

impl Files {
    /// Does something; tells what is noticed of it.
    fn change(&mut self, dice: &mut Dice) -> Event {
        let pick = |dice: &mut Dice, n: usize| usize::try_from(dice.below(n as u64)).unwrap();
        self.made += 1;
        let dir = self.dirs[pick(dice, self.dirs.len())].clone();
        let here = |dir: &Path, depth| Event::Changed { dir: dir.to_path_buf(), depth };
        match dice.below(10) {
            0..=5 => {
                let known: Vec<&PathBuf> =
                    self.model.keys().filter(|path| path.parent() == Some(&*dir)).collect();
                let path = match known.len() {
                    n if n > 3 => known[pick(dice, n)].clone(),
                    _ => dir.join(format!("f{}", self.made)),
                };
                // Never as long as before: no clock of the file system is fine enough for this.
                let length = usize::try_from(40 + self.made + dice.below(3) * 10_000).unwrap();
                let content = noise(self.made, length);
                fs::write(&path, &content).unwrap();
                self.model.insert(path, content);
                here(&dir, Depth::Listing)
            }
            6 => {
                let gone = self.model.keys().find(|path| path.parent() == Some(&*dir)).cloned();
                if let Some(path) = gone {
                    fs::remove_file(&path).unwrap();
                    self.model.remove(&path);
                }
                here(&dir, Depth::Listing)
            }
            7 if self.dirs.len() < MOST_DIRS => {
                let made = dir.join(format!("d{}", self.made));
                fs::create_dir(&made).unwrap();
                let content = noise(self.made, 100);
                fs::write(made.join("first"), &content).unwrap();
                self.model.insert(made.join("first"), content);
                self.dirs.push(made);
                here(&dir, Depth::Everything)
            }
            8 if self.dirs.len() > 4 && dir != self.root => {
                fs::remove_dir_all(&dir).unwrap();
                self.model.retain(|path, _| !path.starts_with(&dir));
                self.dirs.retain(|one| !one.starts_with(&dir));
                here(dir.parent().unwrap(), Depth::Listing)
            }
            _ if dir != self.root => {
                let to = self.root.join(format!("m{}", self.made));
                fs::rename(&dir, &to).unwrap();
                let moved = |path: &PathBuf| match path.strip_prefix(&dir) {
                    Ok(rest) if rest.as_os_str().is_empty() => to.clone(),
                    Ok(rest) => to.join(rest),
                    Err(_) => path.clone(),
                };
                let model = std::mem::take(&mut self.model);
                self.model = model.into_iter().map(|(path, c)| (moved(&path), c)).collect();
                self.dirs = self.dirs.iter().map(moved).collect();
                // Both parents, and what was moved.
                here(&self.root, Depth::Everything)
            }
            _ => here(&dir, Depth::Listing),
        }
    }
}

/// Stops a run in the middle of an upload.
#[derive(Debug)]
struct Stopper<'a> {
    tally: Tally,
    touched: Mutex<Box<Touched>>,
    stop: Option<&'a AtomicBool>,
}

impl Monitor for Stopper<'_> {
    fn transferred(&self, _bytes: u64) {
        if let Some(stop) = self.stop {
            stop.store(true, Ordering::Relaxed);
        }
    }
    fn done(&self, item: crate::progress::Item<'_>) {
        self.tally.done(item);
        self.touched.lock().unwrap().done(&item, look_at);
    }
}

struct Month {
    world: World,
    machine: Machine,
    files: Files,
    dice: Dice,
    core: Core,
    /// Seconds since the beginning.
    time: u64,
    /// By so many seconds the clock on the wall is wrong.
    wrong: i64,
    /// The vault cannot be reached before then.
    out_until: u64,
    /// Something changed and nobody told.
    untold: bool,
    kept: Vec<(SnapshotId, Model)>,
    runs: [u64; 4],
    /// How much the daemon held each day, as bytes of text: the book, and all else.
    held: Vec<(usize, usize)>,
    restarts: u32,
    jumps: u32,
    /// Runs that a wrong clock has stopped.
    refused: u32,
}

fn pace() -> Pace {
    let pace = Pace::default();
    // The engine is real: every run takes real time.
    Pace {
        min_interval: Duration::from_secs(HOUR / 2),
        rescan: Duration::from_secs(5 * HOUR),
        ..pace
    }
}

impl Month {
    fn new() -> Self {
        let (world, machine) = World::new();
        let root = world.folder("source");
        let files = Files { dirs: vec![root.clone()], root, model: Model::new(), made: 0 };
        let core = Core::new(Box::new(InMemory::default()), Book::default(), at(0, &world));
        let mut month = Self {
            world,
            machine,
            files,
            dice: Dice(0x9e37_79b9_7f4a_7c15),
            core,
            time: 0,
            wrong: 0,
            out_until: 0,
            untold: false,
            kept: Vec::new(),
            runs: [0; 4],
            held: Vec::new(),
            restarts: 0,
            jumps: 0,
            refused: 0,
        };
        month.start(Book::default());
        month
    }

    fn now(&self) -> Now {
        at(self.time, &self.world)
    }

    /// The daemon begins, with what it kept.
    fn start(&mut self, book: Book) {
        let now = self.now();
        // The one before lets go of the folder.
        self.core = Core::new(Box::new(InMemory::default()), Book::default(), now);
        let sets = [("s".to_owned(), vec![self.files.root.clone()])];
        let marks = DirtySets::open(&self.world.folder("marks"), &sets, now);
        assert!(marks.is_kept());
        self.core = Core::new(Box::new(marks), book, now);
        let spec = SetSpec {
            name: "s".to_owned(),
            source: JobSource::Paths(vec![self.files.root.clone()]),
            rules: Rules::default(),
            one_file_system: false,
            pace: pace(),
        };
        self.core.set_sets(vec![spec], now);
    }

    fn restart(&mut self) {
        let folder = self.world.folder("book");
        self.core.book.write(&folder).unwrap();
        let pending = self.pending();
        self.start(Book::read(&folder));
        assert_eq!(self.pending(), pending, "it knows what it had not saved");
        self.restarts += 1;
    }

    fn pending(&self) -> usize {
        self.core.status(self.now()).sets[0].pending
    }

    /// Somebody sets the clock on the wall, wrong or right. The server's goes on as ever.
    fn set_clock(&mut self) {
        let wrong = match self.wrong {
            0 => WRONG[usize::try_from(self.dice.below(4)).unwrap()],
            _ => 0,
        };
        let by = wrong - self.wrong;
        self.wrong = wrong;
        let wall = Clock::now(&*self.world.clock);
        self.world.clock.set(Timestamp(wall.0.checked_add_signed(by).unwrap()));
        self.world.server_clock.off_by(-wrong);
        self.core.clock_was_set(by, self.now());
        self.jumps += 1;
    }

    /// Lets time go by until then; the daemon does what is due.
    fn until(&mut self, end: u64) {
        let end = end.max(self.time);
        loop {
            match self.core.step(self.now()) {
                Step::Run(job) => self.run(&job),
                Step::Wait(wake) => {
                    let wake =
                        wake.map_or(end, |at| at.as_secs() + u64::from(at.subsec_nanos() > 0));
                    let next = wake.clamp(self.time, end);
                    self.world.clock.advance(next - self.time);
                    self.time = next;
                    if next == end {
                        return;
                    }
                }
            }
        }
    }

    fn run(&mut self, job: &Job) {
        let result = if self.time < self.out_until {
            Err(Trouble::new(Trouble::UNREACHABLE, "the vault cannot be reached"))
        } else {
            self.back_up(job)
        };
        let full = job.changes.is_none();
        let kind = match &result {
            Ok(summary) if summary.interrupted => 2,
            Ok(_) => usize::from(full),
            Err(_) => 3,
        };
        self.runs[kind] += 1;
        let chance = u32::try_from(self.dice.below(1 << 32)).unwrap();
        self.core.ended(job, &result, (self.now(), chance));
        if let Ok(summary) = result
            && !summary.interrupted
        {
            self.untold &= !full;
            // What is left for later is not in it, nor what nobody told of.
            if let Some(id) = summary.snapshot.filter(|_| !self.untold && self.pending() == 0) {
                self.kept.push((id, self.files.model.clone()));
            }
        }
        assert!(super::alerts::current(&self.core.book, self.now().wall).len() < 4);
    }

    fn back_up(&mut self, job: &Job) -> RunResult {
        let stop = AtomicBool::new(false);
        let stops = self.dice.one_in(12);
        let monitor = Stopper {
            tally: Tally::default(),
            touched: Mutex::new(Box::new(Touched::after(Arc::clone(&job.kinds)))),
            stop: stops.then_some(&stop),
        };
        let mut options = options("s");
        options.changes.clone_from(&job.changes);
        options.skip_if_unchanged = true;
        options.patience = if self.dice.one_in(2) { Duration::ZERO } else { options.patience };
        let source = Source::Paths(vec![self.files.root.clone()]);
        let outcome = backup::run(
            &mut self.machine.repo,
            source,
            &options,
            (&monitor, &stop),
            self.world.runtime.handle(),
        );
        match outcome {
            Ok(outcome) => {
                let took = Duration::from_millis(1);
                let touched = monitor.touched.lock().unwrap().clone();
                Ok(Summary { touched, ..Summary::new(&outcome, monitor.tally.counts(), took) })
            }
            Err(BackupError::Interrupted) => Err(Trouble::new(Trouble::STOPPED, "stopped")),
            // A day and more apart from the server, nothing is written.
            Err(error @ BackupError::Repo(RepoError::Clocks(_))) if self.wrong.abs() > 86_400 => {
                self.refused += 1;
                Err(Trouble::new(Trouble::FAILED, in_words(&error)))
            }
            Err(error) => panic!("{}", in_words(&error)),
        }
    }

    /// Somebody works with the files for a moment.
    fn work(&mut self) {
        let mut noticed = Noticed::default();
        for _ in 0..=self.dice.below(6) {
            let event = self.files.change(&mut self.dice);
            match self.dice.below(40) {
                // It is lost without a word.
                0 => self.untold = true,
                1 => {
                    self.untold = true;
                    noticed.add(Event::Lost { root: None, why: Lost::Overflow });
                }
                _ => noticed.add(event),
            }
        }
        self.core.noticed(&noticed, self.now());
    }

    fn day(&mut self, day: u64) {
        let begin = day * 24 * HOUR;
        self.until(begin + 8 * HOUR);
        if self.dice.one_in(3) {
            self.out_until = self.time + HOUR * (1 + self.dice.below(30));
        }
        while self.time < begin + 18 * HOUR {
            let pause = 60 + self.dice.below(3 * HOUR);
            self.until(self.time + pause);
            self.work();
            match self.dice.below(25) {
                0 => self.restart(),
                1 => {
                    let time = Duration::from_secs(self.dice.below(2 * HOUR));
                    self.core.pause(time, self.now());
                }
                2 => self.core.want("s", true, self.now().at),
                3 | 4 => self.set_clock(),
                _ => {}
            }
        }
        self.until(begin + 18 * HOUR + HOUR);
        if !self.dice.one_in(4) {
            // The lid is closed. The clock goes on, and nothing else.
            self.world.clock.advance(begin + 32 * HOUR - self.time);
            self.time = begin + 32 * HOUR;
            self.core.woke(self.now().at);
        }
        let [book, all] = [format!("{:?}", self.core.book), format!("{:?}", self.core)];
        self.held.push((book.len(), all.len() - book.len()));
        assert!(self.pending() <= 2 * MOST_DIRS, "{}", self.pending());
    }
}

impl Month {
    /// The book has room for weeks of numbers and no more; marks and schedule do not grow.
    fn must_hold_little(&self) {
        let (first, last) = self.held.split_at(10);
        let most = |days: &[(usize, usize)]| days.iter().map(|day| day.1).max().unwrap();
        assert!(most(last) <= most(first) * 5 / 4, "it holds more and more: {:?}", self.held);
        assert!(self.held.iter().all(|day| day.0 < BOOK), "its book grows: {:?}", self.held);
    }
}

fn at(time: u64, world: &World) -> Now {
    Now { at: Duration::from_secs(time), wall: Clock::now(&*world.clock) }
}

fn files(root: &Path) -> Model {
    let (mut found, mut todo) = (Model::new(), vec![root.to_path_buf()]);
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_path_buf();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_month_of_everything() {
    let mut month = Month::new();
    for day in 0..DAYS {
        month.day(day);
    }
    // Whatever is still to be done is done within a day in which nothing happens.
    month.out_until = 0;
    month.core.resume();
    if month.wrong != 0 {
        month.set_clock();
    }
    month.until(month.time + 24 * HOUR);
    let status = month.core.status(month.now());
    assert_eq!((status.sets[0].pending, &status.sets[0].book.failing), (0, &None));
    let (last, model) = month.kept.last().expect("snapshots");
    assert_eq!(status.sets[0].book.snapshot.unwrap().0, *last, "the last snapshot is exact");
    assert_eq!(*model, month.files.model);
    let [changes, full, stopped, failed] = month.runs;
    assert!(changes > 60 && full > 60 && stopped > 5 && failed > 10, "{:?}", month.runs);
    assert!(month.kept.len() > 60, "{}", month.kept.len());
    let Month { restarts, jumps, refused, .. } = month;
    assert!(restarts > 3 && jumps > 6 && refused > 3, "{restarts} {jumps} {refused}");
    month.must_hold_little();
    compare(&mut month);
}

/// Restores some of the snapshots.
fn compare(month: &mut Month) {
    let (repo, index) = month.world.reader();
    let mut chosen: Vec<usize> = (0..14)
        .map(|_| usize::try_from(month.dice.below(month.kept.len() as u64)).unwrap())
        .collect();
    chosen.push(month.kept.len() - 1);
    for (number, chosen) in chosen.into_iter().enumerate() {
        let (id, model) = &month.kept[chosen];
        let wanted = parse(&format!("{id}:{}", month.files.root.display())).unwrap();
        let filter = Filter::default();
        let found = month.world.runtime.block_on(resolve(&repo, &wanted, &filter)).unwrap();
        let target = month.world.dir.path().join(format!("restored-{number}"));
        let options =
            RestoreOptions { target: target.clone(), workers: 1, ..RestoreOptions::default() };
        let quiet = (&Silent as &dyn Monitor, &AtomicBool::new(false));
        restore((&repo, &index), &found, &options, quiet, month.world.runtime.handle()).unwrap();
        let wanted: Model = model
            .iter()
            .map(|(path, content)| {
                (path.strip_prefix(&month.files.root).unwrap().to_path_buf(), content.clone())
            })
            .collect();
        let restored = files(&target);
        let names = |model: &Model| model.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&restored), names(&wanted), "snapshot {chosen}");
        assert!(restored == wanted, "snapshot {chosen} has other content");
    }
}
