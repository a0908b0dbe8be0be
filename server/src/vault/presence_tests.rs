//! Packs whose files are gone or torn: found without reading, marked, mended where that can be.

use unseen_common::id::PackNumber;
use unseen_common::limits::MAX_VERIFY;
use unseen_common::packset::PackSet;
use unseen_common::vault::{PackSurvey, VaultError};

use super::rounds::Rounds;
use super::scrub::Spot;
use super::scrub_tests::{Scene, set};
use crate::store::blobs::Blobs;
use crate::store::journal_files::Journals;
use crate::store::key::Key;

#[tokio::test]
async fn a_survey_finds_files_that_are_gone_or_torn_and_marks_them() {
    let mut scene = Scene::new(6).await;
    let root = scene.owner.log_in(&scene.core).await.unwrap();
    assert_eq!(root.survey_packs(None).await.unwrap(), PackSurvey::default());
    scene.blobs.delete(&scene.pack_key(1)).unwrap();
    scene.blobs.edit(&scene.pack_key(3), |bytes| bytes.truncate(9000));
    scene.blobs.edit(&scene.pack_key(4), |bytes| bytes.push(0));
    // What is only changed within is none of its business.
    scene.rot(&scene.pack_key(5), 30_000);
    let wanted = PackSurvey { gone: set(&[1]), odd: set(&[3, 4]), next: None };
    for restarted in [false, true] {
        if restarted {
            scene.restart();
        }
        let root = scene.owner.log_in(&scene.core).await.unwrap();
        assert_eq!(
            root.survey_packs(None).await.unwrap(),
            wanted,
            "it is told as long as it is so"
        );
        assert_eq!(root.damaged_packs().await.unwrap(), set(&[1, 3, 4]));
        assert_eq!(root.live_packs().await.unwrap(), set(&[0, 2, 5]));
    }
    let journal = scene.journals.open(&scene.owner.vault.to_string()).unwrap().unwrap();
    let before = journal.length().unwrap();
    let root = scene.owner.log_in(&scene.core).await.unwrap();
    root.survey_packs(None).await.unwrap();
    assert_eq!(journal.length().unwrap(), before, "it is noted once");
    let device = scene.device().await;
    for (number, pack) in &scene.packs {
        assert_eq!(device.put_pack(pack.clone()).await.unwrap(), *number);
    }
    assert_eq!(root.survey_packs(None).await.unwrap(), PackSurvey::default());
    assert_eq!(root.live_packs().await.unwrap(), set(&[0, 1, 2, 3, 4, 5]));
}

