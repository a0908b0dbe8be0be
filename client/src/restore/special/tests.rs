use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use crate::restore::testkit::{
    captured, leftovers, name, never, plain, privileged, safe, someone, target, xattr,
};
use crate::scan::os::Dir;

#[test]
fn a_link_comes_back_with_owner_and_times() {
    let (folder, root) = target();
    let path = folder.path().join("target");
    let meta = someone(0o777);
    let long = vec![b'l'; 4000];
    let texts: [&[u8]; 5] = [b"/etc/passwd", b"../../..", b"\xff\x80\n", b"nowhere", &long];
    for (number, text) in texts.into_iter().enumerate() {
        let link = name(format!("l{number}"));
        let placed = root.dir().place(&link, Special::Symlink(text), &meta, &safe());
        assert_eq!(placed.expect("placed").notes, []);
        assert_eq!(captured(&path, &link), meta);
        let dir = Dir::open_root(&path).expect("opens");
        assert_eq!(dir.read_link(&link).expect("a link"), text);
    }
    assert_eq!(leftovers(&root), []);
}

#[test]
fn metadata_of_a_link_does_not_reach_what_it_points_at() {
    let (folder, root) = target();
    let outside = folder.path().join("outside");
    fs::write(&outside, b"x").expect("written");
    let before = captured(folder.path(), &name("outside"));
    let mut meta = someone(0o777);
    meta.xattrs = vec![xattr("user.x", "1"), xattr("trusted.x", "1")];
    let text = std::os::unix::ffi::OsStrExt::as_bytes(outside.as_os_str());
    let placed = root.dir().place(&name("l"), Special::Symlink(text), &meta, &privileged());
    let notes = placed.expect("placed").notes;
    // Links cannot have attributes under `user.`.
    let refused = Note::refused(Aspect::Xattr(b"user.x".to_vec()), Errno::PERM);
    assert!(notes.contains(&refused) || notes.len() == 2, "{notes:?}");
    assert_eq!(captured(folder.path(), &name("outside")), before);
}

#[test]
fn a_pipe_comes_back_with_its_metadata() {
    let (folder, root) = target();
    let meta = someone(0o1624);
    let placed = root.dir().place(&name("p"), Special::Fifo, &meta, &safe()).expect("placed");
    assert_eq!(placed.notes, []);
    let stat = root.dir().stat(&name("p")).expect("stat");
    assert_eq!((stat.file_type, Some(FileId::from(&stat))), (FileType::Fifo, placed.id));
    assert_eq!(captured(&folder.path().join("target"), &name("p")), meta);
}

#[test]
fn devices_take_a_privileged_policy() {
    let (folder, root) = target();
    let number = DeviceNumber { major: 1, minor: 3 };
    let meta = someone(0o640);
    for (text, device) in [("c", Special::CharDevice(number)), ("b", Special::BlockDevice(number))]
    {
        let left_out = root.dir().place(&name(text), device, &meta, &safe()).expect("skipped");
        let note = Note::Skipped(Aspect::Device);
        assert_eq!(left_out, Placed { id: None, notes: vec![note] });
        assert!(root.dir().names().expect("names").is_empty());
    }
    let made = root.dir().place(&name("c"), Special::CharDevice(number), &meta, &privileged());
    let made = made.expect("made or noted");
    if made.id.is_none() {
        assert!(matches!(made.notes[..], [Note::Refused { aspect: Aspect::Device, .. }]));
        return; // A container, or not root.
    }
    assert_eq!(root.dir().stat(&name("c")).expect("stat").rdev, number);
    assert_eq!(captured(&folder.path().join("target"), &name("c")), meta);
    let absurd = DeviceNumber { major: u32::MAX, minor: u32::MAX };
    let absurd = root.dir().place(&name("x"), Special::CharDevice(absurd), &meta, &privileged());
    assert!(absurd.map_or(true, |placed| placed.id.is_none()));
    assert_eq!(leftovers(&root), []);
}

#[test]
fn sockets_are_only_noted() {
    let (_folder, root) = target();
    let placed = root.dir().place(&name("s"), Special::Socket, &plain(0o600), &privileged());
    let note = Note::Skipped(Aspect::Socket);
    assert_eq!(placed.expect("noted"), Placed { id: None, notes: vec![note] });
    assert!(root.dir().names().expect("names").is_empty());
}

#[test]
fn what_is_there_is_replaced_only_if_the_policy_says_so() {
    let (folder, root) = target();
    let path = folder.path().join("target");
    fs::write(path.join("f"), b"old").expect("written");
    fs::create_dir(path.join("d")).expect("made");
    let link = Special::Symlink(b"text");
    for (text, policy, found) in [
        ("f", never(), FileType::File),
        ("d", never(), FileType::Directory),
        ("d", safe(), FileType::Directory),
    ] {
        let refused = root.dir().place(&name(text), link, &plain(0o777), &policy);
        let refused = refused.expect_err("in the way");
        assert!(matches!(refused, TargetError::InTheWay { found: got, .. } if got == found));
    }
    root.dir().place(&name("f"), link, &plain(0o777), &safe()).expect("replaced");
    assert_eq!(fs::read_link(path.join("f")).expect("a link").as_os_str(), "text");
    assert_eq!(leftovers(&root), []);
}

