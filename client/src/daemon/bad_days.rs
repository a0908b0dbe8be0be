//! Days on which now is never a good time, from the signs of the machine to the files that are saved.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::tz::TimeZone;
use unseen_common::time::{Clock, Timestamp};

use super::book::Book;
use super::core::{Core, Now, SetSpec, Step};
use super::job::Summary;
use super::marks::InMemory;
use super::schedule::Pace;
use super::signs::active::day;
use super::signs::{Policy, Power, Signs, Verdict};
use crate::backup::{self, RunOptions, Source};
use crate::progress::Tally;
use crate::scan::exclude::Rules;
use crate::sets::JobSource;
use crate::testing::{World, noise, options};

const SETS: [&str; 2] = ["a", "b"];

fn spec(name: &str, root: &Path) -> SetSpec {
    SetSpec {
        name: name.to_owned(),
        source: JobSource::Paths(vec![root.to_path_buf()]),
        rules: Rules::default(),
        one_file_system: false,
        pace: Pace::default(),
    }
}

/// A laptop that is never plugged in: each day so much is saved and no more, of both sets together,
/// the smallest first, until all is.
#[test]
fn a_low_battery_saves_a_little_every_day() {
    let (world, mut machine) = World::new();
    let roots = SETS.map(|set| world.folder(set));
    for (n, root) in (0..).zip(&roots) {
        for file in 0..20 {
            fs::write(root.join(format!("{file}")), noise(n * 100 + file, 50_000)).unwrap();
        }
        fs::write(root.join("0 long"), noise(n, 300_000)).unwrap();
    }
    let start = world.clock.now();
    let now =
        |seconds| Now { at: Duration::from_secs(seconds), wall: Timestamp(start.0 + seconds) };
    let mut core = Core::new(Box::new(InMemory::default()), Book::default(), now(0));
    core.set_sets(SETS.iter().zip(&roots).map(|(set, root)| spec(set, root)).collect(), now(0));
    let power = Power::Battery { percent: Some(10) };
    let signs = Signs { power, metered: Some(false), network: Some(true) };
    let policy = Policy { overdue_bytes: 800_000, ..Policy::default() };
    let mut read: BTreeMap<i32, u64> = BTreeMap::new();
    let mut days_waited = 0;
    for hour in 0..24 * 12 {
        let now = now(hour * 3600);
        let today = day(now.wall, &TimeZone::UTC);
        core.in_use(Duration::from_secs(3600), now);
        let verdict = policy.may_run(&signs, true, core.overdue());
        days_waited += u32::from(matches!(verdict, Verdict::Wait { .. }));
        core.may_run(&verdict, now);
        while let Step::Run(job) = core.step(now) {
            let tally = Tally::default();
            let root = roots[SETS.iter().position(|set| *set == job.set).unwrap()].clone();
            let options = RunOptions {
                changes: job.changes.clone(),
                in_all: job.at_most,
                skip_if_unchanged: true,
                ..options(&job.set)
            };
            let listens = (&tally as _, &AtomicBool::new(false));
            let runtime = world.runtime.handle();
            let source = Source::Paths(vec![root]);
            let outcome = backup::run(&mut machine.repo, source, &options, listens, runtime);
            let (outcome, counts) = (outcome.unwrap(), tally.counts());
            assert!(job.at_most.is_some(), "nobody asked for it");
            *read.entry(today).or_default() += counts.read;
            core.spent(counts.read.max(counts.transferred), now);
            let summary = Summary::new(&outcome, counts, Duration::ZERO);
            core.ended(&job, &Ok(summary), (now, 1 << 31));
            core.may_run(&policy.may_run(&signs, true, core.overdue()), now);
        }
        world.clock.advance(3600);
    }
    assert!(days_waited >= 48, "it is not overdue from the first hour on");
    assert!(read.values().all(|bytes| *bytes <= 800_000), "{read:?}");
    assert_eq!(read.values().sum::<u64>(), 2 * (20 * 50_000 + 300_000), "{read:?}");
    assert!(read.len() >= 4, "{read:?}");
    assert!(SETS.iter().all(|set| core.book.sets[*set].ok.is_some()));
}
