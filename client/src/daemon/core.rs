//! What the daemon knows and decides: marks, schedule and book put together. It waits for nothing
//! and starts nothing; `run.rs` does.

#[cfg(test)]
mod any_tests;
mod good_times;
mod pausing;
mod places;
mod status;
#[cfg(test)]
pub(super) mod tests;
mod waits;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use unseen_common::time::{SECONDS_A_DAY, Timestamp};

use super::book::{Book, SetBook};
use super::changes::{Coverage, Names};
use super::filter::Filter;
use super::inbox::Noticed;
use super::job::{Job, RunResult, Trouble};
use super::marks::Marks;
use super::schedule::{At, Busy, Ended, Kind, Next, Pace, Schedule};
use super::signs::active::day;
use crate::backup::{Changes, Depth};
use crate::scan::exclude::Rules;
use crate::sets::JobSource;

pub use super::dirty::Moment as Now;
pub use status::{Running, SetStatus, Status, Why};
pub use waits::{Reason, Waits, length};

use good_times::Held;
use places::{Place, is_on_the_way};

/// How often directories are scanned of which no changes are told.
const POLL: Duration = Duration::from_secs(900);

/// A set, as far as the daemon cares.
#[derive(Debug, Clone)]
pub struct SetSpec {
    /// Its name.
    pub name: String,
    /// What is saved.
    pub source: JobSource,
    /// What is left out.
    pub rules: Rules,
    /// Only what is on the file systems of its paths.
    pub one_file_system: bool,
    /// How often.
    pub pace: Pace,
}

impl SetSpec {
    /// Its absolute paths; none for the output of a command.
    pub fn roots(&self) -> &[PathBuf] {
        match &self.source {
            JobSource::Paths(paths) => paths,
            JobSource::Command { .. } | JobSource::Stdin(_) => &[],
        }
    }

    /// What makes it due.
    pub fn kind(&self) -> Kind {
        match &self.source {
            JobSource::Paths(_) => Kind::Watched,
            JobSource::Command { .. } | JobSource::Stdin(_) => Kind::Timed,
        }
    }

    /// Names what is saved: the same name as long as it is the same.
    fn what(&self) -> String {
        let all = format!("{:?} {} {:?}", self.source, self.one_file_system, self.rules.name());
        blake3::hash(all.as_bytes()).to_hex().to_string()
    }
}

#[derive(Debug)]
struct Set {
    filter: Filter,
    /// Where its paths are watched.
    places: Vec<Place>,
    kind: Kind,
    pace: Pace,
    busy: Busy,
    coverage: Vec<(PathBuf, Coverage)>,
    /// All of it was looked at since the start, also what was saved before without the daemon.
    looked: bool,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// This backup.
    Run(Job),
    /// Nothing before this moment, unless something happens.
    Wait(Option<At>),
}

/// The daemon's mind.
#[derive(Debug)]
pub struct Core {
    sets: BTreeMap<String, Set>,
    schedule: Schedule,
    marks: Box<dyn Marks>,
    /// What is kept from one start to the next.
    pub book: Book,
    next_poll: Option<At>,
    /// Why nothing begins by itself, if so.
    held: Option<Held>,
    /// Why only some of it is saved, if so.
    sparing: Option<Held>,
    /// What begins by itself takes no more than so many new bytes.
    at_most: Option<u64>,
    /// It has been so since the last good time.
    limited: bool,
    /// Marks that the job under way leaves for later.
    left: Changes,
    since: Timestamp,
    /// Where days begin and end.
    zone: TimeZone,
    /// The pause was asked for since the start: until then nobody knows how the clock stood.
    paused_here: bool,
    /// Others come first for so long, from the end of the run that makes way for them.
    way: Option<Duration>,
}

