use super::*;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::restore::special::Special;
use crate::restore::testkit::{
    acl, captured, captured_file as got, captured_open, file, folder_of, has_xattrs, name, plain,
    privileged, root_at, safe, someone, target, target_in, wide_acl, xattr,
};
use crate::scan::os::{Dir, running_as_root};
use crate::tree::entry::FileTime;

#[test]
fn an_acl_comes_back_and_the_mode_with_it() {
    let (folder, root) = target();
    if !has_xattrs(&folder_of(&folder)) {
        return;
    }
    let mut meta = someone(0o670);
    meta.xattrs = vec![xattr("system.posix_acl_access", wide_acl()), xattr("user.x", "1")];
    assert_eq!(file(&root, &meta, &safe()), []);
    assert_eq!(got(&folder), meta);

    let dir = root.dir().make_dir(&name("d"), &safe()).expect("made");
    meta.xattrs.insert(1, xattr("system.posix_acl_default", wide_acl()));
    assert_eq!(apply_dir_meta(&dir, &meta, &safe()).expect("applied"), []);
    assert_eq!(captured(&folder_of(&folder), &name("d")), meta);
}

#[test]
fn the_recorded_mode_wins_over_a_hostile_acl() {
    let (folder, root) = target();
    if !has_xattrs(&folder_of(&folder)) {
        return;
    }
    let mut meta = plain(0o640);
    // Says rwx for everyone where the mode says nothing of the kind.
    let none = u32::MAX;
    let open = acl(&[(1, 7, none), (2, 7, 1000), (4, 7, none), (16, 7, none), (32, 7, none)]);
    meta.xattrs = vec![xattr("system.posix_acl_access", open)];
    assert_eq!(file(&root, &meta, &safe()), []);
    assert_eq!(got(&folder).mode, 0o640);
}

#[test]
fn an_acl_that_cannot_be_set_opens_nothing() {
    let (folder, root) = target();
    let refused = |notes: Vec<Note>| {
        let Some(Note::Refused { aspect: Aspect::Xattr(attribute), .. }) = notes.first() else {
            panic!("{notes:?}")
        };
        assert_eq!(attribute, ACL_ACCESS);
    };
    let mut meta = plain(0o670);
    meta.xattrs = vec![xattr("system.posix_acl_access", b"nonsense")];
    refused(file(&root, &meta, &safe()));
    // The group bits were the mask of an ACL; what the group itself may do is not known.
    assert_eq!(got(&folder).mode, 0o600);

    // Well formed, and refused by the kernel for the order of its entries.
    let none = u32::MAX;
    let twisted = acl(&[(4, 4, none), (1, 6, none), (16, 7, none), (32, 0, none)]);
    meta.xattrs = vec![xattr("system.posix_acl_access", twisted)];
    refused(file(&root, &meta, &safe()));
    assert_eq!(got(&folder).mode, 0o640);
}

#[test]
fn rights_of_the_group_are_read_strictly() {
    assert_eq!(group_rights(&wide_acl()), 0o040);
    assert_eq!(group_rights(&acl(&[(4, 7, u32::MAX)])), 0o070);
    assert_eq!(group_rights(&acl(&[(4, 0xffff, u32::MAX)])), 0);
    assert_eq!(group_rights(b""), 0);
    assert_eq!(group_rights(&[3, 0, 0, 0]), 0);
    let mut torn = wide_acl();
    torn.pop();
    assert_eq!(group_rights(&torn), 0);
}

fn set_default_acl(path: &Path) -> bool {
    let none = u32::MAX;
    let open = acl(&[(1, 7, none), (2, 7, 1000), (4, 7, none), (16, 7, none), (32, 7, none)]);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(path, ACL_DEFAULT, &open, flags).is_ok()
}

#[test]
fn a_default_acl_of_the_target_does_not_rub_off() {
    let (folder, _) = target();
    let path = folder_of(&folder);
    if !set_default_acl(&path) {
        return;
    }
    let root = root_at(&path);
    let meta = someone(0o660);
    let without = root_at(&path);
    without.dir().unnamed().refuse();
    for root in [&root, &without] {
        assert_eq!(file(root, &meta, &safe()), []);
        assert_eq!(got(&folder), meta);
    }
    root.dir().place(&name("p"), Special::Fifo, &meta, &safe()).expect("placed");
    assert_eq!(captured(&path, &name("p")), meta);
    root.dir().place(&name("l"), Special::Symlink(b"x"), &meta, &safe()).expect("placed");
    let dir = root.dir().make_dir(&name("d"), &safe()).expect("made");
    let inner = dir.create_temp(&name("f")).expect("made");
    inner.commit(&meta, &safe()).expect("placed");
    assert_eq!(captured(&path.join("d"), &name("f")), meta);
    assert_eq!(apply_dir_meta(&dir, &meta, &safe()).expect("applied"), []);
    assert_eq!(captured(&path, &name("d")), meta);
}

