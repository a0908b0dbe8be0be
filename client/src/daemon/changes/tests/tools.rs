//! Storms as the programs make them that people have: `git` and `unzip`. Where one is missing it is
//! imitated, and said so. As in `storms.rs`, no more events at once than the kernel keeps: up to
//! six a file.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Eye, Picture, storms};

/// Whether there is such a program. If not, that is said, whatever becomes of what tests print.
fn has(tool: &str, question: &str) -> bool {
    let asked = Command::new(tool).arg(question).output();
    let there = asked.is_ok_and(|out| out.status.success());
    if !there {
        let text = format!("\nWARNING: there is no {tool} here: its storm is only imitated\n");
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
    there
}

/// Runs a program to its end, in a folder.
fn run(program: &str, args: &[&str], folder: &Path, input: &[u8]) {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder);
    // Whatever the user has told git, or whoever runs the tests from within git, is not meant.
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("GIT_") {
            command.env_remove(key);
        }
    }
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn git(args: &[&str], folder: &Path) {
    run("git", args, folder, b"");
}

/// Where a file lies, of several folders in folders.
fn path(number: usize) -> String {
    format!("p{}/q{}/r{}/f{number}", number % 5, number % 35, number % 140)
}

/// A repository with two branches: `first` has so many files; in `second` some have another content,
/// some are gone, and some are new.
fn repository(at: &Path, files: usize) {
    fs::create_dir(at).unwrap();
    git(&["init", "-q", "--bare"], at);
    let mut stream = Vec::new();
    let file = |stream: &mut Vec<u8>, number: usize, text: &str| {
        let name = path(number);
        write!(stream, "M 100644 inline {name}\ndata {}\n{text}\n", text.len()).unwrap();
    };
    let commit = |branch: &str| {
        format!(
            "commit refs/heads/{branch}\ncommitter A <a@example.com> 1800000000 +0000\ndata 0\n"
        )
    };
    stream.extend_from_slice(commit("first").as_bytes());
    for number in 0..files {
        file(&mut stream, number, &format!("{number}\n").repeat(20));
    }
    stream.extend_from_slice(commit("second").as_bytes());
    stream.extend_from_slice(b"from refs/heads/first\n");
    for number in 0..files / 2 {
        match number % 3 {
            0 => file(&mut stream, number, "something else\n"),
            1 => writeln!(stream, "D {}", path(number)).unwrap(),
            _ => file(&mut stream, files + number, "new\n"),
        }
    }
    run("git", &["fast-import", "--quiet"], at, &stream);
    git(&["symbolic-ref", "HEAD", "refs/heads/first"], at);
}

#[test]
fn a_repository_that_is_cloned_and_another_branch_that_is_checked_out() {
    let mut eye = Eye::open(|_| {});
    let bare = eye.root.with_extension("git");
    if !has("git", "--version") {
        eye.must_see(|root| storms::unpack(root, 400, 8));
        return;
    }
    repository(&bare, 3000);
    let from = format!("file://{}", bare.display());
    eye.must_see(|root| {
        git(&["-c", "gc.auto=0", "clone", "-q", &from, "clone"], root);
        assert!(root.join("clone").join(path(2999)).exists());
    });
    let clone = |root: &Path| root.join("clone");
    eye.must_see(|root| {
        // What the test itself has put into each folder is no business of git's.
        let own = clone(root).join(".git");
        for dir in Picture::of(root).dirs().filter(|dir| dir.starts_with(&own)) {
            fs::remove_file(dir.join("is it watched")).unwrap();
        }
        git(&["-c", "gc.auto=0", "checkout", "-q", "second"], &clone(root));
    });
    assert!(eye.root.join("clone").join(path(3002)).exists());
    eye.must_see(|root| fs::remove_dir_all(clone(root)).unwrap());
}

/// The check that `unzip` makes of each file.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// An archive with so many files, none of them compressed.
fn archive(at: &Path, files: u16) {
    let (mut archive, mut index) = (Vec::new(), Vec::new());
    for number in 0..files {
        let name = path(number.into());
        let data = format!("{number} ").repeat(10);
        let length = u32::try_from(data.len()).unwrap().to_le_bytes();
        // Version 1.0; no flags; stored; noon of the first of January, 2020.
        let check = crc(data.as_bytes()).to_le_bytes();
        let about = [b"\x0a\0\0\0\0\0\0\x60\x21\x50", &check[..], &length, &length].concat();
        let names = [u16::try_from(name.len()).unwrap().to_le_bytes(), [0; 2]].concat();
        let place = u32::try_from(archive.len()).unwrap().to_le_bytes();
        let head = [b"PK\x03\x04", &about[..], &names, name.as_bytes(), data.as_bytes()].concat();
        archive.extend_from_slice(&head);
        let entry = [b"PK\x01\x02\x0a\0", &about[..], &names, &[0; 10], &place, name.as_bytes()];
        index.extend_from_slice(&entry.concat());
    }
    let (count, place) = (files.to_le_bytes(), u32::try_from(archive.len()).unwrap().to_le_bytes());
    let length = u32::try_from(index.len()).unwrap().to_le_bytes();
    let end = [&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &length, &place, &[0; 2]].concat();
    fs::write(at, [archive, index, end].concat()).unwrap();
}

#[test]
fn an_archive_that_is_unpacked_and_unpacked_over_itself() {
    let mut eye = Eye::open(|_| {});
    if !has("unzip", "-v") {
        eye.must_see(|root| storms::unpack(root, 400, 8));
        return;
    }
    let zip: PathBuf = eye.root.with_extension("zip");
    archive(&zip, 2000);
    let zip = zip.to_str().unwrap();
    eye.must_see(|root| run("unzip", &["-q", zip, "-d", "unpacked"], root, b""));
    let before = Picture::of(&eye.root);
    let unpacked = eye.root.join("unpacked");
    let dirs = before.dirs().filter(|dir| dir.starts_with(&unpacked)).count();
    assert_eq!(dirs, 1 + 5 + 35 + 140);
    assert_eq!(fs::read(eye.root.join("unpacked").join(path(7))).unwrap(), b"7 ".repeat(10));
    eye.must_see(|root| run("unzip", &["-q", "-o", zip, "-d", "unpacked"], root, b""));
}
