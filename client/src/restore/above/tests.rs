use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use crate::restore::testkit::{as_nobody, captured, name, plain, root_at, safe, target};
use crate::scan::os::running_as_root;

fn inode(dir: &TargetDir) -> u64 {
    fstat(dir.fd()).expect("stat").ino
}

fn of(path: &Path) -> u64 {
    fs::metadata(path).expect("there").ino()
}

#[test]
fn own_links_are_followed_wherever_they_lead() {
    let (folder, root) = target();
    let at = folder.path().join("target");
    fs::create_dir_all(folder.path().join("data/home/deep")).expect("made");
    let absolute = folder.path().join("data/home");
    symlink(&absolute, at.join("absolute")).expect("linked");
    symlink("../data//./home/", at.join("relative")).expect("linked");
    symlink("absolute/deep", at.join("twice")).expect("linked");
    fs::create_dir(at.join("plain")).expect("made");
    for (link, goal) in [
        ("absolute", absolute.clone()),
        ("relative", absolute.clone()),
        ("twice", absolute.join("deep")),
        ("plain", at.join("plain")),
    ] {
        let passed = root.dir().pass(&name(link)).expect("passed");
        assert_eq!(inode(&passed), of(&goal), "{link}");
        let (made, new) = root.dir().pass_or_make(&name(link), &plain(0o700), &safe()).expect("ok");
        assert_eq!((inode(&made), new), (of(&goal), false), "{link}");
    }
}

#[test]
fn what_leads_nowhere_is_an_error_and_stays() {
    let (folder, root) = target();
    let at = folder.path().join("target");
    symlink("nowhere", at.join("dangling")).expect("linked");
    symlink("loop", at.join("loop")).expect("linked");
    fs::write(at.join("file"), b"x").expect("written");
    let refused = |entry: &str| {
        let error = root.dir().pass_or_make(&name(entry), &plain(0o700), &safe());
        error.expect_err("no folder")
    };
    assert_eq!(refused("dangling").errno(), Some(Errno::NOENT));
    assert_eq!(refused("loop").errno(), Some(Errno::LOOP));
    let TargetError::InTheWay { found, .. } = refused("file") else { panic!("not in the way") };
    assert_eq!(found, FileType::File);
    assert!(at.join("dangling").is_symlink() && at.join("loop").is_symlink());
    assert_eq!(fs::read(at.join("file")).expect("there"), b"x");
}

/// Somebody who owns a folder above could lead a restore by root to `/etc`.
#[test]
fn links_of_others_are_not_followed() {
    if !running_as_root() {
        return;
    }
    let (folder, root) = target();
    let at = folder.path().join("target");
    let goal = folder.path().join("goal");
    fs::create_dir(&goal).expect("made");
    let refused = |dir: &TargetDir, entry: &str| {
        let error = dir.pass(&name(entry)).expect_err("not followed");
        assert!(matches!(error, TargetError::NotFollowed { .. }), "{error}");
    };
    symlink(&goal, at.join("theirs")).expect("linked");
    std::os::unix::fs::lchown(at.join("theirs"), Some(12_345), None).expect("given away");
    refused(root.dir(), "theirs");
    // Root's link, in a folder of somebody else, or open to all.
    for (place, mode, owner) in [("a", 0o755, 12_345), ("b", 0o777, 0)] {
        let place = at.join(place);
        fs::create_dir(&place).expect("made");
        symlink(&goal, place.join("link")).expect("linked");
        std::os::unix::fs::chown(&place, Some(owner), None).expect("given away");
        fs::set_permissions(&place, PermissionsExt::from_mode(mode)).expect("opened");
        refused(root_at(&place).dir(), "link");
    }
    // Nobody but root can replace it in a sticky folder.
    fs::set_permissions(at.join("b"), PermissionsExt::from_mode(0o1777)).expect("opened");
    let passed = root_at(&at.join("b")).dir().pass(&name("link")).expect("passed");
    assert_eq!(inode(&passed), of(&goal));
    // A link that leads to one that is not followed.
    symlink("a/link", at.join("chain")).expect("linked");
    refused(root.dir(), "chain");
}

#[test]
fn what_is_missing_is_made_as_recorded_and_open_to_its_owner() {
    let (folder, root) = target();
    let at = folder.path().join("target");
    let (made, new) = root.dir().pass_or_make(&name("d"), &plain(0o555), &safe()).expect("made");
    assert!(new);
    assert_eq!(captured(&at, &name("d")).mode, 0o755);
    assert_eq!(apply_dir_meta(&made, &plain(0o555), &safe()).expect("applied"), []);
    assert_eq!(captured(&at, &name("d")), plain(0o555));
    // Once it is there it stays as it is.
    let (_, new) = root.dir().pass_or_make(&name("d"), &plain(0o700), &safe()).expect("passed");
    assert!(!new);
    assert_eq!(captured(&at, &name("d")), plain(0o555));
}

/// `/home` may be closed to listing.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_may_only_be_passed_is_passed() {
    let (folder, root) = target();
    let at = folder.path().join("target");
    fs::create_dir_all(at.join("home/nobody")).expect("made");
    if running_as_root() {
        std::os::unix::fs::chown(at.join("home/nobody"), Some(65_534), Some(65_534))
            .expect("given");
    }
    for closed in [&at, &at.join("home")] {
        fs::set_permissions(closed, PermissionsExt::from_mode(0o711)).expect("closed");
    }
    as_nobody(&at.join("home/nobody"), || {
        let home = root.dir().pass(&name("home")).expect("passed");
        let own = home.pass(&name("nobody")).expect("passed");
        own.create_temp(&name("f")).expect("made").commit(&plain(0o600), &safe()).expect("placed");
    });
    assert!(at.join("home/nobody/f").exists());
}
