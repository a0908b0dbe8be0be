//! What a start has checked of a log the next one believes, as far as the chain bears it out.

use std::sync::Arc;

use unseen_common::codec::Canonical;
use unseen_common::id::Hash;
use unseen_common::log::chain::Record;
use unseen_common::log::fold::Known;
use unseen_common::vault::VaultError;

use super::scrub::{Spot, Watch};
use super::scrub_tests::{Scene, Through, core};
use crate::store::Store;
use crate::store::frame::Owner as JournalOwner;
use crate::store::index::Index;
use crate::store::journal::{Journal, JournalError};
use crate::store::memory::{self, MemJournals};
use crate::store::row::AccountRow;

/// The number of the only snapshot's record.
const SNAPSHOT: u64 = 2;

fn restart(scene: &mut Scene, index: &Arc<Index>) {
    let store = memory::store(scene.blobs.clone(), scene.journals.clone());
    scene.core = core(Store { index: Arc::clone(index), ..store }, &scene.clock);
}

/// Whether the account can be written: its journal holds together, as far as that is checked.
fn holds(scene: &Scene) -> bool {
    scene.core.account(scene.owner.vault).unwrap().unwrap().read_only.is_none()
}

/// Writes the journal anew, every checksum in order, with another record of the snapshot.
fn forge(scene: &Scene, change: impl Fn(&mut Record)) -> Known {
    let owner = JournalOwner::Account(scene.owner.vault);
    let mut rows = Vec::new();
    let mut head = None;
    Journal::open(&scene.journals, owner, |_, bytes| {
        let mut row = AccountRow::from_bytes(bytes).unwrap();
        if let AccountRow::Log(record) = &mut row
            && record.signed.entry().unwrap().seq == SNAPSHOT
        {
            change(record);
            head = Some(record.hash());
        }
        rows.push(row.to_bytes());
        Ok::<(), JournalError>(())
    })
    .unwrap();
    let (name, forged) = (owner.file_name(), MemJournals::default());
    Journal::create(&forged, owner, &rows).unwrap();
    let mut written = Vec::new();
    forged.edit(&name, |bytes| written.clone_from(bytes));
    scene.journals.edit(&name, |bytes| bytes.clone_from(&written));
    Known { seq: SNAPSHOT, head: head.unwrap() }
}

#[tokio::test]
async fn signatures_are_checked_once_and_by_a_scrub() {
    let dir = tempfile::tempdir().unwrap();
    let index = Arc::new(Index::open(dir.path()));
    let mut scene = Scene::new(1).await;
    let vault = scene.owner.vault;
    let good = Known { seq: SNAPSHOT, head: scene.snapshot.hash() };
    restart(&mut scene, &index);
    assert!(holds(&scene));
    assert_eq!(index.checked(vault), Some(good));
    assert!(scene.scrub().finished);

    // With what was noted, a record that was exchanged is found by the chain.
    let forged = forge(&scene, |record| record.signed.signature[40] ^= 1);
    restart(&mut scene, &index);
    assert!(!holds(&scene));
    assert_eq!(index.checked(vault), None);
    restart(&mut scene, &index);
    assert!(!holds(&scene), "and without it by its signature");

    // Who exchanges the note as well is found by a scrub, and by the start after it.
    index.note_checked(vault, Some(&forged));
    restart(&mut scene, &index);
    assert!(holds(&scene), "no signature was looked at");
    let account = scene.core.account(vault).unwrap().unwrap();
    let told = account.scrub(Spot::default(), &mut Through).unwrap_err();
    assert!(matches!(told, VaultError::Damaged { .. }), "{told:?}");
    assert_eq!(index.checked(vault), None);
    drop(account);
    restart(&mut scene, &index);
    assert!(!holds(&scene));
}

/// Lets so many pass.
struct Only(u32);

impl Watch for Only {
    fn read(&mut self, _bytes: u64) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }

    fn passed(&mut self, _spot: Spot) {}
}

#[tokio::test]
async fn a_log_is_checked_in_parts() {
    let scene = Scene::new(0).await;
    for number in 0..4_u8 {
        scene.commit(&[number]).await.unwrap();
    }
    let account = scene.core.account(scene.owner.vault).unwrap().unwrap();
    let mut spot = Spot::default();
    for proved in [1, 3, 5] {
        let parts = if proved == 1 { 1 } else { 2 };
        assert!(!account.prove_log(&mut spot, &mut Only(parts)).unwrap());
        assert_eq!(spot.proved, proved);
    }
    assert!(account.prove_log(&mut spot, &mut Through).unwrap());
    assert_eq!(spot.proved, 7);
    assert!(account.prove_log(&mut spot, &mut Only(0)).unwrap(), "nothing is left");
}

#[tokio::test]
async fn a_wrong_note_costs_no_more_than_a_check() {
    let dir = tempfile::tempdir().unwrap();
    let index = Arc::new(Index::open(dir.path()));
    let mut scene = Scene::new(1).await;
    let vault = scene.owner.vault;
    let good = Known { seq: SNAPSHOT, head: scene.snapshot.hash() };
    let other = Hash::of(b"another record");
    for wrong in
        [Known { head: other, ..good }, Known { seq: 9, ..good }, Known { seq: 1, head: other }]
    {
        index.note_checked(vault, Some(&wrong));
        restart(&mut scene, &index);
        assert!(holds(&scene), "{wrong:?}");
        assert_eq!(index.checked(vault), Some(good));
    }
    // What comes after a note is checked.
    let account = scene.core.account(vault).unwrap().unwrap();
    let before = Known { seq: 1, head: account.record(1).unwrap().unwrap().hash() };
    drop(account);
    let forged = forge(&scene, |record| record.signed.signature[40] ^= 1);
    index.note_checked(vault, Some(&before));
    restart(&mut scene, &index);
    assert!(!holds(&scene), "{forged:?}");
}
