//! A device's name and index key, sealed to the vault key: the `sealed` field of a device-add
//! entry. The server sees a constant length and no name.
//!
//! ```text
//! sealed   enc[1120] | ciphertext[288] | tag[16]
//! plain    index key[32] | length of the name u8 | name in UTF-8 | zeros up to 288
//! info     "unseen v1 device" | vault id | epoch u32 LE | BLAKE3(vault public key) | device id
//! ```

use unseen_common::id::{DeviceId, VaultId};
use zeroize::Zeroizing;

use super::envelope::SealTo;
use super::hpke_box::{self, ENC_LEN, HpkeFailed};
use super::layout::{Fields, join};
use super::rng::Hedged;
use super::schedule::ReaderKeys;
use super::secret::Secret;
use super::vault_key::VaultPublicKey;

/// Length of the sealed form.
pub const SEALED_LEN: usize = 1424;
/// Longest name of a device in bytes.
pub const NAME_MAX: usize = 255;

const PLAIN_LEN: usize = 288;
const CIPHERTEXT_LEN: usize = 304;
const PRODUCT: &[u8] = b"unseen v1 device";

/// What a device tells the owner about itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Introduction {
    /// What people call it.
    pub name: String,
    /// Opens its tables of contents.
    pub index_key: Secret<32>,
}

/// Why an introduction cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntroductionError {
    /// Empty, longer than [`NAME_MAX`], or with control characters.
    #[error("a device name has 1 to {NAME_MAX} bytes and no control characters")]
    Name,
    /// No key for the epoch it was sealed in.
    #[error("no key for epoch {epoch}")]
    Epoch {
        /// The epoch.
        epoch: u32,
    },
    /// Not sealed to this vault for this device, or malformed.
    #[error("the sealed name of the device does not open")]
    Forged,
    /// The vault's public key cannot be used.
    #[error("cannot seal to the vault key")]
    Seal,
}

impl Introduction {
    /// Seals it for the owner.
    pub fn seal(
        &self,
        to: &SealTo<'_>,
        rng: &mut Hedged,
    ) -> Result<Box<[u8; SEALED_LEN]>, IntroductionError> {
        let name = check_name(&self.name)?;
        let length = u8::try_from(name.len()).or(Err(IntroductionError::Name))?;
        let padding = [0; NAME_MAX];
        let (_, padding) = padding.split_at_checked(name.len()).ok_or(IntroductionError::Name)?;
        let fields: [&[u8]; 4] = [self.index_key.expose(), &[length], name.as_bytes(), padding];
        let mut text: Zeroizing<[u8; PLAIN_LEN]> =
            Zeroizing::new(join(&fields).expect("32, 1 and 255 bytes are 288"));
        let info = info(to.vault, to.epoch, to.public, to.device);
        let (enc, tag) = hpke_box::seal(to.public, to.psk, &info, text.as_mut_slice(), rng)
            .map_err(|HpkeFailed| IntroductionError::Seal)?;
        let sealed = join(&[&enc, text.as_slice(), &tag]).expect("the fields have 1424 bytes");
        Ok(Box::new(sealed))
    }

    /// Opens what `device` sealed in `epoch`.
    pub fn open(
        keys: &ReaderKeys,
        epoch: u32,
        device: DeviceId,
        sealed: &[u8],
    ) -> Result<Self, IntroductionError> {
        let forged = IntroductionError::Forged;
        let private = keys.key(epoch).ok_or(IntroductionError::Epoch { epoch })?;
        let (enc, text) = sealed.split_first_chunk::<ENC_LEN>().ok_or(forged)?;
        let text: [u8; CIPHERTEXT_LEN] = text.try_into().or(Err(forged))?;
        let mut text = Zeroizing::new(text);
        let info = info(keys.vault(), epoch, private.public(), device);
        let psk = &keys.write_set().writer_psk;
        let plain = hpke_box::open(private, psk, &info, enc, text.as_mut_slice())
            .map_err(|HpkeFailed| forged)?;
        Self::parse(plain).ok_or(forged)
    }

    fn parse(plain: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(plain);
        let index_key = Secret::from_bytes(*fields.take()?);
        let length = usize::from(fields.u8()?);
        let (name, padding) = fields.take::<NAME_MAX>()?.split_at_checked(length)?;
        let name = check_name(std::str::from_utf8(name).ok()?).ok()?.to_owned();
        padding.iter().all(|byte| *byte == 0).then_some(Self { name, index_key })
    }
}

fn check_name(name: &str) -> Result<&str, IntroductionError> {
    let good = (1..=NAME_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    good.then_some(name).ok_or(IntroductionError::Name)
}

fn info(vault: VaultId, epoch: u32, public: &VaultPublicKey, device: DeviceId) -> Vec<u8> {
    let hash = public.hash();
    let parts: [&[u8]; 5] =
        [PRODUCT, vault.as_bytes(), &epoch.to_le_bytes(), hash.as_bytes(), device.as_bytes()];
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::super::rng::testing::rng;
    use super::super::schedule::Unlocked;
    use super::*;

    const VAULT: VaultId = VaultId::from_bytes([7; 16]);
    const DEVICE: DeviceId = DeviceId::from_bytes([9; 16]);

    fn seal(name: &str) -> (ReaderKeys, Result<Box<[u8; SEALED_LEN]>, IntroductionError>) {
        let keys = Unlocked::generate(VAULT, &mut rng(1)).reader_keys();
        let public = keys.key(0).unwrap().public().clone();
        let psk = &keys.write_set().writer_psk;
        let to = SealTo { vault: VAULT, epoch: 0, device: DEVICE, public: &public, psk };
        let intro = Introduction { name: name.into(), index_key: Secret::from_bytes([3; 32]) };
        let sealed = intro.seal(&to, &mut rng(2));
        (keys, sealed)
    }

    #[test]
    fn the_owner_reads_the_name_and_the_index_key() {
        for name in ["a", "K\u{fc}che", &"x".repeat(NAME_MAX)] {
            let (keys, sealed) = seal(name);
            let opened = Introduction::open(&keys, 0, DEVICE, &*sealed.unwrap()).unwrap();
            assert_eq!(opened.name, name);
            assert_eq!(opened.index_key, Secret::from_bytes([3; 32]));
        }
    }

    #[test]
    fn bad_names_are_refused() {
        for name in ["", "a\nb", &"x".repeat(NAME_MAX + 1)] {
            assert_eq!(seal(name).1, Err(IntroductionError::Name));
        }
    }

    #[test]
    fn another_device_epoch_or_byte_is_refused() {
        let (keys, sealed) = seal("desk");
        let sealed = sealed.unwrap();
        let forged = Err(IntroductionError::Forged);
        let other = DeviceId::from_bytes([8; 16]);
        assert_eq!(Introduction::open(&keys, 0, other, &*sealed), forged);
        let unknown = Err(IntroductionError::Epoch { epoch: 1 });
        assert_eq!(Introduction::open(&keys, 1, DEVICE, &*sealed), unknown);
        assert_eq!(Introduction::open(&keys, 0, DEVICE, &sealed[1..]), forged);
        for index in (0..SEALED_LEN).step_by(97) {
            let mut bad = sealed.clone();
            bad[index] ^= 1;
            assert_eq!(Introduction::open(&keys, 0, DEVICE, &*bad), forged, "byte {index}");
        }
    }
}
