use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::restore::apply::apply_dir_meta;
use crate::restore::special::{LinkSource, Special};
use crate::restore::testkit::{
    as_nobody, captured_open, name, never, plain, root_at, safe, someone, target,
};

#[test]
fn the_target_is_made_for_this_user_alone() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("a/b");
    root_at(&path);
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o7777, 0o700);
    fs::write(folder.path().join("f"), b"").expect("written");
    let refused = Root::open(&folder.path().join("f/below\n"), Arc::new(RandomNames::default()));
    let text = refused.expect_err("a file").to_string();
    assert!(text.ends_with("f/below\\n cannot be opened"), "{text}");
}

#[test]
fn temporary_names_are_recognised() {
    for text in [".unseen-0123456789abcdef.tmp", ".unseen-ffffffffffffffff.tmp"] {
        assert!(is_temp_name(&name(text)));
    }
    for text in [".unseen-.tmp", ".unseen-0123456789ABCDEF.tmp", "x.unseen-0123456789abcdef.tmp"] {
        assert!(!is_temp_name(&name(text)));
    }
    let (_folder, root) = target();
    assert!(is_temp_name(&root.dir().temp_name().expect("a name")));
    let names = RandomNames::default();
    let (one, two) = (names.next().expect("bytes"), names.next().expect("bytes"));
    assert_ne!(one, two);
}

#[test]
fn directories_are_closed_until_they_are_complete() {
    let (folder, root) = target();
    let path = folder.path().join("target/d");
    let dir = root.dir().make_dir(&name("d"), &safe()).expect("made");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o7777, 0o700);
    let below = dir.make_dir(&name("below"), &safe()).expect("made");
    let file = below.create_temp(&name("f")).expect("made");
    file.commit(&plain(0o600), &safe()).expect("placed");
    let meta = someone(0o1555);
    assert_eq!(apply_dir_meta(&below, &meta, &safe()).expect("applied"), []);
    assert_eq!(apply_dir_meta(&dir, &meta, &safe()).expect("applied"), []);
    for path in [&path, &path.join("below")] {
        assert_eq!(captured_open(&Dir::open_root(path).expect("opens")), meta);
    }
}

#[test]
fn a_link_is_no_directory() {
    let (folder, root) = target();
    let outside = folder.path().join("outside");
    fs::create_dir_all(outside.join("d")).expect("made");
    symlink(&outside, folder.path().join("target/evil")).expect("link");
    let path = [name("evil"), name("d")];
    let in_the_way = |result: Result<TargetDir, TargetError>| {
        let error = result.expect_err("a link");
        assert!(matches!(error, TargetError::InTheWay { found: FileType::Symlink, .. }), "{error}");
    };
    in_the_way(root.open_path(&path));
    in_the_way(root.dir().open_dir(&name("evil")));
    in_the_way(root.make_path(&path, &never()));
    let made = root.make_path(&path, &safe()).expect("replaced");
    made.create_temp(&name("f")).expect("made").commit(&plain(0o600), &safe()).expect("placed");
    assert!(folder.path().join("target/evil/d/f").is_file());
    assert!(!outside.join("d/f").exists());
}

#[test]
fn files_in_a_directorys_place_go_only_if_the_policy_says_so() {
    let (folder, root) = target();
    fs::write(folder.path().join("target/x"), b"kept").expect("written");
    let refused = root.dir().make_dir(&name("x"), &never()).expect_err("a file");
    assert!(matches!(refused, TargetError::InTheWay { found: FileType::File, .. }));
    assert_eq!(fs::read(folder.path().join("target/x")).expect("read"), b"kept");
    root.dir().make_dir(&name("x"), &safe()).expect("replaced");
    root.dir().make_dir(&name("x"), &never()).expect("a directory stays");
    root.dir().remove(&name("x")).expect_err("not a file");
}

#[test]
fn an_owner_gets_into_existing_directories() {
    let (folder, root) = target();
    let path = folder.path().join("target");
    as_nobody(&path, || {
        for (text, mode) in [("none", 0o0), ("read", 0o555), ("write", 0o333)] {
            fs::create_dir(path.join(text)).expect("made");
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(path.join(text), mode).expect("mode");
            let dir = root.dir().make_dir(&name(text), &never()).expect("opens");
            let file = dir.create_temp(&name("f")).expect("made");
            file.commit(&plain(0o400), &never()).expect("placed");
            apply_dir_meta(&dir, &plain(0o500), &never()).expect("applied");
        }
        assert_eq!(root.dir().names().expect("names").len(), 3);
    });
}

