//! Trees of files: everything about them that a backup must keep, and the hardest ones to keep.

pub mod build;
mod capture;
pub mod edit;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use capture::capture;

/// A tree: what is known about each path beneath its root; the root itself is the empty path.
pub type Tree = BTreeMap<Vec<u8>, Facts>;

/// What is known about one file, folder or other thing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of a file, in bytes.
    pub size: u64,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Of a device.
    pub device: u64,
    /// BLAKE3 of a file's contents.
    pub content: Option<[u8; 32]>,
    /// Where a symbolic link leads.
    pub target: Option<Vec<u8>>,
    /// Extended attributes: ACLs and capabilities among them.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path of the same file, if it has several.
    pub same_as: Option<Vec<u8>>,
}

/// Where `source` lies after a restore into `target`.
pub fn beneath(target: &Path, source: &Path) -> PathBuf {
    target.join(source.strip_prefix("/").unwrap())
}

/// Fails the test if the trees differ in anything.
pub fn assert_same(wanted: &Tree, got: &Tree) {
    let differences = differences(wanted, got);
    assert!(differences.is_empty(), "the trees differ:\n{differences}");
}

/// What differs, a line a path; at most the first twenty.
pub fn differences(wanted: &Tree, got: &Tree) -> String {
    let paths: std::collections::BTreeSet<_> = wanted.keys().chain(got.keys()).collect();
    let mut text = String::new();
    let differ = paths.into_iter().filter(|&path| wanted.get(path) != got.get(path));
    for path in differ.take(20) {
        let shown = String::from_utf8_lossy(path.get(path.len().saturating_sub(120)..).unwrap());
        writeln!(text, "{shown:?}").unwrap();
        writeln!(text, "  wanted {:?}", wanted.get(path)).unwrap();
        writeln!(text, "  got    {:?}", got.get(path)).unwrap();
    }
    text
}

/// What `rsync` would do to make `copy` equal to `source`: nothing, if the copy is faithful.
pub fn rsync_differences(source: &Path, copy: &Path) -> String {
    let slash = |path: &Path| {
        let mut path = path.as_os_str().to_owned();
        path.push("/");
        path
    };
    let words = ["-naHAXc", "--delete", "--itemize-changes"].map(OsStr::new);
    tool("rsync", &[&words[..], &[&slash(source), &slash(copy)]].concat())
}

/// What a program of the system prints; it must succeed.
pub fn tool<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| {
        panic!("{program}: {error} (apt-get install rsync attr acl libcap2-bin)")
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {}\n{text}{error}", output.status);
    text
}

/// The files beneath a folder with their sizes, in order; links are not followed.
pub fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                folders.push(entry.path());
            } else if meta.is_file() {
                found.push((entry.path(), meta.len()));
            }
        }
    }
    found.sort();
    found
}

/// The packs in a vault's folder, with their sizes.
pub fn packs(vault: &Path) -> Vec<(PathBuf, u64)> {
    let is_pack = |path: &Path| path.components().any(|part| part.as_os_str() == "packs");
    let mut packs = files(vault);
    packs.retain(|(path, _)| is_pack(path));
    packs
}

/// Copies a folder as it is.
pub fn copy(from: &Path, to: &Path) {
    tool("cp", &["-a".as_ref(), from.as_os_str(), to.as_os_str()]);
}

/// A path as bytes.
pub fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}
