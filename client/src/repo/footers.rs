//! Fills the chunk index from the tables of contents that the server holds.

use ed25519_dalek::VerifyingKey;
use unseen_common::id::{DeviceId, PackNumber, VaultId};
use unseen_common::vault::{FooterItem, Vault, VaultError};

use super::RepoError;
use crate::crypto::content_id::ChunkId;
use crate::crypto::envelope::{EnvelopeKind, HeaderInfo};
use crate::crypto::secret::Secret;
use crate::index::Index;
use crate::pack::reader::{Ends, OpenedFooter, PackError, TableKeys, open_footer};

/// A device whose tables of contents can be opened.
#[derive(Debug)]
pub struct Known {
    /// The device.
    pub device: DeviceId,
    /// Opens its tables.
    pub index_key: Secret<32>,
    /// Whose signatures count on them: the device's, and the owner's.
    pub signers: [VerifyingKey; 2],
}

impl Known {
    /// What opens and checks its tables.
    pub fn keys(&self) -> TableKeys<'_> {
        TableKeys { index_key: &self.index_key, signers: &self.signers }
    }
}

/// Opens one table, by whichever of the devices wrote it.
pub fn open_item(
    item: &FooterItem,
    vault: VaultId,
    known: &[Known],
) -> Result<OpenedFooter, RepoError> {
    let footer = |source| RepoError::Footer { number: item.number.0, source };
    let info = HeaderInfo::peek(EnvelopeKind::Pack, &item.header)
        .map_err(|e| footer(PackError::from(e)))?;
    let writer = known
        .iter()
        .find(|k| k.device == info.device)
        .ok_or_else(|| footer(PackError::Inconsistent("it was written by an unknown device")))?;
    let ends = Ends {
        id: item.id,
        length: item.length,
        content_hash: item.content_hash,
        header: &item.header,
        footer: &item.footer,
    };
    open_footer(&ends, vault, writer.keys()).map_err(footer)
}

/// What to do with each table.
pub trait Take {
    /// Takes the table of one pack.
    fn take(&mut self, item: &FooterItem, ids: &[ChunkId]) -> Result<(), RepoError>;
    /// The index has this pack already.
    fn covered(&mut self, _item: &FooterItem) -> Result<(), RepoError> {
        Ok(())
    }
    /// A table that does not hold; an error ends the filling.
    fn damaged(&mut self, error: RepoError) -> Result<(), RepoError> {
        Err(error)
    }
}

/// Fetches the tables of packs numbered above `after` and adds them to the index. Tells the
/// highest number seen.
pub async fn fill(
    vault: &dyn Vault,
    (account, device): (VaultId, Option<DeviceId>),
    after: Option<PackNumber>,
    known: &[Known],
    (index, take): (&Index, &mut dyn Take),
) -> Result<Option<PackNumber>, RepoError> {
    let mut after = after;
    let covered = index.covered();
    loop {
        let before = after;
        let page = vault.footers(device, after).await?;
        for item in &page.items {
            after = after.max(Some(item.number));
            if covered.contains(item.number.0) {
                take.covered(item)?;
                continue;
            }
            match open_item(item, account, known) {
                Ok(footer) => {
                    let ids: Vec<ChunkId> = footer
                        .table
                        .segments
                        .iter()
                        .flat_map(|s| s.chunks.iter().map(|c| c.id))
                        .collect();
                    index.add_pack(item.number, &ids)?;
                    take.take(item, &ids)?;
                }
                Err(error) => take.damaged(error)?,
            }
        }
        if !page.more {
            return Ok(after);
        }
        if after == before {
            let what = "it says that more tables of contents follow, and sends none";
            return Err(VaultError::BadAnswer(what.to_owned()).into());
        }
    }
}