impl Core {
    /// With no sets yet.
    pub fn new(marks: Box<dyn Marks>, book: Book, now: Now) -> Self {
        let mut core = Self {
            sets: BTreeMap::new(),
            schedule: Schedule::new(),
            marks,
            book,
            next_poll: None,
            held: None,
            sparing: None,
            at_most: None,
            limited: false,
            left: Changes::default(),
            since: now.wall,
            zone: TimeZone::UTC,
            paused_here: false,
            way: None,
        };
        core.book.clock_was_set(0, now.wall);
        if let Some(pause) = &mut core.book.pause {
            core.schedule.pause(now.at + pause.begins_again(now));
        }
        core
    }

    /// Days begin and end as they do here.
    #[must_use]
    pub fn in_zone(self, zone: TimeZone) -> Self {
        Self { zone, ..self }
    }

    /// The sets, at the beginning and whenever the configuration was read again. New ones, and
    /// those that save something else than before, are scanned: their directories are what is
    /// returned. The others go on as they were.
    pub fn set_sets(&mut self, specs: Vec<SetSpec>, now: Now) -> Vec<PathBuf> {
        let mut old = std::mem::take(&mut self.sets);
        let mut again = Vec::new();
        for spec in specs {
            let (kind, what) = (spec.kind(), spec.what());
            let SetSpec { name, pace, .. } = &spec;
            let same = self.book.know(name, &what, now.wall);
            let before = old.remove(name).filter(|set| set.kind == kind);
            if let Some(set) = before {
                self.schedule.set_pace(name, *pace);
                if same {
                    self.sets.insert(name.clone(), Set { pace: *pace, ..set });
                    continue;
                }
                self.schedule.other(name, now.at);
            } else {
                // What a new command prints is not saved yet, whatever the old one did.
                let last = self.book.sets.get(name).and_then(|set| set.ok).filter(|_| same);
                let since = last.map(|last| Duration::from_secs(now.wall.since(last)));
                self.schedule.add(name, (kind, *pace), (now.at, since));
            }
            self.marks.set(name, spec.roots(), now);
            let places: Vec<Place> = spec.roots().iter().map(|root| Place::of(root)).collect();
            again.extend(places.iter().map(|place| place.dir.clone()));
            let set = Set {
                filter: Filter::new(spec.roots().to_vec(), spec.rules),
                places,
                kind,
                pace: spec.pace,
                busy: Busy::default(),
                coverage: Vec::new(),
                looked: false,
            };
            self.sets.insert(spec.name, set);
        }
        for gone in old.keys() {
            self.schedule.remove(gone);
            self.marks.remove(gone);
        }
        let sets = &self.sets;
        self.book.keep_only(|set| sets.contains_key(set));
        again
    }

    /// All paths of sets.
    pub fn roots(&self) -> Vec<PathBuf> {
        let watched = self.sets.values().filter(|set| set.kind == Kind::Watched);
        let mut roots: Vec<PathBuf> = watched.flat_map(|set| set.filter.roots()).cloned().collect();
        roots.sort();
        roots.dedup();
        roots
    }

    /// How well they are watched.
    pub fn covered(&mut self, coverage: &[(PathBuf, Coverage)], now: At) {
        let before = self.next_poll;
        for set in self.sets.values_mut() {
            set.coverage = set.places.iter().filter_map(|place| place.covered(coverage)).collect();
        }
        let polled = |set: &Set| set.coverage.iter().any(|(_, how)| scanned(how).next().is_some());
        let next = before.unwrap_or(now + POLL);
        self.next_poll = self.sets.values().any(polled).then_some(next);
    }

