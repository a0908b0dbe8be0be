//! Unlock slots: the whole vault behind a recovery code or a passphrase.
//!
//! ```text
//! 0    version      1
//! 1    vault id     16
//! 17   epoch        u32 LE
//! 21   slot id      16
//! 37   kind         1 recovery, 2 passphrase, 3 passphrase-anywhere
//! 38   kdf          m KiB, t, p: u32 LE each; all zero for kind 1
//! 50   salt         32
//! 82   nonce        24
//! 106  commit       32     everything before is "the header"
//! 138  ciphertext   96     XChaCha20-Poly1305(root[32] || write secret[32] || share[16])
//! 234  checksum     16     first bytes of BLAKE3(bytes 0..234)
//! ```
//!
//! `kek[32] || commit key[32]` = `derive_key("slot", secret || share of kind 2 || header)`, where
//! secret is the code's 20 bytes or Argon2id's 32. `commit = keyed_hash(commit key, header)`.
//!
//! The checksum finds accidents, so that a rotten slot is not reported as a wrong passphrase. A
//! server that forges it is found by the set's hash in the root-signed log.

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use unseen_common::id::{SlotId, VaultId};
use zeroize::Zeroizing;

use super::derive::Context;
use super::kdf::{KdfError, KdfParams};
use super::layout::{Fields, join};
use super::recovery::RecoveryCode;
use super::rng::Hedged;
use super::schedule::{RootSecret, Unlocked, WriteSecret};
use super::secret::{Passphrase, Secret};

/// Length of a slot in bytes.
pub const SLOT_LEN: usize = 250;

const VERSION: u8 = 1;
const HEADER_LEN: usize = 106;
const CHECKED_LEN: usize = 234;
const PLAIN_LEN: usize = 80;

/// What opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SlotKind {
    /// The printed code, on any machine.
    Recovery,
    /// A passphrase, on machines that hold the vault's share.
    Passphrase,
    /// A passphrase alone, on any machine.
    PassphraseAnywhere,
}

impl SlotKind {
    const fn code(self) -> u8 {
        match self {
            Self::Recovery => 1,
            Self::Passphrase => 2,
            Self::PassphraseAnywhere => 3,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Recovery),
            2 => Some(Self::Passphrase),
            3 => Some(Self::PassphraseAnywhere),
            _ => None,
        }
    }
}

/// The secret for one kind of slot.
#[derive(Debug, Clone, Copy)]
pub enum SlotSecret<'a> {
    /// For [`SlotKind::Recovery`].
    Code(&'a RecoveryCode),
    /// For [`SlotKind::Passphrase`].
    Passphrase {
        /// What was typed.
        passphrase: &'a Passphrase,
        /// The vault's share, from this machine's `device.key`.
        share: &'a Secret<16>,
    },
    /// For [`SlotKind::PassphraseAnywhere`].
    PassphraseAnywhere(&'a Passphrase),
}

impl SlotSecret<'_> {
    /// The kind of slot it opens.
    pub const fn kind(&self) -> SlotKind {
        match self {
            Self::Code(_) => SlotKind::Recovery,
            Self::Passphrase { .. } => SlotKind::Passphrase,
            Self::PassphraseAnywhere(_) => SlotKind::PassphraseAnywhere,
        }
    }
}

/// Why a slot does not open. For the user only: the server is never told which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// The secret is not the one the slot was made for.
    #[error("wrong passphrase or recovery code")]
    WrongSecret,
    /// The slot's bytes are not those that were written.
    #[error("the unlock slot is damaged")]
    Damaged,
    /// There is no slot left: whoever keeps them has lost them.
    #[error("the vault's unlock slots are lost")]
    Lost,
    /// Written by a later version of the program.
    #[error("unlock slot of version {version}, kind {kind} is not supported")]
    Unsupported {
        /// Its version byte.
        version: u8,
        /// Its kind byte.
        kind: u8,
    },
    /// The secret is for another kind of slot.
    #[error("this unlock slot needs another kind of secret")]
    WrongKind {
        /// The kind the slot has.
        needs: SlotKind,
    },
    /// The cost in the slot is out of bounds, or the memory cannot be had.
    #[error("cannot derive the key of the unlock slot")]
    Kdf(#[from] KdfError),
}

