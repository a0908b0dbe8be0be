//! Client and server over the network, as a user meets them.

use std::fs;

use unseen_tests::trees::{self, build};
use unseen_tests::world;

#[test]
fn a_new_machine_restores_with_the_recovery_code_alone() {
    let world = world!();
    let (_server, machine, kit) = world.remote();
    let source = world.folder("source");
    build::contents(&source);
    build::links(&source.join("links"));
    let wanted = trees::capture(&source);
    let snapshot = machine.back_up(&source, &[]).snapshot();

    let new = world.machine("new").without_secrets();
    let with_code = new.clone().with("BACKUP_RECOVERY_CODE", &kit.code);
    with_code.ok(&["connect", &kit.address]);
    let listed = new.ok(&["snapshots"]).text();
    assert!(listed.contains(&snapshot[..8]), "{listed}");
    with_code.restores_to("latest", &source, &wanted);
    // From here on it is a device like any other, with no secret at all.
    let next = new.back_up(&source, &[]).snapshot();
    machine.restores_to(&next, &source, &wanted);
}

/// As the kit is typed by people: lower case, blanks for dashes.
#[test]
fn the_recovery_code_is_taken_as_people_type_it() {
    let world = world!();
    let (_server, machine, kit) = world.remote();
    machine.back_up(&build::write(&world.path("source"), "file", "x"), &[]);
    let typed = kit.code.to_ascii_lowercase().replace('-', " ");
    let new = world.machine("new").without_secrets();
    new.with("BACKUP_RECOVERY_CODE", typed).ok(&["connect", &kit.address]);
}

#[test]
fn a_wrong_recovery_code_is_refused() {
    let world = world!();
    let (server, _, kit) = world.remote();
    let new = world.machine("new").without_secrets();
    // One character changed: the checksum finds it. Another vault's code: the server does.
    let flipped = if kit.code.starts_with('0') { "1" } else { "0" };
    let mistyped = format!("{flipped}{}", &kit.code[1..]);
    let other = world.machine("other").init_remote(&server.invite(&[]));
    for code in [mistyped, other.code, "not a code".to_owned()] {
        let machine = new.clone().with("BACKUP_RECOVERY_CODE", code);
        machine.exits(12, &["connect", &kit.address]);
    }
    new.exits(12, &["connect", &kit.address]);
    assert!(!new.data().join("device.key").exists());
}

#[test]
fn an_invitation_is_good_for_one_account() {
    let world = world!();
    let server = world.server("server");
    let invite = server.invite(&[]);
    world.machine("home").init_remote(&invite);
    let second = world.machine("second");
    let kit = second.home.join("kit.txt");
    let ran = second.run(&["init", &invite, "--kit", kit.to_str().unwrap()]);
    assert_ne!(ran.code, Some(0), "{ran}");
    assert!(!second.data().join("device.key").exists(), "{ran}");
}

#[test]
fn a_server_that_is_down_is_unreachable_and_nothing_is_lost() {
    let world = world!();
    let (mut server, machine, _) = world.remote();
    let source = world.folder("source");
    build::contents(&source);
    server.stop();
    machine.exits(24, &["run", source.to_str().unwrap()]);
    server.restart();
    let wanted = trees::capture(&source);
    let snapshot = machine.back_up(&source, &[]).snapshot();
    machine.restores_to(&snapshot, &source, &wanted);
}

/// Another server at the same address, with keys of its own.
#[test]
fn another_servers_key_is_refused() {
    let world = world!();
    let (mut server, machine, kit) = world.remote();
    let path = build::write(&world.path("source"), "file", "x");
    machine.back_up(&path, &[]);
    server.stop();
    let listen = server.address.to_string();
    let impostor = world.server_with("other", &["--public-address", &listen]);
    let other = impostor.address.to_string();
    let swapped = |address: &str| address.replace(&listen, &other);
    let words = ["run", "--vault", &swapped(&kit.address), "--profile", "default"];
    let words = [&words[..], &[path.to_str().unwrap()]].concat();
    machine.exits(25, &words);
    let new = world.machine("new").with("BACKUP_RECOVERY_CODE", &kit.code);
    new.exits(25, &["connect", &swapped(&kit.address)]);
}

#[test]
fn a_replaced_device_is_revoked() {
    let world = world!();
    let server = world.server("server");
    let machine = world.machine("home");
    let kit = machine.home.join("kit.txt");
    let invite = server.invite(&[]);
    machine.ok(&["init", &invite, "--kit", kit.to_str().unwrap(), "--name", "old"]);
    let kit = unseen_tests::Kit::read(&kit);
    // Here already: a new folder above the source would be something new to save.
    let new = world.machine("new").with("BACKUP_RECOVERY_CODE", &kit.code);
    let source = world.folder("source");
    build::contents(&source);
    let wanted = trees::capture(&source);
    machine.back_up(&source, &[]);
    let packs = trees::packs(&server.data);

    new.ok(&["connect", &kit.address, "--replaces", "old", "--name", "new"]);
    let path = source.to_str().unwrap();
    machine.exits(22, &["run", path]);
    let summary = new.back_up(&source, &[]);
    assert_eq!(trees::packs(&server.data), packs, "the packs count as its own");
    new.restores_to(&summary.snapshot(), &source, &wanted);
}

