//! Much at once, but for the one test about that never more events than the kernel keeps, and an
//! open, a write and a close are three: a busy machine may not let the source run before all of them
//! have happened.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::{Eye, Lost, PATIENCE, Picture, options};
use crate::backup::{Depth, Visit};
use crate::daemon::changes::{ChangeSource, Coverage, Excluded, Options, Sink, open, recursive};

/// Directories four deep with files in all of them at once, as `mkdir -p` and `unzip` make them.
pub(super) fn make_deep(root: &Path, many: usize) {
    for number in 0..many {
        let deep = root.join(format!("n{number}/a/b/c"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("one"), b"1").unwrap();
        fs::write(deep.join("two"), b"2").unwrap();
    }
}

/// Thousands of files in folders of a tree that grows while it is filled.
pub(super) fn unpack(root: &Path, dirs: usize, files: usize) {
    let mut parents = vec![root.join("unpacked")];
    fs::create_dir(&parents[0]).unwrap();
    for number in 1..dirs {
        let dir = parents[number / 3].join(format!("d{number}"));
        fs::create_dir(&dir).unwrap();
        for file in 0..files {
            fs::write(dir.join(format!("f{file}")), format!("{number} {file}")).unwrap();
        }
        parents.push(dir);
    }
}

#[test]
fn files_that_are_there_before_their_directory_is_watched() {
    let mut eye = Eye::open(|_| {});
    eye.must_see(|root| make_deep(root, 500));
    assert_eq!(eye.coverage(), Coverage::Watched { dirs: 2 + 1 + 1 + 500 * 4 + 1 });
}

#[test]
fn thousands_of_files_unpacked() {
    let mut eye = Eye::open(|_| {});
    eye.must_see(|root| unpack(root, 400, 8));
}

#[test]
fn a_work_tree_checked_out_written_over_and_removed() {
    let mut eye = Eye::open(|root| unpack(root, 150, 4));
    eye.must_see(|root| {
        // As git does it: written beside, moved in place.
        for number in 1..50 {
            let dir = root.join("new").join(format!("p{}", number % 7)).join(format!("q{number}"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("file.lock"), b"new").unwrap();
            fs::rename(dir.join("file.lock"), dir.join("file")).unwrap();
        }
        fs::remove_dir_all(root.join("unpacked")).unwrap();
        unpack(root, 90, 2);
    });
}

#[test]
fn threads_that_make_move_and_remove_at_once() {
    let mut eye = Eye::open(|root| unpack(root, 60, 2));
    eye.must_see(|root| {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for round in 0..60 {
                        let from = root.join(format!("t{thread}"));
                        fs::create_dir_all(from.join("x/y")).unwrap();
                        fs::write(from.join("x/y/f"), [round]).unwrap();
                        let to = root.join(format!("unpacked/d1/m{thread}.{round}"));
                        fs::rename(&from, &to).unwrap();
                        fs::create_dir(to.join("late")).unwrap();
                        fs::write(to.join("late/g"), [round]).unwrap();
                        if round % 3 == 0 {
                            fs::rename(to.join("x"), root.join(format!("x{thread}.{round}")))
                                .unwrap();
                        }
                        if round % 5 == 0 {
                            fs::remove_dir_all(&to).unwrap();
                        }
                    }
                });
            }
        });
    });
}

#[test]
fn a_file_that_is_written_all_the_time_is_one_mark_now_and_then() {
    let mut eye = Eye::open(|root| fs::write(root.join("log"), b"").unwrap());
    let changes = eye.must_see(|root| {
        for line in 0..4000_u32 {
            use std::io::Write;
            let mut log = fs::OpenOptions::new().append(true).open(root.join("log")).unwrap();
            log.write_all(&line.to_le_bytes()).unwrap();
        }
    });
    assert_eq!(changes.len(), 1);
}

#[test]
fn when_the_queue_of_the_kernel_overflows_that_is_told() {
    let (hold, held) = channel::<()>();
    let held = Mutex::new(Some(held));
    // Whoever is told by the kernel asks this, and is held until the test lets it go: what follows
    // fills the queue.
    let rule = move |path: &Path, _: bool| {
        let held = if path.ends_with("hold") { held.lock().unwrap().take() } else { None };
        held.is_some_and(|held| held.recv_timeout(PATIENCE).is_ok())
    };
    let slow = Options { excluded: Excluded::by(rule), ..options() };
    let mut eye = Eye::with(slow, open, |_| {});
    eye.save();
    let root = eye.root.clone();
    fs::write(root.join("hold"), b"").unwrap();
    let queue: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    for number in 0..queue {
        fs::write(root.join("f"), number.to_string()).unwrap();
        fs::rename(root.join("f"), root.join(format!("g{}", number % 10))).unwrap();
    }
    make_deep(&root, 50);
    drop(hold);
    assert!(eye.source.catch_up(PATIENCE));
    let told = eye.take();
    assert!(told.lost.contains(&(None, Lost::Overflow)), "{:?}", told.lost);
    assert_eq!(eye.must_be_saved(), None, "what is not known is looked at");
    eye.must_be_awake();
}

