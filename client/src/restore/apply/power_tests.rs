use super::*;
use std::fs;
use std::sync::Arc;

use crate::restore::policy::Overwrite;
use crate::restore::testkit::{
    as_nobody, captured_file as got, file, folder_of, has_xattrs, name, plain, privileged, safe,
    someone, target, unowned, xattr,
};
use crate::scan::names::OwnerNames;
use crate::scan::os::running_as_root;

/// `cap_net_raw+ep`, as the kernel keeps it: version 2.
fn capability() -> Xattr {
    let mut value = vec![1, 0, 0, 2, 0, 0x20, 0, 0];
    value.resize(20, 0);
    xattr("security.capability", value)
}

#[test]
fn setuid_and_setgid_take_a_privileged_policy() {
    let (folder, root) = target();
    let meta = someone(0o7755);
    assert_eq!(file(&root, &meta, &safe()), [Note::Skipped(Aspect::SpecialBits)]);
    assert_eq!(got(&folder), Meta { mode: 0o1755, ..meta.clone() });
    if running_as_root() {
        assert_eq!(file(&root, &meta, &privileged()), []);
        assert_eq!(got(&folder), meta);
    }
    let dir = root.dir().make_dir(&name("d"), &safe()).expect("made");
    let notes = apply_dir_meta(&dir, &someone(0o2755), &safe()).expect("applied");
    assert_eq!(notes, [Note::Skipped(Aspect::SpecialBits)]);
    assert_eq!(dir.reader().expect("opens").stat_self().expect("stat").mode, 0o755);
}

#[test]
fn setuid_never_speaks_for_another_owner() {
    if !running_as_root() {
        return;
    }
    let (folder, root) = target();
    let policy = Policy { privileged: true, ..unowned() };
    let meta = Meta { uid: 12_345, ..plain(0o4755) };
    assert_eq!(file(&root, &meta, &policy), [Note::Skipped(Aspect::SpecialBits)]);
    assert_eq!((got(&folder).mode, got(&folder).uid), (0o755, 0));
    // The one who restores owned it before: then the bit means the same.
    assert_eq!(file(&root, &plain(0o4755), &policy), []);
    assert_eq!(got(&folder).mode, 0o4755);
}

#[test]
fn capabilities_take_a_privileged_policy_and_survive_the_owner() {
    let (folder, root) = target();
    let mut meta = someone(0o755);
    meta.xattrs = vec![capability()];
    let skipped = Note::Skipped(Aspect::Xattr(b"security.capability".to_vec()));
    assert_eq!(file(&root, &meta, &safe()), [skipped]);
    assert_eq!(got(&folder), Meta { xattrs: Vec::new(), ..meta.clone() });
    let notes = file(&root, &meta, &privileged());
    if notes.is_empty() {
        assert_eq!(got(&folder), meta);
    } else {
        let Note::Refused { aspect: Aspect::Xattr(attribute), .. } = &notes[0] else {
            panic!("{notes:?}")
        };
        assert_eq!(attribute, b"security.capability");
    }
}

#[test]
fn powerful_namespaces_are_left_out_by_default() {
    let (folder, root) = target();
    let names = ["security.selinux", "trusted.x", "system.nfs4_acl", "system.cifs_ntsd"];
    let mut meta = plain(0o600);
    meta.xattrs = names.map(|name| xattr(name, "1")).to_vec();
    let wanted = names.map(|name| Note::Skipped(Aspect::Xattr(name.as_bytes().to_vec())));
    assert_eq!(file(&root, &meta, &safe()), wanted);
    assert_eq!(got(&folder).xattrs, []);
    let notes = file(&root, &meta, &privileged());
    assert!(notes.iter().all(|note| matches!(note, Note::Refused { .. })), "{notes:?}");
}

#[test]
fn an_impossible_owner_is_an_error_only_where_the_policy_is_strict() {
    let (folder, root) = target();
    let meta = Meta { uid: u32::MAX, gid: 7, ..plain(0o640) };
    let strict = Policy { ownership: Ownership::Numeric, strict_owner: true, ..safe() };
    let temp = root.dir().create_temp(&name("f")).expect("made");
    let refused = temp.commit(&meta, &strict).expect_err("nobody has that number");
    assert_eq!(refused.to_string(), "cannot give \"f\" to user 4294967295 and group 7");
    assert!(root.dir().names().expect("names").is_empty());
    let lenient = Policy { strict_owner: false, ..strict };
    let refused = Note::Refused { aspect: Aspect::Owner, error: Errno::INVAL };
    assert_eq!(file(&root, &meta, &lenient), [refused]);
    assert_eq!(got(&folder).mode, 0o640);
}

#[test]
fn owners_go_by_name_where_the_name_is_known() {
    if !running_as_root() {
        return;
    }
    let (folder, root) = target();
    let (passwd, group) = (folder.path().join("passwd"), folder.path().join("group"));
    fs::write(&passwd, "ada:x:4242:1:::\n").expect("written");
    fs::write(&group, "crew:x:4343:\n").expect("written");
    let names = Arc::new(OwnerNames::from_files(&passwd, &group, None));
    let policy = Policy { ownership: Ownership::ByName(names), ..safe() };
    let mut meta = someone(0o600);
    meta.user = Some("ada".into());
    meta.group = Some("crew".into());
    assert_eq!(file(&root, &meta, &policy), []);
    assert_eq!((got(&folder).uid, got(&folder).gid), (4242, 4343));
    meta.user = Some("eve".into());
    meta.group = None;
    assert_eq!(file(&root, &meta, &policy), []);
    assert_eq!((got(&folder).uid, got(&folder).gid), (meta.uid, meta.gid));
}

#[test]
fn without_rights_the_content_still_comes_back() {
    let (folder, root) = target();
    let path = folder_of(&folder);
    as_nobody(&path, || {
        let me = plain(0).uid;
        let mut meta = Meta { uid: 0, gid: 0, ..plain(0o4444) };
        // Read-only, so this attribute must be set before the mode is.
        let attributes = has_xattrs(&path);
        meta.xattrs.extend(attributes.then(|| xattr("user.x", "1")));
        let policy = Policy { privileged: true, ..Policy::safe(Overwrite::Replace) };
        assert!(matches!(policy.ownership, Ownership::CurrentUser));
        assert_eq!(file(&root, &meta, &policy), [Note::Skipped(Aspect::SpecialBits)]);
        assert_eq!((got(&folder).uid, got(&folder).mode), (me, 0o444));
        assert_eq!(got(&folder).xattrs.len(), usize::from(attributes));

        let numeric = Policy { ownership: Ownership::Numeric, ..safe() };
        let notes = file(&root, &Meta { mode: 0o440, ..meta }, &numeric);
        assert_eq!(notes, [Note::Refused { aspect: Aspect::Owner, error: Errno::PERM }]);
        assert_eq!((got(&folder).uid, got(&folder).mode), (me, 0o440));
    });
}
