//! Figures for a million packs, run by hand with `--release`; see docs/PERFORMANCE.md.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use unseen_common::codec::Canonical;
use unseen_common::id::{DeviceId, Hash, PackId, PackNumber};
use unseen_common::packset::{PackSet, PackSetHasher};
use unseen_common::time::Timestamp;
use unseen_common::vault::Service;

use super::{Core, Options};
use crate::store::frame::Owner as JournalOwner;
use crate::store::journal::Journal;
use crate::store::journal_files::{FsJournals, Journals};
use crate::store::key::Key;
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
fn add_packs(folder: &std::path::Path, owner: &Owner, count: u32) {
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
    for number in 0..count {
        let item = AccountRow::Pack(row(number, owner.machine.id)).to_bytes();
        let at = end + u64::try_from(bytes.len()).unwrap();
        bytes.extend(key.frame(at, &[item]).unwrap());
    }
    let file = journals.open(&name.file_name()).unwrap().unwrap();
    file.write_at(end, &bytes).unwrap();
    file.sync().unwrap();
}

/// Seconds of processor that this process has used: this machine may be busy with other things.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (begun, used) = (Instant::now(), processor());
    let done = work();
    println!("{what}: {:.2?}, processor {:.2} s", begun.elapsed(), processor() - used);
    done
}

#[tokio::test]
#[ignore = "a measurement: run it by hand with --release --nocapture"]
async fn a_million_packs() {
    let dir = tempfile::tempdir().unwrap();
    let owner = Owner::new(1);
    let core = Core::open(dir.path(), options()).unwrap();
    core.create_account(owner.account(core.identity(), b"")).await.unwrap();
    drop(core);
    add_packs(&dir.path().join("journal"), &owner, PACKS);
    let open = || Core::open(dir.path(), options()).unwrap();
    let core = timed("open the core", open);
    let load = || core.account(owner.vault).unwrap().unwrap();
    let account = timed("open the account, without an index", load);
    assert_eq!(account.totals().0, u64::from(PACKS));
    let index = Arc::clone(&core.0.shared.store.index);
    let begun = Instant::now();
    let wanted = account.journal.extent().0;
    drop(account);
    while index.progress(owner.vault).is_none_or(|progress| progress.read < wanted) {
        std::thread::yield_now();
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    println!("the index was filled {:.2?} later", begun.elapsed());
    drop((core, index));
    let core = timed("open the core", open);
    drop(timed("open the account", || core.account(owner.vault).unwrap().unwrap()));

    let device = owner.log_in_device(&core, &owner.machine).await.unwrap();
    for (what, step) in [("all packs", 1), ("every third", 3)] {
        let numbers = (0..PACKS).step_by(step);
        let ids: Vec<_> = numbers.clone().map(|n| row(n, owner.machine.id).id).collect();
        let hash = timed("the client's hash", || {
            let mut hasher = PackSetHasher::default();
            for (number, id) in numbers.clone().zip(&ids) {
                hasher.add(PackNumber(number), id);
            }
            hasher.finish()
        });
        let head = Head::of(owner.vault, &*device).await;
        let mut request = owner.machine.snapshot(&head, what.as_bytes(), &[]);
        request.packs = numbers.map(PackNumber).collect::<PackSet>();
        let entry = request.entry.entry().unwrap();
        request.entry = owner.machine.with_packset(&head, entry, hash);
        let (begun, used) = (Instant::now(), processor());
        device.commit(request).await.unwrap();
        println!("commit, {what}: {:.2?}, processor {:.2} s", begun.elapsed(), processor() - used);
    }
}

/// Sparse packs of 16 MiB: only their ends are there.
fn write_packs(dir: &std::path::Path, owner: &Owner, count: u32) {
    for number in 0..count {
        let row = row(number, owner.machine.id);
        let key = Key::pack(owner.vault, row.number, row.id);
        let folder = dir.join(key.folder());
        std::fs::create_dir_all(&folder).unwrap();
        let file = std::fs::File::create(folder.join(key.name())).unwrap();
        file.write_all_at(&[1; 1245], 0).unwrap();
        file.write_all_at(&[2; 4096 + 16], (1 << 24) - 4096 - 16).unwrap();
        file.sync_all().unwrap();
    }
}

fn forget_pages(dir: &std::path::Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            forget_pages(&path);
        } else {
            let file = std::fs::File::open(path).unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "a measurement: run it by hand with --release --nocapture"]
async fn footers_of_twenty_thousand_packs() {
    const COUNT: u32 = 20_032;
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let owner = Owner::new(1);
    let core = Core::open(dir.path(), options()).unwrap();
    core.create_account(owner.account(core.identity(), b"")).await.unwrap();
    drop(core);
    add_packs(&dir.path().join("journal"), &owner, COUNT);
    write_packs(dir.path(), &owner, COUNT);
    let core = Core::open(dir.path(), options()).unwrap();
    let account = core.account(owner.vault).unwrap().unwrap();
    let list = || {
        let (mut after, mut found) = (None, 0);
        loop {
            let page = account.footers(None, after).unwrap();
            found += page.items.len();
            after = page.items.last().map(|item| item.number);
            if !page.more {
                return found;
            }
        }
    };
    let accounts = dir.path().join("accounts");
    for second in ["packs", "segments"] {
        if second == "segments" {
            timed("writing segments", || {
                (0..COUNT).step_by(64).for_each(|n| account.close_segment(PackNumber(n)));
            });
        }
        for cold in [true, false] {
            if cold {
                forget_pages(&accounts);
            }
            let what = format!("footers from {second}, pages cold: {cold}");
            assert_eq!(timed(&what, list), usize::try_from(COUNT).unwrap());
        }
    }
}
