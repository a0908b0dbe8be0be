use super::*;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use crate::restore::root::{Root, TempNames};
use crate::restore::testkit::{
    as_nobody, captured, folder_of, has_xattrs, leftovers, name, never, plain, root_at, safe,
    someone, target, targets, xattr,
};
use crate::scan::holes::{Span, extents};
use crate::scan::os::{Dir, FileType, running_as_root};
use crate::tree::entry::FileTime;

fn write(root: &Root, as_name: &Name, content: &[u8], policy: &Policy) -> Result<(), TargetError> {
    let file = root.dir().create_temp(as_name)?;
    file.write_all_at(content, 0)?;
    assert_eq!(file.commit(&plain(0o644), policy)?, []);
    Ok(())
}

#[test]
fn a_file_comes_back_with_all_its_metadata() {
    for (folder, root) in targets() {
        let path = folder.path().join("target");
        let mut meta = someone(0o1640);
        if has_xattrs(&path) {
            meta.xattrs = vec![xattr("user.a", b"\0\xff"), xattr("user.b", [7; 900])];
        }
        let file = root.dir().create_temp(&name("f")).expect("made");
        assert_eq!(file.name(), &name("f"));
        let unnamed = matches!(file.place, Place::Unnamed(_));
        assert_eq!(leftovers(&root).len(), usize::from(!unnamed));
        file.set_len(10).expect("length");
        file.write_all_at(b"end", 7).expect("written");
        file.write_all_at(b"begin", 0).expect("written");
        let id = file.id().expect("an id");
        assert_eq!(file.commit(&meta, &safe()).expect("placed"), []);
        assert_eq!(captured(&path, &name("f")), meta);
        assert_eq!(fs::read(path.join("f")).expect("read"), b"begin\0\0end");
        assert_eq!(FileId::from(&root.dir().stat(&name("f")).expect("stat")), id);
        assert_eq!(leftovers(&root), []);
    }
}

/// A folder may hand its group on to what is made in it, and its owner may make it do so at any time.
#[test]
fn who_new_files_belong_to_is_told_from_the_first_only_in_a_folder_of_this_user() {
    if !running_as_root() {
        return;
    }
    let group = |path: &Path| fs::metadata(path).expect("there").gid();
    let owners = [(0, Some((0, 4))), (65534, None)];
    for ((owner, known), unnamed) in owners.into_iter().flat_map(|of| [(of, true), (of, false)]) {
        let (folder, _) = target();
        let path = folder.path().join("target");
        std::os::unix::fs::chown(&path, Some(owner), Some(4)).expect("chown");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o2755)).expect("chmod");
        let root = root_at(&path);
        if !unnamed {
            root.dir().unnamed().refuse();
        }
        let first = root.dir().create_temp(&name("first")).expect("made");
        assert_eq!(root.dir().owner_of_new(first.as_fd()), known);
        drop(first);
        for (file, gid) in [("a", 4), ("b", 0)] {
            let meta = Meta { uid: 0, gid, ..plain(0o640) };
            let made = root.dir().create_temp(&name(file)).expect("made");
            assert_eq!(made.commit(&meta, &safe()).expect("placed"), []);
            assert_eq!(group(&path.join(file)), gid);
        }
    }
}

#[test]
fn what_is_not_committed_leaves_nothing() {
    for (_folder, root) in targets() {
        let file = root.dir().create_temp(&name("f")).expect("made");
        file.write_all_at(b"half", 0).expect("written");
        drop(file);
        assert!(root.dir().names().expect("names").is_empty());
    }
}

