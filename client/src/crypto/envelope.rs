//! The header of a pack or a sealed manifest: who sealed it, and its key in an HPKE envelope.
//!
//! ```text
//! 0     magic    "UNSEENP1" (pack) or "UNSEENM1" (manifest)
//! 8     suite    1
//! 9     epoch    u32 LE
//! 13    device   16
//! 29    uid      16
//! 45    enc      1120   HPKE: the encapsulated key
//! 1165  key      48     HPKE: the sealed 32-byte key
//! 1213  commit   32     derive_key("envelope commit", key || bytes 0..1213)
//! ```

use unseen_common::id::{DeviceId, PackUid, VaultId};
use zeroize::Zeroizing;

use super::derive::Context;
use super::hpke_box::{self, ENC_LEN, HpkeFailed};
use super::layout::{Fields, join};
use super::rng::Hedged;
use super::schedule::ReaderKeys;
use super::seal::PackKey;
use super::secret::Secret;
use super::vault_key::VaultPublicKey;

/// Length of a header in bytes.
pub const HEADER_LEN: usize = 1245;

/// Where the commitment starts: it covers everything before.
const COMMIT_AT: usize = 1213;
const SEALED_KEY_LEN: usize = 48;
const SUITE: u8 = 1;
const PRODUCT: &[u8] = b"unseen v1 envelope";

/// What the header is the header of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvelopeKind {
    /// A pack of chunks.
    Pack,
    /// The sealed manifest of a snapshot.
    Manifest,
}

impl EnvelopeKind {
    /// The first eight bytes of the header.
    pub const fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Pack => b"UNSEENP1",
            Self::Manifest => b"UNSEENM1",
        }
    }
}

/// What a header says in clear; proven only once it has been opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderInfo {
    /// The epoch whose vault key it is sealed to.
    pub epoch: u32,
    /// Who says to have sealed it.
    pub device: DeviceId,
    /// Its name before it had one.
    pub uid: PackUid,
}

/// Why sealed bytes cannot be read. None of the variants tells which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The header or the segment is too short or too long to be one.
    #[error("sealed object of {len} bytes: wrong length")]
    Length {
        /// How many bytes were given.
        len: usize,
    },
    /// The header starts with something else.
    #[error("not a header of the expected kind")]
    Magic,
    /// Sealed by a later version of the program.
    #[error("header suite {suite} is not supported")]
    Suite {
        /// The suite it names.
        suite: u8,
    },
    /// No key is known for its epoch.
    #[error("no key for epoch {epoch}")]
    Epoch {
        /// The epoch it names.
        epoch: u32,
    },
    /// Not sealed to this vault by one of its devices, or changed since.
    #[error("the envelope does not open")]
    Envelope,
    /// The envelope opened, but the header is not the one its key was made for.
    #[error("the header does not match its key")]
    Commitment,
    /// A segment number that is never used.
    #[error("segment index {index} is out of range")]
    SegmentIndex {
        /// The index asked for.
        index: u64,
    },
    /// The bytes are not those that were sealed in this place.
    #[error("sealed bytes are damaged or forged")]
    Forged,
}

/// Why bytes cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// HPKE refused; the vault's public key cannot be used.
    #[error("cannot seal to the vault key")]
    Envelope,
    /// The buffer has no room for the tag, or is longer than the cipher allows.
    #[error("cannot seal a buffer of {len} bytes")]
    Length {
        /// Length of the buffer.
        len: usize,
    },
    /// A segment number beyond the cap.
    #[error("segment index {index} is out of range")]
    SegmentIndex {
        /// The index asked for.
        index: u64,
    },
    /// A segment with this number was sealed before: the nonce would repeat.
    #[error("segment {index} was sealed before")]
    Reused {
        /// The index asked for.
        index: u64,
    },
    /// A key that came out of a header: what it sealed exists already.
    #[error("a key that was opened cannot seal")]
    ReadOnly,
}

/// Who seals to whom.
#[derive(Debug, Clone, Copy)]
pub struct SealTo<'a> {
    /// The vault.
    pub vault: VaultId,
    /// The epoch of `public`.
    pub epoch: u32,
    /// The device that seals.
    pub device: DeviceId,
    /// The vault's key.
    pub public: &'a VaultPublicKey,
    /// The vault's writer key.
    pub psk: &'a Secret<32>,
}

