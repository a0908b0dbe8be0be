//! The folder that a copy goes to: a new one, an older copy of the same server, or one that was cut
//! off.
//!
//! While it is brought up to date, an older copy stays what it was: files are added, and its
//! journals are replaced by one rename; only then goes what the new ones do not name. A copy of
//! another server, or one that was served itself since and has a history of its own, is refused.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use unseen_common::id::{PackNumber, VaultId};
use unseen_common::lock::Lock;

use super::account::Account;
use super::copy::{Copied, CopyError, PART, named, replayed};
use super::core::Inner;
use super::pack_bytes::whole;
use super::packs::length_of;
use super::table::Pack;
use crate::store::blobs::Blobs;
use crate::store::durable;
use crate::store::frame::Owner;
use crate::store::journal_files::{FsJournals, Journals};
use crate::store::key::{self, Key};
use crate::store::second::is_bad_sector;

const JOURNAL: &str = "journal";
/// The journals of the older copy, from the moment at which they are replaced.
const OLD: &str = "journal.old";
const IDENTITY: &str = "identity.key";
/// What may be in a folder that counts as empty.
const NOTHING: [&str; 2] = ["lock", "lost+found"];

/// Where a copy goes.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) root: PathBuf,
    /// The journals of the copy until it is done.
    pub(super) part: PathBuf,
    pub(super) journals: FsJournals,
    /// The journals of the older copy.
    old: Option<FsJournals>,
    _lock: Lock,
}

/// What is in an older copy of one account.
#[derive(Debug, Default)]
pub(super) struct Older {
    /// Packs that it knows to be damaged: by its own scrub, or when it was made.
    pub(super) damaged: BTreeSet<PackNumber>,
}

/// What became of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    New,
    Kept,
    Missing,
    /// A pack that is not what its name says, here and in the copy.
    Rotten,
}

impl Target {
    /// Looks at the folder, and takes it for this copy alone.
    pub(super) fn take(from: &Path, root: &Path) -> Result<Self, CopyError> {
        let wrap = |source| CopyError::Io { path: root.to_owned(), source };
        durable::make_dirs(root).map_err(wrap)?;
        let identity = from.join(IDENTITY);
        let ours =
            fs::read(&identity).map_err(|source| CopyError::Io { path: identity, source })?;
        let is_new = is_empty(root).map_err(wrap)?;
        if !is_new {
            match fs::read(root.join(IDENTITY)) {
                Ok(theirs) if theirs == ours => {}
                Ok(_) => return Err(CopyError::OtherServer(root.to_owned())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(CopyError::NotEmpty(root.to_owned()));
                }
                Err(source) => return Err(wrap(source)),
            }
        }
        let lock = Lock::take(&root.join("lock")).map_err(wrap)?;
        let lock = lock.ok_or_else(|| CopyError::Busy(root.to_owned()))?;
        if is_new {
            // First of all: by it a copy that was cut off is known.
            durable::write(&root.join(IDENTITY), &[&ours]).map_err(wrap)?;
        }
        let old = [JOURNAL, OLD].map(|name| root.join(name)).into_iter().find(|old| old.is_dir());
        let old = old.map(|old| FsJournals::open(&old)).transpose().map_err(wrap)?;
        let part = root.join(PART);
        remove_all(&part).map_err(wrap)?;
        let journals = FsJournals::open(&part).map_err(wrap)?;
        Ok(Self { root: root.to_owned(), part, journals, old, _lock: lock })
    }

    /// Refuses an older copy that has accounts which the server never had.
    pub(super) fn check_accounts(&self, inner: &Inner, ids: &[VaultId]) -> Result<(), CopyError> {
        for id in self.old_ids()? {
            if !ids.contains(&id) && !inner.ledger.is_erased(id) {
                return Err(CopyError::OwnHistory { id, path: self.root.clone() });
            }
        }
        Ok(())
    }

