//! Trees that are moved, renamed, taken away and brought back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, XattrFlags, renameat_with, setxattr};

use super::{Coverage, Excluded, Eye, Lost, Options};
use crate::backup::{Depth, Visit};
use crate::daemon::changes::Unwatched;

fn tree(at: &Path) {
    for dir in ["a/b/c", "a/d", "e"] {
        fs::create_dir_all(at.join(dir)).unwrap();
        fs::write(at.join(dir).join("file"), dir).unwrap();
    }
}

#[test]
fn a_populated_tree_is_moved_in_and_out_again() {
    let mut eye = Eye::open(|_| {});
    let outside = eye.root.parent().unwrap().join("outside");
    tree(&outside);
    eye.must_see(|root| fs::rename(&outside, root.join("moved")).unwrap());
    assert_eq!(eye.coverage(), Coverage::Watched { dirs: 2 + 2 + 6 + 1 });
    eye.must_see(|root| fs::rename(root.join("moved/a"), &outside).unwrap());
    fs::write(outside.join("b/c/file"), b"elsewhere").unwrap();
    eye.sentinel();
    assert!(eye.take().changes.is_empty(), "it is none of ours any more");
}

#[test]
fn renames_within_the_root() {
    let mut eye = Eye::open(|root| {
        tree(&root.join("one"));
        tree(&root.join("two"));
    });
    eye.must_see(|root| fs::rename(root.join("one/e/file"), root.join("two/a/name")).unwrap());
    eye.must_see(|root| fs::rename(root.join("one/a"), root.join("two/e/a")).unwrap());
    eye.must_see(|root| {
        // Away, something made in it there, and back.
        fs::rename(root.join("two"), root.join("three")).unwrap();
        fs::create_dir(root.join("three/a/b/new")).unwrap();
        fs::rename(root.join("three"), root.join("two")).unwrap();
        fs::write(root.join("two/a/b/new/file"), b"1").unwrap();
    });
    eye.must_see(|root| {
        // A name that another directory takes at once.
        fs::rename(root.join("two/a"), root.join("two/old")).unwrap();
        tree(&root.join("two/a"));
    });
}

#[test]
fn two_directories_change_places() {
    let mut eye = Eye::open(|root| {
        tree(&root.join("one"));
        fs::create_dir_all(root.join("two/x/y")).unwrap();
    });
    for _ in 0..20 {
        eye.must_see(|root| {
            let (one, two) = (root.join("one"), root.join("two"));
            renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).unwrap();
        });
    }
}

#[test]
fn attributes_count() {
    let mut eye = Eye::open(|root| tree(&root.join("t")));
    let mode =
        |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    eye.must_see(|root| mode(&root.join("t/a/d/file"), 0o600));
    eye.must_see(|root| mode(&root.join("t/a"), 0o700));
    eye.must_see(|root| mode(root, 0o711));
    let file = eye.root.join("t/e/file");
    setxattr(&file, "user.colour", b"blue", XattrFlags::empty()).unwrap();
    eye.sentinel();
    assert_eq!(eye.take().changes.visit(&eye.root.join("t/e")), Visit::List);
}

#[test]
fn files_that_are_written_through_a_link_or_without_closing() {
    let mut eye = Eye::open(|root| {
        tree(root);
        std::os::unix::fs::symlink("a/d/file", root.join("link")).unwrap();
    });
    let open = fs::OpenOptions::new().append(true).open(eye.root.join("e/file")).unwrap();
    eye.must_see(|_| std::io::Write::write_all(&mut &open, b"more").unwrap());
    eye.must_see(|root| fs::write(root.join("link"), b"through the link").unwrap());
}

#[test]
fn a_tree_is_deleted_and_made_again() {
    let mut eye = Eye::open(|root| tree(&root.join("t")));
    eye.must_see(|root| {
        fs::remove_dir_all(root.join("t")).unwrap();
        tree(&root.join("t"));
    });
    let told = eye.must_see(|root| fs::remove_dir_all(root.join("t")).unwrap());
    assert!(told.iter().all(|(_, depth)| depth == Depth::Listing), "what is gone is not walked");
}

#[test]
fn a_root_is_deleted_and_comes_back() {
    let mut eye = Eye::open(tree);
    let root = eye.root.clone();
    for way in 0..3 {
        eye.save();
        let aside = root.with_extension("aside");
        if way == 0 {
            fs::remove_dir_all(&root).unwrap();
        } else {
            fs::rename(&root, &aside).unwrap();
        }
        eye.until("the end of the root", |s| s.lost.contains(&(Some(root.clone()), Lost::Gone)));
        eye.source.catch_up(super::PATIENCE);
        let missing = Coverage::Scanned { roots: vec![root.clone()], why: Unwatched::Missing };
        assert_eq!(eye.coverage(), missing);
        eye.take();
        if way == 2 {
            fs::rename(&aside, &root).unwrap();
        } else {
            tree(&root);
            fs::create_dir(root.join(super::SENTINEL)).unwrap();
        }
        let whole = (root.as_path(), Depth::Everything);
        eye.until("the new root", |seen| seen.changes.iter().any(|change| change == whole));
        eye.sentinel();
        assert_eq!(eye.must_be_saved(), None, "nobody knows what happened to it");
        eye.must_be_awake();
        assert!(matches!(eye.coverage(), Coverage::Watched { .. }));
        if way == 1 {
            fs::remove_dir_all(&aside).unwrap();
        }
    }
}

