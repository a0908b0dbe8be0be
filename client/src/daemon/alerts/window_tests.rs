use proptest::prelude::*;

use super::*;

const HOUR: u64 = 3600;
const DAY: u64 = SECONDS_A_DAY;

/// A set of files and what becomes of it, run by run.
struct Life {
    window: Window,
    now: u64,
    files: u64,
    /// Snapshots so far.
    made: u8,
    /// What was told, and which snapshots are held.
    told: Vec<(Mass, Vec<u8>)>,
}

/// What a run finds: files by number, how many are gone, and MiB of data, raw and packed.
#[derive(Debug, Clone, Default)]
struct Run {
    changed: Vec<u64>,
    new: Vec<u64>,
    gone: u64,
    /// How many became noise.
    turned: u64,
    mib: (u64, u64),
}

impl Life {
    fn new(files: u64) -> Self {
        let window = Window::default();
        Self { window, now: 1_800_000_000, files, made: 0, told: Vec::new() }
    }

    fn run(&mut self, run: &Run) {
        let mut touched = Touched::default();
        for n in &run.changed {
            touched.changed.add(&n.to_le_bytes());
        }
        for n in &run.new {
            touched.new.add(&n.to_le_bytes());
        }
        let before = self.files;
        self.files = self.files + u64::try_from(run.new.len()).unwrap() - run.gone;
        self.window.take(&Found {
            at: Timestamp(self.now),
            files: (before, self.files),
            gone: run.gone,
            turned: run.turned,
            stored: (run.mib.0 << 20, run.mib.1 << 20),
            touched: &touched,
            before: (self.made > 0).then(|| SnapshotId::from_bytes([self.made; 32])),
        });
        self.made = self.made.saturating_add(1);
        if let Some((mass, good)) = self.window.unusual() {
            let good = good.iter().map(|id| id.as_bytes()[0]).collect();
            self.told.push((mass, good));
            self.window.settle();
        }
    }

    /// So many days of work: every three hours five of sixty files are other ones.
    fn usual(&mut self, days: u64) {
        for n in 0..days * 8 {
            let changed = (0..5).map(|k| (n * 5 + k) % 60).collect();
            self.run(&Run { changed, mib: (10, 4), ..Run::default() });
            self.now += 3 * HOUR;
        }
    }
}

/// The next so many of all files.
fn next(at: &mut u64, count: u64) -> Vec<u64> {
    *at += count;
    (*at - count..*at).collect()
}

#[test]
fn what_is_changed_in_small_steps_within_a_day_is_noticed() {
    let mut life = Life::new(10_000);
    life.usual(14);
    assert_eq!(life.told, []);
    let (last_good, mut at) = (life.made, 1000);
    while life.told.is_empty() {
        life.run(&Run { changed: next(&mut at, 30), mib: (3, 2), ..Run::default() });
        life.now += 300;
        assert!(at < 4500, "it went on for too long");
    }
    let (mass, good) = life.told[0].clone();
    assert_eq!((mass.scrambled, mass.files), (false, 10_000));
    assert_ne!(mass.within, Within::Once);
    assert!(at > 3000, "not before a quarter of all: {at}");
    assert_eq!(good.len(), GOOD);
    assert!(good.iter().all(|id| *id <= last_good), "{good:?}, {last_good}");
    assert!(good[2] + 3 >= last_good, "the newest of them: {good:?}, {last_good}");
    // It is told once, however long it goes on.
    for _ in 0..200 {
        life.run(&Run { changed: next(&mut at, 30), mib: (3, 2), ..Run::default() });
        life.now += 300;
    }
    assert_eq!(life.told.len(), 1);
}

#[test]
fn what_is_changed_in_smaller_steps_within_a_week_is_noticed() {
    let mut life = Life::new(10_000);
    life.usual(16);
    let (last_good, mut at) = (life.made, 1000);
    while life.told.is_empty() {
        life.run(&Run { changed: next(&mut at, 60), mib: (10, 4), ..Run::default() });
        life.now += 3 * HOUR;
        assert!(at < 5000, "it went on for too long");
    }
    let (mass, good) = life.told[0].clone();
    assert_eq!((mass.within, mass.scrambled), (Within::Week, false));
    assert!(good.iter().all(|id| *id <= last_good) && !good.is_empty(), "{good:?}, {last_good}");
    assert!(good.last().unwrap() + 8 >= last_good, "{good:?}, {last_good}");
}

#[test]
fn what_is_renamed_and_what_is_deleted_counts_as_well() {
    for renamed in [true, false] {
        let mut life = Life::new(10_000);
        life.usual(14);
        let mut at = 20_000;
        while life.told.is_empty() && at < 25_000 {
            let other = next(&mut at, 30);
            let new = if renamed { other } else { Vec::new() };
            life.run(&Run { new, gone: 30, mib: (3, 2), ..Run::default() });
            life.now += 300;
        }
        assert_eq!(life.told[0].0.within, Within::Day, "{renamed}");
        assert!((22_000..24_000).contains(&at), "{renamed}: {at}");
    }
}

