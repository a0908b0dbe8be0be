use std::collections::BTreeSet;

use unseen_common::id::SnapshotId;
use unseen_common::log::entry::Status as Whole;

use super::*;
use crate::daemon::alerts::Kinds;
use crate::daemon::changes::{Event, Lost, Unwatched};
use crate::daemon::job::Summary;
use crate::daemon::marks::InMemory;
use crate::daemon::pause::Pause;
use crate::daemon::signs::{Verdict, Why};
use crate::progress::Counts;
use crate::scan::exclude::{Case, Options, Pattern};

/// A job for the set `a`, with nothing special about it.
pub(in crate::daemon) fn job() -> Job {
    Job {
        set: "a".to_owned(),
        changes: None,
        wanted: false,
        followed: false,
        at_most: None,
        check: false,
        hold: Vec::new(),
        kinds: Arc::default(),
    }
}

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
        presence: None,
        room: None,
        refused: None,
        held: None,
        interrupted: false,
        clocks: None,
        after: None,
        counts: Counts::default(),
        touched: Box::default(),
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
        source: JobSource::Paths(vec![root.into()]),
        rules: Rules::new(Options { patterns: vec![pattern], ..Options::default() }),
        one_file_system: false,
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
    assert_eq!((first.book.pause, first.status(now(100)).paused_until), (None, None));
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
    let why = Why::Battery { percent: 7 };
    core.may_run(&Verdict::Wait { why }, now(0));
    changed(&mut core, &["/c/x"], 2000);
    assert_eq!(core.step(now(3000)), Step::Wait(None));
    assert_eq!(core.status(now(3000)).held, Some(why.to_string()));
    core.may_run(&Verdict::Only { at_most: 5, why }, now(0));
    let Step::Run(job) = core.step(now(3000)) else { panic!("nothing is due") };
    assert_eq!(job.at_most, Some(5));
    core.ended(&job, &Ok(Summary { left_out: 1, ..summary(None) }), (now(3000), 0));
    assert!(matches!(core.step(now(3600)), Step::Wait(_)), "it waits for better times");
    core.may_run(&Verdict::Go, now(0));
    let Step::Run(job) = core.step(now(3600)) else { panic!("nothing is due") };
    assert_eq!((job.at_most, dirs(&job)), (None, vec!["/c/x"]));
}

#[test]
fn a_set_that_comes_disturbs_no_other() {
    let mut core = core();
    changed(&mut core, &["/a/x"], 1000);
    let other_pace = |mut spec: SetSpec| {
        spec.pace.quiet = Duration::from_secs(60);
        spec
    };
    let sets = || vec![other_pace(spec("a", "/a")), spec("b", "/b")];
    assert_eq!(
        core.set_sets([sets(), vec![spec("c", "/c")]].concat(), now(1001)),
        [Path::new("/c")]
    );
    let job = finish(&mut core, &Ok(summary(None)), 1001);
    assert_eq!((job.set.as_str(), job.changes), ("c", None));
    // What had changed is saved in its new pace, and nothing else is looked at.
    assert_eq!(core.step(now(1001)), Step::Wait(Some(now(1060).at)));
    assert_eq!(dirs(&finish(&mut core, &Ok(summary(None)), 1060)), ["/a/x"]);
    // Something else is left out of one.
    let mut less = spec("b", "/b");
    less.rules = Rules::default();
    let again = core.set_sets(vec![other_pace(spec("a", "/a")), less.clone()], now(2000));
    assert_eq!(again, [Path::new("/b")]);
    let job = finish(&mut core, &Ok(summary(None)), 2030);
    assert_eq!((job.set.as_str(), job.changes), ("b", None));
    less.one_file_system = true;
    assert_eq!(core.set_sets(vec![less.clone()], now(3000)), [Path::new("/b")]);
    assert_eq!(core.set_sets(vec![less], now(3000)), Vec::<PathBuf>::new());
}

#[test]
fn what_another_command_prints_is_saved_at_once() {
    let command = |word: &str| SetSpec {
        source: JobSource::Command {
            argv: vec![word.into()],
            file: crate::tree::entry::Name::new(b"dump").unwrap(),
        },
        ..spec("dump", "/")
    };
    let mut core = Core::new(Box::new(InMemory::default()), Book::default(), now(0));
    assert_eq!(core.set_sets(vec![command("one")], now(0)), Vec::<PathBuf>::new());
    finish(&mut core, &Ok(summary(None)), 0);
    core.set_sets(vec![command("one")], now(400));
    assert!(matches!(core.step(now(400)), Step::Wait(_)));
    core.set_sets(vec![command("two")], now(400));
    assert_eq!(finish(&mut core, &Ok(summary(None)), 400).set, "dump");
}