#[test]
fn paths_longer_than_the_kernel_takes() {
    let (_folder, root) = target();
    let part = name([b'd'; 200]);
    let meta = plain(0o750);
    let depth = 3000;
    let path = vec![part.clone(); depth];
    let deepest = root.make_path(&path, &never()).expect("made");
    let file = deepest.create_temp(&name("f")).expect("made");
    file.write_all_at(b"down here", 0).expect("written");
    file.commit(&meta, &never()).expect("placed");
    deepest.place(&name("l"), Special::Symlink(b"t"), &meta, &never()).expect("placed");
    apply_dir_meta(&deepest, &meta, &never()).expect("applied");

    let mut dir = root.dir().reader().expect("opens");
    for _ in 0..depth {
        dir = dir.open_dir(&part).expect("one further down");
    }
    assert_eq!(captured_open(&dir), meta);
    assert_eq!(dir.names().expect("names").len(), 2);
    assert_eq!(dir.stat(&name("f")).expect("stat").mtime, meta.mtime);
    assert_eq!(dir.xattrs_of(&name("l")).expect("none"), []);
    root.open_path(&path).expect("the same way down");
}

#[test]
fn syncing_reaches_the_disk() {
    let (_folder, root) = target();
    let file = root.dir().create_temp(&name("f")).expect("made");
    file.sync().expect("synced");
    root.sync().expect("synced");
}

/// Swaps `target/a` for a link that leads outside and back, as often as it can, until told to stop.
fn swap(target: &Path, outside: &Path, stop: &AtomicBool, swaps: &AtomicUsize) {
    let (a, spare) = (target.join("a"), target.join("spare"));
    let exchange = || {
        let (cwd, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
        rustix::fs::renameat_with(cwd, &a, cwd, &spare, flags).is_ok()
    };
    while !stop.load(Ordering::Relaxed) {
        if symlink(outside, &spare).is_ok() && exchange() {
            swaps.fetch_add(1, Ordering::Relaxed);
            exchange();
        }
        fs::remove_file(&spare).or_else(|_| fs::remove_dir_all(&spare)).ok();
    }
}

/// Everything that a restore does, in `a/b`.
fn write_in(root: &Root, policy: &Policy) -> Result<(), TargetError> {
    let a = root.dir().make_dir(&name("a"), policy)?;
    let b = a.make_dir(&name("b"), policy)?;
    let file = b.create_temp(&name("f"))?;
    file.write_all_at(b"restored", 0)?;
    let id = file.id()?;
    file.commit(&plain(0o666), policy)?;
    b.place(&name("l"), Special::Symlink(b"f"), &plain(0o777), policy)?;
    a.hard_link(&name("h"), &LinkSource { dir: &b, name: &name("f"), id }, policy)?;
    apply_dir_meta(&b, &plain(0o755), policy)?;
    apply_dir_meta(&a, &plain(0o755), policy)?;
    let again = root.open_path(&[name("a"), name("b")])?;
    again.remove(&name("l"))?;
    again.remove(&name("f"))?;
    a.remove(&name("h"))?;
    a.remove_empty(&name("b"))?;
    root.dir().remove_empty(&name("a"))
}

fn everything_in(path: &Path) -> Vec<(PathBuf, crate::tree::entry::Meta)> {
    let dir = Dir::open_root(path).expect("opens");
    let mut all = vec![(path.to_path_buf(), captured_open(&dir))];
    for (child, _) in dir.names().expect("names").iter() {
        let child_path = path.join(child.as_os_str());
        if dir.stat(&child).expect("stat").file_type == FileType::Directory {
            all.extend(everything_in(&child_path));
        } else {
            all.push((child_path, dir.stat(&child).expect("stat").meta()));
        }
    }
    all
}

#[test]
fn swapping_directories_for_links_leads_nothing_outside() {
    let (folder, root) = target();
    let outside = folder.path().join("outside");
    fs::create_dir_all(outside.join("b")).expect("made");
    for file in ["f", "h", "b/f", "b/l"] {
        fs::write(outside.join(file), b"precious").expect("written");
    }
    let before = everything_in(&outside);
    let (stop, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut whole, mut disturbed) = (0, 0);
    std::thread::scope(|scope| {
        let target = folder.path().join("target");
        let (outside, stop, swaps) = (&outside, &stop, &swaps);
        scope.spawn(move || swap(&target, outside, stop, swaps));
        // Both sides go on, so this ends; neither is waited for by the clock.
        while whole < 50 || swaps.load(Ordering::Relaxed) < 500 {
            let policy = if disturbed % 2 == 0 { safe() } else { never() };
            match write_in(&root, &policy) {
                Ok(()) => whole += 1,
                Err(_) => disturbed += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(everything_in(&outside), before);
    for file in ["f", "h", "b/f", "b/l"] {
        assert_eq!(fs::read(outside.join(file)).expect("still there"), b"precious");
    }
}
