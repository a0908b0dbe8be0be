//! Opens footers and segments, and checks everything that they claim.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use ed25519_dalek::VerifyingKey;
use unseen_common::id::{Hash, PackId, VaultId};
use unseen_common::limits::{PACK_TRAILER, footer_size_ok, on_ladder};
use unseen_common::vault::pack_id;

use super::builder::{signed_part, trailer};
use super::table::{BadTable, SegmentRow, Table};
use crate::compress::{DecompressError, Decompressor};
use crate::crypto::content_id::{ChunkId, ContentKeys};
use crate::crypto::envelope::{EnvelopeKind, HEADER_LEN, HeaderInfo, OpenError};
use crate::crypto::seal::{PackKey, footer_key};
use crate::crypto::secret::Secret;
use crate::crypto::sign::{BadSignature, Domain, verify};

/// Why a pack, or a part of it, cannot be used. Whatever the reason: it is damaged or forged.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A seal does not hold.
    #[error("a seal does not hold")]
    Open(#[from] OpenError),
    /// The table of contents makes no sense.
    #[error("its table of contents makes no sense")]
    Table(#[from] BadTable),
    /// Neither the device nor the owner signed this.
    #[error("its table of contents is not signed by its device, nor by the owner")]
    Signature(#[source] BadSignature),
    /// A segment does not decompress.
    #[error("a segment does not decompress")]
    Decompress(#[from] DecompressError),
    /// Lengths, hashes or padding disagree.
    #[error("{0}")]
    Inconsistent(&'static str),
    /// A chunk is not what its id says.
    #[error("a chunk is not what its id says")]
    WrongChunk,
}

/// A pack's clear and sealed ends, as the server hands them out.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    /// The name that the pack must have.
    pub id: PackId,
    /// Length of the whole pack, in bytes.
    pub length: u64,
    /// Plain BLAKE3 of header and body, as the server states it; the footer confirms it.
    pub content_hash: Hash,
    /// The first 1245 bytes.
    pub header: &'a [u8],
    /// Sealed footer and trailer.
    pub footer: &'a [u8],
}

/// What opens the tables of contents of a device, and whose signatures count on them.
#[derive(Debug, Clone, Copy)]
pub struct TableKeys<'a> {
    /// The device's.
    pub index_key: &'a Secret<32>,
    /// The device's manifest key; and the root key, with which an owner signs the packs that a
    /// compaction writes anew. Which pack of which device it is stands in the header, and the
    /// signature covers that.
    pub signers: &'a [VerifyingKey],
}

/// A table of contents, sealed with its device's key and signed by the device or the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedFooter {
    /// What the clear part of the header says; confirmed by the footer's seal.
    pub info: HeaderInfo,
    /// The table.
    pub table: Table,
}

/// Opens a footer with its device's index key and checks name, lengths and signature.
pub fn open_footer(
    ends: &Ends<'_>,
    vault: VaultId,
    keys: TableKeys<'_>,
) -> Result<OpenedFooter, PackError> {
    let whole = (ends.id, ends.length);
    let (opened, content_hash) = open_own(whole, (ends.header, ends.footer), vault, keys)?;
    if content_hash == ends.content_hash {
        Ok(opened)
    } else {
        Err(PackError::Inconsistent("its footer is about another body"))
    }
}

/// As [`open_footer`] of the pack with this name and length, whose content hash nobody has stated;
/// tells the one that was signed and that the name contains.
pub fn open_own(
    (id, length): (PackId, u64),
    (header, footer): (&[u8], &[u8]),
    vault: VaultId,
    keys: TableKeys<'_>,
) -> Result<(OpenedFooter, Hash), PackError> {
    let info = HeaderInfo::peek(EnvelopeKind::Pack, header)?;
    let trailer_at =
        footer.len().checked_sub(16).ok_or(PackError::Inconsistent("its footer is cut short"))?;
    let (sealed, end) = footer.split_at(trailer_at);
    let footer_len = u32::try_from(sealed.len())
        .map_err(|_e| PackError::Inconsistent("its footer is too long"))?;
    if end != trailer(footer_len) || !footer_size_ok(footer_len.into()) || !on_ladder(length) {
        return Err(PackError::Inconsistent("its lengths are not those of a pack"));
    }
    let mut sealed = sealed.to_vec();
    let header_hash = Hash::of(header);
    let plain = footer_key(keys.index_key, info.uid, header_hash).open(&mut sealed)?;
    let (table, content_hash, signature) = split_plain(plain)?;
    if pack_id(content_hash, footer, length, footer_len.into()) != id {
        return Err(PackError::Inconsistent("its footer belongs to another pack"));
    }
    let said = signed_part(vault, info.epoch, info.uid, content_hash, table);
    if !keys.signers.iter().any(|key| verify(key, Domain::Pack, &said, signature).is_ok()) {
        return Err(PackError::Signature(BadSignature));
    }
    let table = Table::from_bytes(table)?;
    check_lengths(&table, length, footer_len)?;
    Ok((OpenedFooter { info, table }, content_hash))
}

fn split_plain(plain: &[u8]) -> Result<(&[u8], Hash, &[u8; 64]), PackError> {
    let short = PackError::Inconsistent("its footer is cut short");
    let Some((length, rest)) = plain.split_first_chunk::<4>() else {
        return Err(short);
    };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let Some((table, rest)) = rest.split_at_checked(length) else {
        return Err(short);
    };
    let Some((content_hash, rest)) = rest.split_first_chunk::<32>() else {
        return Err(short);
    };
    let Some((signature, zeros)) = rest.split_first_chunk::<64>() else {
        return Err(short);
    };
    if zeros.iter().any(|&b| b != 0) {
        return Err(PackError::Inconsistent("the padding of its footer is not zero"));
    }
    Ok((table, Hash::from_bytes(*content_hash), signature))
}

fn check_lengths(table: &Table, length: u64, footer_len: u32) -> Result<(), PackError> {
    let fixed = u64::try_from(HEADER_LEN)
        .unwrap_or(u64::MAX)
        .saturating_add(PACK_TRAILER)
        .saturating_add(footer_len.into());
    let padding = length.checked_sub(fixed).and_then(|l| l.checked_sub(table.body_len()));
    if padding.is_none_or(|padding| padding < 16) {
        return Err(PackError::Inconsistent("its segments are longer than its body"));
    }
    Ok(())
}

/// A chunk whose bytes have been checked against its id.
#[derive(Debug, Clone, Copy)]
pub struct VerifiedChunk<'a> {
    /// The id.
    pub id: ChunkId,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Opens the segments of a pack; one a thread.
#[derive(Debug, Default)]
pub struct SegmentOpener {
    decompressor: Decompressor,
    raw: Vec<u8>,
}

impl SegmentOpener {
    /// Opens segment `index`, whose sealed bytes are in `sealed`, and calls `each` for every
    /// chunk in it, after checking it.
    #[expect(
        clippy::too_many_arguments,
        reason = "key, place, bytes and ids belong to different owners"
    )]
    pub fn open<E: From<PackError>>(
        &mut self,
        key: &PackKey,
        (index, row): (u64, &SegmentRow),
        sealed: &mut [u8],
        ids: &ContentKeys,
        mut each: impl FnMut(VerifiedChunk<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let plain = key.open_segment(index, sealed).map_err(PackError::from)?;
        let raw_len = usize::try_from(row.raw).unwrap_or(usize::MAX);
        self.decompressor
            .decompress(row.encoding, plain, raw_len, &mut self.raw)
            .map_err(PackError::from)?;
        let mut rest: &[u8] = &self.raw;
        for chunk in &row.chunks {
            let length = usize::try_from(chunk.length).unwrap_or(usize::MAX);
            let (bytes, more) = rest
                .split_at_checked(length)
                .ok_or(PackError::Inconsistent("its chunks are longer than their segment"))?;
            rest = more;
            if ids.chunk_id(row.kind, bytes) != chunk.id {
                return Err(PackError::WrongChunk.into());
            }
            each(VerifiedChunk { id: chunk.id, bytes })?;
        }
        Ok(())
    }
}
