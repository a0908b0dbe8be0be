//! What is large: a directory of very many entries, files of several pieces, and Ctrl-C in one.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Child;

use rustix::process::{Pid, Signal};
use unseen_tests::trees::{self, build};
use unseen_tests::watch::Watch;
use unseen_tests::world;

const MIB: u64 = 1 << 20;
/// A longer file is read in pieces of this many bytes.
const PIECE: u64 = 256 * MIB;

/// Names of one file each in so many; a file system has a limit.
const NAMES: usize = 10_000;

/// Makes a directory of this many entries: names of a few files, and of empty ones.
fn crowd(folder: &Path, entries: usize) {
    let mut first = None;
    for n in 0..entries {
        let path = folder.join(format!("entry {n:07} {:x}", n.wrapping_mul(0x9e37_79b9)));
        match &first {
            Some(first) if n % NAMES != 0 => fs::hard_link(first, &path).unwrap(),
            _ => {
                fs::write(&path, if n % (2 * NAMES) == 0 { format!("{n}") } else { String::new() })
                    .unwrap();
                first = Some(path);
            }
        }
    }
}

/// Names and lengths of what is in a directory.
fn names(folder: &Path) -> BTreeSet<(Vec<u8>, u64)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|entry| {
        let name = std::os::unix::ffi::OsStringExt::into_vec(entry.file_name());
        (name, entry.metadata().unwrap().len())
    });
    named.collect()
}

fn crowd_comes_back(entries: usize) {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    crowd(&source, entries);
    let wanted = names(&source);
    assert_eq!(wanted.len(), entries);
    let count = entries as u64;

    let first = machine.back_up(&source, &[]);
    assert_eq!((first.number("files_new"), first.number("errors")), (count, 0));
    let second = machine.back_up(&source, &[]);
    assert_eq!(second.number("files_unmodified"), count);
    assert_eq!(second.number("packs_uploaded"), 0, "{second:?}");
    // One more: next to nothing is written anew.
    build::write(&source, "one more", "x");
    let third = machine.back_up(&source, &[]);
    assert_eq!((third.number("files_new"), third.number("files_unmodified")), (1, count));
    assert!(third.number("data_uploaded") < MIB, "{third:?}");
    fs::remove_file(source.join("one more")).unwrap();

    let target = world.path("target");
    machine.restore(&second.snapshot(), &target, &[]);
    let restored = trees::beneath(&target, &source);
    let got = names(&restored);
    assert!(got == wanted, "{} names of {}", got.len(), wanted.len());
    let inodes = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().metadata().unwrap().ino()).collect::<BTreeSet<_>>().len()
    };
    assert_eq!(inodes(&restored), inodes(&source));
}

#[test]
fn a_directory_of_a_hundred_thousand_entries_comes_back() {
    crowd_comes_back(100_000);
}

/// The same at full size: some minutes with programs that are not optimised.
#[test]
#[ignore = "takes minutes: cargo test --release -p unseen-tests --test e2e million -- --ignored"]
fn a_directory_of_a_million_entries_comes_back() {
    crowd_comes_back(1_000_000);
}

/// Puts noise at these places of a file of this length.
fn islands(path: &Path, length: u64, places: &[(u64, usize)]) {
    let file = File::options().create(true).truncate(false).write(true).open(path).unwrap();
    file.set_len(length).unwrap();
    for &(at, bytes) in places {
        file.write_all_at(&build::noise(at, bytes), at).unwrap();
    }
}

fn assert_same_bytes(one: &Path, other: &Path) {
    let (mut one, mut other) = (File::open(one).unwrap(), File::open(other).unwrap());
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for at in 0_u64.. {
        let read = one.read(&mut left).unwrap();
        other.read_exact(&mut right[..read]).unwrap();
        assert!(left[..read] == right[..read], "they differ near MiB {at}");
        if read == 0 {
            break;
        }
    }
    assert_eq!(other.read(&mut right).unwrap(), 0, "one is longer");
}

