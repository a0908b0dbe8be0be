//! Machines join a vault, twice, again and at bad moments; a copied one is stopped.

use std::fs;
use std::path::Path;

use unseen_tests::trees::{self, build};
use unseen_tests::{Machine, Server, world};

/// The head that a machine remembers, as `--log-head` takes it.
fn head(machine: &Machine) -> String {
    let pins = fs::read(machine.data().join("pins")).unwrap();
    let (before, hash) = pins.split_at(pins.len() - 32);
    // Numbers below 24 are one byte, and the hash has a head of two.
    let number = before[before.len() - 3];
    assert!(number < 24);
    hash.iter().fold(format!("{number}:"), |text, byte| format!("{text}{byte:02x}"))
}

/// Puts an older copy of a server's folder in its place.
fn roll_back(server: &mut Server, copy: &Path) {
    server.stop();
    fs::remove_dir_all(&server.data).unwrap();
    trees::copy(copy, &server.data);
    server.restart();
}

#[test]
fn a_copied_machine_is_stopped() {
    let world = world!();
    let (_server, machine, kit) = world.remote();
    let source = world.folder("source");
    build::contents(&source);
    machine.back_up(&source, &[]);
    let thief = world.machine("thief");
    fs::remove_dir(&thief.home).unwrap();
    trees::copy(&machine.home, &thief.home);
    thief.back_up(&source, &[]);

    let path = source.to_str().unwrap();
    let ran = machine.exits(21, &["run", path]);
    assert!(ran.err.contains("not by this machine"), "{ran}");
    let at = ran.err.find("--replaces ").expect("the next step") + "--replaces ".len();
    let device = ran.err[at..at + 8].to_owned();
    // It stays so, also for who unlocks the vault, and whatever state is lost.
    fs::remove_dir_all(machine.state()).unwrap();
    machine.exits(21, &["run", path]);
    machine.exits(21, &["restore", "latest", "--target", "t"]);
    let again = machine.clone().with("BACKUP_RECOVERY_CODE", &kit.code);
    again.exits(21, &["connect"]);

    // The way out that was named: the address is known here.
    again.ok(&["connect", "--replaces", &device]);
    let wanted = trees::capture(&source);
    let summary = machine.back_up(&source, &[]);
    // The packs count as its own. The folder above the source has a new time, and no record is left
    // that would keep the old one: that is one small pack.
    assert!(summary.number("data_uploaded") <= 64 * 1024);
    machine.restores_to(&summary.snapshot(), &source, &wanted);
    thief.exits(22, &["run", path]);
}

/// What was sent and never answered is no copy's doing, even if all state is lost with it.
#[test]
fn a_lost_answer_is_no_alarm() {
    let world = world!();
    let (_server, machine, _) = world.remote();
    let source = world.path("source");
    machine.back_up(&build::write(&source, "file", "1"), &[]);
    let pins = machine.data().join("pins");
    let before = fs::read(&pins).unwrap();
    machine.back_up(&build::write(&source, "file", "2"), &[]);
    fs::write(&pins, before).unwrap();
    machine.back_up(&build::write(&source, "file", "3"), &[]);
    fs::remove_dir_all(machine.state()).unwrap();
    machine.back_up(&build::write(&source, "file", "4"), &[]);
}

#[test]
fn the_kits_record_finds_a_server_that_rolled_back() {
    let world = world!();
    let (mut server, machine, kit) = world.remote();
    let source = world.path("source");
    machine.back_up(&build::write(&source, "file", "1"), &[]);
    let old_head = head(&machine);
    server.stop();
    let copy = world.path("copy");
    trees::copy(&server.data, &copy);
    server.restart();
    machine.back_up(&build::write(&source, "file", "2"), &[]);
    let new_head = head(&machine);
    roll_back(&mut server, &copy);

    let new = world.machine("new").with("BACKUP_RECOVERY_CODE", &kit.code);
    let ran = new.exits(21, &["connect", &kit.address, "--log-head", &new_head]);
    assert!(ran.err.contains("missing"), "{ran}");
    let other = format!("{}:{}", &old_head[..1], "0".repeat(64));
    let ran = new.exits(21, &["connect", &kit.address, "--log-head", &other]);
    assert!(ran.err.contains("another"), "{ran}");
    assert!(!new.data().exists(), "nothing is kept");
    // The kit was made before, so with its own record all is well: the line that it prints.
    let printed = fs::read_to_string(machine.home.join("kit.txt")).unwrap();
    let line = printed.lines().find(|line| line.contains("backup connect ")).unwrap();
    let own_head = line.split("--log-head ").nth(1).unwrap();
    new.ok(&["connect", &kit.address, "--log-head", own_head]);
}

