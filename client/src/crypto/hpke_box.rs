//! HPKE as this program uses it: one message to the vault key, mode PSK.
//!
//! Suite: X-Wing, SHAKE256, ChaCha20-Poly1305. The PSK is the vault's writer key, so that the
//! server, which knows the public key, cannot make an envelope, and so that a break of the KEM
//! alone opens nothing.

use hpke::aead::{AeadTag, ChaCha20Poly1305};
use hpke::inout::InOutBuf;
use hpke::kdf::KdfShake256;
use hpke::kem::XWing;
use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable,
    single_shot_open_inout_detached, single_shot_seal_inout_detached_with_rng,
};

use super::rng::Hedged;
use super::secret::Secret;
use super::vault_key::{VaultPrivateKey, VaultPublicKey};

/// Length of an encapsulated key: 1088 of ML-KEM-768, 32 of X25519.
pub(crate) const ENC_LEN: usize = 1120;
/// Length of the tag that follows the ciphertext.
pub(crate) const TAG_LEN: usize = 16;

const PSK_ID: &[u8] = b"unseen v1 writer";

/// An encapsulated key and the tag of the ciphertext.
pub(crate) type Sealed = ([u8; ENC_LEN], [u8; TAG_LEN]);

/// An HPKE call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HpkeFailed;

/// Encrypts `plain` in place for `public`.
pub(crate) fn seal(
    public: &VaultPublicKey,
    psk: &Secret<32>,
    info: &[u8],
    plain: &mut [u8],
    rng: &mut Hedged,
) -> Result<Sealed, HpkeFailed> {
    let mode = OpModeS::Psk(bundle(psk)?);
    let (enc, tag) =
        single_shot_seal_inout_detached_with_rng::<ChaCha20Poly1305, KdfShake256, XWing>(
            &mode,
            public.parsed(),
            info,
            InOutBuf::from(plain),
            b"",
            rng,
        )
        .or(Err(HpkeFailed))?;
    let (mut enc_bytes, mut tag_bytes) = ([0; ENC_LEN], [0; TAG_LEN]);
    enc.write_exact(&mut enc_bytes);
    tag.write_exact(&mut tag_bytes);
    Ok((enc_bytes, tag_bytes))
}

/// Decrypts `sealed` (ciphertext, then tag) in place and returns the plaintext in it.
pub(crate) fn open<'a>(
    private: &VaultPrivateKey,
    psk: &Secret<32>,
    info: &[u8],
    enc: &[u8; ENC_LEN],
    sealed: &'a mut [u8],
) -> Result<&'a mut [u8], HpkeFailed> {
    let (text, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(HpkeFailed)?;
    let enc = <XWing as Kem>::EncappedKey::from_bytes(enc).or(Err(HpkeFailed))?;
    let tag = AeadTag::<ChaCha20Poly1305>::from_bytes(tag).or(Err(HpkeFailed))?;
    let mode = OpModeR::Psk(bundle(psk)?);
    single_shot_open_inout_detached::<ChaCha20Poly1305, KdfShake256, XWing>(
        &mode,
        &private.parsed(),
        &enc,
        info,
        InOutBuf::from(&mut *text),
        b"",
        &tag,
    )
    .or(Err(HpkeFailed))?;
    Ok(text)
}

fn bundle(psk: &Secret<32>) -> Result<PskBundle<'_>, HpkeFailed> {
    PskBundle::new(psk.expose(), PSK_ID).or(Err(HpkeFailed))
}

#[cfg(test)]
mod tests {
    use super::super::rng::testing::rng;
    use super::*;

    #[test]
    fn only_the_same_key_psk_and_info_open() {
        let private = VaultPrivateKey::from_leaf(&Secret::from_bytes([1; 32]));
        let other = VaultPrivateKey::from_leaf(&Secret::from_bytes([2; 32]));
        let psk = Secret::from_bytes([3; 32]);
        let mut sealed = *b"0123456789abcdef0123456789abcdef................";
        let (text, tail) = sealed.split_at_mut(32);
        let (enc, tag) = seal(private.public(), &psk, b"info", text, &mut rng(4)).unwrap();
        tail.copy_from_slice(&tag);

        let try_open = |key: &VaultPrivateKey, psk: &Secret<32>, info: &[u8]| {
            let mut copy = sealed;
            open(key, psk, info, &enc, &mut copy).map(|plain| plain.to_vec())
        };
        assert_eq!(try_open(&private, &psk, b"info").unwrap(), b"0123456789abcdef".repeat(2));
        assert_eq!(try_open(&other, &psk, b"info"), Err(HpkeFailed));
        assert_eq!(try_open(&private, &Secret::from_bytes([4; 32]), b"info"), Err(HpkeFailed));
        assert_eq!(try_open(&private, &psk, b"INFO"), Err(HpkeFailed));
        assert_eq!(open(&private, &psk, b"info", &enc, &mut [0; 15]), Err(HpkeFailed));
    }
}
