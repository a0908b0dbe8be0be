//! A store in memory, for tests: it can lose power.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use unseen_common::id::VaultId;

use super::blobs::{Blobs, export_bytes};
use super::index::Index;
use super::journal_files::{JournalFile, Journals, aside, asides};
use super::key::{self, Key};
use super::{Store, lock};

/// Blobs in memory.
#[derive(Debug, Clone, Default)]
pub struct MemBlobs(Arc<Mutex<BTreeMap<Key, Bytes>>>);

impl MemBlobs {
    /// The names of all blobs.
    pub fn names(&self) -> Vec<String> {
        lock(&self.0).keys().map(ToString::to_string).collect()
    }

    /// Changes the bytes of a blob behind everybody's back; whether there is one.
    pub fn edit(&self, key: &Key, edit: impl FnOnce(&mut Vec<u8>)) -> bool {
        lock(&self.0).get_mut(key).is_some_and(|bytes| {
            let mut changed = bytes.to_vec();
            edit(&mut changed);
            *bytes = changed.into();
            true
        })
    }
}

impl Blobs for MemBlobs {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> io::Result<()> {
        lock(&self.0).insert(key.clone(), parts.concat().into());
        Ok(())
    }

    fn get(&self, key: &Key) -> io::Result<Option<Bytes>> {
        Ok(lock(&self.0).get(key).cloned())
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> io::Result<Option<Bytes>> {
        Ok(lock(&self.0).get(key).map(|bytes| {
            let place = |at: u64| usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
            let start = place(range.start);
            bytes.slice(start..place(range.end).max(start))
        }))
    }

    fn length(&self, key: &Key) -> io::Result<Option<u64>> {
        Ok(lock(&self.0).get(key).and_then(|bytes| u64::try_from(bytes.len()).ok()))
    }

    fn delete(&self, key: &Key) -> io::Result<()> {
        lock(&self.0).remove(key);
        Ok(())
    }

    fn export(&self, key: &Key, root: &Path) -> io::Result<bool> {
        export_bytes(self.get(key)?, key, root)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let all = lock(&self.0);
        let within = format!("{folder}/");
        let names: BTreeSet<String> = all
            .keys()
            .map(ToString::to_string)
            .filter_map(|path| Some(path.strip_prefix(&within)?.split('/').next()?.to_owned()))
            .collect();
        Ok(names.into_iter().collect())
    }

    fn clean(&self, _folder: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove_account(&self, account: VaultId) -> io::Result<()> {
        let within = format!("{}/", key::account_folder(account));
        lock(&self.0).retain(|key, _| !key.folder().starts_with(&within));
        Ok(())
    }
}

/// Journals in memory.
#[derive(Debug, Clone, Default)]
pub struct MemJournals(Arc<Mutex<BTreeMap<String, Arc<MemJournal>>>>);

/// A journal in memory.
#[derive(Debug, Default)]
pub struct MemJournal(Mutex<Content>);

#[derive(Debug, Default)]
struct Content {
    written: Vec<u8>,
    synced: Vec<u8>,
}

impl Content {
    fn settle(&mut self) {
        self.synced.clone_from(&self.written);
    }

    fn revert(&mut self) {
        self.written.clone_from(&self.synced);
    }
}

impl MemJournals {
    /// Loses power: what was not synced is gone.
    pub fn lose_power(&self) {
        for file in lock(&self.0).values() {
            let mut content = lock(&file.0);
            content.revert();
        }
    }

    /// Changes the bytes of a journal behind the back of whoever has it open.
    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        if let Some(file) = lock(&self.0).get(name) {
            let mut content = lock(&file.0);
            edit(&mut content.written);
            content.settle();
        }
    }
}

impl Journals for MemJournals {
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn JournalFile>>> {
        Ok(lock(&self.0).get(name).map(|file| {
            let file: Arc<dyn JournalFile> = Arc::<MemJournal>::clone(file);
            file
        }))
    }

    fn create(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let content = Content { written: content.to_vec(), synced: content.to_vec() };
        lock(&self.0).insert(name.to_owned(), Arc::new(MemJournal(Mutex::new(content))));
        Ok(())
    }

    fn keep_aside(&self, name: &str) -> io::Result<()> {
        let mut all = lock(&self.0);
        if let Some(file) = all.get(name).cloned() {
            let free =
                (0..=u32::MAX).map(|number| aside(name, number)).find(|n| !all.contains_key(n));
            all.extend(free.map(|name| (name, file)));
        }
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let all = lock(&self.0);
        Ok(all.keys().filter(|name| !name.starts_with('.')).cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        lock(&self.0).retain(|other, _| other != name && !other.starts_with(&asides(name)));
        Ok(())
    }
}

impl JournalFile for MemJournal {
    fn length(&self) -> io::Result<u64> {
        u64::try_from(lock(&self.0).written.len()).map_err(io::Error::other)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let content = lock(&self.0);
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let rest = content.written.get(offset..).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut content = lock(&self.0);
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        content.written.truncate(offset);
        content.written.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut content = lock(&self.0);
        content.settle();
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        lock(&self.0).written.truncate(length);
        Ok(())
    }
}

/// A store in memory, without an index.
pub fn store(blobs: MemBlobs, journals: MemJournals) -> Store {
    Store { blobs: Arc::new(blobs), journals: Arc::new(journals), index: Arc::new(Index::none()) }
}