    /// Something has changed.
    pub fn noticed(&mut self, noticed: &Noticed, now: Now) {
        let any = Names::any();
        for (name, set) in &mut self.sets {
            if set.kind != Kind::Watched {
                continue;
            }
            for (dir, depth) in noticed.changes.iter() {
                let here = noticed.names.get(dir).unwrap_or(&any);
                let touched = set.filter.touched(dir);
                for path in touched.filter(|path| is_on_the_way(dir, path, here)) {
                    let depth = if path == dir { depth } else { Depth::Everything };
                    self.marks.add(name, (path, depth), now);
                    let names = noticed.names.get(path).unwrap_or(&any);
                    match set.busy.changed(path, names, (&set.pace, now.at)) {
                        Some(due) => self.schedule.changed_again(name, due),
                        None => self.schedule.changed(name, now.at),
                    }
                }
            }
            for (root, _) in &noticed.lost {
                let here = |lost: &PathBuf| {
                    let roots = set.filter.roots();
                    roots.iter().any(|root| root.starts_with(lost) || lost.starts_with(root))
                };
                if root.as_ref().is_none_or(here) {
                    self.schedule.lost(name, now.at);
                }
            }
        }
    }

    /// The machine was awake for so long until now.
    pub fn in_use(&mut self, awake: Duration, now: Now) {
        self.book.in_use(day(now.wall, &self.zone), awake);
    }

    /// The machine has slept.
    pub fn woke(&mut self, now: At) {
        self.schedule.woke(now);
    }

    /// Nothing begins for so long, from the end of what is stopped for it on: somebody else comes
    /// first. What somebody asked for and was stopped is asked for again.
    pub fn make_way(&mut self, time: Duration, stopped: Option<&Job>, now: Now) {
        self.schedule.make_way(now.at + time);
        self.way = stopped.is_some().then_some(time);
        if let Some(job) = stopped.filter(|job| job.wanted) {
            self.schedule.want(&job.set, job.changes.is_none(), now.at);
        }
    }

    /// What failed is tried at once: something about it is different now.
    pub fn try_again(&mut self) {
        self.schedule.try_again();
    }

    /// The sets that are meant: one, or all; none if there is no such set.
    pub fn named(&self, set: Option<&str>) -> Vec<String> {
        let is = |name: &&String| set.is_none_or(|set| set == name.as_str());
        self.sets.keys().filter(is).cloned().collect()
    }

    /// Somebody asks for a backup of a set now: of all that has changed, or with a look at
    /// everything, as for a set of which not all is watched.
    pub fn want(&mut self, set: &str, full: bool, now: At) {
        let watched = |(_, how): &(PathBuf, Coverage)| matches!(how, Coverage::Watched { .. });
        let known = self.sets.get(set);
        let sure = known.is_some_and(|set| {
            set.kind == Kind::Watched
                && !set.coverage.is_empty()
                && set.coverage.iter().all(watched)
        });
        self.schedule.want(set, full || !sure, now);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now) {
        self.keep_pause(now);
        self.poll(now);
        self.marks.tick(now);
    }

    /// What is to be done, if nothing is being done. A job that is handed out counts as begun.
    pub fn step(&mut self, now: Now) -> Step {
        self.tick(now);
        loop {
            match self.schedule.next(now.at) {
                Next::Wait(until) => {
                    let wait = [until, self.next_poll].into_iter().flatten().min();
                    return Step::Wait(wait);
                }
                Next::Run { set, full, wanted } => {
                    self.schedule.begun(&set, now.at);
                    let job = self.job(set, (full, wanted), now);
                    // Everything that was marked may have waited meanwhile for another reason.
                    if job.changes.as_ref().is_some_and(Changes::is_empty) {
                        self.leave(&job, now);
                        self.schedule.ended(&job.set, Ended::Saved, (now.at, 0));
                        continue;
                    }
                    return Step::Run(job);
                }
            }
        }
    }

