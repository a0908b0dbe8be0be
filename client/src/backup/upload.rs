//! Carries sealed packs to the vault and tells everybody where their chunks are now.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Receiver;
use tokio::runtime::Handle;
use unseen_common::id::{PackNumber, VaultId};
use unseen_common::vault::{Vault, VaultError};

use super::BackupError;
use super::dedup::Dedup;
use super::packer::Outgoing;
use super::spool::Spool;
use super::stop::Stop;
use crate::crypto::content_id::ChunkId;
use crate::crypto::device::DeviceSecrets;
use crate::progress::Monitor;
use crate::state::db::StateDb;

/// What the threads that upload share.
#[derive(Debug)]
pub struct Uploads<'a> {
    /// Where packs go.
    pub vault: Arc<dyn Vault>,
    /// Runs the requests.
    pub runtime: Handle,
    /// Learns where chunks are.
    pub dedup: &'a Dedup<'a>,
    /// Learns which pack a number names.
    pub state: &'a StateDb,
    /// Keeps packs until the server has them; none for a vault on this machine.
    pub spool: Option<Spool>,
    /// Hears of progress.
    pub monitor: &'a dyn Monitor,
    /// How the run is going.
    pub progress: &'a Flow,
    /// The user's wish to stop.
    pub stop: &'a Stop<'a>,
    /// Send nothing, count only.
    pub dry_run: bool,
}

/// Whether the run goes on, and what is under way.
#[derive(Debug, Default)]
pub struct Flow {
    failed: AtomicBool,
    error: Mutex<Option<BackupError>>,
    settled: Condvar,
    counts: Mutex<Counts>,
    bytes: AtomicU64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    sealed: u64,
    uploaded: u64,
    /// Left to the next run.
    given_up: u64,
}

impl Flow {
    /// Ends the run for this reason. The first reason stands.
    pub fn fail(&self, error: BackupError) {
        let mut first = lock(&self.error);
        if first.is_none() && !matches!(error, BackupError::Stopped) {
            *first = Some(error);
        }
        drop(first);
        self.failed.store(true, Ordering::Release);
        let _guard = lock(&self.counts);
        self.settled.notify_all();
    }

    /// Whether the run has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Why it failed.
    pub fn take_error(&self) -> Option<BackupError> {
        lock(&self.error).take().or_else(|| self.has_failed().then_some(BackupError::Stopped))
    }

    /// One more pack is on its way.
    pub fn sealed(&self) {
        lock(&self.counts).sealed += 1;
    }

    /// Packs that the server has taken in this run.
    pub fn uploaded_packs(&self) -> u64 {
        lock(&self.counts).uploaded
    }

    /// Bytes that the server has taken in this run.
    pub fn uploaded_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether packs were left to the next run, because the user wants to stop.
    pub fn gave_up(&self) -> bool {
        lock(&self.counts).given_up > 0
    }

    /// Waits until the server has every pack that has been sealed so far, those aside that were
    /// [given up](Self::gave_up).
    pub fn wait_uploaded(&self) -> Result<(), BackupError> {
        let mut counts = lock(&self.counts);
        let target = counts.sealed;
        while counts.uploaded + counts.given_up < target {
            if self.has_failed() {
                return Err(BackupError::Stopped);
            }
            counts = self.settled.wait(counts).unwrap_or_else(PoisonError::into_inner);
        }
        if self.has_failed() { Err(BackupError::Stopped) } else { Ok(()) }
    }

    fn give_up(&self) {
        lock(&self.counts).given_up += 1;
        self.settled.notify_all();
    }

    fn uploaded(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        lock(&self.counts).uploaded += 1;
        self.settled.notify_all();
    }
}

impl Uploads<'_> {
    /// Uploads until the packers hang up. One call a thread. After a failure what still comes is
    /// only put into the spool, for the next run to send.
    pub fn work(&self, packs: &Receiver<Outgoing>) {
        for outgoing in packs {
            if self.progress.has_failed() {
                if let Some(spool) = &self.spool {
                    // The run has failed for another reason, which is the one to tell.
                    spool.put(&outgoing.pack).ok();
                }
            } else if let Err(error) = self.one(&outgoing) {
                self.progress.fail(error);
            }
        }
    }

    /// Sends what an interrupted run left in the spool, `most` bytes of it. Nothing is lost if that
    /// is stopped.
    pub fn resume(
        &self,
        vault: VaultId,
        device: &DeviceSecrets,
        most: Option<u64>,
    ) -> Result<(), BackupError> {
        let Some(spool) = &self.spool else {
            return Ok(());
        };
        for pack in spool.left(vault, device).map_err(BackupError::Spool)? {
            let pack = pack.map_err(BackupError::Spool)?;
            if most.is_some_and(|most| self.progress.uploaded_bytes() + pack.len() > most) {
                continue;
            }
            let sent = self.vault.put_pack(pack.upload());
            let number = match self.stop.at_once(&self.runtime, sent) {
                // What is saved today may be smaller; what this one holds is read again if needed.
                Err(BackupError::Vault(
                    VaultError::Quota(_) | VaultError::DiskFull | VaultError::ServerFull,
                )) => {
                    spool.remove(&pack.id).map_err(BackupError::Spool)?;
                    continue;
                }
                sent => sent?,
            };
            self.progress.sealed();
            self.monitor.transfer_planned(pack.len());
            self.arrived(&Outgoing { pack, handles: Vec::new() }, number)?;
        }
        Ok(())
    }

    fn one(&self, outgoing: &Outgoing) -> Result<(), BackupError> {
        let pack = &outgoing.pack;
        self.monitor.transfer_planned(pack.len());
        if self.dry_run {
            self.progress.uploaded(pack.len());
            return Ok(());
        }
        if let Some(spool) = &self.spool {
            spool.put(pack).map_err(BackupError::Spool)?;
        }
        match self.stop.before_long(&self.runtime, self.vault.put_pack(pack.upload())) {
            Ok(number) => self.arrived(outgoing, number),
            Err(BackupError::Interrupted) => {
                self.progress.give_up();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The vault has a pack, under this number.
    fn arrived(&self, outgoing: &Outgoing, number: PackNumber) -> Result<(), BackupError> {
        let pack = &outgoing.pack;
        self.state.set_pack(number, &pack.id, pack.lengths())?;
        let ids: Vec<ChunkId> =
            pack.table.segments.iter().flat_map(|s| s.chunks.iter().map(|c| c.id)).collect();
        self.dedup.resolved(number, &outgoing.handles, &ids)?;
        if let Some(spool) = &self.spool {
            spool.remove(&pack.id).map_err(BackupError::Spool)?;
        }
        self.monitor.transferred(pack.len());
        self.progress.uploaded(pack.len());
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