#[test]
fn holes_come_back_as_holes() {
    for (folder, root) in targets() {
        let source = tempfile::tempfile_in(folder.path()).expect("a file");
        let size = (256 << 20) + 123;
        source.set_len(size).expect("length");
        for at in [0, 1 << 20, 200 << 20] {
            source.write_all_at(&[9; 8192], at).expect("written");
        }
        let stat = fstat(&source).expect("stat");
        assert!(stat.may_have_holes());
        let copy = root.dir().create_temp(&name("sparse")).expect("made");
        copy.set_len(size).expect("length");
        let mut written = 0;
        for span in extents(&source, 0..stat.size) {
            if let Span::Data { offset, len } = span.expect("a span") {
                let mut bytes = vec![0; usize::try_from(len).expect("small")];
                source.read_exact_at(&mut bytes, offset).expect("read");
                copy.write_all_at(&bytes, offset).expect("written");
                written += len;
            }
        }
        assert_eq!(copy.commit(&plain(0o600), &safe()).expect("placed"), []);
        let restored = root.dir().stat(&name("sparse")).expect("stat");
        assert_eq!((restored.size, restored.blocks), (size, stat.blocks));
        assert!(written < 1 << 20, "{written}");
        let file = fs::File::open(folder.path().join("target/sparse")).expect("opens");
        let spans = |file| extents(file, 0..size).collect::<Result<Vec<_>, _>>().expect("spans");
        assert_eq!(spans(&file), spans(&source));
    }
}

#[test]
fn a_link_in_the_way_is_replaced_and_not_followed() {
    for (folder, root) in targets() {
        let outside = folder.path().join("outside");
        fs::write(&outside, b"precious").expect("written");
        let link = folder.path().join("target/f");
        symlink(&outside, &link).expect("link");
        let before = captured(folder.path(), &name("outside"));

        let refused = write(&root, &name("f"), b"new", &never()).expect_err("in the way");
        assert!(matches!(refused, TargetError::InTheWay { found: FileType::Symlink, .. }));
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());

        write(&root, &name("f"), b"new", &safe()).expect("placed");
        assert!(fs::symlink_metadata(&link).expect("there").is_file());
        assert_eq!(fs::read(&link).expect("read"), b"new");
        assert_eq!(fs::read(&outside).expect("read"), b"precious");
        assert_eq!(captured(folder.path(), &name("outside")), before);
        assert_eq!(leftovers(&root), []);
    }
}

#[test]
fn a_file_with_a_second_name_outside_keeps_its_content() {
    for (folder, root) in targets() {
        let outside = folder.path().join("outside");
        fs::write(&outside, b"precious").expect("written");
        fs::hard_link(&outside, folder.path().join("target/f")).expect("link");
        write(&root, &name("f"), b"new", &safe()).expect("placed");
        assert_eq!(fs::read(&outside).expect("read"), b"precious");
        assert_eq!(fs::metadata(&outside).expect("there").nlink(), 1);
    }
}

#[test]
fn an_existing_file_is_replaced_only_if_the_policy_says_so() {
    for (folder, root) in targets() {
        let path = folder.path().join("target/f");
        write(&root, &name("f"), b"first", &never()).expect("free");
        let refused = write(&root, &name("f"), b"second", &never()).expect_err("taken");
        assert!(
            matches!(refused, TargetError::InTheWay { found: FileType::File, .. }),
            "{refused}"
        );
        assert_eq!(fs::read(&path).expect("read"), b"first");
        write(&root, &name("f"), b"second", &safe()).expect("replaced");
        assert_eq!(fs::read(&path).expect("read"), b"second");
        assert_eq!(leftovers(&root), []);
    }
}

#[test]
fn a_directory_is_never_replaced() {
    for (folder, root) in targets() {
        fs::create_dir(folder.path().join("target/d")).expect("made");
        for policy in [safe(), never()] {
            let refused = write(&root, &name("d"), b"file", &policy).expect_err("a directory");
            assert!(matches!(refused, TargetError::InTheWay { found: FileType::Directory, .. }));
            assert_eq!(refused.to_string(), "\"d\" exists as a directory and is in the way");
        }
        assert_eq!(leftovers(&root), []);
    }
}

