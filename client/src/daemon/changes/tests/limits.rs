//! Less watches than directories, and file systems that cannot be watched. Both need a user
//! namespace: the test runs itself in one.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Coverage, Eye, Lost, Options, Picture, options};
use crate::backup::{Depth, Visit};
use crate::daemon::changes::{Unwatched, open};

/// Set in a run within the namespace.
const WITHIN: &str = "UNSEEN_TEST_NAMESPACE";
const LIMIT: &str = "/proc/sys/user/max_inotify_watches";

/// Runs this test again in a namespace of its own, with mounts of its own. Whether this is
/// that run.
fn within(test: &str) -> bool {
    if std::env::var_os(WITHIN).is_some() {
        return true;
    }
    let unshare = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--"]).args(args);
        command
    };
    let works = unshare(&["true"]).output().is_ok_and(|out| out.status.success());
    if !works {
        println!("skipped: this machine allows no user namespaces");
        return false;
    }
    let exe = std::env::current_exe().unwrap();
    let name = format!("daemon::changes::tests::limits::{test}");
    let out = unshare(&[exe.to_str().unwrap(), "--exact", &name, "--nocapture"])
        .env(WITHIN, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("1 passed"), "{text}");
    false
}

/// 300 directories, in 10.
fn many(root: &Path) {
    for number in 0..300 {
        fs::create_dir_all(root.join(format!("p{}/d{number}/e", number % 10))).unwrap();
    }
}

/// Every directory is told of, or in one that has to be scanned.
fn must_be_known(eye: &mut Eye) -> Vec<std::path::PathBuf> {
    let Coverage::Scanned { roots, why } = eye.coverage() else { panic!("{:?}", eye.coverage()) };
    assert!(matches!(why, Unwatched::Limit { allowed: 500 }), "{why:?}");
    eye.take();
    eye.save();
    let before = Picture::of(&eye.root);
    for dir in before.dirs() {
        fs::write(dir.join("f"), b"1").unwrap();
    }
    assert!(eye.source.catch_up(super::PATIENCE));
    let mut told = eye.take().changes;
    assert!(told.len() > 50, "some are watched");
    for root in &roots {
        assert_eq!(told.visit(root), Visit::Skip, "{} is not watched", root.display());
        told.add(root, Depth::Everything);
    }
    Picture::of(&eye.root).must_be_told(&before, &told);
    let looked_at = eye.must_be_saved().expect("not all is looked at");
    assert!(roots.iter().all(|root| looked_at.visit(root) == Visit::Everything));
    roots
}

#[test]
fn no_more_watches_are_taken_than_our_part() {
    if !within("no_more_watches_are_taken_than_our_part") {
        return;
    }
    fs::write(LIMIT, "500").unwrap();
    let mut eye = Eye::open(many);
    must_be_known(&mut eye);
    // Others can still watch: 200 are theirs.
    let others = Options { percent: 38, ..options() };
    let other = Eye::with(others, open, many);
    let Coverage::Scanned { why, .. } = other.coverage() else { panic!("{:?}", other.coverage()) };
    let text = why.to_string();
    assert!(text.contains("a user watch 500 directories"), "{text}");
    assert!(text.contains("sudo sysctl fs.inotify.max_user_watches=524288"), "{text}");
    drop(other);
    // What is made where nothing is left is told once, and then known as not watched.
    eye.take();
    let made = eye.root.join("made");
    fs::create_dir_all(made.join("x")).unwrap();
    assert!(eye.source.catch_up(super::PATIENCE));
    assert_eq!(eye.take().changes.visit(&made), Visit::Everything);
    assert!(must_be_known(&mut eye).contains(&made));
    // When others are gone, these are watched.
    let before = Picture::of(&eye.root);
    let scanned = must_be_known(&mut eye);
    for number in 0..9 {
        fs::remove_dir_all(eye.root.join(format!("p{number}"))).unwrap();
    }
    // The sink keeps sentinels apart.
    let is_left = |dir: &&std::path::PathBuf| dir.exists() && !dir.ends_with(super::SENTINEL);
    let left: Vec<_> = scanned.iter().filter(is_left).cloned().collect();
    assert!(left.contains(&made));
    // While directories are removed, others may be tried too early, and again later.
    let begun = std::time::Instant::now();
    while !matches!(eye.coverage(), Coverage::Watched { .. }) {
        assert!(begun.elapsed() < super::PATIENCE, "{:?}", eye.coverage());
    }
    let seen = eye.take();
    // What is lost is told as such, and then everything is looked at.
    if seen.lost.is_empty() {
        assert!(left.iter().all(|dir| seen.changes.visit(dir) == Visit::Everything));
        Picture::of(&eye.root).must_be_told(&before, &seen.changes);
    }
    assert_eq!(eye.must_be_saved().is_some(), seen.lost.is_empty());
    eye.must_be_awake();
}