    fn job(&mut self, set: String, (full, wanted): (bool, bool), now: Now) -> Job {
        let all = self.marks.take(&set, now);
        self.left = Changes::default();
        let hold = self.book.to_hold(&set);
        let book = self.book.sets.get(&set);
        let kinds = book.map(|book| book.kinds.clone()).unwrap_or_default();
        let doubt = full && self.sets.get(&set).is_some_and(|set| !set.looked);
        let kinds = Arc::new(if doubt { kinds.in_doubt() } else { kinds });
        let at_most = self.at_most.filter(|_| !wanted);
        // Trouble may be over with the run that follows: what is missing is sent again.
        let check = self.book.checked.as_ref().is_none_or(|checked| {
            checked.trouble.is_some() || now.wall.0.abs_diff(checked.at.0) >= SECONDS_A_DAY
        });
        let begun = |set, changes| Job {
            set,
            changes,
            wanted,
            followed: false,
            at_most,
            check,
            hold,
            kinds,
        };
        let known = self.sets.get_mut(&set);
        if full {
            if let Some(known) = known {
                known.busy.taken(&self.left);
            }
            return begun(set, None);
        }
        if let Some(known) = known {
            if !wanted {
                self.left = known.busy.waiting(&all, &known.pace, now.at);
            }
            known.busy.taken(&self.left);
        }
        let mut changes = Changes::default();
        for (dir, depth) in all.iter() {
            if !self.left.contains(dir) {
                changes.add(dir, depth);
            }
        }
        begun(set, Some(changes))
    }

    /// A job has ended. `chance` is any number, evenly spread.
    pub fn ended(&mut self, job: &Job, result: &RunResult, (now, chance): (Now, u32)) {
        let how = match result {
            Ok(summary) if summary.interrupted => Ended::Stopped,
            Ok(summary) if summary.left_out > 0 => Ended::InPart,
            Ok(_) => Ended::Saved,
            Err(trouble) if trouble.code == Trouble::BUSY => Ended::Busy,
            Err(trouble) if trouble.code == Trouble::STOPPED => Ended::Stopped,
            Err(_) => Ended::Failed,
        };
        self.schedule.ended(&job.set, how, (now.at, chance));
        if let Some(time) = self.way.take() {
            self.schedule.make_way(now.at + time);
        }
        if how == Ended::Saved {
            self.leave(job, now);
            if let Some(set) = self.sets.get_mut(&job.set) {
                set.busy.saved(job.changes.as_ref(), &set.pace, now.at);
                set.looked |= job.changes.is_none();
            }
            // The vault answers again. What fails by a set's own commands fails as before.
            let sets = &self.book.sets;
            self.schedule.try_again_if(|set| sets.get(set).is_some_and(SetBook::lacks_the_vault));
        } else {
            self.marks.give_back(&job.set, now);
            if let Some(set) = self.sets.get_mut(&job.set) {
                set.busy.given_back();
            }
        }
        self.left = Changes::default();
        self.book.ended(job, result, (now.wall, day(now.wall, &self.zone)));
        let book = self.book.sets.get(&job.set);
        if how == Ended::Saved && book.is_some_and(|book| !book.hold.is_empty()) {
            // What is to be held must not wait for the next change.
            self.schedule.want(&job.set, true, now.at);
        }
    }

    /// What a job took is saved, but for what it left.
    fn leave(&mut self, job: &Job, now: Now) {
        self.marks.saved(&job.set, &self.left, now);
        if let Some(set) = self.sets.get(&job.set)
            && let Some(due) = set.busy.first_due(&self.left, &set.pace)
        {
            self.schedule.changed_again(&job.set, due);
        }
    }

    /// Directories that are not watched count as changed from time to time.
    fn poll(&mut self, now: Now) {
        if self.next_poll.is_none_or(|at| at > now.at) {
            return;
        }
        self.next_poll = Some(now.at + POLL);
        for (name, set) in &self.sets {
            let mut any = false;
            for (_, how) in &set.coverage {
                for root in scanned(how) {
                    self.marks.add(name, (root, Depth::Everything), now);
                    any = true;
                }
            }
            if any {
                self.schedule.changed(name, now.at);
            }
        }
    }
}

/// The directories that are not watched.
fn scanned(coverage: &Coverage) -> impl Iterator<Item = &Path> {
    let roots = match coverage {
        Coverage::Watched { .. } => &[][..],
        Coverage::Scanned { roots, .. } => roots,
    };
    roots.iter().map(PathBuf::as_path)
}