#[tokio::test]
async fn a_survey_goes_on_where_it_ended() {
    let scene = Scene::new(5).await;
    for at in [0, 2, 4] {
        scene.blobs.delete(&scene.pack_key(at)).unwrap();
    }
    let account = scene.core.account(scene.owner.vault).unwrap().unwrap();
    let (mut after, mut gone, mut pages) = (None, PackSet::default(), 0);
    loop {
        let survey = account.survey_some(None, after, 2).unwrap();
        gone.0 |= survey.gone.0;
        pages += 1;
        after = survey.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((gone, pages), (set(&[0, 2, 4]), 3));
}

#[tokio::test]
async fn what_a_client_says_of_a_pack_counts_for_nothing() {
    let scene = Scene::new(4).await;
    let root = scene.owner.log_in(&scene.core).await.unwrap();
    assert_eq!(root.verify_packs(set(&[0, 1, 2, 3])).await.unwrap(), set(&[]));
    assert_eq!(root.damaged_packs().await.unwrap(), set(&[]));
    scene.rot(&scene.pack_key(2), 30_000);
    assert_eq!(root.verify_packs(set(&[0, 1])).await.unwrap(), set(&[]), "only those asked for");
    assert_eq!(root.damaged_packs().await.unwrap(), set(&[]));
    assert_eq!(root.verify_packs(set(&[1, 2, 900])).await.unwrap(), set(&[2, 900]));
    assert_eq!(root.damaged_packs().await.unwrap(), set(&[2]));
    // Whole again: that is noted, too.
    scene.rot(&scene.pack_key(2), 30_000);
    assert_eq!(root.verify_packs(set(&[2])).await.unwrap(), set(&[]));
    assert_eq!(root.damaged_packs().await.unwrap(), set(&[]));

    let many: PackSet = (0..=u32::try_from(MAX_VERIFY).unwrap()).map(PackNumber).collect();
    assert!(matches!(root.verify_packs(many).await, Err(VaultError::Invalid(_))));
    // A device may ask whether its own are there, not have the vault read.
    let refused = scene.device().await.verify_packs(set(&[0])).await;
    assert!(matches!(refused, Err(VaultError::Forbidden(_))), "{refused:?}");
    assert_eq!(scene.device().await.survey_packs(None).await.unwrap(), PackSurvey::default());
}

#[tokio::test]
async fn what_is_only_too_long_or_torn_at_an_end_with_a_copy_is_mended() {
    let scene = Scene::new(64).await;
    let root = scene.owner.log_in(&scene.core).await.unwrap();
    scene.blobs.edit(&scene.pack_key(3), |bytes| bytes.extend_from_slice(b"more"));
    scene.blobs.edit(&scene.pack_key(4), |bytes| bytes.truncate(65_000));
    scene.blobs.edit(&scene.pack_key(5), |bytes| bytes.truncate(30_000));
    assert_eq!(root.survey_packs(None).await.unwrap().odd, set(&[3, 4, 5]));
    assert_eq!(root.verify_packs(set(&[3, 4, 5])).await.unwrap(), set(&[5]));
    for at in [3, 4] {
        let bytes = scene.blobs.get(&scene.pack_key(at)).unwrap().unwrap();
        assert_eq!(bytes, scene.packs[at].1.bytes);
    }
    assert_eq!(root.damaged_packs().await.unwrap(), set(&[5]));
    assert_eq!(root.survey_packs(None).await.unwrap().odd, set(&[5]));
}

#[tokio::test]
async fn an_account_that_is_read_only_is_looked_at_and_not_marked() {
    let mut scene = Scene::new(4).await;
    scene.blobs.edit(&scene.pack_key(1), |bytes| bytes.truncate(20_000));
    scene.rot(&scene.pack_key(2), 30_000);
    let name = scene.owner.vault.to_string();
    scene.journals.edit(&name, |bytes| bytes[60] ^= 1);
    scene.restart();
    let root = scene.owner.log_in(&scene.core).await.unwrap();
    // What has another length is no pack to who goes by the files alone.
    assert_eq!(root.live_packs().await.unwrap(), set(&[0, 2, 3]));
    scene.blobs.delete(&scene.pack_key(3)).unwrap();
    assert_eq!(root.survey_packs(None).await.unwrap().gone, set(&[3]));
    assert_eq!(root.verify_packs(set(&[0, 1, 2])).await.unwrap(), set(&[1, 2]));
    let refused = scene.device().await.put_pack(scene.owner.machine.small_pack(9)).await;
    assert!(matches!(refused, Err(VaultError::Damaged { .. })), "{refused:?}");
}

#[tokio::test]
async fn lost_manifests_lists_and_slots_are_named() {
    let scene = Scene::new(2).await;
    let root = scene.owner.log_in(&scene.core).await.unwrap();
    let vault = scene.owner.vault;
    let id = super::scrub_tests::manifest_id();
    let slots = unseen_common::vault::slot_set_hash(&scene.owner.slots);
    let keys = [Key::manifest(vault, id), Key::packset(vault, id), Key::slots(vault, slots)];
    scene.blobs.delete(&keys[0]).unwrap();
    scene.rot(&keys[1], 9);
    scene.rot(&keys[2], 9);
    // The second copies serve.
    assert_eq!(root.manifest(id).await.unwrap(), super::scrub_tests::MANIFEST);
    assert_eq!(root.packs_of(id).await.unwrap(), set(&[0, 1]));
    assert_eq!(root.slots().await.unwrap(), scene.owner.slots);
    scene.rot(&keys[0].second(), 9);
    scene.rot(&keys[1].second(), 9);
    scene.blobs.delete(&keys[2].second()).unwrap();
    let told = [
        root.manifest(id).await.map(drop),
        root.packs_of(id).await.map(drop),
        root.slots().await.map(drop),
    ];
    for (told, named) in told.into_iter().zip(["the manifest of", "list of packs", "slots"]) {
        let Err(VaultError::Damaged { what, next }) = told else {
            panic!("{told:?}");
        };
        assert!(what.contains(named) && !next.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn a_journal_that_is_gone_is_told_and_an_account_that_never_was_is_refused() {
    let mut scene = Scene::new(2).await;
    let other = crate::testkit::Owner::new(77);
    let refused = other.log_in(&scene.core).await.unwrap_err();
    assert!(matches!(refused, VaultError::Forbidden(_)), "{refused:?}");
    scene.journals = crate::store::memory::MemJournals::default();
    scene.restart();
    let refused = scene.owner.log_in(&scene.core).await.unwrap_err();
    let VaultError::Damaged { what, next } = refused else {
        panic!("{refused:?}");
    };
    assert!(what.contains("packs and no journal"), "{what}");
    assert!(next.contains("rebuild") && next.contains("whoever runs the server"), "{next}");
}

/// Breaks a scrub off after every read, and goes on: everything is looked at once.
#[tokio::test]
async fn a_scrub_in_the_smallest_slices_comes_to_its_end() {
    let scene = Scene::new(70).await;
    scene.rot(&scene.pack_key(66), 30_000);
    scene.rot(&scene.pack_key(5), 65_000);
    let rounds = Rounds::new(scene.core.clone(), None);
    let id = scene.owner.vault;
    let (mut found, mut packs, mut repaired, mut slices) = (PackSet::default(), 0, 0, 0);
    loop {
        slices += 1;
        let report = rounds.scrub(id, &mut |_| false).unwrap();
        found.0 |= report.found.0;
        packs += report.packs;
        repaired += report.repaired;
        if report.finished {
            break;
        }
        assert!(slices < 100, "it does not come to an end");
    }
    assert_eq!((found, packs, repaired), (set(&[66]), 70, 1));
    // Packs, log records, their copies, the snapshot, the end.
    assert_eq!(slices, 70 + 3 + 3 + 1 + 1);
    assert_eq!(rounds.hint(id).spot, Spot::default());
}

#[tokio::test]
async fn a_local_vault_is_due_when_it_is_old_enough() {
    let scene = Scene::new(3).await;
    let rounds = Rounds::new(scene.core.clone(), None);
    let month = 30 * 86_400;
    let mut all = |_| true;
    assert!(rounds.scrub_due(month, &mut all).unwrap().is_empty(), "only just written");
    scene.clock.advance(month);
    let reports = rounds.scrub_due(month, &mut all).unwrap();
    assert_eq!((reports.len(), reports[0].packs), (1, 3));
    assert!(rounds.scrub_due(month, &mut all).unwrap().is_empty());
    scene.clock.advance(month);
    let first = rounds.scrub_due(month, &mut |_| false).unwrap();
    assert_eq!((first[0].packs, first[0].finished), (1, false));
    let second = rounds.scrub_due(month, &mut all).unwrap();
    assert_eq!((second[0].packs, second[0].finished), (2, true));
}
