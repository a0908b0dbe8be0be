//! Makes a snapshot of what has been uploaded: manifest, packset and log entry, in one call.
//!
//! Everything is on disk before the first attempt, so an attempt whose answer was lost is made
//! again with the same bytes and ends in one snapshot, not two.

use minicbor::decode::Decoder;
use roaring::RoaringBitmap;
use unseen_common::codec::{Canonical, DecodeError, Enc, EncodeResult, array_of, bytes_capped};
use unseen_common::disclosure::{Disclosure, Level, two_digits};
use unseen_common::id::{Hash, PackNumber, SetTag, SnapshotId};
use unseen_common::limits::{MAX_ENTRY, MAX_MANIFEST, MAX_PACKSET};
use unseen_common::log::chain::SignedEntry;
use unseen_common::log::entry::{Author, Body, Entry, Snapshot, Status};
use unseen_common::packset::{PackSet, PackSetHasher};
use unseen_common::time::Clock;
use unseen_common::vault::{CommitRequest, Principal, Service, Vault, VaultError};

use super::BackupError;
use crate::crypto::device_file::DeviceKey;
use crate::pack::manifest::seal_manifest;
use crate::pins::{Sent, write_durably};
use crate::repo::clocks::Clocks;
use crate::repo::log::Log;
use crate::repo::{Folders, RepoError};
use crate::state::db::StateDb;
use crate::state::kinds::Kinds;
use crate::state::own_snapshots::OwnSnapshots;
use crate::tree::manifest::Manifest;

/// A snapshot to make.
#[derive(Debug)]
pub struct Wish {
    /// What it says of itself; the hash of the disclosure is filled in here.
    pub manifest: Manifest,
    /// Its set, as the server sees it.
    pub set: SetTag,
    /// How whole it is.
    pub status: Status,
    /// The packs that it needs.
    pub packs: RoaringBitmap,
    /// Its files by kind; told at level `types` alone.
    pub kinds: Kinds,
}

/// How an attempt ended.
#[derive(Debug)]
pub enum Committed {
    /// The snapshot exists.
    Saved(SnapshotId),
    /// The server lacks these packs, or a compaction has removed them: their chunks must be looked
    /// up anew, and sent again if they are nowhere.
    Missing(RoaringBitmap),
    /// The numbers that this machine knows are not the server's.
    Stale,
}

/// A commit as it is kept on disk until it is answered.
#[derive(Debug, Clone)]
pub struct Prepared {
    manifest: Vec<u8>,
    packs: PackSet,
    entry: Entry,
}

/// What committing needs of a repository.
#[derive(Debug)]
pub struct Committer<'a> {
    /// Signs and seals.
    pub key: &'a DeviceKey,
    /// Tells what its clock says.
    pub service: &'a dyn Service,
    /// Takes the commit.
    pub vault: &'a dyn Vault,
    /// The log, which goes on with the new entry.
    pub log: &'a mut Log,
    /// Where the commit waits for its answer.
    pub folders: &'a Folders,
    /// Tells the time.
    pub clock: &'a dyn Clock,
    /// Knows which packs the numbers name.
    pub state: &'a StateDb,
    /// What is saved can be read again: then no commit is made that needs packs which a compaction
    /// has removed. It would be good, but keep them for as long as the snapshot.
    pub again: bool,
}

/// Attempts to win the race for the head of the log.
const ATTEMPTS: u32 = 64;

/// Seals the manifest and keeps everything that the commit needs on disk.
pub fn prepare(
    repo: &Committer<'_>,
    mut wish: Wish,
) -> Result<(Prepared, SnapshotId), BackupError> {
    // The server goes by its own clock: what one of the two does not allow yet is not told.
    let state = &repo.log.state;
    let level = state.policy_at(repo.clock.now()).disclosure.min(state.policy.disclosure);
    let disclosure = disclose(&wish, level);
    wish.manifest.disclosure_hash = Hash::of(&disclosure.to_bytes());
    if Manifest::from_bytes(&wish.manifest.to_bytes()).is_err() {
        return Err(BackupError::Internal("the manifest breaks its own format"));
    }
    let mut rng = repo.key.secrets.rng();
    let (manifest, id) = seal_manifest(&wish.manifest, &repo.key.seal_to(), &mut rng)?;
    let own = OwnSnapshots::open(&repo.folders.own_snapshots());
    own.keep(&id, &wish.manifest, wish.status == Status::Checkpoint)
        .map_err(|source| RepoError::Io { path: repo.folders.own_snapshots(), source })?;
    let mut hasher = PackSetHasher::default();
    for number in &wish.packs {
        let number = PackNumber(number);
        let pack = repo
            .state
            .pack(number)?
            .ok_or(BackupError::Internal("a pack of the snapshot has a number but no name"))?;
        hasher.add(number, &pack);
    }
    let snapshot = Snapshot {
        set: wish.set,
        status: wish.status,
        manifest: id,
        packset_hash: hasher.finish(),
        disclosure,
    };
    let entry = Entry {
        vault: repo.key.vault,
        seq: 0,
        prev: Hash::from_bytes([0; 32]),
        author: Author::Device(repo.key.secrets.device),
        time: repo.clock.now(),
        body: Body::Snapshot(snapshot),
    };
    let prepared = Prepared { manifest, packs: PackSet(wish.packs), entry };
    Sent::announce(&repo.folders.sent(), id).map_err(RepoError::from)?;
    let path = repo.folders.pending_commit();
    write_durably(&path, &prepared.to_bytes()).map_err(|source| RepoError::Io { path, source })?;
    Ok((prepared, id))
}

