//! One pass over the source: what it needs, and what became of it.

use std::sync::Arc;

use roaring::RoaringBitmap;
use tokio::runtime::Handle;
use unseen_common::log::entry::Status;
use unseen_common::time::Timestamp;
use unseen_common::vault::Vault;

use super::wishes::{describe, make_wish};
use super::{RunOptions, Source};
use crate::backup::BackupError;
use crate::backup::allowance::Allowance;
use crate::backup::commit::{Committed, Committer, prepare, send};
use crate::backup::dedup::Dedup;
use crate::backup::listener::Listener;
use crate::backup::maps::{Making, Maps, Sent};
use crate::backup::open_packs::OpenPacks;
use crate::backup::prelude::mark_synced;
use crate::backup::spool::Spool;
use crate::backup::stop::Stop;
use crate::backup::threads::{Passed, Threads};
use crate::backup::upload::{Flow, Uploads};
use crate::chunk::{Chunker, Params};
use crate::crypto::device_file::DeviceKey;
use crate::index::Index;
use crate::pack::builder::Sealer;
use crate::progress::Silent;
use crate::repo::{Folders, Repository};
use crate::scan::names::OwnerNames;
use crate::state::db::StateDb;

/// A file that changed so many seconds before the run began is read again next time.
const RACY_SECONDS: i64 = 2;
/// Of what may be read in all this part is set aside, for trees and the padding of packs.
const BESIDE: u64 = 16;

/// What a commit needs, and what the threads need beside it.
pub(super) fn committer<'r>(
    repo: &'r mut Repository,
    state: &'r StateDb,
    again: bool,
) -> (Committer<'r>, Borrowed<'r>) {
    let Repository { key, service, vault, log, folders, clock } = repo;
    let borrowed = Borrowed { key, vault: Arc::clone(vault), folders };
    let (service, vault, clock) = (&**service, &**vault, &**clock);
    let committer = Committer { key, service, vault, log, folders, clock, state, again };
    (committer, borrowed)
}

pub(super) struct Borrowed<'r> {
    pub(super) key: &'r DeviceKey,
    pub(super) vault: Arc<dyn Vault>,
    pub(super) folders: &'r Folders,
}

pub(super) struct Round<'a> {
    pub(super) options: &'a RunOptions,
    pub(super) state: &'a StateDb,
    pub(super) index: &'a Index,
    pub(super) own: RoaringBitmap,
    pub(super) start: Timestamp,
    /// As in [`Threads`].
    pub(super) known_only: bool,
}

/// What was passed over, the packs it needs, and what was sent for it.
pub(super) type Ended = (Passed, RoaringBitmap, Sent);

