//! Packs on their way to a server, kept on disk until it has them.
//!
//! After a crash the same bytes are sent: nothing is ever sealed twice under one key, and what
//! was read and compressed is not lost. Not used for a vault on this machine.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use unseen_common::id::{Hash, PackId, VaultId};
use unseen_common::limits::{MAX_FOOTER, MAX_PACK, PACK_TRAILER};
use unseen_common::vault::pack_id;

use crate::crypto::device::DeviceSecrets;
use crate::crypto::envelope::HEADER_LEN;
use crate::pack::builder::SealedPack;
use crate::pack::reader::{Ends, TableKeys, open_footer};
use crate::pins::private_folder;

/// A folder of packs.
#[derive(Debug, Clone)]
pub struct Spool(PathBuf);

impl Spool {
    /// Opens the folder, or makes it.
    pub fn open(folder: &Path) -> io::Result<Self> {
        private_folder(folder)?;
        Ok(Self(folder.to_path_buf()))
    }

    /// How many packs wait in this folder, and how many bytes they have, as far as it can be read.
    pub fn waiting(folder: &Path) -> (u64, u64) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let files = entries.filter_map(|entry| entry.metadata().ok().filter(fs::Metadata::is_file));
        files.fold((0, 0), |(packs, bytes): (u64, u64), file| {
            (packs + 1, bytes.saturating_add(file.len()))
        })
    }

    /// Keeps a pack. Not synced: a torn file is recognised and dropped.
    pub fn put(&self, pack: &SealedPack) -> io::Result<()> {
        fs::write(self.path(&pack.id), &pack.upload().bytes)
    }

    /// The server has it.
    pub fn remove(&self, id: &PackId) -> io::Result<()> {
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The packs that a run left behind, one after the other: each is in memory for itself.
    /// Whatever is not whole is removed.
    pub fn left<'a>(
        &'a self,
        vault: VaultId,
        device: &'a DeviceSecrets,
    ) -> io::Result<impl Iterator<Item = io::Result<SealedPack>> + 'a> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files.into_iter().filter_map(move |path| one(&path, vault, device).transpose()))
    }

    fn path(&self, id: &PackId) -> PathBuf {
        self.0.join(id.to_string())
    }
}

/// The pack in this file; none if it is torn, and then the file is gone.
fn one(path: &Path, vault: VaultId, device: &DeviceSecrets) -> io::Result<Option<SealedPack>> {
    let mut bytes = Vec::new();
    // One byte more than a pack may have tells that this is none.
    File::open(path)?.take(MAX_PACK + 1).read_to_end(&mut bytes)?;
    let pack = read_back(Bytes::from(bytes), vault, device);
    if pack.is_none() {
        fs::remove_file(path)?;
    }
    Ok(pack)
}

fn read_back(bytes: Bytes, vault: VaultId, device: &DeviceSecrets) -> Option<SealedPack> {
    let length = bytes.len() as u64;
    if length > MAX_PACK {
        return None;
    }
    let trailer_at = bytes.len().checked_sub(usize::try_from(PACK_TRAILER).ok()?)?;
    let footer_len = u32::from_le_bytes(*bytes.get(trailer_at..)?.first_chunk()?);
    if u64::from(footer_len) > MAX_FOOTER {
        return None;
    }
    let footer_at = trailer_at.checked_sub(footer_len as usize)?;
    let content_hash = Hash::of(bytes.get(..footer_at)?);
    let footer = bytes.get(footer_at..)?;
    let id = pack_id(content_hash, footer, length, footer_len.into());
    let header = bytes.get(..HEADER_LEN)?;
    let ends = Ends { id, length, content_hash, header, footer };
    let signers = [device.manifest.verifying_key()];
    let keys = TableKeys { index_key: &device.index_key, signers: &signers };
    let opened = open_footer(&ends, vault, keys).ok()?;
    Some(SealedPack::from_spool(id, opened.table, footer_len, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::content_id::ChunkKind;
    use crate::testing::{Forge, Machine, World, noise};

    fn pack(machine: &Machine, seed: u64) -> SealedPack {
        let mut forge = Forge::new();
        forge.chunk(ChunkKind::Data, &noise(seed, 10_000));
        forge.sealed(machine)
    }

    /// What is still in the folder is read when it is its turn: never more than one is in memory.
    #[test]
    fn what_is_left_is_read_one_by_one() {
        let (_world, machine) = World::new();
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(folder.path()).expect("opens");
        for seed in 0..4 {
            spool.put(&pack(&machine, seed)).expect("kept");
        }
        let mut ids: Vec<PathBuf> =
            fs::read_dir(folder.path()).expect("lists").map(|e| e.expect("one").path()).collect();
        ids.sort();
        let key = &machine.repo.key;
        let mut left = spool.left(key.vault, &key.secrets).expect("lists");
        let first = left.next().expect("one").expect("reads");
        assert_eq!(spool.path(&first.id), ids[0]);
        // Torn after the first was read: so the second had not been.
        File::options().write(true).open(&ids[1]).expect("opens").set_len(100).expect("torn");
        let rest: Vec<PathBuf> = left.map(|pack| spool.path(&pack.expect("reads").id)).collect();
        assert_eq!(rest, ids[2..]);
        assert!(!ids[1].exists(), "what is torn goes");
        assert!(ids[0].exists() && ids[2].exists(), "what is whole stays until the vault has it");
    }

    #[test]
    fn what_is_no_pack_goes_and_folders_stay() {
        let (_world, machine) = World::new();
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(folder.path()).expect("opens");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("empty"), b"").expect("written");
        fs::write(at("noise"), noise(1, 5_000)).expect("written");
        File::create(at("endless")).expect("made").set_len(1 << 40).expect("long");
        fs::create_dir(at("folder")).expect("made");
        let key = &machine.repo.key;
        assert_eq!(spool.left(key.vault, &key.secrets).expect("lists").count(), 0);
        let names: Vec<_> = fs::read_dir(folder.path())
            .expect("lists")
            .map(|e| e.expect("one").file_name())
            .collect();
        assert_eq!(names, ["folder"]);
    }
}