/// An older copy of the server's folder in its place: the client remembers a later head.
#[test]
fn a_server_that_rolled_back_is_found_out() {
    let world = world!();
    let (mut server, machine, _) = world.remote();
    let path = build::write(&world.path("source"), "file", "x");
    machine.back_up(&path, &[]);
    server.stop();
    let copy = world.path("copy");
    trees::copy(&server.data, &copy);
    server.restart();
    build::write(&world.path("source"), "file", "y");
    machine.back_up(&path, &[]);
    server.stop();
    fs::remove_dir_all(&server.data).unwrap();
    fs::rename(&copy, &server.data).unwrap();
    server.restart();
    machine.exits(21, &["run", path.to_str().unwrap()]);
    machine.exits(21, &["restore", "latest", "--target", "t"]);
}

#[test]
fn a_full_quota_stops_the_run_and_keeps_what_is_there() {
    let world = world!();
    let server = world.server("server");
    let machine = world.machine("home");
    machine.init_remote(&server.invite(&["--quota", "4MB"]));
    let small = build::write(&world.path("small"), "file", build::noise(1, 100_000));
    let snapshot = machine.back_up(&small, &[]).snapshot();
    let large = build::write(&world.path("large"), "file", build::noise(2, 12_000_000));
    machine.exits(23, &["run", large.to_str().unwrap()]);
    // What did not fit is not in the way of what does.
    let other = build::write(&world.path("other"), "file", build::noise(3, 50_000));
    machine.back_up(&other, &[]);
    let target = world.path("target");
    machine.restore(&snapshot, &target, &[]);
    let restored = fs::read(trees::beneath(&target, &small)).unwrap();
    assert_eq!(restored, build::noise(1, 100_000));
}

/// Two machines of one vault see each other's snapshots and share what they store.
#[test]
fn two_machines_share_a_vault() {
    let world = world!();
    let (_server, first, kit) = world.remote();
    let first = first.by_passphrase();
    let second = world.machine("second").with("BACKUP_RECOVERY_CODE", &kit.code);
    second.ok(&["connect", &kit.address, "--name", "second"]);
    let source = world.folder("source");
    build::contents(&source);
    let wanted = trees::capture(&source);
    let by_first = first.back_up(&source, &[]).snapshot();
    let by_second = second.back_up(&source, &[]).snapshot();
    second.restores_to(&by_first, &source, &wanted);
    first.restores_to(&by_second, &source, &wanted);
    let listed = first.ok(&["snapshots", "--json"]).text();
    assert!(listed.contains(&by_first[..8]) && listed.contains(&by_second[..8]), "{listed}");
}

/// A local vault's folder is a server's data folder: it can be served as it is.
#[test]
fn connect_from_a_folder() {
    let world = world!();
    let machine = world.machine("home");
    let vault = world.path("vault");
    let kit = machine.init_local(&vault);
    let source = world.folder("source");
    build::contents(&source);
    let wanted = trees::capture(&source);
    machine.back_up(&source, &[]);
    let new = world.machine("new").without_secrets();
    let new = new.with("BACKUP_RECOVERY_CODE", &kit.code);
    new.ok(&["connect", "--local", vault.to_str().unwrap()]);
    new.restores_to("latest", &source, &wanted);
}

/// A folder of somebody's own does not become a data folder by a slip.
#[test]
fn a_server_takes_no_folder_that_has_other_files_in_it() {
    let world = world!();
    let home = world.folder("home of somebody");
    fs::create_dir(home.join("lost+found")).unwrap();
    build::write(&home, "letter.txt", "dear");
    let data = home.to_str().unwrap();
    let before = trees::capture(&home);
    let serve = ["serve", "--data", data, "--listen", "127.0.0.1:0"];
    let invite = ["invite", "--data", data, "--public-address", "localhost:1"];
    for words in [&serve[..], &invite] {
        let told = world.backup_server(words).check(2);
        assert!(told.err.contains("other files in it, such as \"letter.txt\""), "{told}");
        assert!(told.err.contains(&format!("such as {data}/unseen")), "{told}");
        trees::assert_same(&before, &trees::capture(&home));
    }
    let check = ["config", "check", "--data", data, "--listen", "127.0.0.1:0"];
    let told = world.backup_server(&check).check(1);
    assert!(told.err.contains("letter.txt"), "{told}");
    // A disk of its own is taken.
    fs::remove_file(home.join("letter.txt")).unwrap();
    drop(world.backup_server(&invite).check(0));
}