impl<'a> Round<'a> {
    /// After a wish to stop, if packs were left to the next run: what the vault has of it, as a
    /// pass of its own that reads nothing. [`BackupError::Interrupted`] if it has nothing new.
    pub(super) fn what_arrived(
        &mut self,
        repo: &mut Repository,
        ended: Ended,
        (source, stop): (&mut Source, &Stop<'_>),
        runtime: &Handle,
    ) -> Result<Ended, BackupError> {
        let (passed, _, (packs, bytes)) = &ended;
        if !passed.gave_up {
            return Ok(ended);
        }
        if *packs == 0 {
            return Err(BackupError::Interrupted);
        }
        self.known_only = true;
        // All of it was told of already.
        let (listener, stop) = (Listener::new(&Silent), stop.soon());
        let (found, used, sent) = self.go(repo, source, (&listener, &stop), runtime)?;
        if found.gave_up || found.contents.totals.files == 0 {
            return Err(BackupError::Interrupted);
        }
        mark_synced(self.index, self.state)?;
        let found = Passed { interrupted: true, left_out: passed.left_out, ..found };
        Ok((found, used, (packs + sent.0, bytes + sent.1)))
    }

    pub(super) fn go(
        &mut self,
        repo: &mut Repository,
        source: &mut Source,
        (listener, stop): (&Listener<'_>, &Stop<'_>),
        runtime: &Handle,
    ) -> Result<Ended, BackupError> {
        let options = self.options;
        let again = matches!(source, Source::Paths(_));
        let (mut committer, parts) = committer(repo, self.state, again);
        let own = std::mem::take(&mut self.own);
        let dedup = Dedup::new(self.index, own.clone());
        let (flow, owners) = (Flow::default(), OwnerNames::of_this_machine());
        let open = OpenPacks::default();
        let ids = parts.key.write_set.content_keys();
        let chunker = Chunker::new(parts.key.write_set.chunker.expose(), Params::DEFAULT);
        let sealer = Sealer::of(parts.key);
        let spool = self.spool(parts.folders)?;
        let uploads = Uploads {
            vault: Arc::clone(&parts.vault),
            runtime: runtime.clone(),
            dedup: &dedup,
            state: self.state,
            spool,
            monitor: listener,
            progress: &flow,
            stop,
            dry_run: options.dry_run,
        };
        if !(self.known_only || options.ahead) {
            uploads.resume(parts.key.vault, &parts.key.secrets, options.in_all)?;
        }
        let mut threads = Threads {
            options,
            state: self.state,
            owners: &owners,
            dedup: &dedup,
            flow: &flow,
            ids: &ids,
            chunker: &chunker,
            sealer: &sealer,
            open: &open,
            uploads: &uploads,
            monitor: listener,
            stop,
            secrets: &parts.key.secrets,
            racy_from: i64::try_from(self.start.0).unwrap_or(i64::MAX) - RACY_SECONDS,
            known_only: self.known_only,
            allowance: None,
        };
        threads.allowance = self.allowance(source, &threads, own)?;
        let at_once = self.at_once(source, &threads)?;
        threads.options = at_once.as_ref().unwrap_or(options);
        let start = self.start;
        let described = describe(source);
        let making = self.making(parts.key, &*parts.vault, (runtime, stop));
        let mut of_maps = Sent::default();
        let result = threads.run(source, &mut |root, contents| {
            let passed = Passed::so_far(root, contents);
            let made = (&passed, dedup.used(), Status::Checkpoint);
            let who = (committer.key, committer.clock.now());
            let mut wish = make_wish(who, options, made, (start, described.clone()), listener);
            let maps = making.so_far(&dedup, &mut of_maps)?;
            wish.packs |= maps.name_in(&mut wish.manifest);
            let (prepared, id) = prepare(&committer, wish)?;
            if let Committed::Saved(_) = stop.in_time(runtime, send(&mut committer, &prepared))? {
                listener.inner.checkpoint(&id);
            }
            Ok(())
        });
        if let Some(error) = flow.take_error().filter(|e| !matches!(e, BackupError::Stopped)) {
            return Err(error);
        }
        let sent = (flow.uploaded_packs() + of_maps.0, flow.uploaded_bytes() + of_maps.1);
        let used = dedup.used();
        self.own = dedup.into_own();
        Ok((result?, used, sent))
    }

    /// The maps of this device's packs, with those of this run if they are many.
    pub(super) fn maps(
        &mut self,
        repo: &Repository,
        waiting: (&Handle, &Stop<'_>),
        sent: &mut Sent,
    ) -> Result<Maps, BackupError> {
        let before = sent.0;
        let making = self.making(&repo.key, &*repo.vault, waiting);
        let maps = making.up_to_date(&mut self.own, sent)?;
        if sent.0 > before {
            mark_synced(self.index, self.state)?;
        }
        Ok(maps)
    }

    fn making<'m>(
        &self,
        key: &'m DeviceKey,
        vault: &'m dyn Vault,
        waiting: (&'m Handle, &'m Stop<'m>),
    ) -> Making<'m>
    where
        'a: 'm,
    {
        Making { key, vault, state: self.state, index: self.index, waiting }
    }

    /// What is read of a source, if that is limited in all.
    fn allowance(
        &self,
        source: &Source,
        threads: &Threads<'_>,
        own: RoaringBitmap,
    ) -> Result<Option<Allowance>, BackupError> {
        let (Some(most), Source::Paths(paths)) = (self.options.in_all, source) else {
            return Ok(None);
        };
        if self.known_only {
            return Ok(None);
        }
        // What was sent already counts.
        let left = most.saturating_sub(threads.flow.uploaded_bytes());
        // Whatever is looked up is needed by nobody yet.
        let dedup = Dedup::new(self.index, own);
        let threads = Threads { dedup: &dedup, ..*threads };
        threads.weigh(paths, left - left / BESIDE).map(Some)
    }

    /// How to take all, if what a pass over small files would leave to another one is not worth
    /// that.
    fn at_once(
        &self,
        source: &Source,
        threads: &Threads<'_>,
    ) -> Result<Option<RunOptions>, BackupError> {
        let options = self.options;
        let small = options.small_first.filter(|_| options.at_most.is_some() && !self.known_only);
        let (Some(small), Source::Paths(paths)) = (small, source) else {
            return Ok(None);
        };
        let few = threads.longer(paths, small.at_most)? < small.others;
        Ok(few.then(|| RunOptions { at_most: None, ..options.clone() }))
    }

    fn spool(&self, folders: &Folders) -> Result<Option<Spool>, BackupError> {
        if !self.options.spool || self.options.dry_run || self.known_only {
            return Ok(None);
        }
        Spool::open(&folders.spool()).map(Some).map_err(BackupError::Spool)
    }
}