impl SealTo<'_> {
    /// A new header under a new uid, and the key it holds.
    pub fn new_header(
        &self,
        kind: EnvelopeKind,
        rng: &mut Hedged,
    ) -> Result<(Box<[u8; HEADER_LEN]>, PackKey), SealError> {
        let info = HeaderInfo {
            epoch: self.epoch,
            device: self.device,
            uid: PackUid::from_bytes(rng.bytes()),
        };
        let key: Secret<32> = rng.secret();
        let mut sealed = Zeroizing::new(*key.expose());
        let hpke_info = hpke_info(kind, self.vault, self.public, &info);
        let (enc, tag) =
            hpke_box::seal(self.public, self.psk, &hpke_info, sealed.as_mut_slice(), rng)
                .map_err(|HpkeFailed| SealError::Envelope)?;
        let start: [u8; COMMIT_AT] = join(&[
            kind.magic(),
            &[SUITE],
            &info.epoch.to_le_bytes(),
            info.device.as_bytes(),
            info.uid.as_bytes(),
            &enc,
            sealed.as_slice(),
            &tag,
        ])
        .expect("the fields before the commitment have 1213 bytes");
        let commit = Context::ENVELOPE_COMMIT.derive(&[key.expose(), &start]);
        let header = join(&[&start, commit.expose()]).expect("1213 and 32 bytes are a header");
        let key = PackKey::for_sealing(&key, &header, info.uid);
        Ok((Box::new(header), key))
    }
}

impl HeaderInfo {
    /// Reads the clear part, without a key and so without proof.
    pub fn peek(kind: EnvelopeKind, header: &[u8]) -> Result<Self, OpenError> {
        Parts::split(kind, header).map(|parts| parts.info)
    }
}

impl ReaderKeys {
    /// Opens a header of exactly [`HEADER_LEN`] bytes: magic, suite and epoch first, then the
    /// envelope, then the commitment; only after that is there a key.
    pub fn open_header(
        &self,
        kind: EnvelopeKind,
        header: &[u8],
    ) -> Result<(HeaderInfo, PackKey), OpenError> {
        let parts = Parts::split(kind, header)?;
        let epoch = parts.info.epoch;
        let private = self.key(epoch).ok_or(OpenError::Epoch { epoch })?;
        let info = hpke_info(kind, self.vault(), private.public(), &parts.info);
        let mut sealed = Zeroizing::new(*parts.sealed_key);
        let psk = &self.write_set().writer_psk;
        let plain = hpke_box::open(private, psk, &info, parts.enc, sealed.as_mut_slice())
            .map_err(|HpkeFailed| OpenError::Envelope)?;
        let key = Secret::from_slice(plain).ok_or(OpenError::Envelope)?;
        let commit = Context::ENVELOPE_COMMIT.derive(&[key.expose(), parts.committed]);
        if commit != Secret::from_bytes(*parts.commit) {
            return Err(OpenError::Commitment);
        }
        Ok((parts.info, PackKey::for_opening(&key, parts.whole, parts.info.uid)))
    }
}

/// A header cut into its fields.
struct Parts<'a> {
    whole: &'a [u8; HEADER_LEN],
    info: HeaderInfo,
    enc: &'a [u8; ENC_LEN],
    sealed_key: &'a [u8; SEALED_KEY_LEN],
    committed: &'a [u8; COMMIT_AT],
    commit: &'a [u8; 32],
}

impl<'a> Parts<'a> {
    fn split(kind: EnvelopeKind, header: &'a [u8]) -> Result<Self, OpenError> {
        let length = OpenError::Length { len: header.len() };
        let whole: &[u8; HEADER_LEN] = header.try_into().or(Err(length))?;
        let (committed, _) = whole.split_first_chunk().ok_or(length)?;
        let mut fields = Fields::new(whole);
        if fields.take().ok_or(length)? != kind.magic() {
            return Err(OpenError::Magic);
        }
        let suite = fields.u8().ok_or(length)?;
        if suite != SUITE {
            return Err(OpenError::Suite { suite });
        }
        let info = HeaderInfo {
            epoch: fields.u32().ok_or(length)?,
            device: DeviceId::from_bytes(*fields.take().ok_or(length)?),
            uid: PackUid::from_bytes(*fields.take().ok_or(length)?),
        };
        Ok(Self {
            whole,
            info,
            enc: fields.take().ok_or(length)?,
            sealed_key: fields.take().ok_or(length)?,
            committed,
            commit: fields.take().ok_or(length)?,
        })
    }
}

/// Everything the envelope is bound to; all fields have fixed lengths.
fn hpke_info(
    kind: EnvelopeKind,
    vault: VaultId,
    public: &VaultPublicKey,
    info: &HeaderInfo,
) -> Vec<u8> {
    let hash = public.hash();
    let parts: [&[u8]; 7] = [
        PRODUCT,
        kind.magic(),
        vault.as_bytes(),
        &info.epoch.to_le_bytes(),
        hash.as_bytes(),
        info.device.as_bytes(),
        info.uid.as_bytes(),
    ];
    parts.concat()
}
