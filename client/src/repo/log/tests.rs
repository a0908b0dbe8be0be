//! A copied device key is found out, and nothing else is taken for one.

use std::fs;

use super::*;
use crate::testing::{Machine, World, copy_folder};

/// A machine with one snapshot, and a copy of its home of that moment.
fn copied() -> (World, Machine) {
    let (world, mut desk) = World::new();
    let source = world.folder("source");
    world.backup(&mut desk, &source);
    let (from, to) = (world.folders("desk"), world.folders("copy"));
    for (from, to) in [(&from.data, &to.data), (&from.state, &to.state)] {
        copy_folder(from, to);
    }
    (world, desk)
}

fn reopened(world: &World, name: &str) -> Result<Machine, RepoError> {
    world.try_machine(World::secrets_of_desk(), name)
}

fn is_cloned<T: std::fmt::Debug>(result: Result<T, RepoError>, at: u64) {
    let error = result.unwrap_err();
    assert!(matches!(error, RepoError::Cloned { seq, .. } if seq == at), "{error:?}");
}

#[test]
fn a_copied_key_is_found_out() {
    let (world, mut desk) = copied();
    let mut copy = reopened(&world, "copy").unwrap();
    let before = desk.repo.log.state.head_seq;
    world.backup(&mut copy, &world.folder("source"));
    // In the middle of its work.
    let updated = desk.repo.log.update(&*desk.repo.vault);
    is_cloned(world.runtime.block_on(updated), before + 1);
    drop(desk);
    // At its start, each time; by the owner on this machine; and without the copy of the log.
    let pin = fs::read(world.folders("desk").pin()).unwrap();
    is_cloned(reopened(&world, "desk"), before + 1);
    is_cloned(reopened(&world, "desk"), before + 1);
    fs::remove_dir_all(world.folders("desk").state).unwrap();
    is_cloned(reopened(&world, "desk"), before + 1);
    assert_eq!(fs::read(world.folders("desk").pin()).unwrap(), pin);
    // The copy goes on until it hears of the other one.
    reopened(&world, "copy").unwrap();
}

#[test]
fn the_owner_on_a_copied_machine_is_warned_too() {
    let (world, desk) = copied();
    let mut copy = reopened(&world, "copy").unwrap();
    world.backup(&mut copy, &world.folder("source"));
    let own = Some(desk.repo.key.secrets.device);
    let owner = world.runtime.block_on(world.owner());
    let sync = |own| Log::sync(Keeping::new(&world.folders("desk"), own), &*owner);
    is_cloned(world.runtime.block_on(sync(own)), desk.repo.log.state.head_seq + 1);
    world.runtime.block_on(sync(None)).unwrap();
}

#[test]
fn what_was_lost_is_no_false_alarm() {
    let (world, mut desk) = World::new();
    let source = world.folder("source");
    let folders = world.folders("desk");
    let first = fs::read(folders.pin()).unwrap();
    world.backup(&mut desk, &source);
    fs::write(source.join("file"), "x").unwrap();
    world.backup(&mut desk, &source);
    drop(desk);
    // The answer to both commits was lost, and the state after them.
    fs::write(folders.pin(), &first).unwrap();
    fs::remove_dir_all(&folders.state).unwrap();
    reopened(&world, "desk").unwrap();
    // The answer alone.
    fs::write(folders.pin(), &first).unwrap();
    reopened(&world, "desk").unwrap();
    // What was sent is not needed up to the pin, and nothing is without one.
    fs::remove_file(folders.sent()).unwrap();
    reopened(&world, "desk").unwrap();
    fs::remove_file(folders.pin()).unwrap();
    reopened(&world, "desk").unwrap();
}
