use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::restore::testkit::{leftovers, name, target};

#[test]
fn a_tree_goes_and_what_it_links_to_stays() {
    let (folder, root) = target();
    let top = folder.path().join("target/top");
    let outside = folder.path().join("outside");
    fs::create_dir_all(outside.join("kept")).expect("made");
    fs::write(outside.join("kept/file"), b"x").expect("written");
    for branch in ["a/b/c", "a/d", "e", "f/g/h/i"] {
        fs::create_dir_all(top.join(branch)).expect("made");
        fs::write(top.join(branch).join("file"), b"x").expect("written");
        symlink(&outside, top.join(branch).join("link")).expect("link");
    }
    fs::write(folder.path().join("target/other"), b"x").expect("written");
    root.dir().remove_tree(&name("top")).expect("removed");
    let left: Vec<_> = root.dir().names().expect("names").iter().map(|(name, _)| name).collect();
    assert_eq!(left, [name("other")]);
    assert!(outside.join("kept/file").exists());
    root.dir().remove_tree(&name("other")).expect("a file is fine too");
    root.dir().remove_tree(&name("none")).expect("nothing to do");
    assert_eq!(leftovers(&root), []);
}

#[test]
fn a_link_to_a_directory_is_removed_itself() {
    let (folder, root) = target();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("file"), b"x").expect("written");
    symlink(&outside, folder.path().join("target/l")).expect("link");
    root.dir().remove_tree(&name("l")).expect("removed");
    assert!(outside.join("file").exists());
    assert!(root.dir().names().expect("names").is_empty());
}

#[test]
fn directories_without_rights_go_too() {
    let (folder, root) = target();
    let path = folder.path().join("target");
    let as_owner = || {
        let below = path.join("top/middle/low");
        fs::create_dir_all(&below).expect("made");
        fs::write(below.join("file"), b"x").expect("written");
        for dir in ["top/middle/low", "top/middle", "top"] {
            fs::set_permissions(path.join(dir), fs::Permissions::from_mode(0o0)).expect("mode");
        }
        root.dir().remove_tree(&name("top")).expect("removed");
        assert!(root.dir().names().expect("names").is_empty());
    };
    crate::restore::testkit::as_nobody(&path, as_owner);
}
