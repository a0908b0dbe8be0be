//! Whatever happens, and whenever sets come, go and change: all that has changed gets saved.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use proptest::prelude::*;

use super::tests::summary;
use super::*;
use crate::daemon::changes::{Event, Lost};
use crate::daemon::marks::InMemory;
use crate::daemon::signs::{Verdict, Why as Held};

const SETS: [&str; 3] = ["a", "b", "c"];
/// So rare that nothing is found by it unless it is waited for.
const RESCAN: u64 = 100 * 3600;

/// Something that happens.
#[derive(Debug, Clone)]
enum Input {
    /// A file that nobody wrote to before, in a directory.
    Letter(usize, u8),
    /// One that is written to all the time.
    Log(usize, u8),
    /// Something, nobody knows what.
    Any(usize, u8),
    Lost(usize),
    /// The sets that there are from now on, in one of several forms.
    Sets([Option<bool>; 3]),
    Pace(u64),
    Want(usize, bool),
    Pause(u64),
    Resume,
    Hold(bool),
    Woke,
}

fn input() -> impl Strategy<Value = Input> {
    let place = || (0..3_usize, 0..3_u8);
    prop_oneof![
        8 => place().prop_map(|(set, dir)| Input::Letter(set, dir)),
        8 => place().prop_map(|(set, dir)| Input::Log(set, dir)),
        2 => place().prop_map(|(set, dir)| Input::Any(set, dir)),
        1 => (0..3_usize).prop_map(Input::Lost),
        3 => any::<[Option<bool>; 3]>().prop_map(Input::Sets),
        1 => (1..120_u64).prop_map(Input::Pace),
        1 => (0..3_usize, any::<bool>()).prop_map(|(set, full)| Input::Want(set, full)),
        1 => (1..4000_u64).prop_map(Input::Pause),
        1 => Just(Input::Resume),
        1 => any::<bool>().prop_map(Input::Hold),
        1 => Just(Input::Woke),
    ]
}

fn result() -> impl Strategy<Value = RunResult> {
    let fails = |code| Just(Err(Trouble::new(code, "so it is")));
    let mut stopped = summary(None);
    stopped.interrupted = true;
    prop_oneof![
        6 => Just(Ok(summary(None))),
        1 => Just(Ok(stopped)),
        1 => fails(Trouble::FAILED),
        1 => fails(Trouble::BUSY),
        1 => fails(Trouble::STOPPED),
    ]
}

/// What is not saved of a set.
#[derive(Debug, Default)]
struct Unsaved {
    form: bool,
    /// All of it has to be looked at.
    whole: bool,
    /// Directories, and whether something in them must not wait.
    dirs: BTreeMap<PathBuf, bool>,
    /// The same, which the run under way has.
    taken: BTreeMap<PathBuf, bool>,
}

struct World {
    core: Core,
    now: u64,
    quiet: u64,
    made: u64,
    sets: BTreeMap<&'static str, Unsaved>,
    /// What runs, until when, how it ends, and whether its set is still what it was.
    running: Option<(Job, u64, RunResult, bool)>,
    ends: Vec<(u64, RunResult)>,
    begun: usize,
}

impl World {
    fn new(ends: Vec<(u64, RunResult)>) -> Self {
        let core = Core::new(Box::new(InMemory::default()), Book::default(), moment(0));
        let sets = BTreeMap::new();
        let mut world =
            Self { core, now: 0, quiet: 30, made: 0, sets, running: None, ends, begun: 0 };
        world.set([Some(false); 3]);
        world
    }

    fn spec(&self, name: &str, form: bool) -> SetSpec {
        let pace = Pace {
            quiet: Duration::from_secs(self.quiet),
            rescan: Duration::from_secs(RESCAN),
            ..Pace::default()
        };
        SetSpec {
            name: name.to_owned(),
            source: JobSource::Paths(vec![Path::new("/").join(name)]),
            rules: Rules::default(),
            one_file_system: form,
            pace,
        }
    }

    fn set(&mut self, forms: [Option<bool>; 3]) {
        let there = || SETS.into_iter().zip(forms).filter_map(|(name, form)| Some((name, form?)));
        let specs = there().map(|(name, form)| self.spec(name, form)).collect();
        self.core.set_sets(specs, moment(self.now));
        let mut old = std::mem::take(&mut self.sets);
        for (name, form) in there() {
            let known = old.remove(name);
            let same = known.as_ref().is_some_and(|known| known.form == form);
            let mut set = known.unwrap_or_default();
            set.form = form;
            set.whole |= !same;
            if let Some((.., unchanged)) = self.running.as_mut().filter(|run| run.0.set == name) {
                *unchanged &= same;
            }
            self.sets.insert(name, set);
        }
        if let Some((job, .., unchanged)) = &mut self.running {
            *unchanged &= self.sets.contains_key(job.set.as_str());
        }
    }

