//! Files that cannot be read, or not in peace: told one by one, exit code 3, and the rest is safe.

use std::fs::{self, File};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use unseen_tests::trees::{self, build};
use unseen_tests::{is_root, world};

/// A file that nobody may read, root neither: it is there only to be written to.
const UNREADABLE: &str = "/sys/bus/cpu/uevent";

#[test]
fn unreadable_files_are_told_and_the_rest_is_safe() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    build::write(&source, "good", "x");
    let closed = source.join("closed folder");
    build::write(&closed, "in", "x");
    build::chmod(&build::write(&source, "closed", "x"), 0);
    build::chmod(&closed, 0);
    let path = source.to_str().unwrap();
    let ran = machine.exits(3, &["run", UNREADABLE, path]);
    let json = machine.exits(3, &["run", "--json", UNREADABLE, path]);
    build::chmod(&closed, 0o700);
    let mut told = vec![UNREADABLE];
    if !is_root() {
        told.extend(["source/closed", "source/closed folder"]);
    }
    for file in told {
        let named = |line: &str| line.contains(&format!("{file}: ")) && line.contains("denied");
        assert!(ran.err.lines().any(named), "{file} is not told: {ran}");
    }
    let errors = json.err.lines().filter(|line| line.contains(r#""message_type":"error""#));
    assert_eq!(errors.count(), if is_root() { 1 } else { 3 }, "{json}");
    let target = world.path("target");
    machine.restore("latest", &target, &[]);
    let good = trees::beneath(&target, &source.join("good"));
    assert_eq!(fs::read(good).unwrap(), b"x");
}

/// Files that grow, shrink and vanish while they are read: the run ends with 0 or 3, and what was
/// quiet is whole.
#[test]
fn files_that_change_while_they_are_read_spoil_nothing() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    let quiet = source.join("quiet");
    build::contents(&quiet);
    let wanted = trees::capture(&quiet);
    let restless = world.folder("source/restless");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        let restless = &restless;
        scope.spawn(move || {
            let mut n = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let path = |k: u64| restless.join(format!("{}", k % 50));
                build::write(restless, path(n), build::noise(n, 40_000));
                if let Ok(mut file) = File::options().append(true).open(path(n / 2)) {
                    file.write_all(b"more").ok();
                }
                if let Ok(file) = File::options().write(true).open(path(n / 3)) {
                    file.set_len(n % 30_000).ok();
                }
                fs::remove_file(path(n + 25)).ok();
                fs::rename(path(n + 7), path(n + 13)).ok();
            }
        });
        for _ in 0..4 {
            let ran = machine.run(&["run", source.to_str().unwrap()]);
            assert!(matches!(ran.code, Some(0 | 3)), "{ran}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    let target = world.path("target");
    machine.restore("latest", &target, &[]);
    let restored = trees::capture(&trees::beneath(&target, &quiet));
    trees::assert_same(&wanted, &restored);
    machine.ok(&["check", "--read-data"]);
}

#[test]
fn a_path_that_is_not_there_is_an_error_before_anything_is_stored() {
    let world = world!();
    let (machine, vault) = world.local();
    let before = trees::files(&vault.join("accounts"));
    let ran = machine.exits(1, &["run", "no such path"]);
    assert!(ran.err.contains("no such path"), "{ran}");
    assert_eq!(trees::files(&vault.join("accounts")), before);
}

#[test]
fn damage_is_found_named_and_costs_no_more_than_it_hit() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    build::write(&source, "first", build::noise(1, 400_000));
    machine.back_up(&source, &[]);
    let early = trees::packs(&vault);
    build::write(&source, "second", build::noise(2, 400_000));
    machine.back_up(&source, &[]);
    machine.ok(&["check", "--read-data"]);
    let packs = trees::packs(&vault);
    let (later, size) = packs.iter().find(|pack| !early.contains(pack)).unwrap();
    let mut bytes = fs::read(later).unwrap();
    let middle = usize::try_from(size / 2).unwrap();
    bytes[middle] ^= 1;
    build::chmod(later, 0o600);
    fs::write(later, bytes).unwrap();
    let ran = machine.exits(20, &["check", "--read-data"]);
    assert!(!ran.err.is_empty() || !ran.out.is_empty());
    let target = world.path("target");
    let ran = machine.run(&["restore", "latest", "--target", target.to_str().unwrap()]);
    assert!(matches!(ran.code, Some(1 | 20)), "{ran}");
    assert!(ran.err.contains("second"), "the lost file is named: {ran}");
    let first = trees::beneath(&target, &source.join("first"));
    assert_eq!(fs::read(first).unwrap(), build::noise(1, 400_000));
    assert!(!trees::beneath(&target, &source.join("second")).exists());
}
