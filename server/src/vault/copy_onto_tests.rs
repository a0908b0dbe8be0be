//! Older copies that are brought up to date, and what is never written over.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use unseen_common::id::PackNumber;
use unseen_common::vault::Vault;

use super::copy::{Copied, CopyError};
use super::copy_onto::Target;
use super::copy_tests::{begun, is_whole, open, save};
use super::core::OpenError;
use super::rounds::Rounds;
use super::{Core, Options};
use crate::store::key::Key;
use crate::testkit::Owner;

struct Scene {
    dir: tempfile::TempDir,
    core: Core,
    owner: Owner,
    device: Arc<dyn Vault>,
}

impl Scene {
    /// Three packs and a snapshot, and a copy of that.
    async fn new() -> (Self, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (core, owner, device) = begun(&dir.path().join("data")).await;
        save(&owner, &*device, 0..3).await;
        let copy = dir.path().join("copy");
        let copied = core.copy_to(&copy).unwrap();
        assert!(copied.new == copied.blobs && copied.removed == 0, "{copied:?}");
        (Self { dir, core, owner, device }, copy)
    }

    fn pack(&self, root: &Path, seed: u64) -> PathBuf {
        let number = PackNumber(u32::try_from(seed).unwrap());
        let key = Key::pack(self.owner.vault, number, self.owner.machine.small_pack(seed).id);
        root.join(key.folder()).join(key.name())
    }

    fn scrub(&self, core: &Core) -> u64 {
        let rounds = Rounds::new(core.clone(), None);
        rounds.scrub(self.owner.vault, &mut |_| true).unwrap().found.0.len()
    }
}