/// Sends the commit until it is answered one way or the other.
pub async fn send(repo: &mut Committer<'_>, prepared: &Prepared) -> Result<Committed, BackupError> {
    let Body::Snapshot(Snapshot { manifest: id, .. }) = prepared.entry.body else {
        return Err(BackupError::Internal("a commit without a snapshot"));
    };
    // A clock may have been set since the run began.
    let who = (repo.key.vault, Principal::Device(repo.key.secrets.device));
    let clocks = Clocks::read(repo.service, who, repo.clock).await?;
    clocks.check().map_err(RepoError::from)?;
    for _ in 0..ATTEMPTS {
        let removed = &prepared.packs.0 & &repo.log.removed;
        if repo.again && !removed.is_empty() {
            forget_pending(repo)?;
            return Ok(Committed::Missing(removed));
        }
        let mut entry = prepared.entry.clone();
        entry.seq = repo.log.state.head_seq + 1;
        entry.prev = repo.log.state.head;
        let request = CommitRequest {
            manifest: bytes::Bytes::from(prepared.manifest.clone()),
            packs: prepared.packs.clone(),
            entry: SignedEntry::sign(&entry, &repo.key.secrets.manifest),
        };
        match repo.vault.commit(request).await {
            Ok(_) => {
                repo.log.update(repo.vault).await?;
                forget_pending(repo)?;
                // One that was sent long ago may have been forgotten since.
                let state = &repo.log.state;
                if !state.snapshots.contains_key(&id) && !state.gone.contains_key(&id) {
                    return Err(VaultError::BadAnswer(
                        "it acknowledged a snapshot that is not in its log".to_owned(),
                    )
                    .into());
                }
                // Of what is saved, no cache that cannot be written makes a failure.
                OwnSnapshots::open(&repo.folders.own_snapshots()).note_last(&id).ok();
                return Ok(Committed::Saved(id));
            }
            Err(VaultError::Conflict(_)) => repo.log.update(repo.vault).await?,
            Err(VaultError::MissingPacks(packs)) => {
                forget_pending(repo)?;
                return Ok(Committed::Missing(packs.0));
            }
            Err(VaultError::StaleIndex) => {
                forget_pending(repo)?;
                return Ok(Committed::Stale);
            }
            Err(error @ (VaultError::Invalid(_) | VaultError::Forbidden(_))) => {
                // It will never be taken as it is; kept, it would stand in the way of every run.
                forget_pending(repo)?;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(VaultError::Busy(60).into())
}

/// Finishes a commit that an earlier run began, if there is one. Tells its snapshot if it exists
/// now; when the server has meanwhile lost packs, this run will send them again.
pub async fn finish_pending(repo: &mut Committer<'_>) -> Result<Option<SnapshotId>, BackupError> {
    let path = repo.folders.pending_commit();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(RepoError::Io { path, source }.into()),
    };
    let Ok(prepared) = Prepared::from_bytes(&bytes) else {
        // Written by another version: its packs are kept by the grace, the files are still here.
        forget_pending(repo)?;
        return Ok(None);
    };
    let mine = prepared.entry.vault == repo.key.vault
        && prepared.entry.author == Author::Device(repo.key.secrets.device);
    if !mine {
        forget_pending(repo)?;
        return Ok(None);
    }
    match send(repo, &prepared).await {
        Ok(Committed::Saved(id)) => Ok(Some(id)),
        Ok(Committed::Missing(_) | Committed::Stale)
        | Err(BackupError::Vault(VaultError::Invalid(_))) => Ok(None),
        Err(error) => Err(error),
    }
}

fn forget_pending(repo: &Committer<'_>) -> Result<(), BackupError> {
    let path = repo.folders.pending_commit();
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(RepoError::Io { path, source }.into())
        }
        _ => Ok(()),
    }
}

fn disclose(wish: &Wish, level: Level) -> Disclosure {
    let manifest = &wish.manifest;
    let totals = (two_digits(manifest.totals.files), two_digits(manifest.totals.bytes));
    Disclosure {
        start: manifest.start.to_minute(),
        end: manifest.end.to_minute(),
        totals: (level >= Level::Summary).then_some(totals),
        types: if level >= Level::Types { wish.kinds.disclosed() } else { Vec::new() },
    }
}

impl Canonical for Prepared {
    const WHAT: &'static str = "pending commit";
    const CAP: usize = MAX_MANIFEST + MAX_PACKSET + MAX_ENTRY + 64;

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(4)?.u8(1)?.bytes(&self.manifest)?.bytes(&self.packs.to_bytes())?;
        e.bytes(&self.entry.to_bytes())?;
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        array_of(d, 4, "pending commit")?;
        let version = d.u8()?;
        if version != 1 {
            return Err(DecodeError::Unknown { what: "pending commit", number: version.into() });
        }
        let manifest = bytes_capped(d, "manifest", MAX_MANIFEST)?.to_vec();
        let packs = PackSet::from_bytes(bytes_capped(d, "packset", MAX_PACKSET)?)?;
        let entry = Entry::from_bytes(bytes_capped(d, "log entry", MAX_ENTRY)?)?;
        Ok(Self { manifest, packs, entry })
    }
}