#[test]
fn roots_in_roots_roots_that_are_none_and_other_roots() {
    let mut eye = Eye::open(tree);
    let (inner, none) = (eye.root.join("a"), eye.root.join("none"));
    let file = eye.root.join("e/file");
    let asked = [inner.clone(), eye.root.clone(), file.clone()];
    let told = eye.source.watch(&asked, &[]);
    assert_eq!(told.iter().map(|(root, _)| root).collect::<Vec<_>>(), [&inner, &eye.root, &file]);
    assert!(told.iter().all(|(_, how)| *how == Coverage::Watched { dirs: 7 }), "{told:?}");
    let told = eye.source.watch(&[none.clone(), inner.clone(), file.clone()], &[]);
    let missing = Coverage::Scanned { roots: vec![none], why: Unwatched::Missing };
    assert_eq!((&told[0].1, &told[1].1), (&missing, &Coverage::Watched { dirs: 4 }));
    let Coverage::Scanned { roots, why: Unwatched::Failed { .. } } = &told[2].1 else {
        panic!("{told:?}")
    };
    assert_eq!(*roots, [file]);
    eye.take();
    fs::write(eye.root.join("e/file"), b"not watched any more").unwrap();
    fs::write(inner.join("f"), b"1").unwrap();
    assert!(eye.source.catch_up(super::PATIENCE));
    let told = eye.take().changes;
    assert_eq!(told.iter().collect::<Vec<_>>(), [(inner.as_path(), Depth::Listing)]);
}

/// The configuration is read again: what is not about these directories goes on as if nothing had
/// been.
#[test]
fn what_stays_is_watched_without_a_gap() {
    let left_out = std::sync::Arc::new(std::sync::Mutex::new("e"));
    let rule = std::sync::Arc::clone(&left_out);
    let excluded = Excluded::by(move |path, _| path.ends_with(*rule.lock().unwrap()));
    let options = Options { excluded, ..super::options() };
    let mut eye = Eye::with(options, super::super::open, |root| {
        tree(root);
        tree(&root.with_extension("more"));
    });
    let (root, more) = (eye.root.clone(), eye.root.with_extension("more"));
    assert_eq!(eye.coverage(), Coverage::Watched { dirs: 6 });
    // It is not told yet when the others come.
    fs::write(root.join("a/b/file"), b"just before").unwrap();
    eye.source.watch(&[root.clone(), more.clone()], &[]);
    fs::write(more.join("a/d/file"), b"2").unwrap();
    assert!(eye.source.catch_up(super::PATIENCE));
    let told = eye.take();
    let dirs = |told: &super::Seen| -> Vec<_> {
        told.changes.iter().map(|(dir, _)| dir.to_path_buf()).collect()
    };
    assert_eq!((dirs(&told), told.lost), (vec![root.join("a/b"), more.join("a/d")], vec![]));
    // Something else is left out of one of them.
    *left_out.lock().unwrap() = "d";
    fs::write(root.join("a/b/file"), b"just before that").unwrap();
    let told = eye.source.watch(&[root.clone(), more.clone()], std::slice::from_ref(&root));
    let watched = |dirs| Coverage::Watched { dirs };
    assert_eq!(told, [(root.clone(), watched(6)), (more.clone(), watched(5))]);
    fs::write(root.join("e/file"), b"not left out any more").unwrap();
    fs::write(root.join("a/d/file"), b"left out").unwrap();
    assert!(eye.source.catch_up(super::PATIENCE));
    assert_eq!(dirs(&eye.take()), [root.join("a/b"), root.join("e")]);
    // A root above: what was watched beneath it stays so.
    let above = root.parent().unwrap().to_path_buf();
    fs::write(root.join("a/b/file"), b"and once more").unwrap();
    eye.source.watch(std::slice::from_ref(&above), std::slice::from_ref(&above));
    fs::write(above.join("file"), b"new").unwrap();
    assert!(eye.source.catch_up(super::PATIENCE));
    assert_eq!(dirs(&eye.take()), [above.clone(), root.join("a/b")]);
    // And back to the one beneath: it is told as a whole, and then as ever.
    eye.source.watch(std::slice::from_ref(&root), &[]);
    fs::write(more.join("a/b/file"), b"not watched").unwrap();
    assert!(eye.source.catch_up(super::PATIENCE));
    let told = eye.take();
    assert_eq!(told.changes.iter().collect::<Vec<_>>(), [(root.as_path(), Depth::Everything)]);
    fs::write(root.join("a/b/file"), b"the last one").unwrap();
    assert!(eye.source.catch_up(super::PATIENCE));
    assert_eq!(dirs(&eye.take()), [root.join("a/b")]);
}
