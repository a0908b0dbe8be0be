//! Reads everything about a tree, by descriptors: paths may be longer than `PATH_MAX`.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, Mode, OFlags, Stat};

use super::{Facts, Tree};

/// Reads the tree at `root`.
pub fn capture(root: &Path) -> Tree {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = fs::open(root, flags, Mode::empty())
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut captured = Capture::default();
    let stat = fs::fstat(&folder).unwrap();
    captured.add(&folder, Vec::new(), b".", &stat);
    captured.folder(&folder, &[]);
    captured.tree
}

#[derive(Default)]
struct Capture {
    tree: Tree,
    first: BTreeMap<(u64, u64), Vec<u8>>,
}

impl Capture {
    fn folder(&mut self, folder: &OwnedFd, path: &[u8]) {
        let mut names: Vec<Vec<u8>> = fs::Dir::read_from(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_bytes().to_vec())
            .filter(|name| name != b"." && name != b"..")
            .collect();
        names.sort();
        for name in names {
            let mut path = path.to_vec();
            path.push(b'/');
            path.extend_from_slice(&name);
            let stat = fs::statat(folder, &name[..], AtFlags::SYMLINK_NOFOLLOW).unwrap();
            self.add(folder, path.clone(), &name, &stat);
            if fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                let beneath = fs::openat(folder, &name[..], flags, Mode::empty()).unwrap();
                self.folder(&beneath, &path);
            }
        }
    }

    fn add(&mut self, folder: &OwnedFd, path: Vec<u8>, name: &[u8], stat: &Stat) {
        let kind = fs::FileType::from_raw_mode(stat.st_mode);
        let mut facts = Facts {
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap()),
            xattrs: xattrs(folder, name),
            ..Facts::default()
        };
        if kind.is_file() {
            facts.size = u64::try_from(stat.st_size).unwrap();
            facts.content = Some(content(folder, name));
        }
        if kind.is_symlink() {
            let target = fs::readlinkat(folder, name, Vec::new()).unwrap();
            facts.target = Some(target.into_bytes());
        }
        if kind.is_char_device() || kind.is_block_device() {
            facts.device = stat.st_rdev;
        }
        if !kind.is_dir() && stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            facts.same_as = Some(self.first.entry(inode).or_insert(path.clone()).clone());
        }
        self.tree.insert(path, facts);
    }
}

fn content(folder: &OwnedFd, name: &[u8]) -> [u8; 32] {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = fs::openat(folder, name, flags, Mode::empty()).unwrap();
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::from(file)).unwrap();
    hasher.finalize().into()
}

/// All extended attributes but the one that is a label of this very machine's policy.
fn xattrs(folder: &OwnedFd, name: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let mut list = vec![0; 64 * 1024];
    let length = match fs::llistxattr(&path[..], &mut list) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => panic!("extended attributes of {}: {error}", name.escape_ascii()),
    };
    let names = list[..length].split(|&byte| byte == 0);
    let mut found = BTreeMap::new();
    for name in names.filter(|name| !name.is_empty() && *name != b"security.selinux") {
        let mut value = vec![0; 64 * 1024];
        let length = fs::lgetxattr(&path[..], name, &mut value).unwrap();
        value.truncate(length);
        found.insert(name.to_vec(), value);
    }
    found
}