    fn old_ids(&self) -> Result<Vec<VaultId>, CopyError> {
        let names = self.old.as_ref().map(Journals::list).transpose();
        let names = names.map_err(|source| self.wrap(source))?.unwrap_or_default();
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// What the older copy has of an account: a part of its history, or it is refused.
    pub(super) fn older(&self, account: &Account) -> Result<Older, CopyError> {
        let id = account.id();
        let Some(old) = &self.old else {
            return Ok(Older::default());
        };
        let name = Owner::Account(id).file_name();
        if old.open(&name).map_err(|source| self.wrap(source))?.is_none() {
            return Ok(Older::default());
        }
        let found = replayed(old, id);
        let found = found.map_err(|source| CopyError::Older { id, source })?;
        let Some(state) = found.state else {
            return Ok(Older::default());
        };
        let record = account.record(state.head_seq);
        let record = record.map_err(|source| CopyError::Account { id, source })?;
        if record.is_none_or(|record| record.hash() != state.head) {
            return Err(CopyError::OwnHistory { id, path: self.root.clone() });
        }
        Ok(Older { damaged: found.damaged })
    }

    /// Leaves an account as the older copy has it; whether that has it.
    pub(super) fn keep_older(&self, id: VaultId) -> Result<bool, CopyError> {
        let name = Owner::Account(id).file_name();
        for folder in [JOURNAL, OLD] {
            match fs::read(self.root.join(folder).join(&name)) {
                Ok(bytes) => {
                    let done = self.journals.create(&name, &bytes);
                    return done.map(|()| true).map_err(|source| self.wrap(source));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(self.wrap(source)),
            }
        }
        Ok(false)
    }

    /// Makes a file be there as it is in the data folder, where it is not. With `renew` one of the
    /// same length is not enough; what the data folder has lost stays.
    pub(super) fn put(&self, blobs: &dyn Blobs, key: &Key, renew: bool) -> io::Result<Put> {
        let path = self.root.join(key.folder()).join(key.name());
        let Some(length) = blobs.length(key)? else {
            return Ok(if path.exists() { Put::Kept } else { Put::Missing });
        };
        match fs::metadata(&path) {
            Ok(there) if there.len() == length && !renew => return Ok(Put::Kept),
            Ok(_) => fs::remove_file(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(if blobs.export(key, &self.root)? { Put::New } else { Put::Missing })
    }

    /// The same for a pack, which is looked at when it is taken. A rotten one gets a byte too many:
    /// by that the next copy knows it, and readers do not mind.
    pub(super) fn put_pack(
        &self,
        blobs: &dyn Blobs,
        key: &Key,
        (number, pack): (PackNumber, Pack),
        renew: bool,
    ) -> io::Result<Put> {
        let folder = self.root.join(key.folder());
        let path = folder.join(key.name());
        let there = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => Some(found?.len()),
        };
        let is_long = there == Some(pack.length);
        if is_long && !renew {
            return Ok(Put::Kept);
        }
        let bytes = match blobs.get(key) {
            Err(error) if is_bad_sector(&error) => return Ok(Put::Rotten),
            read => read?,
        };
        let Some(bytes) = bytes else {
            return Ok(match there {
                None => Put::Missing,
                Some(_) if is_long => Put::Kept,
                Some(_) => Put::Rotten,
            });
        };
        if whole(number, &pack, &bytes).is_some() {
            if there.is_some() {
                fs::remove_file(&path)?;
            }
            return Ok(if blobs.export(key, &self.root)? { Put::New } else { Put::Missing });
        }
        // What is there is no worse.
        if there.is_none() {
            durable::make_dirs(&folder)?;
            let lacking = pack.length.saturating_sub(length_of(&bytes)).saturating_add(1);
            let more = vec![0; usize::try_from(lacking).map_err(io::Error::other)?];
            durable::write(&path, &[&bytes, &more])?;
        }
        Ok(Put::Rotten)
    }

    /// Whether a small file is there with other content.
    pub(super) fn differs(&self, blobs: &dyn Blobs, key: &Key) -> io::Result<bool> {
        match fs::read(self.root.join(key.folder()).join(key.name())) {
            Ok(there) => Ok(blobs.get(key)?.is_some_and(|wanted| wanted[..] != there[..])),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// From here on the copy is the new one.
    pub(super) fn switch(&self) -> Result<(), CopyError> {
        let done = || -> io::Result<()> {
            let (journal, old) = (self.root.join(JOURNAL), self.root.join(OLD));
            durable::sync_folder(&self.part)?;
            // Derived from the journals.
            remove_all(&self.root.join("index"))?;
            if journal.exists() {
                remove_all(&old)?;
                fs::rename(&journal, &old)?;
            }
            fs::rename(&self.part, &journal)?;
            durable::sync_folder(&self.root)?;
            remove_all(&old)
        };
        done().map_err(|source| self.wrap(source))
    }

    /// After the switch: adds the copies of the log of an account, and removes what its journal does
    /// not name.
    pub(super) fn tidy(&self, account: &Account, copied: &mut Copied) -> Result<(), CopyError> {
        let id = account.id();
        let journals = FsJournals::open(&self.root.join(JOURNAL));
        let journals = journals.map_err(|source| self.wrap(source))?;
        let keys = named(&journals, id).map_err(|source| CopyError::Journal { id, source })?;
        let mut names: BTreeMap<&str, HashSet<&str>> = BTreeMap::new();
        for (key, _) in &keys {
            names.entry(key.folder()).or_default().insert(key.name());
            if key.folder() == key::log_folder(id) {
                let put = self.put(&*account.store.blobs, key, false);
                copied.count(put.map_err(|source| self.wrap(source))?);
            }
        }
        let log = self.root.join(key::log_folder(id));
        let synced = if log.exists() { durable::sync_folder(&log) } else { Ok(()) };
        let tidied = synced.and_then(|()| self.remove_others(&key::account_folder(id), &names));
        copied.removed += tidied.map_err(|source| self.wrap(source))?;
        Ok(())
    }

    /// Removes the files below a folder that are not among these; how many they were.
    fn remove_others(
        &self,
        folder: &str,
        names: &BTreeMap<&str, HashSet<&str>>,
    ) -> io::Result<u64> {
        let mut removed = 0;
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let known = names.get(folder.as_str());
            let entries = match fs::read_dir(self.root.join(&folder)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                if entry.file_type()?.is_dir() {
                    folders.push(format!("{folder}/{}", name.to_string_lossy()));
                } else if !name
                    .to_str()
                    .zip(known)
                    .is_some_and(|(name, known)| known.contains(name))
                {
                    fs::remove_file(entry.path())?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Removes accounts that are in no journal: they were erased.
    pub(super) fn remove_erased(&self, left: &[VaultId]) -> Result<(), CopyError> {
        let accounts = self.root.join(key::ACCOUNTS);
        let done = || -> io::Result<()> {
            let entries = match fs::read_dir(&accounts) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let id = entry.file_name().to_str().and_then(|name| name.parse::<VaultId>().ok());
                if id.is_some_and(|id| !left.contains(&id)) {
                    fs::remove_dir_all(entry.path())?;
                }
            }
            durable::sync_folder(&accounts)
        };
        done().map_err(|source| self.wrap(source))
    }

    pub(super) fn wrap(&self, source: io::Error) -> CopyError {
        CopyError::Io { path: self.root.clone(), source }
    }
}

/// Whether a folder is a copy that was cut off: it has no journals yet.
pub(super) fn is_unfinished(dir: &Path) -> bool {
    dir.join(PART).is_dir() && !dir.join(JOURNAL).is_dir()
}

fn is_empty(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let unfinished = name.as_encoded_bytes().starts_with(durable::TEMPORARY.as_bytes());
        if !unfinished && NOTHING.iter().all(|nothing| name != *nothing) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn remove_all(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
