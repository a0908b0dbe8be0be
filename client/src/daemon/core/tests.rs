use std::collections::BTreeSet;

use unseen_common::id::SnapshotId;
use unseen_common::log::entry::Status as Whole;

use super::*;
use crate::daemon::changes::{Event, Lost, Unwatched};
use crate::daemon::job::Summary;
use crate::daemon::marks::InMemory;
use crate::progress::Counts;
use crate::scan::exclude::{Case, Options, Pattern};

/// The summary of a run.
pub(in crate::daemon) fn summary(snapshot: Option<SnapshotId>) -> Summary {
    Summary {
        snapshot,
        status: Whole::Complete,
        files: 1,
        dirs: 1,
        bytes: 1,
        uploaded: 1,
        packs: 1,
        problems: 0,
        left_out: 0,
        missing: None,
        room: None,
        interrupted: false,
        counts: Counts::default(),
        took: 1,
    }
}

fn now(seconds: u64) -> Now {
    Now { at: Duration::from_secs(seconds), wall: Timestamp(1_800_000_000 + seconds) }
}

fn spec(name: &str, root: &str) -> SetSpec {
    let pattern = Pattern::parse(b"cache", Case::Sensitive).unwrap();
    SetSpec {
        name: name.to_owned(),
        roots: vec![root.into()],
        rules: Rules::new(Options { patterns: vec![pattern], ..Options::default() }),
        kind: Kind::Watched,
        pace: Pace::default(),
    }
}

