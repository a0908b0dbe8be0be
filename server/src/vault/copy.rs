//! A copy of a data folder that is consistent although clients write meanwhile.
//!
//! Of each account first the journal is copied, as far as it was acknowledged, then every blob that
//! this copy names. All journals get their place at the very end, with one rename: a copy that
//! broke off has none.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use unseen_common::id::VaultId;
use unseen_common::log::fold::{FoldError, State};
use unseen_common::vault::VaultError;

use super::account::Account;
use super::core::Core;
use super::load::LoadError;
use crate::store::blobs::{Blobs as _, FsBlobs};
use crate::store::durable;
use crate::store::frame::Owner;
use crate::store::journal::Journal;
use crate::store::journal_files::{FsJournals, Journals as _};
use crate::store::key::Key;
use crate::store::row::AccountRow;
use crate::store::segment;
use unseen_common::codec::Canonical;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Something is there already.
    #[error("{0} is not empty: name a folder that is not there yet")]
    NotEmpty(PathBuf),
    /// The core has no folder.
    #[error("this vault is not in a folder")]
    NoFolder,
    /// A file or folder.
    #[error("{path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An account cannot be opened.
    #[error("account {id}")]
    Account {
        /// Which.
        id: VaultId,
        /// Why.
        #[source]
        source: VaultError,
    },
    /// What was copied makes no sense.
    #[error("the copy of the journal of account {id}")]
    Journal {
        /// Which.
        id: VaultId,
        /// Why.
        #[source]
        source: LoadError,
    },
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copied {
    /// Accounts.
    pub accounts: u64,
    /// Files, or second names of them.
    pub blobs: u64,
    /// What a journal names and is not there: damage that a scrub tells.
    pub missing: u64,
    /// Accounts whose journal is damaged; they are not in the copy.
    pub damaged: Vec<VaultId>,
}

/// How often an account is begun anew because something was deleted meanwhile.
const ATTEMPTS: u32 = 5;
const PART: &str = "journal.part";
/// Files at the top that are of no use in a copy.
const LEFT_OUT: [&str; 4] = ["lock", "reserve", super::rounds::HINTS, "admin.sock"];

impl Core {
    /// Copies everything into a folder that is not there yet, or empty. Blocks.
    pub fn copy_to(&self, target: &Path) -> Result<Copied, CopyError> {
        let from = self.0.folder.as_deref().ok_or(CopyError::NoFolder)?;
        let wrap = |source| CopyError::Io { path: target.to_owned(), source };
        durable::make_dirs(target).map_err(wrap)?;
        if fs::read_dir(target).map_err(wrap)?.next().is_some() {
            return Err(CopyError::NotEmpty(target.to_owned()));
        }
        let part = target.join(PART);
        let journals = FsJournals::open(&part).map_err(wrap)?;
        let mut copied = Copied::default();
        let mut folders = BTreeSet::new();
        let mut ids = self.accounts().map_err(wrap)?;
        ids.sort_unstable();
        for &id in &ids {
            let opened = self.account(id);
            let account = opened.map_err(|source| CopyError::Account { id, source })?;
            let Some(account) = account else {
                continue;
            };
            if account.read_only.is_some() {
                copied.damaged.push(id);
                continue;
            }
            copied.accounts += 1;
            account.copy_to((target, &part), &journals, (&mut copied, &mut folders))?;
        }
        let server = part.join(Owner::Server.file_name());
        write_out(self.0.ledger.journal(), &server)?;
        for id in ids.into_iter().filter(|id| self.0.ledger.is_erased(*id)) {
            // It was erased while it was copied.
            let blobs = FsBlobs::new(target).remove_account(id);
            let name = Owner::Account(id).file_name();
            blobs.and_then(|()| journals.remove(&name)).map_err(wrap)?;
        }
        copy_files(from, target)?;
        for folder in &folders {
            durable::sync_folder(&target.join(folder)).map_err(wrap)?;
        }
        durable::sync_folder(&part).map_err(wrap)?;
        fs::rename(&part, target.join("journal")).map_err(wrap)?;
        durable::sync_folder(target).map_err(wrap)?;
        Ok(copied)
    }
}

