//! Snapshots are taken off damaged packs, and off no pack of which anything would be lost.

use unseen_server::vault::alarm::Suffering;
use unseen_server::vault::rounds::Rounds;

use super::*;

impl Scene {
    fn empty() -> Self {
        let (world, machine) = World::new();
        let source = world.folder("source");
        Self { world, machine, source }
    }

    fn write(&self, name: &str, seed: u64, length: usize) {
        fs::write(self.source.join(name), noise(seed, length)).unwrap();
    }

    /// The vault reads everything again; what it tells.
    fn scrub(&self) -> Suffering {
        let account = self.world.core.accounts().unwrap()[0];
        let rounds = Rounds::new(self.world.core.clone(), None);
        rounds.scrub(account, &mut |_| true).unwrap();
        self.world.core.account(account).unwrap().unwrap().suffering()
    }

    /// Damages the pack that a snapshot has and others have not, here.
    fn rot(&self, only: SnapshotId, others: &[SnapshotId], at: &[usize]) -> u32 {
        let number = (self.packs(&[only]) - self.packs(others)).min().unwrap();
        for at in at {
            self.world.damage(number, *at);
        }
        let told = self.scrub();
        assert_eq!(told.packs.numbers().collect::<Vec<_>>(), [PackNumber(number)]);
        number
    }

    /// All snapshots are whole, and nobody tells of damage any more.
    fn is_well(&self, bad: u32, ids: &[SnapshotId]) {
        assert!(!self.packs(ids).contains(bad));
        for swept in [false, true] {
            let found = self.check();
            assert!(found.is_sound() && found.spare == 0, "{found:?}");
            let told = self.scrub();
            assert!(told.packs.0.is_empty() && told.snapshots.is_empty(), "{told:?}");
            assert_eq!(told.unneeded.0.contains(bad), !swept);
            if !swept {
                self.sweep();
            }
        }
    }
}

#[test]
fn what_was_sent_again_takes_the_place_of_a_damaged_pack() {
    let (mut scene, made) = Scene::new(1);
    let bad = scene.rot(made[0], &[], &[2000, 200_000, 500_000]);
    scene.restart();
    assert!(scene.run().0 > 0, "sent again");
    let latest = *scene.latest();
    let found = scene.check();
    assert!(found.is_sound() && found.spare == 1, "{found:?}");
    let before = scene.stored();
    let done = scene.compact();
    assert_eq!((done.mended, done.damaged, done.snapshots), (1, 0, 1), "{done:?}");
    assert_eq!((done.packs, scene.stored()), (0, before), "nothing is written twice");
    scene.is_well(bad, &[made[0], latest]);
    assert_eq!(scene.compact(), Done::default(), "nothing is left to do");
    scene.restart();
    assert_eq!(scene.run().0, 0);
}

#[test]
fn a_pack_of_which_something_is_lost_stays() {
    let mut scene = Scene::empty();
    scene.write("gone", 1, 300_000);
    let first = scene.backup();
    fs::remove_file(scene.source.join("gone")).unwrap();
    scene.write("stays", 2, 300_000);
    let second = scene.backup();
    let bad = scene.rot(first, &[second], &[2000]);
    scene.restart();
    scene.run();
    let (before, head) = (scene.packs(&[first]), scene.machine.repo.log.state.head_seq);
    let done = scene.compact();
    assert_eq!((done.mended, done.damaged, done.snapshots), (0, 1, 0), "{done:?}");
    assert_eq!(scene.packs(&[first]), before);
    assert_eq!(scene.world.owner_repo().log.state.head_seq, head);
    assert_eq!(scene.scrub().packs.numbers().collect::<Vec<_>>(), [PackNumber(bad)]);
    scene.sweep();
    let found = scene.check();
    assert_eq!((found.is_sound(), found.lost()), (false, 1), "{found:?}");
    assert!(found.affected[0].paths[0].path.ends_with(b"/gone"), "{found:?}");
}

/// Of a damaged pack a part is whole and nowhere else: it is written anew.
#[test]
fn what_is_whole_in_a_damaged_pack_alone_is_kept() {
    let mut scene = Scene::empty();
    scene.write("a", 1, 5_000_000);
    scene.write("z", 2, 5_000_000);
    let first = scene.backup();
    let bad = scene.rot(first, &[], &[2000]);
    // Which file comes first in a pack is not said. The other one changes.
    let lost = &scene.check().affected[0].paths;
    assert_eq!(lost.len(), 1, "{lost:?}");
    scene.write(if lost[0].path.ends_with(b"/a") { "z" } else { "a" }, 3, 5_000_000);
    scene.restart();
    assert!(scene.run().0 > 0);
    let latest = *scene.latest();
    let done = scene.compact();
    assert_eq!((done.mended, done.damaged), (1, 0), "{done:?}");
    assert!(done.packs > 0 && done.bytes < 12_000_000, "{done:?}");
    scene.is_well(bad, &[first, latest]);
}

/// A snapshot of one device needs no packs of another: what only another has is written anew.
#[test]
fn what_another_device_has_is_written_anew() {
    let mut scene = Scene::empty();
    scene.write("shared", 1, 300_000);
    let first = scene.backup();
    let mut other = scene.world.enrol(30, "other");
    let elsewhere = scene.world.folder("elsewhere");
    fs::write(elsewhere.join("shared"), noise(1, 300_000)).unwrap();
    let theirs = scene.world.backup_as(&mut other, "theirs", &elsewhere);
    let bad = scene.rot(first, &[theirs], &[2000]);
    let done = scene.compact();
    assert_eq!((done.mended, done.damaged, done.snapshots), (1, 0, 1), "{done:?}");
    assert!(scene.packs(&[first]).is_disjoint(&scene.packs(&[theirs])));
    scene.is_well(bad, &[first, theirs]);
}

/// What takes the place of a damaged pack is read first: that an index has it is not enough.
#[test]
fn a_second_copy_that_is_damaged_too_is_none() {
    let (mut scene, made) = Scene::new(1);
    scene.rot(made[0], &[], &[2000, 200_000, 500_000]);
    scene.restart();
    scene.run();
    // Nobody has noticed this yet.
    let second = (scene.packs(&[*scene.latest()]) - scene.packs(&made)).min().unwrap();
    for at in [2000, 200_000, 500_000] {
        scene.world.damage(second, at);
    }
    let before = scene.packs(&made);
    let done = scene.compact();
    assert_eq!((done.mended, done.snapshots), (0, 0), "{done:?}");
    assert_eq!(scene.packs(&made), before);
}