#[test]
fn names_are_bytes() {
    for (folder, root) in targets() {
        let odd: [&[u8]; 6] =
            [&[b'x'; 255], b"\xff\xfe\x80", b"new\nline", b"\x1b]0;title\x07", b" ", b"\\..\\x"];
        for bytes in odd {
            write(&root, &name(bytes), bytes, &never()).expect("placed");
        }
        let dir = Dir::open_root(&folder.path().join("target")).expect("opens");
        for (got, _) in dir.names().expect("names").iter() {
            let mut content = Vec::new();
            let mut file = dir.open_file(&got).expect("opens");
            std::io::Read::read_to_end(&mut file, &mut content).expect("read");
            assert_eq!(content, got.as_bytes());
        }
        assert_eq!(dir.names().expect("names").len(), odd.len());
    }
}

#[derive(Debug)]
struct Same;

impl TempNames for Same {
    fn next(&self) -> std::io::Result<[u8; 8]> {
        Ok([0xab; 8])
    }
}

#[test]
fn a_planted_temporary_name_is_not_written_through() {
    let (folder, _) = target();
    let path = folder.path().join("target");
    let outside = folder.path().join("outside");
    fs::write(&outside, b"precious").expect("written");
    symlink(&outside, path.join(".unseen-abababababababab.tmp")).expect("link");
    let same = Root::open(&path, std::sync::Arc::new(Same)).expect("opens");
    same.dir().unnamed().refuse();
    let refused = same.dir().create_temp(&name("f")).expect_err("taken");
    assert_eq!(refused.errno(), Some(Errno::EXIST));
    assert_eq!(fs::read(&outside).expect("read"), b"precious");
    // With names that move on, the next one is taken.
    symlink(&outside, path.join(".unseen-0100000000000000.tmp")).expect("link");
    let root = root_at(&path);
    root.dir().unnamed().refuse();
    write(&root, &name("f"), b"new", &safe()).expect("placed");
    assert_eq!(fs::read(&outside).expect("read"), b"precious");
}

#[test]
fn a_stolen_temporary_file_is_noticed() {
    let (folder, root) = target();
    root.dir().unnamed().refuse();
    let file = root.dir().create_temp(&name("f")).expect("made");
    fs::remove_file(folder.path().join("target/.unseen-0100000000000000.tmp")).expect("removed");
    file.write_all_at(b"still open", 0).expect("written");
    let lost = file.commit(&plain(0o600), &safe()).expect_err("no name left");
    assert!(matches!(lost, TargetError::Raced { .. }));
}

/// On ext4, xfs, btrfs and tmpfs, by root and with Linux 6.10 by anyone.
#[test]
fn a_file_without_a_name_leaves_none_even_of_a_program_that_is_killed() {
    let (folder, root) = target();
    let file = root.dir().create_temp(&name("f")).expect("made");
    if !matches!(file.place, Place::Unnamed(_)) {
        return;
    }
    file.write_all_at(b"half", 0).expect("written");
    assert!(root.dir().names().expect("names").is_empty());
    assert_eq!(fstat(&file).expect("stat").nlink, 0);
    // Somebody else takes the name meanwhile.
    fs::write(folder_of(&folder).join("f"), b"theirs").expect("written");
    let refused = file.commit(&plain(0o600), &never()).expect_err("taken");
    assert!(matches!(refused, TargetError::InTheWay { found: FileType::File, .. }), "{refused}");
    assert_eq!(fs::read(folder_of(&folder).join("f")).expect("read"), b"theirs");
    assert_eq!(root.dir().names().expect("names").len(), 1);
    // A directory that is gone holds nothing.
    let gone = root.dir().make_dir(&name("gone"), &safe()).expect("made");
    let file = gone.create_temp(&name("f")).expect("made");
    root.dir().remove_empty(&name("gone")).expect("nothing is in it");
    let lost = file.commit(&plain(0o600), &safe()).expect_err("no directory");
    assert!(matches!(lost, TargetError::Raced { .. }), "{lost}");
}