#[test]
fn a_file_of_several_pieces_comes_back_with_its_holes() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    let file = source.join("image");
    let length = 600 * MIB + 123;
    // On both sides of each border between two pieces, at the borders, and at both ends.
    let places = [
        (0, 5000),
        (PIECE - 100_000, 200_000),
        (PIECE + 5 * MIB, 3_000_000),
        (2 * PIECE - 4096, 4096),
        (2 * PIECE + 4096, 4096),
        (length - 3000, 3000),
    ];
    islands(&file, length, &places);
    let first = machine.back_up(&source, &[]);
    assert_eq!(first.number("total_bytes_processed"), length);
    let as_was = world.path("as was");
    trees::tool("cp", &["--sparse=always".as_ref(), file.as_os_str(), as_was.as_os_str()]);

    // Changed in the middle, across a border.
    islands(&file, length, &[(PIECE - 1000, 2000), (PIECE + 40 * MIB, 100_000)]);
    let second = machine.back_up(&source, &[]);
    assert_eq!(second.number("files_changed"), 1);
    assert!(second.number("data_added") < MIB, "only what changed is added: {second:?}");

    for (snapshot, wanted) in [(&first, &as_was), (&second, &file)] {
        let target = world.path(format!("target of {}", snapshot.snapshot()));
        machine.restore(&snapshot.snapshot(), &target, &[]);
        let restored = trees::beneath(&target, &file);
        assert_same_bytes(wanted, &restored);
        let blocks = |path: &Path| path.metadata().unwrap().blocks();
        assert!(blocks(&restored) <= blocks(wanted) + 64, "holes were filled");
        assert!(blocks(&restored) * 512 < 16 * MIB);
    }
    let third = machine.back_up(&source, &[]);
    assert_eq!((third.number("files_unmodified"), third.number("packs_uploaded")), (1, 0));
}

/// Sends Ctrl-C after so many files were made in a folder.
fn interrupt(child: &Child, folder: &Path, events: usize) {
    let watch = Watch::new(&[folder.to_path_buf()], Pid::from_child(child));
    assert!(watch.signal_after(events, Signal::INT), "the run was over before");
}

/// Ctrl-C in the middle of a file of 20 GiB: what was read so far is kept and not sent again.
#[test]
fn ctrl_c_in_a_long_file_keeps_what_was_sent() {
    let world = world!();
    let (machine, vault) = world.local();
    let small = build::write(&world.path("first"), "file", "x");
    machine.back_up(&small, &[]);
    let shelf = trees::packs(&vault)[0].0.parent().unwrap().to_path_buf();
    let source = world.folder("source");
    build::write(&source, "a short one", "short");
    let data = 16 * MIB;
    let places: Vec<(u64, usize)> =
        (0..8).map(|n| (n * 2500 * MIB, usize::try_from(data).unwrap())).collect();
    islands(&source.join("long"), 20 << 30, &places);
    let all = data * places.len() as u64;

    let path = source.to_str().unwrap();
    let child = machine.spawn(&["run", "--json", path]);
    interrupt(&child, &shelf, 3);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains(r#""status":"checkpoint""#), "a checkpoint is kept: {out}");
    let kept = machine.ok(&["ls", "latest", "--set", path]);
    assert!(kept.text().contains("a short one") && !kept.text().contains("long"), "{kept}");

    let sent: u64 = trees::packs(&vault).iter().map(|pack| pack.1).sum();
    assert!(sent > 16 * MIB && sent < all, "{sent} bytes of {all} were sent");
    let second = machine.back_up(&source, &[]);
    let added = second.number("data_added");
    // A chunk at each end of what was read may be cut otherwise.
    assert!(added <= all - sent + 8 * MIB, "{added} bytes after {sent} of {all}");
    let target = world.path("target");
    machine.restore("latest", &target, &["--set", path]);
    let restored = trees::beneath(&target, &source.join("long"));
    for (at, length) in places {
        let mut got = vec![0; length];
        File::open(&restored).unwrap().read_exact_at(&mut got, at).unwrap();
        assert!(got == build::noise(at, length), "at {at}");
    }
    assert_eq!(restored.metadata().unwrap().len(), 20 << 30);
}
