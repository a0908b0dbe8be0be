use proptest::prelude::*;

use super::*;
use crate::backup::Visit;

fn at(seconds: u64) -> Moment {
    Moment { at: Duration::from_secs(seconds), wall: Timestamp(1_800_000_000 + seconds) }
}

fn paths(changes: &Changes) -> Vec<(&str, Depth)> {
    changes.iter().map(|(dir, depth)| (dir.to_str().unwrap(), depth)).collect()
}

fn fresh(limits: Limits) -> Dirty {
    Dirty::new(vec!["/r".into(), "/s".into()], limits)
}

#[test]
fn a_run_that_fails_gives_back_what_it_took() {
    let mut dirty = fresh(Limits::default());
    assert_eq!((dirty.first_change(), dirty.last_change()), (None, None));
    dirty.mark(Path::new("/r/a"), Depth::Listing, at(10));
    dirty.mark(Path::new("/r/b"), Depth::Listing, at(12));
    dirty.mark(Path::new("/elsewhere"), Depth::Everything, at(13));
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
    assert_eq!((seconds(dirty.first_change()), seconds(dirty.last_change())), (Some(10), Some(12)));
    let taken = dirty.take();
    assert_eq!(paths(&taken), [("/r/a", Depth::Listing), ("/r/b", Depth::Listing)]);
    assert_eq!((dirty.first_change(), dirty.waiting().len()), (None, 0));
    dirty.mark(Path::new("/r/b"), Depth::Everything, at(20));
    assert_eq!((seconds(dirty.first_change()), dirty.since()), (Some(20), Some(at(10).wall)));
    assert_eq!(dirty.give_back(), Note::Replace);
    assert_eq!(paths(dirty.waiting()), [("/r/a", Depth::Listing), ("/r/b", Depth::Everything)]);
    assert_eq!((seconds(dirty.first_change()), seconds(dirty.last_change())), (Some(10), Some(20)));
    dirty.take();
    dirty.mark(Path::new("/r/a"), Depth::Listing, at(30));
    assert!(!dirty.done(), "it was not everything");
    assert_eq!(paths(dirty.waiting()), [("/r/a", Depth::Listing)], "it changed while it was saved");
    assert_eq!(dirty.since(), Some(at(30).wall));
}

#[test]
fn many_in_one_directory_are_all_in_it() {
    let mut dirty = fresh(Limits { total: 1000, in_one: 4 });
    for number in 0..4 {
        dirty.mark(&Path::new("/r/p").join(number.to_string()).join("x"), Depth::Listing, at(1));
        dirty.mark(&Path::new("/r/p").join(number.to_string()), Depth::Listing, at(1));
    }
    assert_eq!(dirty.waiting().len(), 8);
    let note = dirty.mark(Path::new("/r/p/4"), Depth::Everything, at(1));
    assert_eq!(note, Note::Put("/r/p".into(), Depth::Everything));
    assert_eq!(paths(dirty.waiting()), [("/r/p", Depth::Everything)]);
    assert_eq!(dirty.mark(Path::new("/r/p/9"), Depth::Listing, at(2)), Note::Nothing);
    for name in ["a", "b", "c"] {
        dirty.mark(&Path::new("/r").join(name), Depth::Listing, at(1));
    }
    assert_eq!(dirty.waiting().len(), 4);
    dirty.mark(Path::new("/r/d"), Depth::Listing, at(1));
    assert_eq!(paths(dirty.waiting()), [("/r", Depth::Everything)]);
    for number in 0..9 {
        dirty.mark(Path::new("/s"), Depth::Listing, at(number));
    }
    assert_eq!(dirty.waiting().len(), 2);
}

