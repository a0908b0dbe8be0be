//! Figures for a million packs, run by hand with `--release`; see docs/PERFORMANCE.md.

use std::sync::Arc;
use std::time::Instant;

use unseen_common::codec::Canonical;
use unseen_common::id::{DeviceId, Hash, PackId, PackNumber};
use unseen_common::packset::{PackSet, PackSetHasher};
use unseen_common::time::Timestamp;
use unseen_common::vault::{Service, Vault};

use super::{Core, Options};
use crate::store::frame::Owner as JournalOwner;
use crate::store::journal::Journal;
use crate::store::journal_files::{FsJournals, Journals};
use crate::store::row::{AccountRow, PackRow};
use crate::testkit::{Head, Owner, TestClock};

const PACKS: u32 = 1_000_000;

fn options() -> Options {
    Options { clock: Arc::new(TestClock::default()), open_accounts: true }
}

fn row(number: u32, device: DeviceId) -> PackRow {
    PackRow {
        number: PackNumber(number),
        id: PackId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes()),
        content_hash: Hash::from_bytes([7; 32]),
        device,
        length: 1 << 24,
        footer_len: 4096,
        received: Timestamp(1_800_000_000),
    }
}

/// A frame a pack, as uploads one by one make them.
fn add_packs(folder: &std::path::Path, owner: &Owner) {
    let journals = FsJournals::open(folder).unwrap();
    let name = JournalOwner::Account(owner.vault);
    let mut end = 0;
    let mut key = None;
    Journal::open(&journals, name, |_, _| Ok::<(), crate::store::journal::JournalError>(()))
        .unwrap()
        .map(|journal| {
            end = journal.extent().0;
            key = Some(journal.key());
        })
        .unwrap();
    let key = key.unwrap();
    let mut bytes = Vec::new();
    for number in 0..PACKS {
        let item = AccountRow::Pack(row(number, owner.machine.id)).to_bytes();
        let at = end + u64::try_from(bytes.len()).unwrap();
        bytes.extend(key.frame(at, &[item]).unwrap());
    }
    let file = journals.open(&name.file_name()).unwrap().unwrap();
    file.write_at(end, &bytes).unwrap();
    file.sync().unwrap();
}

#[tokio::test]
#[ignore = "a measurement: run it by hand with --release --nocapture"]
async fn a_million_packs() {
    let dir = tempfile::tempdir().unwrap();
    let owner = Owner::new(1);
    let core = Core::open(dir.path(), options()).unwrap();
    core.create_account(owner.account(core.identity(), b"")).await.unwrap();
    drop(core);
    add_packs(&dir.path().join("journal"), &owner);
    for what in ["without an index", "again", "again"] {
        let begun = Instant::now();
        let core = Core::open(dir.path(), options()).unwrap();
        let opened = begun.elapsed();
        let account = core.account(owner.vault).unwrap().unwrap();
        println!("open {what}: core {opened:?}, account {:?}", begun.elapsed());
        assert_eq!(account.totals().0, u64::from(PACKS));
        drop(account);
        let begun = Instant::now();
        drop(core);
        println!("closed in {:?}", begun.elapsed());
    }
    let core = Core::open(dir.path(), options()).unwrap();
    let device = owner.log_in_device(&core, &owner.machine).await.unwrap();
    for (what, step) in [("all packs", 1), ("every third", 3)] {
        let numbers = (0..PACKS).step_by(step);
        let begun = Instant::now();
        let mut hasher = PackSetHasher::default();
        let ids: Vec<_> = numbers.clone().map(|n| row(n, owner.machine.id).id).collect();
        let made = begun.elapsed();
        for (number, id) in numbers.clone().zip(&ids) {
            hasher.add(PackNumber(number), id);
        }
        println!("{what}: the client's hash {:?}", begun.elapsed() - made);
        let head = Head::of(owner.vault, &*device).await;
        let mut request = owner.machine.snapshot(&head, what.as_bytes(), &[]);
        request.packs = numbers.map(PackNumber).collect::<PackSet>();
        let entry = request.entry.entry().unwrap();
        request.entry = owner.machine.with_packset(&head, entry, hasher.finish());
        let begun = Instant::now();
        device.commit(request).await.unwrap();
        println!("{what}: commit {:?}", begun.elapsed());
    }
}
