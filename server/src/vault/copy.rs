//! A copy of a data folder that is consistent although clients write meanwhile.
//!
//! Of each account first the journal is copied, as far as it was acknowledged, then every blob that
//! this copy names and that is not there yet. All journals get their place after that, with one
//! rename: a copy that broke off has none, or is what it was before.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use unseen_common::codec::Canonical;
use unseen_common::id::{PackNumber, SnapshotId, VaultId};
use unseen_common::log::fold::{FoldError, State};
use unseen_common::privacy::Looked;
use unseen_common::time::Timestamp;
use unseen_common::vault::VaultError;

use super::account::{Account, kind_is_full};
use super::copy_onto::{Put, Target};
use super::core::Core;
use super::load::LoadError;
use super::references::{self, Place, References};
use super::table::Pack;
use crate::store::frame::Owner;
use crate::store::journal::Journal;
use crate::store::journal_files::{FsJournals, Journals};
use crate::store::key::{self, Key};
use crate::store::row::{AccountRow, PackRow};
use crate::store::{durable, lock, segment, space};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Something is there already.
    #[error("{0} is not empty and no copy: name a folder that is not there yet")]
    NotEmpty(PathBuf),
    /// It is the data folder or a copy of another server.
    #[error("{0} is of another server: name a folder that is not there yet; nothing was changed")]
    OtherServer(PathBuf),
    /// A process has it open.
    #[error("{0} is in use by another process; nothing was changed")]
    Busy(PathBuf),
    /// It was served itself since it was copied, or this folder is the older one.
    #[error(
        "{path} has a history of account {id} that is not here: was it served itself, or is it \
         newer? It is not written over; name a folder that is not there yet"
    )]
    OwnHistory {
        /// The account.
        id: VaultId,
        /// The folder.
        path: PathBuf,
    },
    /// The older copy cannot be read.
    #[error("the older copy of the journal of account {id} cannot be read: copy into a new folder")]
    Older {
        /// Which.
        id: VaultId,
        /// Why.
        #[source]
        source: LoadError,
    },
    /// It would lie in what is copied.
    #[error("{0} is in the data folder itself: name a folder elsewhere")]
    Within(PathBuf),
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

impl CopyError {
    /// Whether there was no room for it.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => kind_is_full(source.kind()),
            Self::Account { source, .. } => matches!(source, VaultError::DiskFull),
            Self::Older { source, .. } | Self::Journal { source, .. } => source.is_full(),
            _ => false,
        }
    }
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copied {
    /// Accounts.
    pub accounts: u64,
    /// Files that the copy has, or second names of them.
    pub blobs: u64,
    /// Those of them that it did not have before.
    pub new: u64,
    /// Files of an older copy that nothing needs any more.
    pub removed: u64,
    /// What a journal names and is not there: damage that a scrub tells.
    pub missing: u64,
    /// Packs whose bytes are not those of their names, of those that the copy did not have.
    pub rotten: u64,
    /// Accounts whose journal is damaged or gone; an older copy has them as it had them, a new one
    /// does not have them.
    pub damaged: Vec<VaultId>,
}

/// How often an account is begun anew because something was deleted meanwhile.
const ATTEMPTS: u32 = 5;
pub(super) const PART: &str = "journal.part";
/// Files at the top that are of no use in a copy.
const LEFT_OUT: [&str; 4] = ["lock", super::rounds::HINTS, "admin.sock", space::FILE];

impl Core {
    /// Copies everything into a folder that is not there yet, or empty, or brings an older copy of
    /// the same server up to date. Blocks.
    pub fn copy_to(&self, target: &Path) -> Result<Copied, CopyError> {
        let from = self.0.folder.as_deref().ok_or(CopyError::NoFolder)?;
        let wrap = |source| CopyError::Io { path: target.to_owned(), source };
        if is_within(target, from).map_err(wrap)? {
            return Err(CopyError::Within(target.to_owned()));
        }
        let target = Target::take(from, target)?;
        let mut copied = Copied::default();
        let (mut folders, mut done) = (BTreeSet::new(), Vec::new());
        let ids = self.accounts().map_err(wrap)?;
        target.check_accounts(&self.0, &ids)?;
        // Those that the copy has in the end.
        let mut left = Vec::new();
        for &id in &ids {
            let account = match self.account_to_copy(id) {
                Ok(Some(account)) => account,
                Ok(None) => continue,
                Err(VaultError::Damaged { .. }) => {
                    copied.damaged.push(id);
                    if target.keep_older(id)? {
                        left.push(id);
                    }
                    continue;
                }
                Err(source) => return Err(CopyError::Account { id, source }),
            };
            let put = account.copy_to(&target, (&mut copied, &mut folders));
            if lock(&account.tables).standing.gone {
                // It was erased meanwhile, and leaves nothing here either.
                forget(&target, id).map_err(wrap)?;
                continue;
            }
            put?;
            copied.accounts += 1;
            left.push(id);
            done.push(account);
        }
        let server = target.part.join(Owner::Server.file_name());
        write_out(self.0.ledger.journal(), &server)?;
        copy_files(from, &target.root)?;
        for folder in folders.iter().filter(|folder| target.root.join(folder).exists()) {
            durable::sync_folder(&target.root.join(folder)).map_err(wrap)?;
        }
        target.switch()?;
        for account in &done {
            target.tidy(account, &mut copied)?;
        }
        target.remove_erased(&left)?;
        Ok(copied)
    }
}