    fn happens(&mut self, input: &Input) {
        let now = moment(self.now);
        match input {
            Input::Letter(set, dir) => {
                self.made += 1;
                self.changes(*set, *dir, Some(format!("letter {}", self.made)));
            }
            Input::Log(set, dir) => self.changes(*set, *dir, Some("log".to_owned())),
            Input::Any(set, dir) => self.changes(*set, *dir, None),
            Input::Lost(set) => {
                let root = Path::new("/").join(SETS[*set]);
                let mut noticed = Noticed::default();
                noticed.add(Event::Lost { root: Some(root), why: Lost::Overflow });
                self.core.noticed(&noticed, now);
                if let Some(known) = self.sets.get_mut(SETS[*set]) {
                    known.whole = true;
                    self.spoil(SETS[*set]);
                }
            }
            Input::Sets(forms) => self.set(*forms),
            Input::Pace(quiet) => {
                self.quiet = *quiet;
                let forms = SETS.map(|name| self.sets.get(name).map(|set| set.form));
                self.set(forms);
            }
            Input::Want(set, full) => self.core.want(SETS[*set], *full, now.at),
            Input::Pause(time) => self.core.pause(Duration::from_secs(*time), now),
            Input::Resume => self.core.resume(),
            Input::Hold(held) => self.core.may_run(&verdict(*held), now),
            Input::Woke => {
                self.core.woke(now.at);
                for name in SETS {
                    if let Some(set) = self.sets.get_mut(name) {
                        set.whole = true;
                        self.spoil(name);
                    }
                }
            }
        }
    }

    /// What runs now looks at nothing that happens from now on.
    fn spoil(&mut self, name: &str) {
        if let Some((.., unchanged)) = self.running.as_mut().filter(|run| run.0.set == name) {
            *unchanged = false;
        }
    }

    fn changes(&mut self, set: usize, dir: u8, name: Option<String>) {
        let path = Path::new("/").join(SETS[set]).join(dir.to_string());
        let mut noticed = Noticed::default();
        noticed.add(match &name {
            Some(name) => {
                let mut names = Names::default();
                names.add(OsStr::new(name));
                Event::Entries { dir: path.clone(), names }
            }
            None => Event::Changed { dir: path.clone(), depth: Depth::Listing },
        });
        self.core.noticed(&noticed, moment(self.now));
        if let Some(known) = self.sets.get_mut(SETS[set]) {
            let letter = name.is_some_and(|name| name != "log");
            *known.dirs.entry(path).or_default() |= letter;
        }
    }

    /// Lives until then.
    fn live(&mut self, until: u64) {
        loop {
            if let Some((_, end, ..)) = &self.running {
                if *end > until {
                    self.now = until;
                    return;
                }
                self.now = *end;
                self.end();
                continue;
            }
            match self.core.step(moment(self.now)) {
                Step::Run(job) => self.begin(job),
                Step::Wait(Some(at)) if at <= moment(until).at => {
                    assert!(at > moment(self.now).at, "a wait that is over");
                    self.now = at.as_secs() + u64::from(at.subsec_nanos() > 0);
                }
                Step::Wait(_) => {
                    self.now = self.now.max(until);
                    return;
                }
            }
            if self.now > until {
                return;
            }
        }
    }

    fn begin(&mut self, job: Job) {
        let set = self.sets.get_mut(job.set.as_str()).expect("only sets that there are");
        match &job.changes {
            None => set.taken = std::mem::take(&mut set.dirs),
            Some(changes) => {
                assert!(!changes.is_empty(), "a run for nothing");
                for (dir, _) in changes.iter() {
                    let letter = set.dirs.remove(dir);
                    set.taken.insert(dir.to_path_buf(), letter.unwrap_or_default());
                }
                let left = set.dirs.values().any(|letter| *letter);
                assert!(!left, "what must not wait is left out: {:?}", set.dirs);
            }
        }
        let (time, result) = self.ends[self.begun % self.ends.len()].clone();
        self.begun += 1;
        self.running = Some((job, self.now + time, result, true));
    }

    fn end(&mut self) {
        let (job, _, result, unchanged) = self.running.take().unwrap();
        self.core.ended(&job, &result, (moment(self.now), u32::MAX / 3));
        let Some(set) = self.sets.get_mut(job.set.as_str()) else {
            return;
        };
        let taken = std::mem::take(&mut set.taken);
        if result.is_ok_and(|summary| !summary.interrupted) {
            set.whole &= !(job.changes.is_none() && unchanged);
        } else {
            for (dir, letter) in taken {
                *set.dirs.entry(dir).or_default() |= letter;
            }
        }
    }
}

fn moment(seconds: u64) -> Now {
    Now { at: Duration::from_secs(seconds), wall: Timestamp(1_800_000_000 + seconds) }
}

fn verdict(held: bool) -> Verdict {
    if held { Verdict::Wait { why: Held::Battery { percent: 9 } } } else { Verdict::Go }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn all_that_changes_is_saved_in_the_end(
        inputs in prop::collection::vec((0..900_u64, input()), 0..80),
        ends in prop::collection::vec((1..400_u64, result()), 1..8),
    ) {
        let mut world = World::new(ends);
        for (after, input) in &inputs {
            world.live(world.now + after);
            world.happens(input);
        }
        world.core.resume();
        let now = moment(world.now);
        world.core.may_run(&Verdict::Go, now);
        // From now on all goes well.
        world.ends = vec![(60, Ok(summary(None)))];
        let begun = world.begun;
        world.live(world.now + 2 * 3600);
        for (name, set) in &world.sets {
            prop_assert!(!set.whole, "{name} was not looked through");
            prop_assert!(set.dirs.values().all(|letter| !letter), "{name}: {:?}", set.dirs);
        }
        prop_assert!(world.begun - begun < 60, "it never rests");
        // What changes all the time waits, but not for ever.
        world.live(world.now + RESCAN * 5 / 4 + 3600);
        prop_assert!(world.sets.values().all(|set| set.dirs.is_empty()));
    }
}
