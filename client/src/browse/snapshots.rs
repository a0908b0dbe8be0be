//! The snapshots of a vault: from the log alone, or with what their manifests say.

use roaring::RoaringBitmap;
use unseen_common::codec::Canonical;
use unseen_common::disclosure::Disclosure;
use unseen_common::id::{DeviceId, Hash, SetTag, SnapshotId};
use unseen_common::log::entry::Status;
use unseen_common::log::fold::{Leave, Snapshot, State};
use unseen_common::packset::PackSetHasher;
use unseen_common::time::Timestamp;
use unseen_common::vault::VaultError;

use crate::pack::manifest::{ManifestError, open_manifest};
use crate::repo::{ReaderIndex, ReaderRepo};
use crate::tree::manifest::Manifest;

/// A snapshot as the log has it: known without any secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: SnapshotId,
    /// The log entry that made it: later ones have larger numbers.
    pub seq: u64,
    /// Who made it.
    pub device: DeviceId,
    /// The name of that device, where it is known.
    pub device_name: Option<String>,
    /// Its set.
    pub set: SetTag,
    /// How whole it is.
    pub status: Status,
    /// The device's clock.
    pub time: Timestamp,
    /// The server's clock.
    pub received: Timestamp,
    /// Written within what is trusted of its device.
    pub trusted: bool,
    /// The owner pinned it.
    pub pinned: bool,
    /// It is held.
    pub held: bool,
    /// What the server knows of it.
    pub disclosure: Disclosure,
}

/// A snapshot that went and can be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoneRow {
    /// As it was.
    pub row: Row,
    /// Why it went.
    pub why: Leave,
    /// When.
    pub since: Timestamp,
    /// From then on it cannot be brought back.
    pub until: Timestamp,
}

/// A snapshot with its manifest.
#[derive(Debug)]
pub struct Listed {
    /// What the log says.
    pub row: Row,
    /// What it says of itself.
    pub manifest: Result<Manifest, SnapshotError>,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The vault refused, or cannot be reached.
    #[error("the manifest of the snapshot cannot be fetched")]
    Vault(#[from] VaultError),
    /// It does not open.
    #[error("the manifest of the snapshot is damaged or forged")]
    Manifest(#[from] ManifestError),
    /// Sealed by another device than the one that signed the log entry.
    #[error("the manifest names another device than the log")]
    OtherDevice,
    /// What it says it disclosed is not what the log has.
    #[error("the disclosed record of the snapshot was changed")]
    OtherDisclosure,
    /// The log has it under another set.
    #[error("the manifest names another set than the log")]
    OtherSet,
}

/// The snapshots that are in the log, oldest first.
pub fn list_locked(state: &State) -> Vec<Row> {
    let rows = state.snapshots.iter().map(|(id, snapshot)| row(state, *id, snapshot));
    let mut rows: Vec<Row> = rows.collect();
    rows.sort_by_key(|row| row.seq);
    rows
}

/// The snapshots that can be brought back at `now`, oldest first.
pub fn gone_locked(state: &State, now: Timestamp) -> Vec<GoneRow> {
    let there = state.gone.iter().filter(|(_, gone)| now < gone.until);
    let mut rows: Vec<GoneRow> = there
        .map(|(id, gone)| GoneRow {
            row: row(state, *id, &gone.snapshot),
            why: gone.why,
            since: gone.received,
            until: gone.until,
        })
        .collect();
    rows.sort_by_key(|gone| gone.row.seq);
    rows
}

/// The same with the names of their devices.
pub fn gone_rows(repo: &ReaderRepo, now: Timestamp) -> Vec<GoneRow> {
    let mut rows = gone_locked(&repo.log.state, now);
    for gone in &mut rows {
        gone.row.device_name = repo.device_name(gone.row.device).map(str::to_owned);
    }
    rows
}

/// The snapshots that are in the log, oldest first, with the names of their devices.
pub fn rows(repo: &ReaderRepo) -> Vec<Row> {
    let mut rows = list_locked(&repo.log.state);
    for row in &mut rows {
        row.device_name = repo.device_name(row.device).map(str::to_owned);
    }
    rows
}

/// Fetches and opens the manifests of snapshots.
pub async fn with_manifests(repo: &ReaderRepo, rows: Vec<Row>) -> Vec<Listed> {
    let mut listed = Vec::with_capacity(rows.len());
    for row in rows {
        let manifest = manifest(repo, &row).await;
        listed.push(Listed { row, manifest });
    }
    listed
}

/// All snapshots with their manifests, oldest first.
pub async fn list_snapshots(repo: &ReaderRepo) -> Vec<Listed> {
    with_manifests(repo, rows(repo)).await
}

/// The manifest of a snapshot, checked against the log.
pub async fn manifest(repo: &ReaderRepo, row: &Row) -> Result<Manifest, SnapshotError> {
    let sealed = repo.vault.manifest(row.id).await?;
    let (info, manifest) = open_manifest(repo.keys(), row.id, &sealed)?;
    if info.device != row.device {
        return Err(SnapshotError::OtherDevice);
    }
    if manifest.disclosure_hash != Hash::of(&row.disclosure.to_bytes()) {
        return Err(SnapshotError::OtherDisclosure);
    }
    if repo.ids().set_tag(&manifest.set) != row.set {
        return Err(SnapshotError::OtherSet);
    }
    Ok(manifest)
}

/// Whether these packs are the ones that the log has signed for a snapshot, live or gone.
///
/// A pack that no map names and whose table of contents could not be opened has no checked name, so then this is false.
pub fn packs_hold(
    repo: &ReaderRepo,
    index: &ReaderIndex,
    row: &Row,
    packs: &RoaringBitmap,
) -> bool {
    let mut hasher = PackSetHasher::default();
    for number in packs.iter().map(unseen_common::id::PackNumber) {
        match index.pack_id(number) {
            Some(id) => hasher.add(number, &id),
            None => return false,
        }
    }
    let state = &repo.log.state;
    let gone = || state.gone.get(&row.id).map(|gone| &gone.snapshot);
    let signed = state.snapshots.get(&row.id).or_else(gone);
    signed.is_some_and(|snapshot| snapshot.packset_hash == hasher.finish())
}

fn row(state: &State, id: SnapshotId, snapshot: &Snapshot) -> Row {
    Row {
        id,
        seq: snapshot.seq,
        device: snapshot.device,
        device_name: None,
        set: snapshot.set,
        status: snapshot.status,
        time: snapshot.time,
        received: snapshot.received,
        trusted: state.is_trusted(snapshot),
        pinned: snapshot.pinned,
        held: snapshot.held,
        disclosure: snapshot.disclosure.clone(),
    }
}
