//! What a journal survives, and what it refuses.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use unseen_common::id::VaultId;

use super::frame::{HEADER, Owner, PREFIX};
use super::journal::{Journal, JournalError, Position};
use super::journal_files::{JournalFile, Journals};
use super::lock;
use super::memory::{MemBlobs, MemJournals};
use crate::testkit::faults::{self, Fault, Plan};

const OWNER: Owner = Owner::Account(VaultId::from_bytes([1; 16]));

fn open(journals: &dyn Journals) -> Result<(Journal, Vec<Vec<u8>>), JournalError> {
    let mut found = Vec::new();
    let journal = Journal::open(journals, OWNER, |_, bytes| {
        found.push(bytes.to_vec());
        Ok::<(), JournalError>(())
    })?;
    Ok((journal.unwrap(), found))
}

/// A journal with these records, one frame each.
fn written(records: &[&[u8]]) -> (MemJournals, Vec<u8>) {
    let journals = MemJournals::default();
    Journal::create(&journals, OWNER, &[]).unwrap();
    let (journal, _) = open(&journals).unwrap();
    for record in records {
        journal.append(vec![record.to_vec()]).unwrap();
    }
    let mut bytes = Vec::new();
    journals.edit(&OWNER.file_name(), |content| bytes = content.clone());
    (journals, bytes)
}

fn set(journals: &MemJournals, bytes: &[u8]) {
    journals.edit(&OWNER.file_name(), |content| *content = bytes.to_vec());
}

#[test]
fn records_come_back_in_order() {
    let journals = MemJournals::default();
    assert!(journals.open(&OWNER.file_name()).unwrap().is_none());
    Journal::create(&journals, OWNER, &[b"a".to_vec(), b"b".to_vec()]).unwrap();
    let (journal, found) = open(&journals).unwrap();
    assert_eq!(found, [b"a", b"b"]);
    let at = journal.append(vec![b"c".to_vec(), vec![], b"e".to_vec()]).unwrap();
    assert_eq!(journal.read(at).unwrap(), b"c");
    let third = Position { item: 2, ..at };
    assert_eq!(journal.read(third).unwrap(), b"e");
    let beyond = Position { item: 3, ..at };
    assert!(matches!(journal.read(beyond), Err(JournalError::Damaged { .. })));
    let (again, found) = open(&journals).unwrap();
    assert_eq!(found, [&b"a"[..], b"b", b"c", b"", b"e"]);
    assert_eq!(again.extent(), journal.extent());
    assert!(matches!(journal.append(vec![vec![0; 5 << 20]]), Err(JournalError::TooLong { .. })));
}

#[test]
fn the_owner_is_checked() {
    let (journals, bytes) = written(&[b"a"]);
    let other = Owner::Account(VaultId::from_bytes([2; 16]));
    journals.create(&other.file_name(), &bytes).unwrap();
    let opened = Journal::open(&journals, other, |_, _| Ok::<(), JournalError>(()));
    assert!(matches!(opened, Err(JournalError::Damaged { offset: 0, .. })));
}

#[test]
fn a_torn_end_is_cut_off_at_any_length() {
    let (journals, bytes) = written(&[b"one", b"two", b"three"]);
    let last = bytes.len() - PREFIX - 4 - 5;
    for length in last..bytes.len() {
        set(&journals, &bytes[..length]);
        let (journal, found) = open(&journals).unwrap();
        assert_eq!(found, [b"one", b"two"], "{length}");
        journal.append(vec![b"four".to_vec()]).unwrap();
        let (_, found) = open(&journals).unwrap();
        assert_eq!(found, [&b"one"[..], b"two", b"four"], "{length}");
    }
}

#[test]
fn any_changed_byte_is_seen() {
    let (journals, bytes) = written(&[b"one", b"two", b"three"]);
    let last = bytes.len() - PREFIX - 4 - 5;
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        set(&journals, &bad);
        match open(&journals) {
            Ok((_, found)) => {
                assert!(at >= last, "byte {at} went unseen");
                assert_eq!(found, [b"one", b"two"]);
            }
            Err(JournalError::Damaged { offset, .. }) => {
                assert!(at < last, "byte {at}: the torn end was taken for damage");
                assert!(offset <= u64::try_from(at).unwrap());
            }
            Err(other) => unreachable!("{other}"),
        }
    }
}

