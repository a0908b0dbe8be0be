//! Journals that are damaged or gone: read-only until they are made anew from the blobs.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use unseen_common::id::{PackNumber, VaultId};
use unseen_common::log::entry::{Body, Policy};
use unseen_common::log::fold::DEFAULT_POLICY;
use unseen_common::privacy::Looked;
use unseen_common::time::Clock;
use unseen_common::vault::VaultError;

use super::Options;
use super::rebuild::{Fate, RebuildError, Rebuilder, Rebuilt};
use super::scrub_tests::{MANIFEST, Scene, core, set};
use crate::store::Store;
use crate::store::blobs::Blobs;
use crate::store::frame::Owner as JournalOwner;
use crate::store::journal_files::{self, Journals};
use crate::store::key::Key;
use crate::store::memory::{self, MemBlobs, MemJournals};
use crate::testkit::faults::{self, Fault, Plan};
use crate::testkit::{Head, TestClock, snapshot_id};

const SKIPPED: u32 = 1 << 16;

fn rebuilder(store: Store, scene: &Scene) -> Rebuilder {
    let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&scene.clock);
    let options = Options { clock, open_accounts: true };
    Rebuilder::new(store, &options, SigningKey::from_bytes(&[3; 32]).verifying_key())
}

fn rebuild(scene: &Scene) -> Fate {
    let store = memory::store(scene.blobs.clone(), scene.journals.clone());
    rebuilder(store, scene).account(scene.owner.vault)
}

fn rebuilt(scene: &Scene) -> Rebuilt {
    match rebuild(scene) {
        Fate::Rebuilt(rebuilt) => rebuilt,
        other => panic!("{other:?}"),
    }
}

/// All that was acknowledged is there, new things can be stored, and numbers go on far above.
async fn is_whole(scene: &Scene, highest: u32) {
    let root = scene.owner.log_in(&scene.core).await.unwrap();
    let numbers: Vec<u32> = scene.packs.iter().map(|(number, _)| number.0).collect();
    assert_eq!(root.live_packs().await.unwrap(), set(&numbers));
    for (number, pack) in &scene.packs {
        assert_eq!(root.get_pack(*number, None).await.unwrap().bytes, pack.bytes);
    }
    let footers = root.footers(None, None).await.unwrap();
    assert_eq!(footers.items.len(), scene.packs.len());
    let pack = &scene.packs[0].1;
    let split = pack.bytes.len() - 4096 - 16;
    assert_eq!(
        footers.items[0].content_hash.as_bytes(),
        blake3::hash(&pack.bytes[..split]).as_bytes()
    );
    let log = root.log(None).await.unwrap().records;
    assert!(log.contains(&scene.snapshot));
    let id = snapshot_id(MANIFEST);
    assert_eq!(root.manifest(id).await.unwrap(), MANIFEST);
    assert_eq!(root.packs_of(id).await.unwrap(), set(&numbers));
    assert_eq!(root.slots().await.unwrap(), scene.owner.slots);
    let device = scene.device().await;
    let given = device.put_pack(scene.owner.machine.small_pack(9999)).await.unwrap();
    assert!(given.0 > highest + SKIPPED, "{given}");
    scene.commit(b"after the rebuild").await.unwrap();
}

#[tokio::test]
async fn a_lost_journal_is_made_anew_from_the_blobs() {
    let mut scene = Scene::new(70).await;
    scene.journals = MemJournals::default();
    let found = rebuilt(&scene);
    let wanted =
        Rebuilt { records: 3, packs: 70, damaged: 0, missing: 0, strange: 0, same_identity: true };
    assert_eq!(found, wanted);
    scene.restart();
    is_whole(&scene, 69).await;
    assert!(matches!(rebuild(&scene), Fate::Whole));
}