/// One slot, as it lies on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    bytes: [u8; SLOT_LEN],
    header: Header,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    vault: VaultId,
    epoch: u32,
    id: SlotId,
    kind: SlotKind,
    kdf: KdfParams,
    salt: [u8; 32],
    nonce: [u8; 24],
}

impl Slot {
    /// Makes a slot that opens to `content`. `kdf` is the client's own choice, and is not used
    /// for a recovery code.
    pub fn seal(
        content: &Unlocked,
        secret: &SlotSecret<'_>,
        kdf: KdfParams,
        rng: &mut Hedged,
    ) -> Result<Self, SlotError> {
        let kind = secret.kind();
        let header = Header {
            vault: content.vault,
            epoch: content.root.epoch(),
            id: SlotId::from_bytes(rng.bytes()),
            kind,
            kdf: if kind == SlotKind::Recovery { NO_KDF } else { kdf.check()? },
            salt: rng.bytes(),
            nonce: rng.bytes(),
        };
        let clear = header.to_bytes();
        let keys = Keys::derive(&header, &clear, secret)?;
        let mut text: Zeroizing<[u8; PLAIN_LEN]> = Zeroizing::new(
            join(&[content.root.expose(), content.write.expose(), content.share.expose()])
                .expect("32, 32 and 16 bytes are 80"),
        );
        let tag = keys
            .cipher
            .encrypt_inout_detached(
                &XNonce::from(header.nonce),
                &clear,
                InOutBuf::from(text.as_mut_slice()),
            )
            .expect("80 bytes are within the cipher's limit");
        let checked: [u8; CHECKED_LEN] = join(&[&clear, keys.commit.expose(), &*text, &tag])
            .expect("the fields before the checksum have 234 bytes");
        let bytes = join(&[&checked, &checksum(&checked)]).expect("234 and 16 bytes are a slot");
        Ok(Self { bytes, header })
    }

    /// Reads a slot strictly. What it says is proven only once it has been opened.
    pub fn parse(bytes: &[u8]) -> Result<Self, SlotError> {
        // The version comes first: a later slot may have another length.
        let version = bytes.first().copied().ok_or(SlotError::Damaged)?;
        let bytes: [u8; SLOT_LEN] = match bytes.try_into() {
            Ok(bytes) => bytes,
            Err(_) if version > VERSION => {
                return Err(SlotError::Unsupported { version, kind: 0 });
            }
            Err(_) => return Err(SlotError::Damaged),
        };
        let (checked, sum) = bytes.split_first_chunk().ok_or(SlotError::Damaged)?;
        if checksum(checked) != sum {
            return Err(SlotError::Damaged);
        }
        let header = Header::parse(&bytes)?;
        Ok(Self { bytes, header })
    }

    /// Opens the slot: derive, compare the commitment in constant time, and only then decrypt.
    pub fn open(&self, secret: &SlotSecret<'_>) -> Result<Unlocked, SlotError> {
        let header = &self.header;
        if secret.kind() != header.kind {
            return Err(SlotError::WrongKind { needs: header.kind });
        }
        let damaged = SlotError::Damaged;
        let mut fields = Fields::new(&self.bytes);
        let clear: &[u8; HEADER_LEN] = fields.take().ok_or(damaged)?;
        let commit = fields.take::<32>().ok_or(damaged)?;
        let mut text = Zeroizing::new(*fields.take::<PLAIN_LEN>().ok_or(damaged)?);
        let tag = Tag::from(*fields.take::<16>().ok_or(damaged)?);

        let keys = Keys::derive(header, clear, secret)?;
        if keys.commit != Secret::from_bytes(*commit) {
            return Err(SlotError::WrongSecret);
        }
        keys.cipher
            .decrypt_inout_detached(
                &XNonce::from(header.nonce),
                clear,
                InOutBuf::from(text.as_mut_slice()),
                &tag,
            )
            .map_err(|chacha20poly1305::Error| damaged)?;
        let mut plain = Fields::new(text.as_slice());
        Ok(Unlocked {
            vault: header.vault,
            root: RootSecret::from_bytes(plain.take().ok_or(damaged)?, header.epoch),
            write: WriteSecret::from_bytes(plain.take().ok_or(damaged)?),
            share: Secret::from_bytes(*plain.take().ok_or(damaged)?),
        })
    }