#[test]
fn what_is_saved_on_changes_how_much_is_different_and_that_is_no_alarm() {
    let mut core = core();
    let run = |core: &mut Core, files: u64, at: u64| {
        core.want("a", true, now(at).at);
        let mut one = summary(Some(SnapshotId::from_bytes([7; 32])));
        one.files = files;
        one.dirs = 9;
        one.counts.files.changed = 1;
        finish(core, &Ok(one), at);
    };
    for n in 0..10 {
        run(&mut core, 1000, 1000 + n * 400);
    }
    let mut less = spec("a", "/a");
    less.rules = Rules::default();
    core.set_sets(vec![less, spec("b", "/b")], now(6000));
    run(&mut core, 300, 6500);
    assert_eq!(core.book.sets["a"].mass, None);
    run(&mut core, 300, 7000);
    run(&mut core, 30, 7500);
    assert_eq!(core.book.sets["a"].mass.unwrap().1.changed, 271, "and they are gone");
}

/// What was saved without it has changed unseen: the first whole run looks at files once more.
#[test]
fn a_new_daemon_doubts_what_it_knows_until_it_has_looked() {
    let mut core = Core::new(Box::new(InMemory::default()), Book::default(), now(0));
    core.set_sets(vec![spec("a", "/a")], now(0));
    let mut kinds = Vec::new();
    for at in [0, 4000, 9000] {
        core.want("a", true, now(at).at);
        let Step::Run(job) = core.step(now(at)) else { panic!("somebody asked") };
        kinds.push(job.kinds.as_ref().clone());
        let result = if at == 0 { failed(Trouble::FAILED) } else { Ok(summary(None)) };
        core.ended(&job, &result, (now(at + 10), 0));
    }
    let (sure, doubt) = (Kinds::default(), Kinds::default().in_doubt());
    assert_eq!(kinds, [doubt.clone(), doubt, sure]);
}

#[test]
fn a_clock_that_is_set_changes_no_plan() {
    let at =
        |seconds: u64, wall: u64| Now { wall: Timestamp(1_800_000_000 + wall), ..now(seconds) };
    for jump in [3 * 3600_i64, -3 * 3600] {
        let wall = |seconds: u64| seconds.checked_add_signed(jump + 20_000).unwrap();
        let mut core = core();
        core.clock_was_set(20_000, at(1000, 21_000));
        finish(&mut core, &failed(Trouble::UNREACHABLE), 3600);
        core.pause(Duration::from_secs(3600), at(3700, 23_700));
        core.clock_was_set(jump, at(3800, wall(3800)));
        let status = core.status(at(3800, wall(3800)));
        assert_eq!(status.paused_until, Some(at(0, wall(7300)).wall), "as long as it was said");
        let kept = core.book.pause.unwrap().left(at(3800, wall(3800)));
        assert_eq!(kept, Duration::from_secs(3500));
        assert!(status.sets.iter().all(|set| set.book.ok <= Some(at(0, wall(3800)).wall)));
        assert_eq!(core.step(at(3800, wall(3800))), Step::Wait(Some(now(7300).at)));
    }
    // A machine that starts with its clock in 1970, and is told the time later.
    let before = Now { wall: Timestamp(1_800_000_600 - 3600), ..now(0) };
    let pause = Pause::new(Duration::from_secs(3600), Now { at: now(9000).at, ..before });
    let book = Book { pause: Some(pause), ..Book::default() };
    let early = Now { at: now(5).at, wall: Timestamp(60) };
    let mut core = Core::new(Box::new(InMemory::default()), book, early);
    core.set_sets(vec![spec("a", "/a")], early);
    core.clock_was_set(1_800_000_000, now(60));
    assert_eq!(core.step(now(60)), Step::Wait(Some(now(600).at)));
}

/// All runs of a day share what may be saved on it, whatever set they are of.
#[test]
fn what_may_be_saved_on_a_bad_day_is_for_all_sets() {
    let mut core = core();
    let why = Why::Metered;
    let only = Verdict::Only { at_most: 1600, why };
    changed(&mut core, &["/a/x", "/b/x"], 2000);
    core.may_run(&only, now(3000));
    let mut allowed = Vec::new();
    for bytes in [1000, 520] {
        let Step::Run(job) = core.step(now(3000)) else { panic!("nothing is due") };
        allowed.push(job.at_most);
        core.spent(bytes, now(3000));
        core.ended(&job, &Ok(Summary { left_out: 1, ..summary(None) }), (now(3000), 0));
        core.may_run(&only, now(3000));
    }
    assert_eq!(allowed, [Some(1600), Some(600)]);
    let held = core.status(now(3000)).held.unwrap();
    assert!(held.starts_with(&why.to_string()), "80 are not worth a run: {held}");
    assert_eq!(core.step(now(3000)), Step::Wait(None));
    let tomorrow = 2 * SECONDS_A_DAY;
    core.may_run(&only, now(tomorrow));
    let Step::Run(job) = core.step(now(tomorrow)) else { panic!("nothing is due") };
    assert_eq!(job.at_most, Some(1600));
    core.ended(&job, &Err(Trouble::new(Trouble::STOPPED, "stopped")), (now(tomorrow), 0));
    core.may_run(&Verdict::Wait { why }, now(tomorrow));
    core.may_run(&Verdict::Go, now(tomorrow));
    let Step::Run(job) = core.step(now(tomorrow)) else { panic!("nothing is due") };
    assert_eq!(job.at_most, None);
}