/// A list that has rotted may still be one, of other packs; without the journal only the log tells.
#[tokio::test]
async fn a_rebuild_takes_the_copy_that_the_log_proves() {
    let (vault, id) = (crate::testkit::Owner::new(1).vault, snapshot_id(MANIFEST));
    let list = Key::packset(vault, id);
    let other = set(&[0]).to_bytes();
    for (bad, manifest) in [(list.clone(), 0), (list.second(), 1)] {
        let mut scene = Scene::new(3).await;
        scene.blobs.put(&bad, &[&other]).unwrap();
        let manifests = [Key::manifest(vault, id), Key::manifest(vault, id).second()];
        scene.blobs.delete(&manifests[manifest]).unwrap();
        scene.journals = MemJournals::default();
        let found = rebuilt(&scene);
        assert_eq!((found.packs, found.missing), (3, 0));
        scene.restart();
        assert_eq!(scene.scrub().repaired, 3, "both, and a copy of the footers is made");
        is_whole(&scene, 2).await;
    }
}

#[tokio::test]
async fn a_damaged_journal_is_read_only_and_says_so_until_it_is_rebuilt() {
    let mut scene = Scene::new(5).await;
    let name = scene.owner.vault.to_string();
    let mut length = 0;
    scene.journals.edit(&name, |bytes| length = bytes.len());
    for at in [3, 40, 70, length / 2, length - 500] {
        let mut before = Vec::new();
        scene.journals.edit(&name, |bytes| {
            before.clone_from(bytes);
            bytes[at] ^= 1;
        });
        scene.restart();
        let root = scene.owner.log_in(&scene.core).await.unwrap();
        assert_eq!(root.live_packs().await.unwrap(), set(&[0, 1, 2, 3, 4]), "byte {at}");
        let read = root.get_pack(PackNumber(3), None).await.unwrap();
        assert_eq!(read.bytes, scene.packs[3].1.bytes);
        assert_eq!(root.footers(None, None).await.unwrap().items.len(), 5);
        assert_eq!(root.manifest(snapshot_id(MANIFEST)).await.unwrap(), MANIFEST);
        let told = |refused: &VaultError| {
            matches!(refused, VaultError::Damaged { what, next }
                if what.contains("damaged") && next.contains("rebuild"))
        };
        let device = scene.device().await;
        let pack = scene.owner.machine.small_pack(500);
        let refused = device.put_pack(pack).await.unwrap_err();
        assert!(told(&refused), "byte {at}: {refused:?}");
        assert!(told(&scene.commit(b"another").await.unwrap_err()));
        let head = Head::of(scene.owner.vault, &*root).await;
        let policy = Body::Policy(Policy { grace_days: 50, ..DEFAULT_POLICY });
        assert!(told(&root.append(scene.owner.sign(&head, policy)).await.unwrap_err()));
        let damaged = scene.journals.open(&name).unwrap().unwrap();
        assert_eq!(damaged.length().unwrap(), u64::try_from(length).unwrap(), "left as it is");
        scene.journals.edit(&name, |bytes| bytes.clone_from(&before));
    }
    scene.journals.edit(&name, |bytes| bytes[length / 2] ^= 1);
    assert_eq!(rebuilt(&scene).packs, 5);
    let aside = journal_files::aside(&name, 0);
    assert_eq!(
        scene.journals.open(&aside).unwrap().unwrap().length().unwrap(),
        u64::try_from(length).unwrap()
    );
    assert_eq!(scene.journals.list().unwrap().len(), 2, "server and account");
    scene.restart();
    is_whole(&scene, 4).await;
}

#[tokio::test]
async fn a_journal_that_lost_its_end_is_made_whole() {
    let mut scene = Scene::new(3).await;
    let name = scene.owner.vault.to_string();
    scene.journals.edit(&name, |bytes| bytes.truncate(bytes.len() - 1));
    scene.restart();
    let refused = scene.commit(b"another").await.unwrap_err();
    assert!(
        matches!(&refused, VaultError::Damaged { what, .. } if what.contains("acknowledged")),
        "{refused}"
    );
    assert_eq!(rebuilt(&scene).records, 3);
    scene.restart();
    is_whole(&scene, 2).await;
}