#[test]
fn a_kit_file_is_all_that_connect_needs() {
    let world = world!();
    let server = world.server("server");
    for name in ["kit.txt", "kit.html"] {
        let machine = world.machine(&format!("home of {name}"));
        let kit = machine.home.join(name);
        machine.ok(&["init", &server.invite(&[]), "--kit", kit.to_str().unwrap()]);
        let source = build::write(&world.path("source"), "file", name);
        machine.back_up(&source, &[]);
        let new = world.machine(&format!("new {name}")).without_secrets();
        new.ok(&["connect", "--kit", kit.to_str().unwrap()]);
        new.back_up(&source, &[]);
        let text = fs::read_to_string(&kit).unwrap();
        let spoilt = new.home.join(name);
        fs::write(&spoilt, text.replace("record 1", "record 9")).unwrap();
        let other = world.machine(&format!("other {name}")).without_secrets();
        other.exits(21, &["connect", "--kit", spoilt.to_str().unwrap()]);
    }
}

#[test]
fn joining_again_goes_on_where_it_stopped() {
    let world = world!();
    let (mut server, machine, kit) = world.remote();
    let source = build::write(&world.path("source"), "file", "x");
    machine.back_up(&source, &[]);
    server.stop();
    let before = world.path("before");
    trees::copy(&server.data, &before);
    server.restart();
    let new = world.machine("new").with("BACKUP_RECOVERY_CODE", &kit.code);
    let key = new.data().join("device.key");
    let connect = ["connect", kit.address.as_str()];
    new.ok(&connect);
    let joined = fs::read(&key).unwrap();

    // The answer was lost, and all that follows it never happened.
    fs::remove_dir_all(new.state()).unwrap();
    fs::remove_file(new.data().join("pins")).unwrap();
    fs::remove_file(new.home.join(".config/unseen/config.toml")).unwrap();
    let ran = new.ok(&connect);
    assert!(ran.err.contains("2 devices"), "{ran}");
    assert_eq!(fs::read(&key).unwrap(), joined, "it is the same device");
    new.back_up(&source, &[]);

    // The request was lost: the server has never heard of the device.
    roll_back(&mut server, &before);
    for lost in ["pins", "sent"] {
        fs::remove_file(new.data().join(lost)).unwrap();
    }
    fs::remove_dir_all(new.state()).unwrap();
    new.exits(22, &["run", source.to_str().unwrap()]);
    let ran = new.ok(&connect);
    assert!(ran.err.contains("2 devices"), "{ran}");
    assert_ne!(fs::read(&key).unwrap(), joined, "it is a new device");
    new.back_up(&source, &[]);

    // A machine of another vault is left alone.
    let other = world.machine("other").init_remote(&server.invite(&[]));
    let kept = fs::read(&key).unwrap();
    let ran = new.with("BACKUP_RECOVERY_CODE", other.code).exits(1, &["connect", &other.address]);
    assert!(ran.err.contains("already has a vault"), "{ran}");
    assert_eq!(fs::read(&key).unwrap(), kept);
}

/// A refused `init` leaves the home as it was.
#[test]
fn a_refused_init_leaves_nothing() {
    let world = world!();
    let mut server = world.server("server");
    let invite = server.invite(&[]);
    let used = server.invite(&[]);
    world.machine("other").init_remote(&used);
    let machine = world.machine("home");
    let weak = machine.clone().with("BACKUP_PASSPHRASE", "secret");
    let empty = |ran: unseen_tests::Ran| {
        let left: Vec<_> = fs::read_dir(&machine.home).unwrap().collect();
        let left: Vec<_> = left.into_iter().map(|entry| entry.unwrap().path()).collect();
        // Folders that others use, too.
        let files: Vec<_> = left.iter().flat_map(|path| trees::files(path)).collect();
        assert!(files.is_empty(), "{files:?}\n{ran}");
        for folder in [machine.data(), machine.state(), machine.cache()] {
            assert!(!folder.parent().unwrap().exists(), "{}\n{ran}", folder.display());
        }
    };
    empty(machine.exits(2, &["init", "unseen://nowhere", "--kit", "kit.txt"]));
    empty(machine.exits(2, &["init", &invite, "--kit", "kit.pdf"]));
    empty(machine.exits(1, &["init", &invite, "--kit", "no such folder/kit.txt"]));
    empty(weak.exits(2, &["init", &invite, "--kit", "kit.txt"]));
    empty(weak.exits(2, &["init", "--local", "vault", "--kit", "kit.txt"]));
    empty(machine.exits(22, &["init", &used, "--kit", "kit.txt"]));
    server.stop();
    empty(machine.exits(24, &["init", &invite, "--kit", "kit.txt"]));
    empty(machine.exits(2, &["run", "-e", "[", "."]));
    empty(machine.exits(2, &["run", "--exclude-file", "none", "."]));
}