impl Core {
    /// An account, if it can be copied; its access record has the line, and so has the copy's.
    fn account_to_copy(&self, id: VaultId) -> Result<Option<Arc<Account>>, VaultError> {
        let account = self.account(id)?;
        if let Some(account) = &account {
            account.writable()?;
            let noted = account.note_if_room(Looked::Copy);
            if lock(&account.tables).standing.gone {
                return Ok(None);
            }
            noted?;
        }
        Ok(account)
    }
}

impl Account {
    pub(super) fn copy_to(
        &self,
        target: &Target,
        (copied, folders): (&mut Copied, &mut BTreeSet<String>),
    ) -> Result<(), CopyError> {
        let id = self.id;
        let path = target.part.join(Owner::Account(id).file_name());
        let older = target.older(self)?;
        let mut before = None;
        for _ in 0..ATTEMPTS {
            write_out(&self.journal, &path)?;
            let found = replayed(&target.journals, id)
                .map_err(|source| CopyError::Journal { id, source })?;
            let renew = found.to_renew(&older.damaged);
            let packs = found.pack_keys(id);
            let keys = found.keys(id).map_err(|source| CopyError::Journal { id, source })?;
            let mut missing = Vec::new();
            let mut this = Copied::default();
            for (key, needed) in keys {
                // Copies of log records that an older journal lacks would be damage to it.
                if key.folder() == key::log_folder(id) {
                    continue;
                }
                let again = renew.contains(&key);
                let put = match packs.get(&key) {
                    Some(pack) => target.put_pack(&*self.store.blobs, &key, *pack, again),
                    None => self.export(target, &key, again),
                };
                match put
                    .map_err(|source| CopyError::Io { path: key.to_string().into(), source })?
                {
                    Put::Missing if needed => missing.push(key),
                    Put::Missing => {}
                    put => {
                        folders.insert(key.folder().to_owned());
                        this.count(put);
                    }
                }
            }
            // What is missing twice was not deleted in between: it is damage.
            if missing.is_empty() || before.as_ref() == Some(&missing) {
                copied.blobs += this.blobs;
                copied.new += this.new;
                copied.rotten += this.rotten;
                copied.missing += u64::try_from(missing.len()).unwrap_or(u64::MAX);
                return Ok(());
            }
            before = Some(missing);
        }
        let source = VaultError::Server("packs are deleted faster than they are copied".to_owned());
        Err(CopyError::Account { id, source })
    }

    /// Second copies of footers are written again under their names.
    fn export(&self, target: &Target, key: &Key, renew: bool) -> io::Result<Put> {
        let blobs = &*self.store.blobs;
        let changes = key.folder() == key::footers_folder(self.id);
        let renew = renew || changes && target.differs(blobs, key)?;
        target.put(blobs, key, renew)
    }
}

impl Copied {
    /// Counts a file.
    pub(super) fn count(&mut self, put: Put) {
        self.blobs += u64::from(put != Put::Missing);
        self.new += u64::from(put == Put::New);
        self.rotten += u64::from(put == Put::Rotten);
    }
}

/// Whether a path, which need not be there, lies in a folder or is it.
fn is_within(path: &Path, folder: &Path) -> io::Result<bool> {
    let folder = fs::canonicalize(folder)?;
    let there = path.ancestors().find_map(|above| fs::canonicalize(above).ok());
    Ok(there.is_some_and(|there| there.starts_with(folder)))
}

