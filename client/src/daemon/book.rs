//! What the daemon remembers from one start to the next: a small file in the state folder. It can
//! be lost; then ages are not known until the next run.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use unseen_common::id::SnapshotId;
use unseen_common::time::Timestamp;

use super::alerts::{Found, GOOD, Kinds, Mass, Outbox, Window, unusual};
use super::job::{Job, Room, RunResult, Summary, Trouble};
use super::pause::Pause;
use super::signs::active::ActiveDays;
use crate::maintain::presence::Presence;
use crate::pins::write_durably;

/// The file in the state folder.
const NAME: &str = "daemon.json";
/// The longest that is read, in bytes.
const CAP: u64 = 16 * 1024 * 1024;
/// Runs whose size is remembered, to know what is usual.
const SAMPLES: usize = 50;

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Book {
    /// By set.
    pub sets: BTreeMap<String, SetBook>,
    /// Sets that are not there any more, of which an unusual change is still told; nothing else.
    pub removed: BTreeMap<String, SetBook>,
    /// A pause.
    pub pause: Option<Pause>,
    /// When the vault last answered.
    pub contact: Option<Timestamp>,
    /// Since when it does not.
    pub unreachable_since: Option<Timestamp>,
    /// The last look at what this machine's snapshots need.
    pub checked: Option<Checked>,
    /// How much the server allows, as far as it is known.
    pub room: Option<Room>,
    /// What is wrong with the clock of the server or of this machine, as the last run found.
    pub clocks: Option<String>,
    /// Why config.toml cannot be read as it is now; the sets are as they were before.
    pub config: Option<String>,
    /// The last day on which something was saved though now was no good time, and how many bytes.
    pub spent: Option<(i32, u64)>,
    /// Alerts that somebody was told of, by what they are about: what they said, and when.
    pub told: BTreeMap<String, (String, Timestamp)>,
    /// Those of them that have not arrived yet.
    pub outbox: Outbox,
}

/// What is remembered of a set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SetBook {
    /// Names what it saves.
    pub what: String,
    /// That is something else now, and not all of it has been looked at since: how much is
    /// different says nothing.
    pub anew: bool,
    /// When all of it was last found saved, with or without a new snapshot.
    pub ok: Option<Timestamp>,
    /// Since when it is known at all.
    pub since: Timestamp,
    /// The last snapshot, and when.
    pub snapshot: Option<(SnapshotId, Timestamp)>,
    /// Its last runs have failed.
    pub failing: Option<Failing>,
    /// Files that the last run left for better times.
    pub left_out: u64,
    /// Files that the last run could not read.
    pub problems: u64,
    /// Runs in a row that could not read all.
    pub problem_runs: u32,
    /// Days on which the machine was in use since it was last saved.
    pub days: ActiveDays,
    /// The last runs that found changes.
    pub samples: Vec<Sample>,
    /// Files that were in it at the last look.
    pub files: Option<u64>,
    /// What changed in the last days.
    pub window: Window,
    /// What its files look like.
    pub kinds: Kinds,
    /// The last unusual change.
    pub mass: Option<(Timestamp, Mass)>,
    /// The last snapshots from before it.
    pub good: Vec<SnapshotId>,
    /// Those of them that are still to be held.
    pub hold: Vec<SnapshotId>,
    /// Those that are held for it.
    pub holds: Vec<SnapshotId>,
    /// Why they will not be.
    pub refused: Option<String>,
}

/// Runs that have failed, one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failing {
    /// The first of them.
    pub since: Timestamp,
    /// The last of them.
    #[serde(default)]
    pub last: Timestamp,
    /// How many.
    pub times: u32,
    /// What the last one said.
    pub trouble: Trouble,
}

/// The size of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// Files in the set.
    pub files: u64,
    /// Files that were in it before.
    pub before: u64,
    /// About how many of them made sense and look like noise now.
    pub turned: u64,
    /// Files that were there before and are different now, or gone.
    pub changed: u64,
    /// New bytes.
    pub raw: u64,
    /// What became of them when they were compressed.
    pub packed: u64,
}

/// A look at what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// When.
    pub at: Timestamp,
    /// What was wrong; nothing if all is well.
    pub trouble: Option<String>,
    /// What was looked at.
    #[serde(default)]
    pub looked: Option<Presence>,
}

