//! Making the journal of an account anew from its blobs.
//!
//! The log is taken from its copies, record by record, and every record must follow from the one
//! before. Packs are what lies in the pack folders under a name that fits. Whole frames of a
//! damaged journal fill holes. Nothing is deleted: the old journal is kept aside, and blobs that
//! make no sense stay where they are, until a server that runs finds that nothing needs them. Every
//! pack counts as received now, so no grace has run out.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use tokio::sync::watch;
use unseen_common::codec::Canonical;
use unseen_common::id::{PackNumber, VaultId};
use unseen_common::privacy::{Access, Looked};

use super::account::Account;
use super::core::{OpenError, Options};
use super::damage::Words;
use super::folder::{identity_of, lock_folder};
use super::format;
use super::guard::Guard;
use super::ledger::Ledger;
use super::load::{self, LoadError, Shared};
use super::rebuild_plan::Planner;
use super::salvage;
use crate::store::Store;
use crate::store::frame::Owner;
use crate::store::index::Index;
use crate::store::journal::{Journal, JournalError};
use crate::store::memory::MemJournals;
use crate::store::row::AccountRow;

/// Why an account is not rebuilt. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// There is no genesis record.
    #[error("its first log record is nowhere to be found")]
    NoLog,
    /// A record is missing, and later ones are there.
    #[error("log record {missing} is damaged or missing, and record {beyond} is there")]
    Gap {
        /// The first that is missing.
        missing: u64,
        /// The newest that is there.
        beyond: u64,
    },
    /// The log is that of another account.
    #[error("its log is that of account {0}")]
    Foreign(VaultId),
    /// Two packs of one number.
    #[error("two packs have the number {0}")]
    TwoPacks(PackNumber),
    /// The blobs cannot be read.
    #[error("the blobs cannot be read")]
    Blobs(#[from] io::Error),
    /// The new journal cannot be written.
    #[error("the journal cannot be written")]
    Journal(#[from] JournalError),
    /// What was written cannot be opened.
    #[error("the new journal cannot be opened")]
    Load(#[from] LoadError),
}

/// What was rebuilt of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// Log records.
    pub records: u64,
    /// Packs.
    pub packs: u64,
    /// Those of them that are damaged.
    pub damaged: u64,
    /// Packs that snapshots need and that are not there.
    pub missing: u64,
    /// Files among the packs that make no sense; they stay where they are.
    pub strange: u64,
    /// Whether the server's identity key is the one that the account was made with.
    pub same_identity: bool,
}

/// What became of an account.
#[derive(Debug)]
pub enum Fate {
    /// Its journal can be read: left as it is.
    Whole,
    /// Its journal was made anew.
    Rebuilt(Rebuilt),
    /// Nothing was changed.
    Refused(RebuildError),
}

/// Rebuilds the journals of a data folder that cannot be read or are not there; of one account, or
/// of all. Whole ones are left as they are. Blocks.
pub fn rebuild(
    dir: &Path,
    only: Option<VaultId>,
    options: &Options,
) -> Result<Vec<(VaultId, Fate)>, OpenError> {
    let wrap = |source| OpenError::Io { folder: dir.to_owned(), source };
    let _lock = lock_folder(dir)?;
    format::check(dir)?;
    let store = Store::folder(dir).map_err(wrap)?;
    let identity = identity_of(dir, &store)?;
    let rebuilder = Rebuilder::new(store, options, identity.verifying_key());
    let ledger = rebuilder.server()?;
    let mut fates = Vec::new();
    for id in rebuilder.accounts(&ledger).map_err(wrap)? {
        if only.is_none_or(|only| only == id) {
            fates.push((id, rebuilder.account(id)));
        }
    }
    Ok(fates)
}

/// Rebuilds, on a store that nobody else has open.
#[derive(Debug)]
pub(super) struct Rebuilder {
    shared: Shared,
    identity: VerifyingKey,
}

impl Rebuilder {
    pub(super) fn new(store: Store, options: &Options, identity: VerifyingKey) -> Self {
        let clock = Arc::new(Guard::new(Arc::clone(&options.clock), None, options.open_accounts));
        let (disk, failed) = (Arc::default(), watch::channel(false).0);
        let words = Words::remote();
        Self { shared: Shared { store, disk, clock, failed, words }, identity }
    }

    /// The accounts that have blobs or a journal, and are not being erased.
    fn accounts(&self, ledger: &Ledger) -> io::Result<Vec<VaultId>> {
        let store = &self.shared.store;
        let mut names = store.blobs.list("accounts")?;
        names.extend(store.journals.list()?);
        let mut ids: Vec<VaultId> = names.iter().filter_map(|name| name.parse().ok()).collect();
        ids.retain(|id| !ledger.is_erased(*id));
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// A server's journal that cannot be read is made anew from its whole frames: what it says is
    /// nowhere else. Invites that were not used are left out.
    pub(super) fn server(&self) -> Result<Ledger, OpenError> {
        let journals = &*self.shared.store.journals;
        match Ledger::open(journals) {
            Err(error) if error.is_damage() => {
                let name = Owner::Server.file_name();
                let wrap = |error: JournalError| OpenError::Journal(error.into());
                let rows = salvage::of_server(journals).map_err(wrap)?;
                let aside = journals.keep_aside(&name);
                aside.map_err(|error| wrap(JournalError::Io { name, kind: error.kind() }))?;
                let items: Vec<_> = rows.iter().map(Canonical::to_bytes).collect();
                Journal::create(journals, Owner::Server, &items).map_err(wrap)?;
                Ledger::open(journals).map_err(OpenError::Journal)
            }
            opened => opened.map_err(OpenError::Journal),
        }
    }

    /// Rebuilds an account, unless its journal can be read.
    pub(super) fn account(&self, id: VaultId) -> Fate {
        match load::load(&self.shared, id) {
            Ok(Some(_)) => return Fate::Whole,
            Err(error) if !error.is_damage() => return Fate::Refused(error.into()),
            Ok(None) | Err(_) => {}
        }
        match self.replace(id) {
            Ok(rebuilt) => Fate::Rebuilt(rebuilt),
            Err(error) => Fate::Refused(error),
        }
    }

    fn replace(&self, id: VaultId) -> Result<Rebuilt, RebuildError> {
        let store = &self.shared.store;
        let now = self.shared.clock.now();
        let (mut plan, state) = Planner::new(store, id, now)?.plan(true)?;
        let access = Access { at: now, what: Looked::Rebuild };
        plan.items.push(AccountRow::Access(access).to_bytes());
        let same_identity = state.server_identity == self.identity.to_bytes();
        store.journals.keep_aside(&Owner::Account(id).file_name())?;
        Journal::create(&*store.journals, Owner::Account(id), &plan.items)?;
        store.index.forget(id);
        load::load(&self.shared, id)?;
        Ok(Rebuilt { same_identity, ..plan.rebuilt })
    }
}

/// An account whose journal is damaged, as its blobs have it: to be read, not written.
pub(super) fn read_only(shared: &Shared, id: VaultId, why: &LoadError) -> Option<Account> {
    if !why.is_damage() {
        return None;
    }
    let journals = MemJournals::default();
    let now = shared.clock.now();
    let planned = Planner::new(&shared.store, id, now).and_then(|planner| planner.plan(false));
    let (plan, _) = planned
        .inspect_err(|error| {
            tracing::error!(account = id.short(), %error, "it cannot be read from its blobs either");
        })
        .ok()?;
    Journal::create(&journals, Owner::Account(id), &plan.items).ok()?;
    let store = Store {
        blobs: Arc::clone(&shared.store.blobs),
        journals: Arc::new(journals),
        index: Arc::new(Index::none()),
    };
    let mut account = load::load(&Shared { store, ..shared.clone() }, id).ok()??;
    account.read_only = Some(why.to_string());
    tracing::warn!(account = id.short(), "the account can be read, not written: run `rebuild`");
    Some(account)
}