/// Removes what was copied of an account.
fn forget(target: &Target, id: VaultId) -> io::Result<()> {
    target.journals.remove(&Owner::Account(id).file_name())?;
    match fs::remove_dir_all(target.root.join(key::account_folder(id))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
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

/// What the journal of an account adds up to.
#[derive(Default)]
pub(super) struct Named {
    pub(super) state: Option<State>,
    references: References,
    logged: Vec<u64>,
    packs: BTreeMap<PackNumber, Pack>,
    /// Packs that are damaged, and those that were and are whole again.
    pub(super) damaged: BTreeSet<PackNumber>,
    healed: BTreeSet<PackNumber>,
}

impl Named {
    fn take(&mut self, row: AccountRow) -> Result<(), FoldError> {
        self.references.take(&row);
        match row {
            AccountRow::Pack(row) => {
                let PackRow { id, device, length, footer_len, .. } = row;
                self.packs.insert(row.number, Pack { id, device, length, footer_len });
            }
            AccountRow::Removed { packs, .. } => {
                for number in packs.numbers() {
                    self.packs.remove(&number);
                }
            }
            AccountRow::Log(record) => match &mut self.state {
                Some(state) => {
                    let entry = references::fold(state, &mut self.references, &record, None)?;
                    self.logged.push(entry.seq);
                }
                empty => {
                    *empty = Some(State::begin(&record)?);
                    self.logged.push(0);
                }
            },
            AccountRow::Damaged(mark) => {
                self.damaged.insert(mark.number);
            }
            AccountRow::Healed(mark) => {
                self.damaged.remove(&mark.number);
                self.healed.insert(mark.number);
            }
            // They name no blobs, or the references took them.
            AccountRow::Opened { .. }
            | AccountRow::Quota { .. }
            | AccountRow::Suspended { .. }
            | AccountRow::Access(_)
            | AccountRow::Metadata { .. }
            | AccountRow::Touched { .. }
            | AccountRow::Packset { .. }
            | AccountRow::Dropped { .. }
            | AccountRow::Rebuilt(_) => {}
        }
        Ok(())
    }
}

impl Named {
    /// The packs whose files an older copy may have as they were while they were damaged, here or
    /// in the copy. What is damaged here now is no better.
    fn to_renew(&self, there: &BTreeSet<PackNumber>) -> HashSet<Key> {
        let Some(state) = &self.state else {
            return HashSet::new();
        };
        let changed = self.healed.union(there).filter(|number| !self.damaged.contains(number));
        let key =
            |number: &PackNumber| Some(Key::pack(state.vault, *number, self.packs.get(number)?.id));
        changed.filter_map(key).collect()
    }

    /// The packs by the names of their files.
    fn pack_keys(&self, id: VaultId) -> HashMap<Key, (PackNumber, Pack)> {
        let pack = |(n, pack): (&PackNumber, &Pack)| (Key::pack(id, *n, pack.id), (*n, *pack));
        self.packs.iter().map(pack).collect()
    }

    /// The blobs that the journal names, and whether each must be there.
    fn keys(self, id: VaultId) -> Result<Vec<(Key, bool)>, LoadError> {
        let Self { state, references, logged, packs, .. } = self;
        let state = state.ok_or(LoadError::Empty)?;
        let mut keys: Vec<_> =
            packs.iter().map(|(n, pack)| (Key::pack(id, *n, pack.id), true)).collect();
        // Written after the commit point: the copy makes it anew if it is not there.
        keys.extend(logged.into_iter().map(|seq| (Key::log(id, seq), false)));
        let mut twice = vec![(Key::slots(id, state.slots.hash), true)];
        // At the beginning of time no grace is over.
        let lists: BTreeSet<Place> = references.needed(&state, Timestamp(0)).into_iter().collect();
        for place in &lists {
            let live = state.snapshots.contains_key(&place.snapshot);
            twice.push((place.key(id), live && !references.is_released(place)));
        }
        let snapshots: BTreeSet<SnapshotId> = lists.iter().map(|place| place.snapshot).collect();
        for snapshot in snapshots {
            twice.push((Key::manifest(id, snapshot), state.snapshots.contains_key(&snapshot)));
        }
        for (key, needed) in twice {
            keys.extend([(key.second(), false), (key, needed)]);
        }
        let ranges: BTreeSet<_> = packs.into_keys().map(segment::first_of).collect();
        keys.extend(ranges.into_iter().map(|first| (Key::footers(id, first), false)));
        Ok(keys)
    }
}

/// What the journal of an account adds up to.
pub(super) fn replayed(journals: &FsJournals, id: VaultId) -> Result<Named, LoadError> {
    let mut named = Named::default();
    Journal::open(journals, Owner::Account(id), |_, bytes| {
        Ok::<(), LoadError>(named.take(AccountRow::from_bytes(bytes)?)?)
    })?;
    Ok(named)
}

/// The blobs that the journal of an account names, and whether each must be there.
pub(super) fn named(journals: &FsJournals, id: VaultId) -> Result<Vec<(Key, bool)>, LoadError> {
    replayed(journals, id)?.keys(id)
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