#[test]
fn what_cannot_be_compressed_any_more_is_noticed_earlier() {
    let encrypted = |changed| Run { changed, mib: (40, 40), ..Run::default() };
    let mut life = Life::new(10_000);
    life.usual(14);
    let mut at = 1000;
    while life.told.is_empty() {
        life.run(&encrypted(next(&mut at, 20)));
        life.now += 300;
        assert!(at < 2500, "it went on for too long");
    }
    assert!(life.told[0].0.scrambled);
    // Photos come, and everything else is as ever.
    let mut life = Life::new(10_000);
    life.usual(14);
    for n in 0..20 {
        let new = (100_000 + n * 300..100_300 + n * 300).collect();
        life.run(&Run { new, gone: 1, mib: (900, 900), ..Run::default() });
        life.usual(1);
    }
    assert_eq!(life.told, []);
    // Whoever has nothing but photos edits many of them one day.
    let mut life = Life::new(10_000);
    for day in 0..14 {
        life.run(&encrypted((day * 3..day * 3 + 3).collect()));
        life.now += DAY;
    }
    life.run(&encrypted((0..1500).collect()));
    assert_eq!(life.told, []);
}

#[test]
fn a_clock_that_is_set_makes_nothing_up() {
    let mut life = Life::new(10_000);
    life.usual(14);
    for set in [3 * HOUR, 400 * DAY] {
        life.now += set;
        life.usual(2);
        life.now -= set;
        life.usual(2);
    }
    assert_eq!(life.told, []);
    assert!(life.window.slots.len() <= 6 && life.window.days.len() <= 7, "{:?}", life.window);
    // And hides nothing for longer than a jump takes.
    let mut at = 1000;
    while life.told.is_empty() {
        life.run(&Run { changed: next(&mut at, 30), mib: (3, 2), ..Run::default() });
        life.now += 300;
        assert!(at < 4500, "it went on for too long");
    }
}

#[test]
fn it_is_kept_in_little_room() {
    let mut life = Life::new(1_000_000);
    for n in 0..100 {
        let changed = (n * 500..n * 500 + 3000).collect();
        life.run(&Run { changed, new: (0..2000).collect(), gone: 2000, turned: 0, mib: (50, 20) });
        life.now += 2 * HOUR;
    }
    let text = serde_json::to_string(&life.window).unwrap();
    assert!(text.len() < 24_000, "{}", text.len());
    let read: Window = serde_json::from_str(&text).unwrap();
    assert_eq!(read, life.window);
}

fn any_run() -> impl Strategy<Value = (u64, [u64; 5], u8)> {
    (any::<u64>(), any::<[u64; 5]>(), any::<u8>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whoever builds rewrites the same files, a part of all, again and again, and takes them away
    /// between.
    #[test]
    fn build_days_are_no_alarm(
        files in 500_u64..20_000,
        part in 1_u64..14,
        days in prop::collection::vec(prop::collection::vec((0_u8..4, 0_u64..100), 0..12), 1..40),
    ) {
        let mut life = Life::new(files);
        let hot = files * part / 100;
        let mut built = true;
        for day in days {
            for (what, share) in &day {
                let some: Vec<u64> = (0..hot * share / 100).collect();
                let mib = (some.len() as u64 / 10, some.len() as u64 / 25);
                match (what, built) {
                    // All output is removed, and made anew.
                    (0, true) => {
                        life.run(&Run { gone: hot, ..Run::default() });
                        built = false;
                    }
                    (_, false) => {
                        life.run(&Run { new: (0..hot).collect(), mib, ..Run::default() });
                        built = true;
                    }
                    (_, true) => life.run(&Run { changed: some, mib, ..Run::default() }),
                }
                life.now += DAY / 12;
            }
            life.now += DAY / 12 * (12 - day.len() as u64);
        }
        prop_assert!(life.told.is_empty(), "{:?}", life.told);
    }

    #[test]
    fn any_numbers_and_any_times_are_borne(runs in prop::collection::vec(any_run(), 0..60)) {
        let mut window = Window::default();
        for (at, [begin, end, gone, raw, packed], seed) in runs {
            let mut touched = Touched::default();
            for n in 0..u64::from(seed) {
                touched.changed.add(&(n ^ gone).to_le_bytes());
            }
            window.take(&Found {
                at: Timestamp(at),
                files: (begin, end),
                gone,
                turned: 0,
                stored: (raw, packed),
                touched: &touched,
                before: Some(SnapshotId::from_bytes([seed; 32])),
            });
            if let Some((mass, good)) = window.unusual() {
                prop_assert!(mass.changed >= 50 && good.len() <= GOOD);
                window.settle();
            }
            prop_assert!(window.slots.len() <= 6 && window.days.len() <= 7);
            prop_assert!(window.past.len() <= PAST);
        }
    }
}