/// Another byte in a file that has no second name from then on.
fn rot(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[30_000] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn an_older_copy_is_brought_up_to_date_and_only_what_changed_is_copied() {
    let (scene, copy) = Scene::new().await;
    let again = scene.core.copy_to(&copy).unwrap();
    assert_eq!((again.accounts, again.new, again.removed), (1, 0, 0), "{again:?}");
    assert_eq!(is_whole(&open(&copy), &scene.owner).await, 1);
    save(&scene.owner, &*scene.device, 3..5).await;
    let stray = copy.join("accounts").join(scene.owner.vault.to_string()).join("packs/stray");
    fs::write(&stray, b"of no use").unwrap();
    let more = scene.core.copy_to(&copy).unwrap();
    // Two packs, manifest and list, each twice, and a record of the log.
    assert_eq!((more.new, more.removed, more.missing), (7, 1, 0), "{more:?}");
    assert!(!stray.exists() && !copy.join("journal.old").exists());
    assert_eq!(is_whole(&open(&copy), &scene.owner).await, 2);

    scene.core.account_erase(&scene.owner.vault.short()).unwrap();
    assert_eq!(scene.core.copy_to(&copy).unwrap().accounts, 0);
    assert_eq!(fs::read_dir(copy.join("accounts")).unwrap().count(), 0, "erased there, too");
}

#[tokio::test]
async fn what_is_no_older_copy_is_never_written_over() {
    let (scene, copy) = Scene::new().await;
    let other = scene.dir.path().join("other");
    drop(begun(&other).await);
    let refused = scene.core.copy_to(&other);
    assert!(matches!(&refused, Err(CopyError::OtherServer(path)) if *path == other), "{refused:?}");

    let served = open(&copy);
    assert!(matches!(scene.core.copy_to(&copy), Err(CopyError::Busy(_))));
    // It goes on by itself, and that is not lost.
    let device = scene.owner.log_in_device(&served, &scene.owner.machine).await.unwrap();
    save(&scene.owner, &*device, 50..52).await;
    drop((served, device));
    for _ in 0..2 {
        let refused = scene.core.copy_to(&copy);
        assert!(matches!(refused, Err(CopyError::OwnHistory { .. })), "{refused:?}");
        save(&scene.owner, &*scene.device, 60..62).await;
    }
    assert_eq!(is_whole(&open(&copy), &scene.owner).await, 2);
    // Nor is a newer copy by the folder that it was made of, set back.
    let second = scene.dir.path().join("second");
    scene.core.copy_to(&second).unwrap();
    let refused = open(&copy).copy_to(&second);
    assert!(matches!(refused, Err(CopyError::OwnHistory { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_copy_that_was_cut_off_is_seen_as_such_and_gone_on_with() {
    let (scene, copy) = Scene::new().await;
    // Before the journals got their place.
    fs::rename(copy.join("journal"), copy.join("journal.part")).unwrap();
    let opened = Core::open(&copy, Options::default());
    assert!(matches!(opened, Err(OpenError::Unfinished(_))), "{opened:?}");
    let on = scene.core.copy_to(&copy).unwrap();
    assert_eq!((on.accounts, on.new), (1, 0));
    assert_eq!(is_whole(&open(&copy), &scene.owner).await, 1);

    // An older copy is what it was until the last moment.
    save(&scene.owner, &*scene.device, 3..5).await;
    let target = Target::take(&scene.dir.path().join("data"), &copy).unwrap();
    let account = scene.core.account(scene.owner.vault).unwrap().unwrap();
    let mut counts = (Copied::default(), BTreeSet::new());
    account.copy_to(&target, (&mut counts.0, &mut counts.1)).unwrap();
    drop(target);
    assert!(copy.join("journal.part").is_dir());
    assert_eq!(is_whole(&open(&copy), &scene.owner).await, 1);
    // Between the two renames there is none.
    fs::rename(copy.join("journal"), copy.join("journal.old")).unwrap();
    let opened = Core::open(&copy, Options::default());
    assert!(matches!(opened, Err(OpenError::Unfinished(_))), "{opened:?}");
    scene.core.copy_to(&copy).unwrap();
    assert_eq!(is_whole(&open(&copy), &scene.owner).await, 2);
}

#[tokio::test]
async fn what_has_rotted_on_one_side_is_taken_from_the_other_or_left_whole() {
    let (scene, copy) = Scene::new().await;
    let data = scene.dir.path().join("data");
    rot(&scene.pack(&copy, 1));
    let served = open(&copy);
    assert_eq!(scene.scrub(&served), 1);
    drop(served);
    let again = scene.core.copy_to(&copy).unwrap();
    assert_eq!((again.new, again.missing), (1, 0), "{again:?}");
    assert_eq!(is_whole(&open(&copy), &scene.owner).await, 1);

    let good = fs::read(scene.pack(&copy, 2)).unwrap();
    rot(&scene.pack(&data, 2));
    fs::remove_file(scene.pack(&data, 0)).unwrap();
    for found in [0, 2] {
        assert_eq!(if found > 0 { scene.scrub(&scene.core) } else { 0 }, found);
        let again = scene.core.copy_to(&copy).unwrap();
        assert_eq!((again.new, again.missing), (0, 0), "{again:?}");
        assert_eq!(fs::read(scene.pack(&copy, 2)).unwrap(), good);
        assert!(scene.pack(&copy, 0).exists());
    }
    // Sent again: whole here, and taken from here.
    scene.device.put_pack(scene.owner.machine.small_pack(2)).await.unwrap();
    assert_eq!(scene.core.copy_to(&copy).unwrap().new, 1);
}

#[tokio::test]
async fn what_has_rotted_before_it_is_copied_is_told_and_taken_once_it_is_whole() {
    let (scene, copy) = Scene::new().await;
    let data = scene.dir.path().join("data");
    save(&scene.owner, &*scene.device, 3..6).await;
    let good: Vec<_> =
        [3, 4].map(|seed| fs::read(scene.pack(&data, seed)).unwrap()).into_iter().collect();
    rot(&scene.pack(&data, 3));
    // One byte short: with one more it would be as long as it was.
    fs::remove_file(scene.pack(&data, 4)).unwrap();
    fs::write(scene.pack(&data, 4), &good[1][..good[1].len() - 1]).unwrap();
    // Told each time, until it is put right.
    for round in 0..2 {
        let copied = scene.core.copy_to(&copy).unwrap();
        assert_eq!((copied.rotten, copied.missing), (2, 0), "{copied:?}");
        assert_eq!(copied.new > 0, round == 0, "{copied:?}");
        for seed in [3, 4] {
            // What can be read of it can be read there, too.
            let (here, there) = (scene.pack(&data, seed), scene.pack(&copy, seed));
            let (here, there) = (fs::read(here).unwrap(), fs::read(there).unwrap());
            assert!(there.starts_with(&here) && there.len() == good[0].len() + 1);
        }
    }
    let (copied, found) = (open(&copy), 1);
    assert_eq!(scene.scrub(&copied), found, "the end of the other has a second copy");
    drop(copied);
    for (seed, bytes) in [3, 4].into_iter().zip(&good) {
        fs::remove_file(scene.pack(&data, seed)).unwrap();
        fs::write(scene.pack(&data, seed), bytes).unwrap();
    }
    let copied = scene.core.copy_to(&copy).unwrap();
    assert_eq!(copied.rotten, 0, "{copied:?}");
    assert_eq!(fs::read(scene.pack(&copy, 3)).unwrap(), good[0]);
    assert_eq!(is_whole(&open(&copy), &scene.owner).await, 2);
    // What the copy has whole is not taken for a shorter one.
    fs::write(scene.pack(&data, 4), b"short").unwrap();
    fs::remove_file(scene.pack(&data, 5)).unwrap();
    let copied = scene.core.copy_to(&copy).unwrap();
    assert_eq!((copied.rotten, copied.new), (0, 0), "{copied:?}");
}

#[tokio::test]
async fn an_account_whose_journal_is_damaged_stays_in_an_older_copy_as_it_is() {
    let (scene, copy) = Scene::new().await;
    let Scene { dir, core, owner, device } = scene;
    drop((core, device));
    let journal = dir.path().join("data/journal").join(owner.vault.to_string());
    let mut bytes = fs::read(&journal).unwrap();
    bytes[100] ^= 1;
    fs::write(&journal, bytes).unwrap();
    let core = open(&dir.path().join("data"));
    for _ in 0..2 {
        assert_eq!(core.copy_to(&copy).unwrap().damaged, [owner.vault]);
    }
    assert_eq!(is_whole(&open(&copy), &owner).await, 1);
}