#[test]
fn a_frame_inside_a_record_is_no_frame() {
    let (_, other) = written(&[b"planted"]);
    let (journals, bytes) = written(&[b"one"]);
    let (journal, _) = open(&journals).unwrap();
    let planted = [&bytes[HEADER..], &other[HEADER..]].concat();
    journal.append(vec![planted]).unwrap();
    let mut torn = Vec::new();
    journals.edit(&OWNER.file_name(), |content| torn = content.clone());
    torn[bytes.len()] ^= 1;
    set(&journals, &torn);
    let (_, found) = open(&journals).unwrap();
    assert_eq!(found, [b"one"]);
}

#[test]
fn a_full_disk_is_no_end() {
    for fault in [Fault::DiskFull, Fault::Half, Fault::Done] {
        let (journals, _) = written(&[b"one"]);
        let plan = Plan::new(0, fault);
        let store = faults::store(&MemBlobs::default(), &journals, &plan);
        let (journal, _) = open(&*store.journals).unwrap();
        let failed = journal.append(vec![b"lost".to_vec()]);
        assert!(matches!(failed, Err(JournalError::Io { .. })), "{failed:?}");
        assert!(!journal.has_failed());
        journal.append(vec![b"two".to_vec()]).unwrap();
        let (_, found) = open(&journals).unwrap();
        assert_eq!(found, [b"one", b"two"], "{fault:?}");
    }
}

#[test]
fn a_failed_fsync_is_the_end() {
    for fault in [Fault::DiskFull, Fault::Done] {
        let (journals, _) = written(&[b"one"]);
        let plan = Plan::new(1, fault);
        let store = faults::store(&MemBlobs::default(), &journals, &plan);
        let (journal, _) = open(&*store.journals).unwrap();
        for _ in 0..3 {
            let failed = journal.append(vec![b"perhaps".to_vec()]);
            assert!(matches!(failed, Err(JournalError::Fatal { .. })));
        }
        assert!(journal.has_failed());
        assert_eq!(plan.count(), 2, "nothing is written any more");
        journals.lose_power();
        let (_, found) = open(&journals).unwrap();
        assert_eq!(found.first().unwrap(), b"one");
        assert_eq!(found.len(), if fault == Fault::Done { 2 } else { 1 });
    }
}

/// A file whose first sync waits until it is let go.
#[derive(Debug)]
struct Gated {
    file: Arc<dyn JournalFile>,
    gate: Arc<Barrier>,
    syncs: Arc<AtomicUsize>,
}

impl JournalFile for Gated {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        if self.syncs.fetch_add(1, Ordering::SeqCst) == 0 {
            self.gate.wait();
        }
        self.file.sync()
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }
}

#[derive(Debug)]
struct GatedJournals(MemJournals, Arc<Barrier>, Arc<AtomicUsize>);

impl Journals for GatedJournals {
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn JournalFile>>> {
        Ok(self.0.open(name)?.map(|file| {
            let gated: Arc<dyn JournalFile> =
                Arc::new(Gated { file, gate: Arc::clone(&self.1), syncs: Arc::clone(&self.2) });
            gated
        }))
    }
    fn create(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.0.create(name, content)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
}

#[test]
fn appends_that_wait_share_one_fsync() {
    const WAITING: usize = 20;
    let (journals, _) = written(&[]);
    let (gate, syncs) = (Arc::new(Barrier::new(2)), Arc::new(AtomicUsize::new(0)));
    let gated = GatedJournals(journals.clone(), Arc::clone(&gate), Arc::clone(&syncs));
    let (journal, _) = open(&gated).unwrap();
    let positions = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let append = |number: usize| {
            let record = number.to_string().into_bytes();
            let at = journal.append(vec![record.clone()]).unwrap();
            lock(&positions).push((at, record));
        };
        scope.spawn(move || append(0));
        while syncs.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        for number in 1..=WAITING {
            scope.spawn(move || append(number));
        }
        while journal.waiting() < WAITING {
            std::thread::yield_now();
        }
        gate.wait();
    });
    assert_eq!(syncs.load(Ordering::SeqCst), 2);
    assert_eq!(lock(&positions).len(), WAITING + 1);
    for (at, record) in lock(&positions).iter() {
        assert_eq!(journal.read(*at).unwrap(), *record);
    }
    assert_eq!(open(&journals).unwrap().1.len(), WAITING + 1);
}