#[test]
fn catching_up_tells_all_that_happened_before() {
    let eye = Eye::open(|root| unpack(root, 5, 1));
    for number in 0..50 {
        let before = Picture::of(&eye.root);
        fs::write(eye.root.join("unpacked/d1/saved"), number.to_string()).unwrap();
        fs::create_dir(eye.root.join(format!("made{number}"))).unwrap();
        assert!(eye.source.catch_up(PATIENCE));
        Picture::of(&eye.root).must_be_told(&before, &eye.take().changes);
    }
}

#[test]
fn reading_tells_nothing() {
    let mut eye = Eye::open(|root| unpack(root, 100, 5));
    eye.take();
    for dir in Picture::of(&eye.root).dirs() {
        for entry in fs::read_dir(dir).unwrap() {
            fs::read(entry.unwrap().path()).ok();
        }
    }
    eye.sentinel();
    assert!(eye.take().changes.is_empty());
}

#[test]
fn what_is_excluded_takes_no_watch_and_is_not_told() {
    let rule = |path: &Path, is_dir: bool| {
        is_dir && path.ends_with("node_modules") || path.extension().is_some_and(|end| end == "tmp")
    };
    let options = Options { excluded: Excluded::by(rule), ..options() };
    let fill = |root: &Path| fs::create_dir_all(root.join("node_modules/a/b")).unwrap();
    let mut eye = Eye::with(options, open, fill);
    assert_eq!(eye.coverage(), Coverage::Watched { dirs: 2 });
    fs::write(eye.root.join("node_modules/a/b/f"), b"1").unwrap();
    fs::write(eye.root.join("work.tmp"), b"1").unwrap();
    fs::create_dir_all(eye.root.join("p/node_modules/c")).unwrap();
    eye.sentinel();
    let told = eye.take().changes;
    assert_eq!(told.visit(&eye.root), Visit::List, "for p");
    assert_eq!(told.visit(&eye.root.join("node_modules/a/b")), Visit::Skip);
    assert_eq!(eye.coverage(), Coverage::Watched { dirs: 4 });
    fs::write(eye.root.join("work.tmp"), b"2").unwrap();
    fs::write(eye.root.join("p/node_modules/c/f"), b"1").unwrap();
    eye.sentinel();
    assert!(eye.take().changes.is_empty());
}

fn by_notify(options: Options, sink: Sink) -> std::io::Result<Box<dyn ChangeSource>> {
    Ok(Box::new(recursive::Recursive::start(options, sink)?))
}

/// The source of other systems, with what it has on this one.
#[test]
fn the_other_source_sees_storms_too() {
    let mut eye = Eye::with(options(), by_notify, |root| unpack(root, 20, 2));
    eye.save();
    let before = Picture::of(&eye.root);
    make_deep(&eye.root, 100);
    fs::rename(eye.root.join("unpacked/d1"), eye.root.join("n3/moved")).unwrap();
    eye.sentinel();
    Picture::of(&eye.root).must_be_told(&before, &eye.take().changes);
    assert!(eye.must_be_saved().is_some(), "nothing was lost");
    // Its watches are placed after what it tells of; the next event comes after them.
    eye.sentinel();
    eye.must_be_awake();
}

#[test]
fn the_other_source_tells_when_a_root_is_gone_and_back() {
    let mut eye = Eye::with(options(), by_notify, |root| unpack(root, 5, 1));
    fs::remove_dir_all(&eye.root).unwrap();
    let root = eye.root.clone();
    eye.until("the end of the root", |s| s.lost.contains(&(Some(root.clone()), Lost::Gone)));
    fs::create_dir_all(eye.root.join(super::SENTINEL)).unwrap();
    let whole = (root.as_path(), Depth::Everything);
    eye.until("the new root", |seen| seen.changes.iter().any(|change| change == whole));
    eye.must_be_awake();
    assert!(!eye.source.catch_up(Duration::ZERO), "it cannot know");
}