impl Book {
    /// The book in a state folder. One that is not there, or not understood, is empty.
    pub fn read(state: &Path) -> Self {
        use std::io::Read;
        let read = || -> Option<Self> {
            let mut bytes = Vec::new();
            let file = std::fs::File::open(state.join(NAME)).ok()?;
            file.take(CAP).read_to_end(&mut bytes).ok()?;
            serde_json::from_slice(&bytes).ok()
        };
        read().unwrap_or_default()
    }

    /// Keeps it.
    pub fn write(&self, state: &Path) -> std::io::Result<()> {
        write_durably(&state.join(NAME), &serde_json::to_vec(self)?)
    }

    /// A set is there, and `what` names what it saves. Whether that is the same as before.
    pub fn know(&mut self, set: &str, what: &str, now: Timestamp) -> bool {
        let before = || self.removed.remove(set).unwrap_or_default();
        let book = self.sets.entry(set.to_owned()).or_insert_with(before);
        if book.since == Timestamp(0) {
            book.since = now;
        }
        let same = book.what == what;
        if !same {
            what.clone_into(&mut book.what);
            book.anew = true;
        }
        same
    }

    /// The clock on the wall was set, by so many seconds, or may have been: nothing that happened
    /// lies in the future, where it would keep everybody waiting.
    pub fn clock_was_set(&mut self, seconds: i64, now: Timestamp) {
        if let Some(since) = &mut self.unreachable_since {
            since.0 = since.0.saturating_add_signed(seconds);
        }
        let times = [&mut self.contact, &mut self.unreachable_since].into_iter().flatten();
        let checked = self.checked.as_mut().map(|checked| &mut checked.at);
        let told = self.told.values_mut().map(|(_, at)| at);
        let sets = self.sets.values_mut().chain(self.removed.values_mut()).flat_map(|set| {
            let failing = set.failing.as_mut();
            let failing = failing.map(|failing| [&mut failing.since, &mut failing.last]);
            let snapshot = set.snapshot.as_mut().map(|(_, at)| at);
            let mass = set.mass.as_mut().map(|(at, _)| at);
            let others = [Some(&mut set.since), set.ok.as_mut(), snapshot, mass];
            others.into_iter().flatten().chain(failing.into_iter().flatten())
        });
        for at in times.chain(checked).chain(told).chain(sets) {
            *at = (*at).min(now);
        }
        self.outbox.clock_was_set(now);
    }

    /// The machine was awake for so long on this day.
    pub fn in_use(&mut self, day: i32, awake: Duration) {
        for book in self.sets.values_mut() {
            book.days.observe(day, awake);
        }
    }

    /// A run has ended, on this day.
    pub fn ended(&mut self, job: &Job, result: &RunResult, (now, day): (Timestamp, i32)) {
        let reached = match result {
            Ok(_) => true,
            Err(trouble) => !matches!(trouble.code, Trouble::UNREACHABLE | Trouble::SERVER_KEY),
        };
        if reached {
            if result.is_ok() {
                self.contact = Some(now);
            }
            self.unreachable_since = None;
        } else {
            self.unreachable_since.get_or_insert(now);
        }
        if let Ok(Summary { presence: Some(found), .. }) = result {
            let trouble = lost(found.missing);
            self.checked = Some(Checked { at: now, trouble, looked: Some(*found) });
        }
        if let Ok(summary) = result {
            self.took(job, summary);
            self.clocks.clone_from(&summary.clocks);
            let more =
                |room: Room| Room { used: room.used.saturating_add(summary.uploaded), ..room };
            self.room = summary.room.or(self.room.map(more));
            if summary.presence.is_some() && summary.room.is_none() {
                // It was looked, and there is no limit.
                self.room = None;
            }
        }
        let Some(book) = self.sets.get_mut(&job.set) else {
            // It was taken out of the configuration meanwhile.
            return;
        };
        match result {
            Ok(summary) => {
                let in_part = summary.interrupted || summary.left_out > 0;
                let whole = job.changes.is_none() && !in_part && summary.problems == 0;
                let turned = book.kinds.take(&summary.touched.looks, whole);
                // Of a set that is new nobody knows what it was.
                let turned = if book.anew { 0 } else { turned };
                if let Some(id) = summary.snapshot {
                    book.snapshot = Some((id, now));
                }
                book.left_out = summary.left_out;
                if in_part {
                    book.note(summary, (0, None, turned), now);
                    return;
                }
                let worse = summary.problems > book.problems;
                book.ok = Some(now);
                book.failing = None;
                book.days.saved(day);
                book.problems = summary.problems;
                book.problem_runs =
                    if summary.problems > 0 { book.problem_runs.saturating_add(1) } else { 0 };
                book.compare(summary, (job.changes.is_none(), worse, turned), now);
            }
            Err(trouble) if matches!(trouble.code, Trouble::BUSY | Trouble::STOPPED) => {}
            Err(trouble) => {
                let failing = book.failing.get_or_insert_with(|| Failing {
                    since: now,
                    last: now,
                    times: 0,
                    trouble: trouble.clone(),
                });
                failing.times = failing.times.saturating_add(1);
                failing.last = now;
                failing.trouble = trouble.clone();
            }
        }
    }
}