#[tokio::test]
async fn a_hole_in_the_log_is_filled_from_the_old_journal_or_nothing_is_done() {
    let mut scene = Scene::new(2).await;
    let vault = scene.owner.vault;
    scene.blobs.delete(&Key::log(vault, 1)).unwrap();
    scene.journals.edit(&vault.to_string(), |bytes| {
        let end = bytes.len();
        bytes[end - 20] ^= 1;
        bytes.extend_from_slice(b"UJF1");
    });
    let records = rebuilt(&scene).records;
    assert_eq!(records, 3, "one from the journal, two from their copies");
    scene.restart();
    assert_eq!(scene.commit(b"more").await.unwrap().signed.entry().unwrap().seq, 3);

    scene.rot(&Key::log(vault, 1), 9);
    let journals = std::mem::take(&mut scene.journals);
    let fate = rebuild(&scene);
    assert!(matches!(fate, Fate::Refused(RebuildError::Gap { missing: 1, beyond: 3 })), "{fate:?}");
    assert!(scene.journals.open(&vault.to_string()).unwrap().is_none(), "nothing was written");
    scene.journals = journals;
    assert!(matches!(rebuild(&scene), Fate::Whole));
    scene.blobs.delete(&Key::log(vault, 0)).unwrap();
    scene.journals = MemJournals::default();
    assert!(matches!(rebuild(&scene), Fate::Refused(RebuildError::NoLog)));
}

#[tokio::test]
async fn damaged_packs_strays_and_strangers_are_told() {
    let mut scene = Scene::new(66).await;
    let vault = scene.owner.vault;
    // Of a closed range, whose footers are known twice, and of the open one.
    scene.rot(&scene.pack_key(3), 30_000);
    scene.rot(&scene.pack_key(64), 30_000);
    scene.blobs.edit(&scene.pack_key(5), |bytes| bytes.truncate(9));
    scene.blobs.delete(&scene.pack_key(65)).unwrap();
    let stray = Key::pack(vault, PackNumber(70), scene.packs[1].1.id);
    scene.blobs.put(&stray, &[&scene.packs[1].1.bytes]).unwrap();
    let strange = Key::pack(vault, PackNumber(71), unseen_common::id::PackId::from_bytes([7; 32]));
    scene.blobs.put(&strange, &[b"not a pack"]).unwrap();
    scene.journals = MemJournals::default();
    let wanted =
        Rebuilt { records: 3, packs: 65, damaged: 2, missing: 1, strange: 1, same_identity: true };
    assert_eq!(rebuilt(&scene), wanted);
    assert!(
        scene.blobs.get(&strange).unwrap().is_some() && scene.blobs.get(&stray).unwrap().is_some()
    );
    scene.restart();
    let device = scene.device().await;
    assert_eq!(device.damaged_packs().await.unwrap(), set(&[5, 64]));
    assert_eq!(scene.scrub().found, set(&[3]), "what was known by its footer is read by a scrub");
    let given = device.put_pack(scene.owner.machine.small_pack(9999)).await.unwrap();
    assert_eq!(given.0, 72 + SKIPPED);
    scene.restart();
    let given = scene.device().await.put_pack(scene.owner.machine.small_pack(9998)).await.unwrap();
    assert_eq!(given.0, 73 + SKIPPED);
}

#[tokio::test]
async fn a_log_of_another_account_and_another_identity_are_seen() {
    let mut scene = Scene::new(1).await;
    let other = VaultId::from_bytes([9; 16]);
    for seq in 0..3 {
        let record = scene.blobs.get(&Key::log(scene.owner.vault, seq)).unwrap().unwrap();
        scene.blobs.put(&Key::log(other, seq), &[&record]).unwrap();
    }
    let store = memory::store(scene.blobs.clone(), scene.journals.clone());
    let fate = rebuilder(store.clone(), &scene).account(other);
    assert!(
        matches!(fate, Fate::Refused(RebuildError::Foreign(id)) if id == scene.owner.vault),
        "{fate:?}"
    );
    scene.journals = MemJournals::default();
    let store = memory::store(scene.blobs.clone(), scene.journals.clone());
    let identity = SigningKey::from_bytes(&[4; 32]).verifying_key();
    let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&scene.clock);
    let options = Options { clock, open_accounts: true };
    let fate = Rebuilder::new(store, &options, identity).account(scene.owner.vault);
    assert!(matches!(fate, Fate::Rebuilt(Rebuilt { same_identity: false, .. })), "{fate:?}");
}

