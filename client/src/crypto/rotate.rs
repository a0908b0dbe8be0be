//! The root of an epoch sealed under the root of the next: how old packs stay readable after
//! `key rotate`. Goes into the `epoch` entry of the log.
//!
//! ```text
//! sealed   old epoch u32 LE | nonce[24] | XChaCha20-Poly1305(old root[32]), 48 bytes
//! key      derive_key("previous root", new root || vault id || new epoch)
//! aad      vault id | new epoch u32 LE | old epoch u32 LE
//! ```

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use unseen_common::id::VaultId;
use zeroize::Zeroizing;

use super::derive::Context;
use super::rng::Hedged;
use super::schedule::RootSecret;

/// Length of the sealed form.
pub const LEN: usize = 76;

/// The old root could not be taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PreviousRootError {
    /// Not [`LEN`] bytes, or epochs that do not follow one another.
    #[error("the sealed root of the previous epoch is malformed")]
    Malformed,
    /// Not sealed by this root for this vault, or changed since.
    #[error("the sealed root of the previous epoch does not open")]
    Forged,
}

/// Seals `old` for whoever holds `new`, the root of the epoch after it.
pub fn seal_previous(
    new: &RootSecret,
    vault: VaultId,
    old: &RootSecret,
    rng: &mut Hedged,
) -> Result<[u8; LEN], PreviousRootError> {
    if old.epoch().checked_add(1) != Some(new.epoch()) {
        return Err(PreviousRootError::Malformed);
    }
    let nonce: [u8; 24] = rng.bytes();
    let mut text = Zeroizing::new(*old.expose());
    let tag = cipher(new, vault)
        .encrypt_inout_detached(
            &XNonce::from(nonce),
            &aad(vault, new.epoch(), old.epoch()),
            InOutBuf::from(text.as_mut_slice()),
        )
        .map_err(|chacha20poly1305::Error| PreviousRootError::Malformed)?;
    let mut sealed = [0; LEN];
    let parts: [&[u8]; 4] = [&old.epoch().to_le_bytes(), &nonce, text.as_slice(), &tag];
    for (place, byte) in sealed.iter_mut().zip(parts.into_iter().flatten()) {
        *place = *byte;
    }
    Ok(sealed)
}

/// The root of the epoch before `new`'s.
pub fn open_previous(
    new: &RootSecret,
    vault: VaultId,
    sealed: &[u8],
) -> Result<RootSecret, PreviousRootError> {
    let malformed = PreviousRootError::Malformed;
    let (epoch, rest) = sealed.split_first_chunk::<4>().ok_or(malformed)?;
    let (nonce, rest) = rest.split_first_chunk::<24>().ok_or(malformed)?;
    let (text, rest) = rest.split_first_chunk::<32>().ok_or(malformed)?;
    let tag: [u8; 16] = rest.try_into().or(Err(malformed))?;
    let epoch = u32::from_le_bytes(*epoch);
    if epoch.checked_add(1) != Some(new.epoch()) {
        return Err(malformed);
    }
    let mut text = Zeroizing::new(*text);
    cipher(new, vault)
        .decrypt_inout_detached(
            &XNonce::from(*nonce),
            &aad(vault, new.epoch(), epoch),
            InOutBuf::from(text.as_mut_slice()),
            &Tag::from(tag),
        )
        .map_err(|chacha20poly1305::Error| PreviousRootError::Forged)?;
    Ok(RootSecret::from_bytes(&text, epoch))
}

fn cipher(new: &RootSecret, vault: VaultId) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(new.leaf(Context::PREVIOUS_ROOT, vault).expose().into())
}

fn aad(vault: VaultId, new: u32, old: u32) -> Vec<u8> {
    [vault.as_bytes().as_slice(), &new.to_le_bytes(), &old.to_le_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::super::rng::testing::rng;
    use super::*;

    const VAULT: VaultId = VaultId::from_bytes([7; 16]);

    #[test]
    fn the_next_root_opens_it_and_no_other() {
        let old = RootSecret::generate(3, &mut rng(1));
        let new = RootSecret::generate(4, &mut rng(2));
        let sealed = seal_previous(&new, VAULT, &old, &mut rng(3)).unwrap();
        assert_eq!(open_previous(&new, VAULT, &sealed).unwrap(), old);

        let other = RootSecret::generate(4, &mut rng(5));
        let forged = Err(PreviousRootError::Forged);
        assert_eq!(open_previous(&other, VAULT, &sealed), forged);
        assert_eq!(open_previous(&new, VaultId::from_bytes([8; 16]), &sealed), forged);
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let old = RootSecret::generate(0, &mut rng(1));
        let new = RootSecret::generate(1, &mut rng(2));
        let sealed = seal_previous(&new, VAULT, &old, &mut rng(3)).unwrap();
        for index in 0..LEN {
            let mut bad = sealed;
            bad[index] ^= 1;
            assert!(open_previous(&new, VAULT, &bad).is_err(), "byte {index}");
        }
        assert_eq!(
            open_previous(&new, VAULT, &sealed[..LEN - 1]),
            Err(PreviousRootError::Malformed)
        );
    }

    #[test]
    fn epochs_must_follow_one_another() {
        let old = RootSecret::generate(0, &mut rng(1));
        let new = RootSecret::generate(2, &mut rng(2));
        let refused = seal_previous(&new, VAULT, &old, &mut rng(3));
        assert_eq!(refused, Err(PreviousRootError::Malformed));
    }
}
