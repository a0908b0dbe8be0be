//! Sealing the body and the footer of a pack.
//!
//! ```text
//! segment i   ChaCha20-Poly1305, key = pack key, nonce = i as u96 LE, aad = BLAKE3(header)
//! footer      ChaCha20-Poly1305, nonce = 0, aad = BLAKE3(header),
//!             key = derive_key("pack footer", index key || pack uid || BLAKE3(header))
//! ```
//!
//! Counters are safe as nonces because a pack key is made for one pack and seals each number
//! once; a retry sends the same bytes again.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag};
use roaring::RoaringBitmap;
use unseen_common::id::{Hash, PackUid};

use super::derive::Context;
use super::envelope::{HEADER_LEN, OpenError, SealError};
use super::secret::Secret;

/// How many bytes sealing adds.
pub const TAG_LEN: usize = 16;

/// The key of one pack or manifest, ready to seal (if it is new) or to open (if it was opened).
///
/// Shared between threads by reference.
pub struct PackKey {
    cipher: ChaCha20Poly1305,
    header_hash: Hash,
    uid: PackUid,
    /// Numbers sealed so far; `None` for a key that came out of a header.
    sealed: Option<Mutex<RoaringBitmap>>,
}

impl PackKey {
    pub(super) fn for_sealing(key: &Secret<32>, header: &[u8; HEADER_LEN], uid: PackUid) -> Self {
        let sealed = Some(Mutex::new(RoaringBitmap::new()));
        Self { sealed, ..Self::for_opening(key, header, uid) }
    }

    pub(super) fn for_opening(key: &Secret<32>, header: &[u8; HEADER_LEN], uid: PackUid) -> Self {
        let cipher = ChaCha20Poly1305::new(key.expose().into());
        Self { cipher, header_hash: Hash::of(header), uid, sealed: None }
    }

    /// BLAKE3 of the header: bound to every segment and to the footer.
    pub fn header_hash(&self) -> Hash {
        self.header_hash
    }

    /// The uid in the header.
    pub fn uid(&self) -> PackUid {
        self.uid
    }

    /// Seals in place: `buf` is plaintext and [`TAG_LEN`] bytes of room for the tag at its end.
    pub fn seal_segment(&self, index: u64, buf: &mut [u8]) -> Result<(), SealError> {
        let number = u32::try_from(index).or(Err(SealError::SegmentIndex { index }))?;
        if buf.len() < TAG_LEN {
            return Err(SealError::Length { len: buf.len() });
        }
        let sealed = self.sealed.as_ref().ok_or(SealError::ReadOnly)?;
        if !sealed.lock().unwrap_or_else(PoisonError::into_inner).insert(number) {
            return Err(SealError::Reused { index });
        }
        seal(&self.cipher, &nonce(number), &self.header_hash, buf)
    }

    /// Opens in place what [`Self::seal_segment`] made and returns the plaintext in it. When it
    /// fails, `buf` holds nothing of use.
    pub fn open_segment<'a>(
        &self,
        index: u64,
        buf: &'a mut [u8],
    ) -> Result<&'a mut [u8], OpenError> {
        let number = u32::try_from(index).or(Err(OpenError::SegmentIndex { index }))?;
        open(&self.cipher, &nonce(number), &self.header_hash, buf)
    }

    /// The key of this pack's footer: of the device that wrote it, not of the vault.
    pub fn footer_key(&self, index_key: &Secret<32>) -> FooterKey {
        footer_key(index_key, self.uid, self.header_hash)
    }
}

impl fmt::Debug for PackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackKey(of {})", self.uid.short())
    }
}

/// The key of one footer. Sealing uses it up.
pub struct FooterKey {
    cipher: ChaCha20Poly1305,
    header_hash: Hash,
}

/// The key of the footer of the pack with this header, for the device with this index key.
///
/// At most one footer is ever sealed with it: a pack that is written again gets a new uid.
pub fn footer_key(index_key: &Secret<32>, uid: PackUid, header_hash: Hash) -> FooterKey {
    let key =
        Context::PACK_FOOTER.derive(&[index_key.expose(), uid.as_bytes(), header_hash.as_bytes()]);
    FooterKey { cipher: ChaCha20Poly1305::new(key.expose().into()), header_hash }
}

impl FooterKey {
    /// Seals in place: `buf` is plaintext and [`TAG_LEN`] bytes of room for the tag at its end.
    pub fn seal(self, buf: &mut [u8]) -> Result<(), SealError> {
        seal(&self.cipher, &nonce(0), &self.header_hash, buf)
    }

    /// Opens in place and returns the plaintext.
    pub fn open<'a>(&self, buf: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        open(&self.cipher, &nonce(0), &self.header_hash, buf)
    }
}

impl fmt::Debug for FooterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FooterKey(..)")
    }
}

/// `number` as an unsigned 96-bit little-endian integer.
fn nonce(number: u32) -> Nonce {
    let mut nonce = Nonce::default();
    for (place, byte) in nonce.iter_mut().zip(number.to_le_bytes()) {
        *place = byte;
    }
    nonce
}

fn seal(
    cipher: &ChaCha20Poly1305,
    nonce: &Nonce,
    header_hash: &Hash,
    buf: &mut [u8],
) -> Result<(), SealError> {
    let length = SealError::Length { len: buf.len() };
    let (text, place) = buf.split_last_chunk_mut::<TAG_LEN>().ok_or(length)?;
    let tag = cipher
        .encrypt_inout_detached(nonce, header_hash.as_bytes(), InOutBuf::from(text))
        .map_err(|chacha20poly1305::Error| length)?;
    place.copy_from_slice(&tag);
    Ok(())
}

fn open<'a>(
    cipher: &ChaCha20Poly1305,
    nonce: &Nonce,
    header_hash: &Hash,
    buf: &'a mut [u8],
) -> Result<&'a mut [u8], OpenError> {
    let length = OpenError::Length { len: buf.len() };
    let (text, tag) = buf.split_last_chunk_mut::<TAG_LEN>().ok_or(length)?;
    let tag = Tag::from(*tag);
    cipher
        .decrypt_inout_detached(nonce, header_hash.as_bytes(), InOutBuf::from(&mut *text), &tag)
        .map_err(|chacha20poly1305::Error| OpenError::Forged)?;
    Ok(text)
}