#[test]
fn attributes_that_a_directory_should_not_have_go() {
    let (folder, root) = target();
    if !has_xattrs(&folder_of(&folder)) {
        return;
    }
    let dir = root.dir().make_dir(&name("d"), &safe()).expect("made");
    let path = folder_of(&folder).join("d");
    for attribute in ["user.old", "user.kept"] {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&path, attribute, b"old", flags).expect("set");
    }
    assert!(set_default_acl(&path));
    let mut meta = plain(0o700);
    meta.xattrs = vec![xattr("user.kept", "new")];
    assert_eq!(apply_dir_meta(&dir, &meta, &safe()).expect("applied"), []);
    assert_eq!(captured_open(&Dir::open_root(&path).expect("opens")), meta);
}

#[test]
fn one_bad_attribute_costs_only_itself() {
    let (folder, root) = target();
    let mut meta = plain(0o640);
    meta.xattrs = vec![xattr("bogus", "1"), xattr("user.", "1"), xattr("user.a\0b", "1")];
    let good = has_xattrs(&folder_of(&folder)).then(|| xattr("user.good", "1"));
    meta.xattrs.extend(good.clone());
    let notes = file(&root, &meta, &safe());
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes[0].to_string().starts_with("attribute bogus not restored: "));
    assert_eq!(got(&folder), Meta { xattrs: good.into_iter().collect(), ..meta });
}

#[test]
fn times_that_mean_something_else_are_refused() {
    let (folder, root) = target();
    // The kernel's words for "now" and "leave it".
    for nanos in [0x3fff_ffff, 0x3fff_fffe, 1_000_000_000] {
        let meta = Meta { mtime: FileTime { seconds: 5, nanos }, ..plain(0o600) };
        let refused = Note::Refused { aspect: Aspect::Times, error: Errno::INVAL };
        assert_eq!(file(&root, &meta, &safe()), [refused]);
        assert_ne!(got(&folder).mtime.seconds, 5);
    }
}

#[test]
fn large_attributes_come_back_or_are_noted() {
    let mut kept = 0;
    for place in [std::env::temp_dir(), PathBuf::from("/dev/shm")] {
        let Some((folder, root)) = target_in(&place) else {
            continue;
        };
        let mut meta = plain(0o600);
        meta.xattrs = vec![xattr("user.big", vec![0xa5; 60 * 1024])];
        match &file(&root, &meta, &safe())[..] {
            [] => {
                assert_eq!(got(&folder), meta);
                kept += 1;
            }
            [Note::Refused { aspect: Aspect::Xattr(attribute), .. }] => {
                assert_eq!(attribute, b"user.big");
                assert_eq!(got(&folder), Meta { xattrs: Vec::new(), ..meta });
            }
            notes => panic!("{notes:?}"),
        }
    }
    println!("{kept} file systems keep attributes of 60 KiB");
}

#[test]
fn notes_are_fit_for_a_terminal() {
    let note = Note::Skipped(Aspect::Xattr(b"security.\x1b[2J".to_vec()));
    assert_eq!(note.to_string(), "attribute security.\\x1b[2J left out");
    assert_eq!(Note::Differs(Aspect::Mode).to_string(), "permissions changed by the file system");
}

#[derive(Debug, Clone, Copy)]
enum Made {
    File,
    Directory,
    Fifo,
    Symlink,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn captured_again_it_is_the_same(
        made in prop_oneof![
            Just(Made::File), Just(Made::Directory), Just(Made::Fifo), Just(Made::Symlink)
        ],
        mode in 0_u32..0o10000,
        owner in (0_u32..70_000, 0_u32..70_000),
        time in (-2_000_000_000_i64..8_000_000_000, 0_u32..1_000_000_000),
        values in proptest::collection::btree_map(
            "[a-z.]{1,20}", proptest::collection::vec(any::<u8>(), 0..200), 0..4,
        ),
    ) {
        let (folder, root) = target();
        let path = folder_of(&folder);
        let mut meta = plain(mode);
        meta.mtime = FileTime { seconds: time.0, nanos: time.1 };
        if running_as_root() {
            (meta.uid, meta.gid) = owner;
        } else {
            // Or the attributes could not be read back.
            meta.mode |= 0o400;
        }
        if has_xattrs(&path) && matches!(made, Made::File | Made::Directory) {
            meta.xattrs = values
                .into_iter()
                .map(|(name, value)| xattr(&format!("user.{name}"), value))
                .collect();
        }
        let policy = if running_as_root() { privileged() } else { safe() };
        let notes = match made {
            Made::File => file(&root, &meta, &policy),
            Made::Directory => {
                let dir = root.dir().make_dir(&name("f"), &policy).expect("made");
                apply_dir_meta(&dir, &meta, &policy).expect("applied")
            }
            Made::Fifo => {
                root.dir().place(&name("f"), Special::Fifo, &meta, &policy).expect("placed").notes
            }
            Made::Symlink => {
                meta.mode = 0o777;
                let link = Special::Symlink(b"text");
                root.dir().place(&name("f"), link, &meta, &policy).expect("placed").notes
            }
        };
        if !running_as_root() && meta.mode & SPECIAL != 0 {
            prop_assert_eq!(notes, [Note::Skipped(Aspect::SpecialBits)]);
            meta.mode &= !SPECIAL;
        } else {
            prop_assert_eq!(notes, []);
        }
        prop_assert_eq!(captured(&path, &name("f")), meta);
    }
}
