//! A server that is moved, or that lost a key: what its clients do, and are told.

use std::fs;
use std::path::Path;

use unseen_tests::trees::{self, build};
use unseen_tests::{Machine, Server, World, world};

/// A machine with one backup on a server that has stopped.
fn enrolled(world: &World) -> (Server, Machine, unseen_tests::Kit, std::path::PathBuf) {
    let mut server = world.server("server");
    let machine = world.machine("home");
    let kit = machine.init_remote(&server.invite(&[]));
    let source = world.folder("source");
    build::contents(&source);
    machine.back_up(&source, &[]);
    server.stop();
    (server, machine, kit, source)
}

fn serve(server: &Server) -> Vec<String> {
    let words = ["serve", "--listen", "127.0.0.1:0", "--data", server.data.to_str().unwrap()];
    words.map(str::to_owned).to_vec()
}

/// What docs/OPERATING.md says is to be copied is enough, and the clients notice nothing.
#[test]
fn a_server_moves_to_another_machine() {
    let world = world!();
    let (mut server, machine, _, source) = enrolled(&world);
    let wanted = trees::capture(&source);
    let moved = world.folder("moved");
    for name in ["format", "identity.key", "tls", "journal", "accounts", "serve.json"] {
        let (from, to) = (server.data.join(name), moved.join(name));
        if from.is_dir() {
            trees::copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
    fs::remove_dir_all(&server.data).unwrap();
    server.data = moved;
    server.restart();
    machine.restores_to("latest", &source, &wanted);
    let snapshot = machine.back_up(&source, &[]).snapshot();
    machine.restores_to(&snapshot, &source, &wanted);
}

#[test]
fn a_new_tls_key_stops_clients_until_they_are_told_the_new_address() {
    let world = world!();
    let (mut server, machine, kit, source) = enrolled(&world);
    fs::remove_dir_all(server.data.join("tls")).unwrap();
    let words = serve(&server);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let refused = world.backup_server(&words).check(1);
    assert!(refused.err.contains("clients pinned the key in it"), "{refused}");
    assert!(!server.data.join("tls").exists(), "nothing new is made by the way");

    server.restart_with(&["--tls-allow-new-key"]);
    let path = source.to_str().unwrap();
    let stopped = machine.exits(25, &["run", path]);
    assert!(stopped.err.contains("its TLS key is not the pinned one"), "{stopped}");
    assert!(stopped.err.contains("backup connect --moved"), "{stopped}");
    // The server prints the new address, but for the account, which the kit has.
    let log = fs::read_to_string(&server.log).unwrap();
    let shown = log.lines().rev().find_map(|line| line.strip_prefix("address  ")).unwrap();
    let (place, pin) = shown.split_once("?pin=").unwrap();
    let other = format!("{}?pin={pin}", place.replace("ACCOUNT", &"5a".repeat(16)));
    let refused = machine.exits(2, &["connect", "--moved", &other]);
    assert!(refused.err.contains("another vault"), "{refused}");
    // The second half of the pin is the identity key.
    let (before, after) = (&pin[..60], &pin[61..]);
    let digit = if &pin[60..61] == "A" { "B" } else { "A" };
    let other = format!("{place}?pin={before}{digit}{after}");
    let refused = machine.exits(25, &["connect", "--moved", &other]);
    assert!(refused.err.contains("its identity key is not the one"), "{refused}");
    // And an address at which there is the wrong key, or nobody.
    machine.exits(25, &["connect", "--moved", &kit.address]);
    machine.exits(25, &["run", path]);
    let moved = machine.ok(&["connect", "--moved", shown]);
    assert!(moved.to_string().contains("kit"), "{moved}");
    machine.ok(&["run", path]);
    machine.ok(&["snapshots"]);
    // From now on this key is the known one.
    server.stop();
    server.restart();
    machine.ok(&["run", path]);
}

#[test]
fn a_server_with_another_identity_is_found_out() {
    let world = world!();
    let (mut server, machine, _, source) = enrolled(&world);
    let key = server.data.join("identity.key");
    fs::remove_file(&key).unwrap();
    let words = serve(&server);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let refused = world.backup_server(&words).check(20);
    assert!(refused.err.contains("identity.key is missing"), "{refused}");
    fs::write(&key, format!("{}\n", "5a".repeat(32))).unwrap();
    server.restart();
    let stopped = machine.exits(25, &["run", source.to_str().unwrap()]);
    assert!(stopped.err.contains("its identity key is not the pinned one"), "{stopped}");
    assert_eq!(snapshots(&server.data), 1);
}

fn snapshots(data: &Path) -> usize {
    let accounts = fs::read_dir(data.join("accounts")).unwrap();
    accounts
        .map(|account| fs::read_dir(account.unwrap().path().join("manifests")).unwrap().count())
        .sum()
}

/// An older program must not write into a newer one's folder.
#[test]
fn the_folder_of_a_newer_program_is_left_alone() {
    let world = world!();
    let (server, ..) = enrolled(&world);
    let mark = server.data.join("format");
    assert_eq!(fs::read_to_string(&mark).unwrap(), "unseen-data 1\n");
    fs::write(&mark, "unseen-data 2\n").unwrap();
    let words = serve(&server);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let refused = world.backup_server(&words).check(1);
    assert!(refused.err.contains("install the newer program"), "{refused}");
    let folder = server.data.to_str().unwrap();
    let invite = world.backup_server(&["invite", "--data", folder]).check(1);
    assert!(invite.err.contains("install the newer program"), "{invite}");
}
