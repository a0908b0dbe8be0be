//! Packs on their way to a server, kept on disk until it has them.
//!
//! After a crash the same bytes are sent: nothing is ever sealed twice under one key, and what
//! was read and compressed is not lost. Not used for a vault on this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use unseen_common::id::{Hash, PackId, VaultId};
use unseen_common::limits::{MAX_FOOTER, MAX_PACK, PACK_TRAILER};
use unseen_common::vault::pack_id;

use crate::crypto::device::DeviceSecrets;
use crate::crypto::envelope::HEADER_LEN;
use crate::pack::builder::SealedPack;
use crate::pack::reader::{Ends, TableKeys, open_footer};

/// A folder of packs.
#[derive(Debug, Clone)]
pub struct Spool(PathBuf);

impl Spool {
    /// Opens the folder, or makes it.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self(folder.to_path_buf()))
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

    /// The packs that a run left behind. Whatever is not whole is removed.
    pub fn left(&self, vault: VaultId, device: &DeviceSecrets) -> io::Result<Vec<SealedPack>> {
        let mut packs = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            let bytes = fs::read(&path)?;
            match read_back(Bytes::from(bytes), vault, device) {
                Some(pack) => packs.push(pack),
                None => fs::remove_file(&path)?,
            }
        }
        Ok(packs)
    }

    fn path(&self, id: &PackId) -> PathBuf {
        self.0.join(id.to_string())
    }
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
