//! A server on a disk that is really full: it takes nothing, loses nothing, and says so.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use unseen_tests::eager::Eager;
use unseen_tests::trees::{self, Tree, build};
use unseen_tests::{Machine, Ran, World, is_root, world};

const EAGER: &str = env!("CARGO_BIN_EXE_unseen-test-eager-server");

/// A disk of its own, in memory. It lies outside the room of the test: should this process be
/// killed, what is left mounted is in nobody's way.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// Of so many MiB. Nothing, and the reason is printed, where none can be mounted.
    fn mount(mib: u32) -> Option<Self> {
        if !is_root() {
            println!("skipped: only root can mount a disk");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m");
        let words = ["-t", "tmpfs", "-o", &size, "none"];
        let mounted = Command::new("mount").args(words).arg(dir.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { dir }),
            other => {
                println!("skipped: no disk can be mounted here: {other:?}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes it larger.
    fn resize(&self, mib: u32) {
        let size = format!("remount,size={mib}m");
        trees::tool("mount", &["-o".as_ref(), size.as_ref(), self.path().as_os_str()]);
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.path()).unwrap();
        found.f_bavail * found.f_frsize
    }

    /// Somebody else's file takes all that is free, to the last byte.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("somebody else's");
        let mut file = File::options().create(true).append(true).open(&path).unwrap();
        for piece in [1 << 20, 4096, 1] {
            let bytes = vec![7; piece];
            while file.write_all(&bytes).is_ok() {}
        }
        assert_eq!(self.free(), 0);
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let gone = Command::new("umount").arg(self.path()).status();
        if !gone.is_ok_and(|status| status.success()) {
            // Somebody still has a file of it open: it goes with them.
            Command::new("umount").arg("-l").arg(self.path()).status().ok();
        }
    }
}

/// Something that is backed up, its snapshot, and what it was then.
struct Saved {
    source: PathBuf,
    id: String,
    tree: Tree,
}

impl Saved {
    fn new(machine: &Machine, world: &World, name: &str, megabytes: u64) -> Self {
        let source = world.folder(name);
        noise(&source, name.len() as u64 * 1000, megabytes);
        let id = machine.back_up(&source, &[]).snapshot();
        Self { tree: trees::capture(&source), source, id }
    }

    fn restores(&self, machine: &Machine) {
        machine.restores_to(&self.id, &self.source, &self.tree);
    }
}

fn noise(source: &Path, seed: u64, megabytes: u64) {
    for n in 0..megabytes {
        build::write(source, format!("{seed} {n}"), build::noise(seed + n, 1_000_000));
    }
}

/// It ends with the code for a full vault, and says whose disk it is: who may not reach that one
/// cannot free space on it.
fn is_told(machine: &Machine, source: &Path, is_local: bool) -> Ran {
    let ran = machine.exits(23, &["run", source.to_str().unwrap()]);
    let of_server = ["the server's disk is full", "ask whoever runs the server"];
    let local = ["the disk that holds the vault is full", "free space where the vault is"];
    let all = |words: [&str; 2]| words.iter().all(|words| ran.err.contains(words));
    assert!(all(if is_local { local } else { of_server }), "{ran}");
    ran
}

fn snapshots(machine: &Machine) -> usize {
    machine.ok(&["snapshots", "--json"]).text().matches("\"short_id\"").count()
}

/// Everything that writes no pack.
fn all_else_works(machine: &Machine, saved: &[&Saved]) {
    for saved in saved {
        saved.restores(machine);
        machine.ok(&["ls", &saved.id]);
    }
    machine.ok(&["check", "--read-data"]);
    machine.ok(&["policy", "show"]);
    machine.ok(&["privacy"]);
}

#[test]
fn a_full_disk_takes_nothing_loses_nothing_and_says_so() {
    let world = world!();
    let Some(disk) = Disk::mount(40) else { return };
    // What the server logs goes to the same disk, beside the folder.
    let data = disk.path().join("data");
    let mut server = world.server_with(data.to_str().unwrap(), &["--reserve", "64MiB"]);
    let machine = world.machine("home");
    let kit = machine.init_remote(&server.invite(&[]));
    let machine = machine.with("BACKUP_RECOVERY_CODE", kit.code);
    let kept = Saved::new(&machine, &world, "kept", 2);
    let goes = Saved::new(&machine, &world, "goes away", 8);
    assert_eq!(snapshots(&machine), 2);

    // A run into the full disk. What it sent stays, and is no snapshot.
    let large = world.folder("large");
    noise(&large, 1_000_000, 34);
    is_told(&machine, &large, false);
    assert_eq!(snapshots(&machine), 2);
    all_else_works(&machine, &[&kept, &goes]);
    fs::remove_dir_all(&large).unwrap();
    noise(&large, 2_000_000, 2);

    // Not one byte is left. The reserve pays for records: of a policy, of what is forgotten.
    disk.fill();
    is_told(&machine, &large, false);
    all_else_works(&machine, &[&kept, &goes]);
    machine.ok(&["pin", &kept.id]);
    disk.fill();
    machine.ok(&["forget", "--yes", &goes.id]);
    disk.fill();
    is_told(&machine, &large, false);
    all_else_works(&machine, &[&kept]);
    let ran = world.backup_server(&["gc", "--data", data.to_str().unwrap()]).check(0);
    assert!(ran.text().contains("deleted    0 packs"), "its grace is not over: {ran}");
    server.stop();
    server.restart();
    all_else_works(&machine, &[&kept]);
    server.stop();

    // When its grace is over, the disk has room again.
    disk.fill();
    let before = trees::packs(&data).len();
    // It deletes as soon as it starts.
    drop(Eager::start(Path::new(EAGER), &data, server.address));
    assert!(trees::packs(&data).len() < before, "packs are deleted at 0 bytes free");
    assert!(disk.free() > 8_000_000, "{}", disk.free());
    server.restart();
    let id = machine.back_up(&large, &[]).snapshot();
    let saved = Saved { tree: trees::capture(&large), source: large.clone(), id };
    all_else_works(&machine, &[&kept, &saved]);

    // Or somebody gives it a larger one.
    let other = disk.fill();
    noise(&large, 3_000_000, 2);
    is_told(&machine, &large, false);
    disk.resize(60);
    let id = machine.back_up(&large, &[]).snapshot();
    let last = Saved { tree: trees::capture(&large), source: large, id };
    assert!(other.exists());
    all_else_works(&machine, &[&kept, &saved, &last]);
    assert_eq!(snapshots(&machine), 3);
}

/// A local vault, on a disk without a reserve.
#[test]
fn a_full_disk_of_a_local_vault_is_told_and_restores() {
    let world = world!();
    let Some(disk) = Disk::mount(16) else { return };
    let machine = world.machine("home");
    let kit = machine.init_local(&disk.path().join("vault"));
    let machine = machine.with("BACKUP_RECOVERY_CODE", kit.code);
    let kept = Saved::new(&machine, &world, "kept", 2);
    let large = world.folder("large");
    noise(&large, 1_000_000, 20);
    is_told(&machine, &large, true);
    let other = disk.fill();
    is_told(&machine, &large, true);
    kept.restores(&machine);
    machine.ok(&["check", "--read-data"]);
    fs::remove_file(other).unwrap();
    disk.resize(60);
    let id = machine.back_up(&large, &[]).snapshot();
    machine.restores_to(&id, &large, &trees::capture(&large));
    machine.ok(&["check", "--read-data"]);
}

/// The spool is on a disk of its own, which is too small for a pack on its way.
#[test]
fn a_client_without_room_for_its_spool_says_so_and_goes_on_when_there_is() {
    let world = world!();
    let Some(disk) = Disk::mount(24) else { return };
    let (_server, machine, _) = world.remote();
    let machine =
        machine.with("BACKUP_STATE_DIR", disk.path()).with("BACKUP_CACHE_DIR", disk.path());
    let kept = Saved::new(&machine, &world, "kept", 2);
    let large = world.folder("large");
    noise(&large, 1_000_000, 18);
    let other = disk.fill();
    let ran = machine.exits(23, &["run", large.to_str().unwrap()]);
    assert!(ran.err.contains("a disk of this machine is full, not the vault's"), "{ran}");
    assert_eq!(snapshots(&machine), 1, "half of it is no snapshot");
    fs::remove_file(other).unwrap();
    disk.resize(100);
    let id = machine.back_up(&large, &[]).snapshot();
    machine.restores_to(&id, &large, &trees::capture(&large));
    kept.restores(&machine);
    machine.ok(&["check", "--read-data"]);
}