/// What `status` says of the set `a`: since how many seconds after the start, why, and when next.
fn waits(core: &Core, at: u64) -> Option<(u64, Reason, Option<u64>)> {
    let waits = core.status(now(at)).sets.remove(0).waits?;
    assert!(!waits.why.is_empty());
    let next = waits.next.map(|next| next.since(now(0).wall));
    Some((waits.since.since(now(0).wall), waits.reason, next))
}

#[test]
fn what_waits_is_told_since_when_why_and_until_when() {
    let mut core = core();
    assert_eq!(waits(&core, 100), None, "a scan that lies ahead waits for nothing");
    changed(&mut core, &["/a/x"], 1000);
    assert_eq!(waits(&core, 1010), Some((1000, Reason::Quiet, Some(1030))));
    assert_eq!(waits(&core, 1030), None, "it begins now");
    core.pause(Duration::from_secs(500), now(1030));
    assert_eq!(waits(&core, 1030), Some((1000, Reason::Paused, Some(1530))));
    core.resume();
    finish(&mut core, &failed(1), 1031);
    assert_eq!(waits(&core, 1032), Some((1000, Reason::Failed, Some(1061))));
    let wait = |why| Verdict::Wait { why };
    for (why, reason) in [
        (Why::NoNetwork, Reason::Offline),
        (Why::Metered, Reason::Metered),
        (Why::Battery { percent: 9 }, Reason::Battery),
    ] {
        core.may_run(&wait(why), now(1100));
        assert_eq!(waits(&core, 1100), Some((1000, reason, None)));
        let words = core.status(now(1100)).sets.remove(0).waits.unwrap().why;
        assert_eq!(words, why.to_string());
    }
    core.may_run(&Verdict::Go, now(1100));
    finish(&mut core, &Ok(summary(None)), 1101);
    changed(&mut core, &["/a/x"], 1110);
    assert_eq!(waits(&core, 1150), Some((1110, Reason::Interval, Some(1401))));
    core.want("b", false, now(1150).at);
    let Step::Run(other) = core.step(now(1150)) else { panic!("nothing is due") };
    core.want("a", false, now(1151).at);
    assert_eq!(waits(&core, 1152), Some((1110, Reason::Others, None)));
    core.ended(&other, &Ok(summary(None)), (now(1153), 0));
    core.make_way(Duration::from_secs(30), None, now(1153));
    assert_eq!(waits(&core, 1153), Some((1110, Reason::Others, Some(1183))));
    let Step::Run(job) = core.step(now(1183)) else { panic!("nothing is due") };
    assert_eq!(waits(&core, 1184), None, "it is being saved");
    core.ended(&job, &failed(Trouble::BUSY), (now(1185), 0));
    assert_eq!(waits(&core, 1186), Some((1110, Reason::Interval, Some(1401))));
}

/// On a bad day some of it is saved: of the rest it is told, too.
#[test]
fn what_is_left_out_on_a_bad_day_waits_and_is_told() {
    let mut core = core();
    let only = Verdict::Only { at_most: 50_000_000, why: Why::Metered };
    core.may_run(&only, now(5000));
    let part = Summary { left_out: 3, ..summary(None) };
    assert_eq!(finish(&mut core, &Ok(part), 5000).at_most, Some(50_000_000));
    core.may_run(&only, now(5001));
    assert_eq!(
        waits(&core, 5001).map(|(_, why, next)| (why, next)),
        Some((Reason::InPart, Some(6800)))
    );
    let status = core.status(now(5001)).sets.remove(0);
    assert_eq!(status.book.left_out, 3);
    assert!(status.waits.unwrap().why.ends_with("newest files are saved, 50 MB a day"));
    core.spent(50_000_000, now(5001));
    core.may_run(&only, now(5002));
    // 1 800 000 000 is 8:00 in the morning.
    let (_, reason, next) = waits(&core, 5002).unwrap();
    assert_eq!((reason, next), (Reason::Allowance, Some(16 * 3600)));
    let held = core.status(now(5002)).held.unwrap();
    assert!(held.contains("the 50 MB that are saved a day meanwhile are used up"), "{held}");
    core.may_run(&Verdict::Go, now(5003));
    finish(&mut core, &Ok(summary(None)), 5003);
    assert_eq!((waits(&core, 5004), core.status(now(5004)).sets[0].book.left_out), (None, 0));
}