#[test]
fn too_many_altogether_become_fewer_and_cover_the_same() {
    let mut dirty = fresh(Limits { total: 20, in_one: 1000 });
    let mut added = Vec::new();
    for number in 0..500 {
        let dir = Path::new("/r").join(format!("{}/{}/{number}", number % 3, number % 7));
        dirty.mark(&dir, Depth::Listing, at(number));
        added.push(dir);
        assert!(dirty.waiting().len() <= 20);
    }
    for dir in added {
        assert_ne!(dirty.waiting().visit(&dir), Visit::Skip);
        assert_ne!(dirty.waiting().visit(&dir), Visit::Through);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Mark(PathBuf, Depth),
    Everything,
    Take,
    Done,
    GiveBack,
    Flush,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let dir = prop::collection::vec("[abcd]", 0..4).prop_map(|parts| {
        let root = if parts.len() % 3 == 1 { "/s" } else { "/r" };
        Path::new(root).join(parts.join("/"))
    });
    let depth = prop_oneof![4 => Just(Depth::Listing), 1 => Just(Depth::Everything)];
    let step = prop_oneof![
        12 => (dir, depth).prop_map(|(dir, depth)| Step::Mark(dir, depth)),
        1 => Just(Step::Everything),
        3 => Just(Step::Take),
        2 => Just(Step::Done),
        2 => Just(Step::GiveBack),
        2 => Just(Step::Flush),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 0..60)
}

fn covers(changes: &Changes, (dir, depth): &(PathBuf, Depth)) -> bool {
    match changes.visit(dir) {
        Visit::Everything => true,
        Visit::List => *depth == Depth::Listing,
        Visit::Skip | Visit::Through => false,
    }
}

fn note(kept: &mut Changes, dirty: &Dirty, note: Note) {
    match note {
        Note::Nothing => {}
        Note::Put(dir, depth) => kept.add(&dir, depth),
        Note::Replace => *kept = dirty.unsaved(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn no_mark_is_ever_lost(steps in steps(), in_one in 1..6_u32, total in 1..12_usize) {
        let limits = Limits { total, in_one };
        let mut dirty = fresh(limits);
        // What the disk has, and what of it is safe.
        let (mut kept, mut safe) = (Changes::default(), Changes::default());
        // The model: lists.
        let mut waiting: Vec<(PathBuf, Depth)> = Vec::new();
        let mut taken: Vec<(PathBuf, Depth)> = Vec::new();
        let mut flushed = Vec::new();
        for (second, step) in (0..).zip(steps) {
            match step {
                Step::Mark(dir, depth) => {
                    let told = dirty.mark(&dir, depth, at(second));
                    note(&mut kept, &dirty, told);
                    waiting.push((dir, depth));
                }
                Step::Everything => {
                    let told = dirty.everything(at(second));
                    note(&mut kept, &dirty, told);
                    waiting.extend(["/r", "/s"].map(|root| (root.into(), Depth::Everything)));
                }
                Step::Take => {
                    let told = dirty.give_back();
                    note(&mut kept, &dirty, told);
                    let changes = dirty.take();
                    taken.append(&mut waiting);
                    prop_assert!(taken.iter().all(|mark| covers(&changes, mark)));
                    prop_assert!(dirty.waiting().is_empty());
                    prop_assert_eq!(dirty.first_change(), None);
                }
                Step::Done => {
                    dirty.done();
                    kept = dirty.unsaved();
                    (safe, flushed) = (kept.clone(), waiting.clone());
                    taken.clear();
                }
                Step::GiveBack => {
                    let told = dirty.give_back();
                    note(&mut kept, &dirty, told);
                    waiting.append(&mut taken);
                }
                Step::Flush => {
                    safe = kept.clone();
                    flushed = [waiting.clone(), taken.clone()].concat();
                }
                Step::Crash => {
                    // All that was written out and not saved since is known again.
                    prop_assert!(flushed.iter().all(|mark| covers(&safe, mark)));
                    dirty = fresh(limits);
                    (kept, waiting, taken) = (safe.clone(), flushed.clone(), Vec::new());
                    for (dir, depth) in safe.iter() {
                        let told = dirty.mark(dir, depth, at(second));
                        note(&mut kept, &dirty, told);
                    }
                }
            }
            let unsaved = dirty.unsaved();
            for mark in waiting.iter().chain(&taken) {
                prop_assert!(covers(&unsaved, mark), "{:?}", mark);
                prop_assert!(covers(&kept, mark), "{:?} is not kept", mark);
            }
            for mark in &waiting {
                prop_assert!(covers(dirty.waiting(), mark), "{:?} does not wait", mark);
            }
            prop_assert!(dirty.waiting().len() <= total.max(2));
            prop_assert_eq!(dirty.first_change().is_some(), !dirty.waiting().is_empty());
            prop_assert_eq!(dirty.last_change().is_some(), !dirty.waiting().is_empty());
        }
    }
}

fn sets(folder: &Path, seconds: u64) -> DirtySets {
    let sets =
        [("home".into(), vec!["/h".into()]), ("mail".into(), vec!["/h/mail".into(), "/m".into()])];
    DirtySets::open(folder, &sets, at(seconds))
}

#[test]
fn each_set_has_its_own_and_events_reach_those_they_concern() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = sets(dir.path(), 0);
    for name in ["home", "mail"] {
        assert_eq!(
            all.take(name, at(0)).visit(Path::new("/h/mail/x")),
            Visit::Everything,
            "at first"
        );
        all.done(name);
    }
    all.mark(Path::new("/h/a"), Depth::Listing, at(1));
    all.mark(Path::new("/h/mail/b"), Depth::Listing, at(2));
    assert_eq!(all.get("home").unwrap().waiting().len(), 2);
    assert_eq!(paths(all.get("mail").unwrap().waiting()), [("/h/mail/b", Depth::Listing)]);
    all.mark(Path::new("/h"), Depth::Everything, at(3));
    assert_eq!(all.get("home").unwrap().waiting().visit(Path::new("/h/q")), Visit::Everything);
    assert_eq!(all.get("mail").unwrap().waiting().visit(Path::new("/h/mail")), Visit::Everything);
    assert_eq!(all.get("mail").unwrap().waiting().visit(Path::new("/m")), Visit::Skip);
    all.everything("mail", at(3));
    assert_eq!(all.get("mail").unwrap().waiting().visit(Path::new("/m")), Visit::Everything);
    assert!(all.take("no such set", at(0)).is_empty());
}

#[test]
fn what_was_unsaved_is_known_after_a_restart_and_everything_is_scanned() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = sets(dir.path(), 0);
    assert_eq!(all.left_over("home"), None);
    all.take("home", at(0));
    all.done("home");
    all.mark(Path::new("/h/a"), Depth::Listing, at(5));
    all.take("home", at(0));
    all.mark(Path::new("/h/b"), Depth::Everything, at(9));
    assert_eq!(all.tick(Duration::from_secs(9)), Some(Duration::from_secs(35)));
    assert_eq!(all.tick(Duration::from_secs(35)), None);
    drop(all);

    let mut all = sets(dir.path(), 1000);
    let left = all.left_over("home").unwrap().clone();
    assert_eq!(paths(&left.changes), [("/h/a", Depth::Listing), ("/h/b", Depth::Everything)]);
    assert_eq!(left.since, Some(at(5).wall));
    assert_eq!(all.get("home").unwrap().waiting().visit(Path::new("/h")), Visit::Everything);
    // A failed scan changes nothing in that.
    all.take("home", at(0));
    all.give_back("home", at(0));
    drop(all);
    let mut all = sets(dir.path(), 2000);
    assert_eq!(all.left_over("home"), Some(&left));
    all.take("home", at(0));
    all.done("home");
    assert_eq!(all.left_over("home"), None);
    drop(all);
    let all = DirtySets::open(dir.path(), &[("mail".into(), vec!["/m".into()])], at(3000));
    assert_eq!(all.left_over("home"), None, "the set is gone");
    assert!(all.is_kept());
}

#[test]
fn damage_and_refusal_cost_nothing_but_what_was_known() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("dirty");
    let mut all = sets(&folder, 0);
    all.take("home", at(0));
    all.done("home");
    all.mark(Path::new("/h/a"), Depth::Listing, at(5));
    drop(all);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::write(path, [0xff; 100]).unwrap();
        }
    }
    let all = sets(&folder, 9);
    assert!(all.is_kept());
    assert_eq!(all.left_over("home"), None);
    assert_eq!(all.get("home").unwrap().waiting().visit(Path::new("/h")), Visit::Everything);
    std::fs::write(dir.path().join("file"), b"in the way").unwrap();
    let mut all = sets(&dir.path().join("file"), 9);
    assert!(!all.is_kept());
    all.mark(Path::new("/h/a"), Depth::Listing, at(10));
    assert!(!all.take("home", at(0)).is_empty());
    all.done("home");
}