/// What is wrong if so many packs are.
fn lost(packs: u64) -> Option<String> {
    match packs {
        0 => None,
        1 => Some("a pack is gone or damaged".to_owned()),
        packs => Some(format!("{packs} packs are gone or damaged")),
    }
}

impl SetBook {
    /// Its last run failed because the vault could not be reached.
    pub fn lacks_the_vault(&self) -> bool {
        let failing = self.failing.as_ref();
        failing.is_some_and(|failing| failing.trouble.code == Trouble::UNREACHABLE)
    }

    /// Without what is only there to judge by.
    #[must_use]
    pub fn in_short(&self) -> Self {
        Self { window: Window::default(), kinds: Kinds::default(), ..self.clone() }
    }

    /// Takes in how much has changed, and whether that is unusual. `full` is a look at everything,
    /// `worse` one that could read less than the one before; so many files became noise.
    fn compare(
        &mut self,
        summary: &Summary,
        (full, worse, turned): (bool, bool, u64),
        now: Timestamp,
    ) {
        let gone = if worse { 0 } else { self.gone(summary) };
        let before = self.files.replace(summary.files);
        if self.anew {
            // Whoever changes what is saved changes how much is different.
            self.anew = !full;
        } else if self.stands_out(summary, (gone, before, turned), now) {
            self.window.settle();
            return;
        }
        self.good.extend(summary.snapshot);
        let over = self.good.len().saturating_sub(GOOD);
        self.good.drain(..over);
    }

    fn stands_out(
        &mut self,
        summary: &Summary,
        (gone, before, turned): (u64, Option<u64>, u64),
        now: Timestamp,
    ) -> bool {
        self.note(summary, (gone, before, turned), now);
        let stored = summary.counts.stored;
        let changed = summary.counts.files.changed.saturating_add(gone);
        if changed == 0 && stored.raw == 0 && turned == 0 {
            return false;
        }
        let (raw, packed) = (stored.raw, stored.packed);
        // What is gone is not known where nothing is told to be.
        let before = if gone > 0 { before.unwrap_or(0) } else { 0 };
        self.samples.push(Sample { files: summary.files, before, turned, changed, raw, packed });
        let over = self.samples.len().saturating_sub(SAMPLES);
        self.samples.drain(..over);
        let (mass, good) = if let Some(mass) = unusual(&self.samples) {
            (mass, std::mem::take(&mut self.good))
        } else if let Some(found) = self.window.unusual() {
            self.good.clear();
            found
        } else {
            return false;
        };
        self.raise(mass, good, now);
        true
    }

    /// Notes what a run found different.
    fn note(
        &mut self,
        summary: &Summary,
        (gone, before, turned): (u64, Option<u64>, u64),
        now: Timestamp,
    ) {
        let files = self.files.unwrap_or(summary.files);
        let stored = summary.counts.stored;
        self.window.take(&Found {
            at: now,
            files: (before.unwrap_or(files), files),
            gone,
            turned,
            stored: (stored.raw, stored.packed),
            touched: &summary.touched,
            before: self.good.last().copied(),
        });
    }