#[cfg(target_os = "linux")]
#[test]
fn whether_files_can_be_without_a_name_is_found_out_once_a_file_system() {
    let (folder, root) = target();
    let below = root.dir().make_dir(&name("d"), &safe()).expect("made");
    let known = |dir: &TargetDir| std::sync::Arc::as_ptr(dir.unnamed());
    assert_eq!(known(&below), known(root.dir()));
    let elsewhere = root.dir().sibling(fs::File::open("/proc").expect("opens").into());
    assert_ne!(known(&elsewhere), known(root.dir()));
    assert!(elsewhere.create_unnamed(&name("f")).is_none(), "no file can be made there");
    assert!(elsewhere.create_unnamed(&name("f")).is_none());
    assert_eq!(
        root.dir().unnamed().dev,
        Some(fs::metadata(folder_of(&folder)).expect("there").dev())
    );
}

#[test]
fn anyone_restores_files_whatever_the_kernel_lets_them() {
    for (folder, root) in targets() {
        as_nobody(&folder_of(&folder), || {
            for content in [&b"first"[..], b"second"] {
                let file = root.dir().create_temp(&name("f")).expect("made");
                file.write_all_at(content, 0).expect("written");
                assert_eq!(file.commit(&plain(0o400), &safe()).expect("placed"), []);
            }
        });
        assert_eq!(fs::read(folder_of(&folder).join("f")).expect("read"), b"second");
        assert_eq!(leftovers(&root), []);
    }
}

#[test]
fn threads_fill_one_file() {
    for (folder, root) in targets() {
        let file = root.dir().create_temp(&name("f")).expect("made");
        std::thread::scope(|scope| {
            for part in 0_u8..8 {
                let file = &file;
                scope.spawn(move || file.write_all_at(&[part; 5000], u64::from(part) * 5000));
            }
        });
        file.commit(&plain(0o600), &safe()).expect("placed");
        let wanted: Vec<u8> = (0_u8..8).flat_map(|part| [part; 5000]).collect();
        assert!(fs::read(folder.path().join("target/f")).expect("read") == wanted);
    }
}

#[test]
fn impossible_lengths_are_errors_that_name_the_file() {
    let (_folder, root) = target();
    let file = root.dir().create_temp(&name("f\n")).expect("made");
    let refused = file.set_len(u64::MAX).expect_err("too long");
    assert_eq!(refused.to_string(), "cannot resize \"f\\n\"");
    assert!(!refused.is_full());
    assert!(file.write_all_at(b"x", u64::MAX).is_err());
}

#[test]
fn a_full_disk_is_told_apart() {
    for errno in [Errno::NOSPC, Errno::DQUOT] {
        let full = TargetError::of("write", Some(&name("f")), errno);
        assert!(full.is_full() && full.errno() == Some(errno));
        assert!(full.to_string().contains("full"));
    }
    // Everything written here fails with "no space left".
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    if let Ok(full) = full {
        let (_folder, root) = target();
        let mut file = root.dir().create_temp(&name("f")).expect("made");
        file.fd = full.into();
        assert!(file.write_all_at(b"x", 0).expect_err("full").is_full());
    }
}

#[test]
fn matching_is_by_size_and_time_of_regular_files() {
    let (folder, root) = target();
    write(&root, &name("f"), b"12345", &safe()).expect("placed");
    symlink("f", folder.path().join("target/l")).expect("link");
    let mtime = plain(0).mtime;
    let other = FileTime { nanos: mtime.nanos + 1, ..mtime };
    let matches = |text, size, mtime| root.dir().matches(&name(text), size, mtime);
    assert!(matches("f", 5, mtime));
    assert!(!matches("f", 6, mtime));
    assert!(!matches("f", 5, other));
    assert!(!matches("l", 5, mtime));
    assert!(!matches("none", 5, mtime));
}