    /// The slot as it is stored.
    pub fn as_bytes(&self) -> &[u8; SLOT_LEN] {
        &self.bytes
    }

    /// The vault it says to open.
    pub fn vault(&self) -> VaultId {
        self.header.vault
    }

    /// The epoch of the root in it.
    pub fn epoch(&self) -> u32 {
        self.header.epoch
    }

    /// Its name.
    pub fn id(&self) -> SlotId {
        self.header.id
    }

    /// What opens it.
    pub fn kind(&self) -> SlotKind {
        self.header.kind
    }

    /// The cost of trying; `None` for a recovery code.
    pub fn kdf(&self) -> Option<KdfParams> {
        (self.header.kind != SlotKind::Recovery).then_some(self.header.kdf)
    }
}

const NO_KDF: KdfParams = KdfParams { m_kib: 0, t: 0, p: 0 };

impl Header {
    fn to_bytes(self) -> [u8; HEADER_LEN] {
        join(&[
            &[VERSION],
            self.vault.as_bytes(),
            &self.epoch.to_le_bytes(),
            self.id.as_bytes(),
            &[self.kind.code()],
            &self.kdf.m_kib.to_le_bytes(),
            &self.kdf.t.to_le_bytes(),
            &self.kdf.p.to_le_bytes(),
            &self.salt,
            &self.nonce,
        ])
        .expect("the fields of the header have 106 bytes")
    }

    fn parse(bytes: &[u8; SLOT_LEN]) -> Result<Self, SlotError> {
        let damaged = SlotError::Damaged;
        let mut fields = Fields::new(bytes);
        let version = fields.u8().ok_or(damaged)?;
        let vault = VaultId::from_bytes(*fields.take().ok_or(damaged)?);
        let epoch = fields.u32().ok_or(damaged)?;
        let id = SlotId::from_bytes(*fields.take().ok_or(damaged)?);
        let code = fields.u8().ok_or(damaged)?;
        let kind = SlotKind::from_code(code).filter(|_| version == VERSION);
        let kind = kind.ok_or(SlotError::Unsupported { version, kind: code })?;
        let kdf = KdfParams {
            m_kib: fields.u32().ok_or(damaged)?,
            t: fields.u32().ok_or(damaged)?,
            p: fields.u32().ok_or(damaged)?,
        };
        if kind != SlotKind::Recovery {
            kdf.check()?;
        } else if kdf != NO_KDF {
            return Err(damaged);
        }
        let salt = *fields.take().ok_or(damaged)?;
        let nonce = *fields.take().ok_or(damaged)?;
        Ok(Self { vault, epoch, id, kind, kdf, salt, nonce })
    }
}

/// What a secret and a header give.
struct Keys {
    cipher: XChaCha20Poly1305,
    commit: Secret<32>,
}

impl Keys {
    fn derive(
        header: &Header,
        clear: &[u8; HEADER_LEN],
        secret: &SlotSecret<'_>,
    ) -> Result<Self, SlotError> {
        let mut keys = Zeroizing::new([0; 64]);
        let mut derive = |parts: &[&[u8]]| Context::SLOT.derive_into(parts, keys.as_mut_slice());
        match secret {
            SlotSecret::Code(code) => derive(&[code.secret().expose(), clear]),
            SlotSecret::Passphrase { passphrase, share } => {
                let stretched = header.kdf.stretch(passphrase, &header.salt)?;
                derive(&[stretched.expose(), share.expose(), clear]);
            }
            SlotSecret::PassphraseAnywhere(passphrase) => {
                let stretched = header.kdf.stretch(passphrase, &header.salt)?;
                derive(&[stretched.expose(), clear]);
            }
        }
        let (halves, _) = keys.as_chunks::<32>();
        let [kek, commit_key] = halves else {
            return Err(SlotError::Damaged);
        };
        let commit = Secret::from_bytes(*blake3::keyed_hash(commit_key, clear).as_bytes());
        Ok(Self { cipher: XChaCha20Poly1305::new(kek.into()), commit })
    }
}

fn checksum(checked: &[u8; CHECKED_LEN]) -> [u8; 16] {
    let hash = blake3::hash(checked);
    let (sum, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    *sum
}