/// A daemon's mind with two sets that have just been scanned.
fn core() -> Core {
    let mut core = Core::new(Box::new(InMemory::default()), Book::default(), now(0));
    core.set_sets(vec![spec("a", "/a"), spec("b", "/b")], now(0));
    let scanned: BTreeSet<String> =
        (0..2).map(|_| finish(&mut core, &Ok(summary(None)), 0).set).collect();
    assert_eq!(scanned.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    core
}

/// Takes the job that is due, and ends it.
fn finish(core: &mut Core, result: &RunResult, at: u64) -> Job {
    let Step::Run(job) = core.step(now(at)) else { panic!("nothing is due") };
    assert!(matches!(core.step(now(at)), Step::Wait(_)), "one at a time");
    core.ended(&job, result, (now(at), 1 << 31));
    job
}

fn changed(core: &mut Core, dirs: &[&str], at: u64) {
    let mut noticed = Noticed::default();
    for dir in dirs {
        noticed.add(Event::Changed { dir: dir.into(), depth: Depth::Listing });
    }
    core.noticed(&noticed, now(at));
}

fn dirs(job: &Job) -> Vec<&str> {
    let changes = job.changes.as_ref().expect("not everything");
    changes.iter().map(|(dir, _)| dir.to_str().unwrap()).collect()
}

fn failed(code: u8) -> RunResult {
    Err(Trouble::new(code, "failed"))
}

#[test]
fn what_changed_is_saved_and_nothing_else() {
    let mut core = core();
    changed(&mut core, &["/a/x", "/a/cache/y", "/c", "/a/y"], 1000);
    assert_eq!(core.status(now(1000)).sets[0].pending, 2);
    assert_eq!(core.step(now(1000)), Step::Wait(Some(now(1030).at)));
    let job = finish(&mut core, &Ok(summary(None)), 1030);
    assert_eq!((job.set.as_str(), dirs(&job)), ("a", vec!["/a/x", "/a/y"]));
    assert_eq!(core.status(now(1030)).sets[0].pending, 0);
}

#[test]
fn a_run_that_fails_gives_its_marks_back() {
    for code in [1, Trouble::BUSY, Trouble::STOPPED, Trouble::UNREACHABLE] {
        let mut core = core();
        changed(&mut core, &["/a/x"], 1000);
        let Step::Run(job) = core.step(now(1030)) else { panic!("nothing is due") };
        changed(&mut core, &["/a/z"], 1031);
        core.ended(&job, &failed(code), (now(1032), 1 << 31));
        assert_eq!(core.status(now(1032)).sets[0].pending, 2);
        let job = finish(&mut core, &Ok(summary(None)), 1032 + 60);
        assert_eq!(dirs(&job), ["/a/x", "/a/z"], "{code}");
        assert_eq!(core.status(now(1092)).sets[0].pending, 0);
    }
}

#[test]
fn what_changes_during_a_run_is_saved_by_the_next() {
    let mut core = core();
    changed(&mut core, &["/a/x"], 1000);
    let Step::Run(job) = core.step(now(1030)) else { panic!("nothing is due") };
    changed(&mut core, &["/a/x"], 1031);
    core.ended(&job, &Ok(summary(None)), (now(1040), 0));
    assert_eq!(core.step(now(1040)), Step::Wait(Some(now(1340).at)));
    assert_eq!(dirs(&finish(&mut core, &Ok(summary(None)), 1340)), ["/a/x"]);
}

#[test]
fn what_succeeds_for_one_is_tried_for_all() {
    let mut core = core();
    changed(&mut core, &["/a/x", "/b/x"], 1000);
    finish(&mut core, &failed(Trouble::UNREACHABLE), 1030);
    finish(&mut core, &failed(Trouble::UNREACHABLE), 1030);
    assert_eq!(core.book.unreachable_since, Some(now(1030).wall));
    let first = finish(&mut core, &Ok(summary(None)), 1060);
    let second = finish(&mut core, &Ok(summary(None)), 1060);
    assert_ne!(first.set, second.set);
    assert_eq!((core.book.unreachable_since, core.book.contact), (None, Some(now(1060).wall)));
}

#[test]
fn lost_events_lead_to_a_scan_where_they_were_lost() {
    let mut core = core();
    let mut noticed = Noticed::default();
    noticed.add(Event::Lost { root: Some("/b".into()), why: Lost::Gone });
    core.noticed(&noticed, now(1000));
    let job = finish(&mut core, &Ok(summary(None)), 1030);
    assert_eq!((job.set.as_str(), job.changes), ("b", None));
    noticed.add(Event::Lost { root: None, why: Lost::Overflow });
    core.noticed(&noticed, now(2000));
    let both: BTreeSet<String> =
        (0..2).map(|_| finish(&mut core, &Ok(summary(None)), 2030).set).collect();
    assert_eq!(both.len(), 2);
}

#[test]
fn what_is_not_watched_is_scanned_now_and_then() {
    let mut core = core();
    let why = Unwatched::Network { kind: "nfs".to_owned() };
    let scanned = Coverage::Scanned { roots: vec!["/a/net".into()], why };
    let watched = Coverage::Watched { dirs: 7 };
    core.covered(&[("/a".into(), scanned), ("/b".into(), watched)], now(1000).at);
    assert_eq!(core.step(now(1000)), Step::Wait(Some(now(1900).at)));
    assert_eq!(core.step(now(1900)), Step::Wait(Some(now(1930).at)));
    let job = finish(&mut core, &Ok(summary(None)), 1930);
    assert_eq!(dirs(&job), ["/a/net"]);
    let status = core.status(now(1930));
    assert!(status.sets[0].not_watched[0].starts_with("/a/net: nfs "));
    assert!(status.sets[1].not_watched.is_empty());
    assert!(!core.why(Path::new("/a/net/x")).watched && core.why(Path::new("/a/x")).watched);
    assert!(core.why(Path::new("/a/cache/x")).left_out);
    assert_eq!(core.why(Path::new("/c")).set, None);
}

#[test]
fn a_log_that_never_rests_does_not_come_with_every_snapshot() {
    let mut core = core();
    let mut saved = Vec::new();
    for minute in 20..200 {
        changed(&mut core, &["/a/log"], minute * 60);
        if minute % 30 == 0 {
            changed(&mut core, &["/a/doc"], minute * 60);
        }
        let at = minute * 60 + 31;
        while let Step::Run(job) = core.step(now(at)) {
            if let Some(changes) = &job.changes {
                saved.push((minute, changes.contains(Path::new("/a/log"))));
                assert!(!changes.contains(Path::new("/a/doc")) || minute % 30 < 6);
            }
            core.ended(&job, &Ok(summary(None)), (now(at), 1 << 31));
        }
    }
    let late = |with: bool| saved.iter().filter(|(at, log)| *log == with && *at > 80).count();
    assert!((1..=2).contains(&late(true)), "{saved:?}");
    assert!(late(false) >= 2, "{saved:?}");
}

#[test]
fn a_pause_outlives_the_daemon_but_not_its_time() {
    let mut first = core();
    first.pause(Duration::from_secs(600), now(100));
    let book = first.book.clone();
    let mut second = Core::new(Box::new(InMemory::default()), book, now(400));
    second.set_sets(vec![spec("a", "/a")], now(400));
    assert_eq!(second.status(now(400)).paused_until, Some(now(700).wall));
    assert_eq!(second.step(now(400)), Step::Wait(Some(now(700).at)));
    second.want("a", true, now(400).at);
    assert!(matches!(second.step(now(400)), Step::Run(Job { wanted: true, .. })));
    first.resume();
    assert_eq!((first.book.paused_until, first.status(now(100)).paused_until), (None, None));
}

#[test]
fn sets_come_and_go() {
    let mut core = core();
    core.set_sets(vec![spec("b", "/b2"), spec("c", "/c")], now(1000));
    assert_eq!(core.named(None), ["b", "c"]);
    assert_eq!(core.named(Some("a")), Vec::<String>::new());
    assert_eq!(core.roots(), [Path::new("/b2"), Path::new("/c")]);
    assert!(!core.book.sets.contains_key("a"));
    assert_eq!(finish(&mut core, &Ok(summary(None)), 1000).set, "c");
    assert_eq!(finish(&mut core, &Ok(summary(None)), 1030).changes, None, "its paths are others");
    let why = crate::daemon::signs::Why::Battery { percent: 7 };
    core.may_run(&Verdict::Wait { why });
    changed(&mut core, &["/c/x"], 2000);
    assert_eq!(core.step(now(3000)), Step::Wait(None));
    assert_eq!(core.status(now(3000)).held, Some(why.to_string()));
    core.may_run(&Verdict::Only { at_most: 5, why });
    let Step::Run(job) = core.step(now(3000)) else { panic!("nothing is due") };
    assert_eq!(job.at_most, Some(5));
    core.ended(&job, &Ok(Summary { left_out: 1, ..summary(None) }), (now(3000), 0));
    assert!(matches!(core.step(now(3600)), Step::Wait(_)), "it waits for better times");
    core.may_run(&Verdict::Go);
    let Step::Run(job) = core.step(now(3600)) else { panic!("nothing is due") };
    assert_eq!((job.at_most, dirs(&job)), (None, vec!["/c/x"]));
}
