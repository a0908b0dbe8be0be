//! The sealed manifest: an envelope of its own, padded so that its size tells little.

use unseen_common::codec::{Canonical, DecodeError};
use unseen_common::id::SnapshotId;
use unseen_common::limits::MAX_MANIFEST;

use crate::crypto::envelope::{EnvelopeKind, HEADER_LEN, HeaderInfo, OpenError, SealError, SealTo};
use crate::crypto::rng::Hedged;
use crate::crypto::schedule::ReaderKeys;
use crate::crypto::seal::TAG_LEN;
use crate::tree::manifest::Manifest;

/// Sealed manifests are multiples of this, in bytes.
const PADDING: usize = 4096;

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A seal does not hold.
    #[error("the manifest does not open")]
    Open(#[from] OpenError),
    /// The bytes inside make no sense.
    #[error("the manifest cannot be read")]
    Decode(#[from] DecodeError),
    /// It is not the one that the log names.
    #[error("the manifest is not the one that the log names")]
    Other,
}

/// Seals a manifest; its hash is the id of the snapshot.
pub fn seal_manifest(
    manifest: &Manifest,
    to: &SealTo<'_>,
    rng: &mut Hedged,
) -> Result<(Vec<u8>, SnapshotId), SealError> {
    let (header, key) = to.new_header(EnvelopeKind::Manifest, rng)?;
    let plain = manifest.to_bytes();
    let length = u32::try_from(plain.len()).map_err(|_e| SealError::Length { len: plain.len() })?;
    let total = (HEADER_LEN + 4 + plain.len() + TAG_LEN).next_multiple_of(PADDING);
    if total > MAX_MANIFEST {
        return Err(SealError::Length { len: total });
    }
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&header[..]);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&plain);
    out.resize(total, 0);
    key.seal_segment(0, out.get_mut(HEADER_LEN..).unwrap_or_default())?;
    let id = SnapshotId::from_bytes(*blake3::hash(&out).as_bytes());
    Ok((out, id))
}

/// Opens the manifest of `snapshot` and tells who sealed it.
pub fn open_manifest(
    keys: &ReaderKeys,
    snapshot: SnapshotId,
    sealed: &[u8],
) -> Result<(HeaderInfo, Manifest), ManifestError> {
    if blake3::hash(sealed).as_bytes() != snapshot.as_bytes() {
        return Err(ManifestError::Other);
    }
    let short = || ManifestError::Decode(DecodeError::Invalid("the manifest is cut short"));
    let (header, body) = sealed.split_at_checked(HEADER_LEN).ok_or_else(short)?;
    let (info, key) = keys.open_header(EnvelopeKind::Manifest, header)?;
    let mut body = body.to_vec();
    let plain = key.open_segment(0, &mut body)?;
    let (length, rest) = plain.split_first_chunk::<4>().ok_or_else(short)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (manifest, zeros) = rest.split_at_checked(length).ok_or_else(short)?;
    if zeros.iter().any(|&b| b != 0) {
        return Err(DecodeError::Invalid("the padding of the manifest is not zero").into());
    }
    Ok((info, Manifest::from_bytes(manifest)?))
}