/// What the operator set is kept, and what manifests take of the quota is counted anew.
#[tokio::test]
async fn quota_suspension_and_access_record_survive_a_rebuild() {
    let mut scene = Scene::new(3).await;
    let name = scene.owner.vault.short();
    scene.core.account_quota(&name, Some(1 << 30)).unwrap();
    let before = scene.core.account_suspend(&name).unwrap();
    scene.commit(b"while suspended").await.unwrap_err();
    let journal = scene.owner.vault.to_string();
    scene.journals.edit(&journal, |bytes| bytes[70] ^= 1);
    rebuilt(&scene);
    scene.restart();
    assert_eq!(scene.core.account_show(&name).unwrap(), before);
    let root = scene.owner.log_in(&scene.core).await.unwrap();
    let access = root.access().await.unwrap();
    let kinds: Vec<Looked> = access.iter().map(|line| line.what).collect();
    assert_eq!(kinds, [Looked::Quota, Looked::Suspend, Looked::Rebuild, Looked::Show]);
    assert!(matches!(scene.commit(b"still").await, Err(VaultError::Suspended(_))));
}

/// An account that was damaged, rebuilt or not, can be erased, and nothing of it stays.
#[tokio::test]
async fn damaged_and_rebuilt_accounts_are_erased_whole() {
    for first_rebuilt in [false, true] {
        let mut scene = Scene::new(64).await;
        let name = scene.owner.vault.to_string();
        scene.journals.edit(&name, |bytes| bytes[70] ^= 1);
        let aside = journal_files::aside(&name, 0);
        if first_rebuilt {
            rebuilt(&scene);
            assert!(scene.journals.open(&aside).unwrap().is_some());
        }
        scene.restart();
        scene.core.account_erase(&name).unwrap();
        assert!(scene.journals.open(&name).unwrap().is_none());
        assert!(scene.journals.open(&aside).unwrap().is_none());
        let blobs = scene.blobs.names();
        assert!(!blobs.iter().any(|blob| blob.contains(&name)), "{blobs:?}");
    }
}

#[tokio::test]
async fn a_damaged_server_journal_begins_anew() {
    let scene = Scene::new(1).await;
    let name = JournalOwner::Server.file_name();
    scene.journals.edit(&name, |bytes| bytes[20] ^= 1);
    let store = memory::store(scene.blobs.clone(), scene.journals.clone());
    rebuilder(store, &scene).server().unwrap();
    let store = memory::store(scene.blobs.clone(), scene.journals.clone());
    let again = core(store, &scene.clock);
    scene.owner.log_in(&again).await.unwrap();
}

/// A rebuild that fails at one operation after another; after a loss of power the account is as it
/// was or rebuilt, and a second rebuild brings it to the same end.
#[tokio::test]
async fn a_rebuild_that_fails_anywhere_is_done_again() {
    for fault in [Fault::Half, Fault::Done, Fault::DiskFull] {
        let mut at = 0;
        loop {
            let mut scene = Scene::new(3).await;
            let name = scene.owner.vault.to_string();
            scene.journals.edit(&name, |bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            });
            let copied: MemBlobs = scene.blobs.clone();
            let plan = Plan::new(at, fault);
            let store = faults::store(&copied, &scene.journals, &plan);
            let fate = rebuilder(store, &scene).account(scene.owner.vault);
            scene.journals.lose_power();
            let done = matches!(fate, Fate::Rebuilt(_));
            match rebuild(&scene) {
                Fate::Whole | Fate::Rebuilt(_) => {}
                Fate::Refused(error) => panic!("{fault:?} at {at}: {error}"),
            }
            scene.restart();
            is_whole(&scene, 2).await;
            if done && plan.count() <= at {
                assert!(at >= 2, "it changes something");
                break;
            }
            at += 1;
        }
    }
}