#[test]
fn texts_that_no_link_can_have_are_errors() {
    let (_folder, root) = target();
    for text in [&b""[..], b"a\0b", &[b'x'; 5000]] {
        let refused = root.dir().place(&name("l"), Special::Symlink(text), &plain(0), &safe());
        assert!(matches!(refused, Err(TargetError::Io { action: "create", .. })), "{refused:?}");
    }
    assert!(root.dir().names().expect("names").is_empty());
}

#[test]
fn further_names_of_files_links_and_pipes() {
    let (folder, root) = target();
    let below = root.dir().make_dir(&name("d"), &safe()).expect("made");
    let file = root.dir().create_temp(&name("f")).expect("made");
    let id = file.id().expect("an id");
    file.commit(&plain(0o600), &safe()).expect("placed");
    let source = LinkSource { dir: root.dir(), name: &name("f"), id };
    below.hard_link(&name("g"), &source, &safe()).expect("linked");
    assert_eq!(FileId::from(&below.stat(&name("g")).expect("stat")), id);
    assert_eq!(fs::metadata(folder.path().join("target/f")).expect("there").nlink(), 2);

    for (text, special) in [("l", Special::Symlink(b"/etc/shadow")), ("p", Special::Fifo)] {
        let placed = root.dir().place(&name(text), special, &plain(0o600), &safe());
        let id = placed.expect("placed").id.expect("made");
        let source = LinkSource { dir: root.dir(), name: &name(text), id };
        below.hard_link(&name(text), &source, &safe()).expect("linked");
        let stat = below.stat(&name(text)).expect("stat");
        assert_eq!((FileId::from(&stat), stat.nlink), (id, 2));
    }
    assert_eq!(leftovers(&root), []);
    assert_eq!(below.names().expect("names").len(), 3);
}

#[test]
fn a_name_that_the_file_has_already_leaves_nothing_behind() {
    let (folder, root) = target();
    let path = folder.path().join("target");
    fs::write(path.join("f"), b"x").expect("written");
    fs::hard_link(path.join("f"), path.join("g")).expect("linked");
    let id = FileId::from(&root.dir().stat(&name("f")).expect("stat"));
    let source = LinkSource { dir: root.dir(), name: &name("f"), id };
    root.dir().hard_link(&name("g"), &source, &safe()).expect("linked already");
    assert_eq!(root.dir().stat(&name("f")).expect("stat").nlink, 2);
    assert_eq!(leftovers(&root), []);
    let refused = root.dir().hard_link(&name("g"), &source, &never()).expect_err("taken");
    assert!(matches!(refused, TargetError::InTheWay { .. }));
    assert_eq!(leftovers(&root), []);
}

#[test]
fn a_swapped_source_is_not_linked() {
    let (folder, root) = target();
    let path = folder.path().join("target");
    fs::write(path.join("f"), b"x").expect("written");
    let id = FileId::from(&root.dir().stat(&name("f")).expect("stat"));
    fs::write(folder.path().join("outside"), b"precious").expect("written");
    // Kept elsewhere, or the next file made would get its inode number.
    fs::rename(path.join("f"), folder.path().join("moved")).expect("moved");
    let source = LinkSource { dir: root.dir(), name: &name("f"), id };
    for plant in [
        |outside: &std::path::Path, at: &std::path::Path| symlink(outside, at),
        |outside: &std::path::Path, at: &std::path::Path| fs::hard_link(outside, at),
    ] {
        plant(&folder.path().join("outside"), &path.join("f")).expect("planted");
        let refused = root.dir().hard_link(&name("g"), &source, &safe()).expect_err("another");
        assert!(matches!(refused, TargetError::Raced { .. }));
        assert!(root.dir().stat(&name("g")).is_err());
        fs::remove_file(path.join("f")).expect("removed");
    }
    let gone = root.dir().hard_link(&name("g"), &source, &safe()).expect_err("no source");
    assert_eq!(gone.errno(), Some(Errno::NOENT));
    assert_eq!(leftovers(&root), []);
}

#[test]
fn what_is_pinned_is_what_was_made() {
    let (folder, root) = target();
    let path = folder.path().join("target");
    symlink("/etc/passwd", path.join("planted")).expect("link");
    rustix::fs::mkfifoat(rustix::fs::CWD, path.join("pipe"), Mode::RUSR).expect("pipe");
    fs::hard_link(path.join("pipe"), path.join("second")).expect("link");
    let pinned = |text, special| root.dir().pin(&name(text), special, &name("n"));
    assert!(matches!(pinned("planted", (Special::Fifo, false)), Err(TargetError::Raced { .. })));
    assert!(matches!(pinned("pipe", (Special::Fifo, false)), Err(TargetError::Raced { .. })));
    assert!(pinned("planted", (Special::Symlink(b"/etc/passwd"), false)).is_ok());
}
