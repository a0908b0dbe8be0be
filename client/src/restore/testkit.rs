//! What the tests of this folder share.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::policy::{Note, Overwrite, Ownership, Policy};
use super::root::{Root, TempNames};
use crate::scan::os::{Dir, fstat, running_as_root};
use crate::scan::xattrs::xattrs_of_fd;
use crate::tree::entry::{FileTime, Meta, Name, Xattr};

/// 1, 2, 3, …
#[derive(Debug, Default)]
pub(super) struct Counted(AtomicU64);

impl TempNames for Counted {
    fn next(&self) -> io::Result<[u8; 8]> {
        Ok((self.0.fetch_add(1, Ordering::Relaxed) + 1).to_le_bytes())
    }
}

/// A folder with a directory `target` in it. Removed in the end, with whatever modes there are.
#[derive(Debug)]
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What `TempDir` cannot remove: directories without rights, and very deep ones.
        for program in ["chmod -R u+rwx", "rm -rf"] {
            let mut words = program.split(' ');
            let mut command = std::process::Command::new(words.next().unwrap_or_default());
            command.args(words).arg(self.path().join("target"));
            command.stderr(std::process::Stdio::null()).status().ok();
        }
    }
}

pub(super) fn target() -> (Folder, Root) {
    target_in(&std::env::temp_dir()).expect("a directory")
}

/// `None` where there is no such place.
pub(super) fn target_in(place: &Path) -> Option<(Folder, Root)> {
    let folder = Folder(tempfile::tempdir_in(place).ok()?);
    let root = root_at(&folder.path().join("target"));
    Some((folder, root))
}

pub(super) fn root_at(path: &Path) -> Root {
    Root::open(path, Arc::new(Counted::default())).expect("opens")
}

/// As [`target`], once as it is here and once as on a file system that has no files without names.
pub(super) fn targets() -> [(Folder, Root); 2] {
    let (here, without) = (target(), target());
    without.1.dir().unnamed().refuse();
    [here, without]
}

pub(super) fn name(text: impl AsRef<[u8]>) -> Name {
    Name::new(text.as_ref()).expect("a name")
}

pub(super) fn safe() -> Policy {
    Policy::safe(Overwrite::Replace)
}

pub(super) fn never() -> Policy {
    Policy::safe(Overwrite::Never)
}

pub(super) fn privileged() -> Policy {
    Policy { privileged: true, ..safe() }
}

/// A policy that sets no owner.
pub(super) fn unowned() -> Policy {
    Policy { ownership: Ownership::CurrentUser, ..safe() }
}

/// Metadata that anyone can restore: owned by whoever runs the test.
pub(super) fn plain(mode: u32) -> Meta {
    Meta {
        mode,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: FileTime { seconds: 1_234_567_890, nanos: 123_456_789 },
        ..Meta::default()
    }
}

/// Metadata with an owner that only root can restore.
pub(super) fn someone(mode: u32) -> Meta {
    if running_as_root() { Meta { uid: 12_345, gid: 54_321, ..plain(mode) } } else { plain(mode) }
}

pub(super) fn xattr(name: &str, value: impl AsRef<[u8]>) -> Xattr {
    Xattr { name: name.as_bytes().to_vec(), value: value.as_ref().to_vec() }
}

/// What a backup would record of an entry.
pub(super) fn captured(folder: &Path, name: &Name) -> Meta {
    let dir = Dir::open_root(folder).expect("opens");
    let stat = dir.stat(name).expect("stat");
    Meta { xattrs: dir.xattrs_of(name).expect("attributes"), ..stat.meta() }
}

/// What a backup would record of an open directory.
pub(super) fn captured_open(dir: &Dir) -> Meta {
    let stat = fstat(dir).expect("stat");
    Meta { xattrs: xattrs_of_fd(dir).expect("attributes"), ..stat.meta() }
}

/// Whether files here can have attributes under `user.`, and ACLs.
pub(super) fn has_xattrs(folder: &Path) -> bool {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(folder, "user.probe", b"1", flags).is_ok()
        && rustix::fs::removexattr(folder, "user.probe").is_ok()
}

/// A POSIX ACL as the kernel takes it, from `(tag, rights, id)`.
pub(super) fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0];
    for &(tag, rights, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// `user::rw-, user:1000:rwx, group::r--, mask::rwx, other::---`: mode 0670.
pub(super) fn wide_acl() -> Vec<u8> {
    let none = u32::MAX;
    acl(&[(1, 6, none), (2, 7, 1000), (4, 4, none), (16, 7, none), (32, 0, none)])
}

/// Names that are in the target and look like unfinished files.
pub(super) fn leftovers(root: &Root) -> Vec<Name> {
    let names = root.dir().names().expect("names");
    names.iter().map(|(name, _)| name).filter(super::root::is_temp_name).collect()
}

/// Runs `work` without root's rights: on a thread that becomes nobody, and owns `folder`.
pub(super) fn as_nobody(folder: &Path, work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if running_as_root() {
                let (user, group) = (65_534, 65_534);
                std::os::unix::fs::chown(folder, Some(user), Some(group)).expect("given away");
                let parent = folder.parent().expect("a temporary directory");
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
                std::fs::set_permissions(parent, mode).expect("passable");
                let (user, group) =
                    (rustix::process::Uid::from_raw(user), rustix::process::Gid::from_raw(group));
                rustix::thread::set_thread_groups(&[]).expect("no groups");
                rustix::thread::set_thread_res_gid(group, group, group).expect("nobody's group");
                rustix::thread::set_thread_res_uid(user, user, user).expect("nobody");
            }
            work();
        });
    });
}

/// Restores the file `f` with this metadata.
pub(super) fn file(root: &Root, meta: &Meta, policy: &Policy) -> Vec<Note> {
    let file = root.dir().create_temp(&name("f")).expect("made");
    file.write_all_at(b"content", 0).expect("written");
    file.commit(meta, policy).expect("placed")
}

pub(super) fn folder_of(folder: &Folder) -> PathBuf {
    folder.path().join("target")
}

/// What a backup would record of that file, whose content must be there.
pub(super) fn captured_file(folder: &Folder) -> Meta {
    assert_eq!(std::fs::read(folder_of(folder).join("f")).expect("read"), b"content");
    captured(&folder_of(folder), &name("f"))
}