impl Account {
    fn copy_to(
        &self,
        (target, part): (&Path, &Path),
        journals: &FsJournals,
        (copied, folders): (&mut Copied, &mut BTreeSet<String>),
    ) -> Result<(), CopyError> {
        let path = part.join(Owner::Account(self.id).file_name());
        let mut before = None;
        for _ in 0..ATTEMPTS {
            write_out(&self.journal, &path)?;
            let named = named(journals, self.id)
                .map_err(|source| CopyError::Journal { id: self.id, source })?;
            let mut missing = Vec::new();
            let mut found = 0;
            for (key, needed) in named {
                let done = self.store.blobs.export(&key, target);
                if done.map_err(|source| CopyError::Io { path: key.to_string().into(), source })? {
                    folders.insert(key.folder().to_owned());
                    found += 1;
                } else if needed {
                    missing.push(key);
                }
            }
            // What is missing twice was not deleted in between: it is damage.
            if missing.is_empty() || before.as_ref() == Some(&missing) {
                copied.blobs += found;
                copied.missing += u64::try_from(missing.len()).unwrap_or(u64::MAX);
                return Ok(());
            }
            before = Some(missing);
        }
        let source = VaultError::Server("packs are deleted faster than they are copied".to_owned());
        Err(CopyError::Account { id: self.id, source })
    }
}

/// Writes a journal to a new file, or over one.
fn write_out(journal: &Journal, path: &Path) -> Result<(), CopyError> {
    let wrap = |source| CopyError::Io { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = file.map_err(wrap)?;
    journal.write_out(&mut file).and_then(|()| file.sync_all()).map_err(wrap)
}

/// The blobs that the journal of an account names, and whether each must be there.
fn named(journals: &FsJournals, id: VaultId) -> Result<Vec<(Key, bool)>, LoadError> {
    let (mut keys, mut ranges) = (Vec::new(), BTreeSet::new());
    let mut state: Option<State> = None;
    Journal::open(journals, Owner::Account(id), |_, bytes| {
        match AccountRow::from_bytes(bytes)? {
            AccountRow::Pack(row) => {
                keys.push((Key::pack(id, row.number, row.id), true));
                ranges.insert(segment::first_of(row.number));
            }
            AccountRow::Log(record) => {
                let seq = match &mut state {
                    Some(state) => state.apply(&record).map(|entry| entry.seq),
                    empty => State::begin(&record).map(|begun| {
                        *empty = Some(begun);
                        0
                    }),
                };
                // Written after the commit point: the copy makes it anew if it is not there.
                keys.push((Key::log(id, seq.map_err(|e: FoldError| LoadError::Fold(e))?), false));
            }
            AccountRow::Opened { .. }
            | AccountRow::Quota { .. }
            | AccountRow::Suspended { .. }
            | AccountRow::Access(_)
            | AccountRow::Metadata { .. }
            | AccountRow::Damaged(_)
            | AccountRow::Healed(_)
            | AccountRow::Rebuilt(_) => {}
        }
        Ok::<(), LoadError>(())
    })?;
    let state = state.ok_or(LoadError::Empty)?;
    keys.push((Key::slots(id, state.slots.hash), true));
    for snapshot in state.snapshots.keys() {
        keys.push((Key::manifest(id, *snapshot), true));
        keys.push((Key::packset(id, *snapshot), true));
    }
    for snapshot in state.gone.keys() {
        keys.push((Key::manifest(id, *snapshot), false));
        keys.push((Key::packset(id, *snapshot), false));
    }
    keys.extend(ranges.into_iter().map(|first| (Key::footers(id, first), false)));
    Ok(keys)
}

/// Copies keys, certificates and settings.
fn copy_files(from: &Path, target: &Path) -> Result<(), CopyError> {
    for folder in [Path::new(""), Path::new("tls")] {
        let source = from.join(folder);
        let wrap = |error| CopyError::Io { path: source.clone(), source: error };
        if !source.is_dir() {
            continue;
        }
        durable::make_dirs(&target.join(folder)).map_err(wrap)?;
        for entry in fs::read_dir(&source).map_err(wrap)? {
            let entry = entry.map_err(wrap)?;
            let name = entry.file_name();
            let left_out = LEFT_OUT.iter().any(|out| name == *out)
                || name.to_string_lossy().starts_with(durable::TEMPORARY);
            if !left_out && entry.file_type().map_err(wrap)?.is_file() {
                let bytes = fs::read(entry.path()).map_err(wrap)?;
                durable::write(&target.join(folder).join(name), &[&bytes]).map_err(wrap)?;
            }
        }
    }
    Ok(())
}