#[test]
fn what_others_have_taken_is_missing() {
    if !within("what_others_have_taken_is_missing") {
        return;
    }
    fs::write(LIMIT, "500").unwrap();
    let greedy = Options { percent: 100, ..options() };
    let other = Eye::with(Options { percent: 70, ..greedy.clone() }, open, many);
    let mut eye = Eye::with(greedy, open, many);
    must_be_known(&mut eye);
    drop(other);
}

#[test]
fn file_systems_that_come_and_go() {
    if !within("file_systems_that_come_and_go") {
        return;
    }
    let mount = |at: &Path| {
        let done = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(at).status().unwrap();
        assert!(done.success());
        fs::create_dir_all(at.join("in/it")).unwrap();
    };
    let mut eye = Eye::open(|root| fs::create_dir_all(root.join("disk/beneath")).unwrap());
    let disk = eye.root.join("disk");
    eye.save();
    mount(&disk);
    let whole = (disk.as_path(), Depth::Everything);
    eye.until("the disk", |seen| seen.changes.iter().any(|change| change == whole));
    eye.sentinel();
    eye.must_be_saved();
    eye.must_be_awake();
    unmount(&disk);
    eye.until("its end", |seen| seen.changes.iter().any(|change| change == whole));
    eye.sentinel();
    eye.must_be_saved();
    eye.must_be_awake();
    // As a root.
    eye.source.watch(std::slice::from_ref(&disk), &[]);
    eye.take();
    mount(&disk);
    let gone = (Some(disk.clone()), Lost::Gone);
    eye.until("the root's end", |seen| seen.lost.contains(&gone));
    eye.until("the disk as a root", |seen| seen.changes.iter().any(|change| change == whole));
    eye.take();
    unmount(&disk);
    eye.until("the root's end", |seen| seen.lost.contains(&gone));
    eye.until("what was beneath", |seen| seen.changes.iter().any(|change| change == whole));
}

fn unmount(at: &Path) {
    let done = Command::new("umount").arg(at).status().unwrap();
    assert!(done.success());
}

/// The same directory by two paths, of which one is watched.
#[test]
fn a_bind_mount_below_the_root() {
    if !within("a_bind_mount_below_the_root") {
        return;
    }
    let mut eye = Eye::open(|root| {
        fs::create_dir(root.join("bound")).unwrap();
        let elsewhere = root.with_extension("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        super::storms::unpack(&elsewhere, 10, 2);
    });
    let (bound, elsewhere) = (eye.root.join("bound"), eye.root.with_extension("elsewhere"));
    eye.save();
    let whole = (bound.as_path(), Depth::Everything);
    let done = Command::new("mount").arg("--bind").args([&elsewhere, &bound]).status().unwrap();
    assert!(done.success());
    eye.until("the mount", |seen| seen.changes.iter().any(|change| change == whole));
    eye.sentinel();
    eye.must_be_saved();
    // What happens by the path that nobody watches happens here, too.
    eye.must_see(|_| {
        fs::write(elsewhere.join("unpacked/d1/f0"), b"by the other path").unwrap();
        fs::rename(elsewhere.join("unpacked/d2"), elsewhere.join("moved")).unwrap();
        super::storms::make_deep(&elsewhere, 20);
    });
    eye.save();
    eye.take();
    unmount(&bound);
    eye.until("its end", |seen| seen.changes.iter().any(|change| change == whole));
    eye.sentinel();
    eye.must_be_saved();
    eye.must_be_awake();
    fs::write(elsewhere.join("unpacked/d1/f0"), b"none of ours any more").unwrap();
    eye.sentinel();
    assert!(eye.take().changes.is_empty());
}
