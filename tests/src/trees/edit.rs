//! Random trees and random changes to them, for property tests.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::build::{chmod, name, noise, set_mtime};

/// One change. Numbers choose among what is there; what does not fit is left undone.
#[derive(Debug, Clone)]
pub enum Edit {
    /// A new file, or new contents for one: folder, name, seed and length.
    Write(usize, Vec<u8>, u64, usize),
    /// Contents of the same length and time as before: only its ctime tells.
    Sneak(usize, u64),
    /// More at the end.
    Append(usize, usize),
    /// A shorter file.
    Truncate(usize, usize),
    /// A new folder.
    Folder(usize, Vec<u8>),
    /// A new symbolic link.
    Link(usize, Vec<u8>, Vec<u8>),
    /// Another name for a file.
    Hard(usize, usize, Vec<u8>),
    /// Other permissions.
    Mode(usize, u32),
    /// Another time.
    Time(usize, i64, i64),
    /// Into another folder.
    Move(usize, usize, Vec<u8>),
    /// Away with it and all beneath.
    Remove(usize),
}

/// A script of at most this many changes.
pub fn script(most: usize) -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec(edit(), 1..=most)
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = || any::<usize>();
    let seed = || 0_u64..20;
    prop_oneof![
        6 => (at(), names(), seed(), lengths()).prop_map(|(f, n, s, l)| Edit::Write(f, n, s, l)),
        2 => (at(), seed()).prop_map(|(f, s)| Edit::Sneak(f, s)),
        2 => (at(), lengths()).prop_map(|(f, l)| Edit::Append(f, l)),
        1 => (at(), 0_usize..5000).prop_map(|(f, l)| Edit::Truncate(f, l)),
        3 => (at(), names()).prop_map(|(f, n)| Edit::Folder(f, n)),
        1 => (at(), names(), names()).prop_map(|(f, n, t)| Edit::Link(f, n, t)),
        1 => (at(), at(), names()).prop_map(|(f, d, n)| Edit::Hard(f, d, n)),
        1 => (at(), 0_u32..0o1000).prop_map(|(f, m)| Edit::Mode(f, m | 0o600)),
        1 => (at(), -10_i64..4_000_000_000, 0_i64..1_000_000_000)
            .prop_map(|(f, s, n)| Edit::Time(f, s, n)),
        2 => (at(), at(), names()).prop_map(|(f, d, n)| Edit::Move(f, d, n)),
        1 => at().prop_map(Edit::Remove),
    ]
}

/// Few short names, so that scripts meet themselves, and any others.
fn names() -> impl Strategy<Value = Vec<u8>> {
    let any_name = prop::collection::vec(any::<u8>(), 1..40).prop_filter("no name", |name| {
        !name.contains(&b'/') && !name.contains(&0) && name != b"." && name != b".."
    });
    prop_oneof![
        4 => prop::sample::select(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]),
        1 => any_name,
    ]
}

/// Mostly small; some with several chunks.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![1 => Just(0_usize), 12 => 1_usize..4000, 3 => 4000_usize..200_000,
                1 => 900_000_usize..2_500_000]
}

/// Does what the script says to the tree at `root`.
pub fn apply(root: &Path, script: &[Edit]) {
    for edit in script {
        one(root, edit).ok();
    }
}

/// Errors are of no interest: a folder may stand where a file is to go.
fn one(root: &Path, edit: &Edit) -> std::io::Result<()> {
    match edit {
        Edit::Write(at, called, seed, length) => {
            fs::write(folder(root, *at).join(name(called)), noise(*seed, *length))
        }
        Edit::Sneak(at, seed) => sneak(&file(root, *at)?, *seed),
        Edit::Append(at, length) => {
            fs::File::options().append(true).open(file(root, *at)?)?.write_all(&noise(99, *length))
        }
        Edit::Truncate(at, length) => {
            let path = file(root, *at)?;
            let length = path.metadata()?.len().min(u64::try_from(*length).unwrap());
            fs::File::options().write(true).open(path)?.set_len(length)
        }
        Edit::Folder(at, called) => fs::create_dir(folder(root, *at).join(name(called))),
        Edit::Link(at, called, target) => {
            symlink(name(target), folder(root, *at).join(name(called)))
        }
        Edit::Hard(at, to, called) => {
            fs::hard_link(file(root, *at)?, folder(root, *to).join(name(called)))
        }
        Edit::Mode(at, mode) => {
            chmod(&file(root, *at)?, *mode);
            Ok(())
        }
        Edit::Time(at, seconds, nanos) => {
            set_mtime(&thing(root, *at)?, *seconds, *nanos);
            Ok(())
        }
        Edit::Move(at, to, called) => {
            fs::rename(thing(root, *at)?, folder(root, *to).join(name(called)))
        }
        Edit::Remove(at) => {
            let path = thing(root, *at)?;
            if path.symlink_metadata()?.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
        }
    }
}

fn sneak(path: &Path, seed: u64) -> std::io::Result<()> {
    let meta = path.metadata()?;
    let times = fs::FileTimes::new().set_modified(meta.modified()?);
    let bytes = noise(seed, usize::try_from(meta.len()).unwrap());
    let mut file = fs::File::options().write(true).open(path)?;
    file.write_all(&bytes)?;
    file.set_times(times)
}

fn folder(root: &Path, at: usize) -> PathBuf {
    let mut folders = vec![root.to_path_buf()];
    folders.extend(things(root).into_iter().filter(|path| is_folder(path)));
    folders.swap_remove(at % folders.len())
}

fn file(root: &Path, at: usize) -> std::io::Result<PathBuf> {
    let mut files = things(root);
    files.retain(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_file()));
    pick(files, at)
}

fn thing(root: &Path, at: usize) -> std::io::Result<PathBuf> {
    pick(things(root), at)
}

fn pick(mut among: Vec<PathBuf>, at: usize) -> std::io::Result<PathBuf> {
    if among.is_empty() {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    let at = at % among.len();
    Ok(among.swap_remove(at))
}

fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

/// Everything beneath, in the order of names: the same script does the same every time.
fn things(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if is_folder(&entry.path()) {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    found
}