    /// Files that were there at the last look and are not any more. Runs do not count them: they
    /// are what is missing from those that were there and those that came.
    fn gone(&self, summary: &Summary) -> u64 {
        let counts = &summary.counts;
        if counts.dirs.new >= summary.dirs {
            // Nothing was known of what was there before.
            return 0;
        }
        let known = self.files.unwrap_or(0).saturating_add(counts.files.new);
        if self.files.is_none() { 0 } else { known.saturating_sub(summary.files) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::core::tests::{job, summary};

    #[test]
    fn failures_are_counted_until_one_succeeds() {
        let (mut book, at) = (Book::default(), |n| Timestamp(1000 + n));
        book.know("a", "x", at(0));
        for n in 1_i32..4 {
            book.in_use(n, Duration::from_secs(600));
            book.ended(
                &job(),
                &Err(Trouble::new(24, "gone")),
                (at(u64::from(n.unsigned_abs())), n),
            );
        }
        let failing = book.sets["a"].failing.clone().unwrap();
        assert_eq!((failing.since, failing.times), (at(1), 3));
        assert_eq!(book.unreachable_since, Some(at(1)));
        assert_eq!(book.sets["a"].days.missed(), 3);
        book.ended(&job(), &Err(Trouble::new(11, "busy")), (at(4), 4));
        assert_eq!(book.sets["a"].failing.as_ref().unwrap().times, 3);
        book.ended(&job(), &Ok(summary(None)), (at(5), 5));
        assert_eq!((&book.sets["a"].failing, book.sets["a"].ok), (&None, Some(at(5))));
        assert_eq!(book.sets["a"].days.missed(), 0);
        assert_eq!((book.contact, book.unreachable_since), (Some(at(5)), None));
    }

    #[test]
    fn snapshots_from_before_an_unusual_change_are_to_be_held() {
        let mut book = Book::default();
        book.know("a", "x", Timestamp(0));
        let id = |n| SnapshotId::from_bytes([n; 32]);
        let run = |n, changed| {
            let mut one = summary(Some(id(n)));
            one.files = 1000;
            one.counts.files.changed = changed;
            RunResult::Ok(one)
        };
        for n in 1..10 {
            book.ended(&job(), &run(n, 3), (Timestamp(n.into()), 0));
        }
        assert!(book.sets["a"].mass.is_none() && book.sets["a"].hold.is_empty());
        book.ended(&job(), &run(10, 900), (Timestamp(10), 0));
        let set = &book.sets["a"];
        assert_eq!(set.hold, [id(7), id(8), id(9)]);
        assert_eq!(set.mass.unwrap().1.changed, 900);
        let told = |book: &mut Book| {
            let told = super::super::alerts::due(book, Timestamp(11));
            told.into_iter().map(|alert| alert.text).collect::<Vec<_>>()
        };
        let next = Job { hold: set.hold.clone(), ..job() };
        let mut refusing = book.clone();
        assert_eq!(told(&mut book), [""; 0], "they are held first");
        // The next run holds them, and what it finds is no longer unusual.
        book.ended(&next, &run(11, 800), (Timestamp(11), 0));
        let said = told(&mut book);
        assert!(said.len() == 1 && said[0].contains("are held and do not expire: "), "{said:?}");
        // Or it is refused for good, which is told.
        let refused = Summary { refused: Some("no".to_owned()), ..run(11, 800).unwrap() };
        refusing.ended(&next, &Ok(refused), (Timestamp(11), 0));
        assert!(told(&mut refusing)[0].ends_with("are not held, and may expire: no."));
        assert_eq!(
            (book.sets["a"].hold.as_slice(), book.sets["a"].good.as_slice()),
            (&[][..], &[id(11)][..])
        );
    }

    #[test]
    fn it_is_kept_and_can_be_lost() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Book::read(dir.path()), Book::default());
        let mut book = Book::default();
        book.know("a", "x", Timestamp(7));
        let id = SnapshotId::from_bytes([3; 32]);
        book.ended(&job(), &Ok(summary(Some(id))), (Timestamp(9), 0));
        book.told.insert("x".to_owned(), ("y".to_owned(), Timestamp(9)));
        book.write(dir.path()).unwrap();
        assert_eq!(Book::read(dir.path()), book);
        std::fs::write(dir.path().join(NAME), b"{\"sets\":7").unwrap();
        assert_eq!(Book::read(dir.path()), Book::default());
    }
}
