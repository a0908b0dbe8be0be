//! The vault's X-Wing key pair (ML-KEM-768 with X25519).

use std::fmt;
use std::sync::Arc;

use hpke::{Deserializable, Kem, Serializable, kem::XWing};
use unseen_common::id::Hash;

use super::locked::Locked;
use super::secret::Secret;

type XWingPublic = <XWing as Kem>::PublicKey;
type XWingPrivate = <XWing as Kem>::PrivateKey;

/// Bytes that are not an X-Wing public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a vault public key ({len} bytes given, {} expected)", VaultPublicKey::LEN)]
pub struct VaultKeyError {
    /// How many bytes were given.
    len: usize,
}

/// The key that every pack is sealed to. Cheap to clone.
#[derive(Clone)]
pub struct VaultPublicKey(Arc<Public>);

struct Public {
    bytes: [u8; VaultPublicKey::LEN],
    hash: Hash,
    parsed: XWingPublic,
}

impl VaultPublicKey {
    /// Length in bytes: 1184 of ML-KEM-768, 32 of X25519.
    pub const LEN: usize = 1216;

    /// Parses strictly: the key must encode to the same bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VaultKeyError> {
        let error = VaultKeyError { len: bytes.len() };
        let bytes: [u8; Self::LEN] = bytes.try_into().or(Err(error))?;
        let parsed = XWingPublic::from_bytes(&bytes).or(Err(error))?;
        if parsed.to_bytes()[..] != bytes[..] {
            return Err(error);
        }
        Ok(Self(Arc::new(Public { bytes, hash: Hash::of(&bytes), parsed })))
    }

    /// The raw key.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0.bytes
    }

    /// BLAKE3 of the raw key, as the genesis entry and every envelope name it.
    pub fn hash(&self) -> Hash {
        self.0.hash
    }

    pub(crate) fn parsed(&self) -> &XWingPublic {
        &self.0.parsed
    }

    fn of(private: &XWingPrivate) -> Self {
        let parsed = XWing::sk_to_pk(private);
        let mut bytes = [0; Self::LEN];
        parsed.write_exact(&mut bytes);
        Self(Arc::new(Public { bytes, hash: Hash::of(&bytes), parsed }))
    }
}

impl PartialEq for VaultPublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl Eq for VaultPublicKey {}

impl fmt::Debug for VaultPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VaultPublicKey({})", self.0.hash.short())
    }
}

/// The key that opens every envelope of one epoch.
#[derive(Debug)]
pub struct VaultPrivateKey {
    seed: Locked,
    public: VaultPublicKey,
}

impl VaultPrivateKey {
    /// The 32-byte leaf *is* the decapsulation key of X-Wing; nothing is derived from it here.
    pub(crate) fn from_leaf(leaf: &Secret<32>) -> Self {
        let public = VaultPublicKey::of(&parse(leaf.expose()));
        Self { seed: Locked::new(leaf.expose()), public }
    }

    /// The other half.
    pub fn public(&self) -> &VaultPublicKey {
        &self.public
    }

    /// The key as the HPKE crate wants it: made anew for each opening, so that the only copy that
    /// lives long is on a locked page. Costs one key expansion, some tens of microseconds.
    pub(crate) fn parsed(&self) -> XWingPrivate {
        parse(self.seed.expose())
    }
}

fn parse(leaf: &[u8; 32]) -> XWingPrivate {
    XWingPrivate::from_bytes(leaf).expect("every 32 bytes are an X-Wing decapsulation key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_keys_round_trip_and_refuse_damage() {
        let private = VaultPrivateKey::from_leaf(&Secret::from_bytes([5; 32]));
        let bytes = *private.public().as_bytes();
        assert_eq!(&VaultPublicKey::from_bytes(&bytes).unwrap(), private.public());
        assert_eq!(private.public().hash(), Hash::of(&bytes));
        let short = VaultPublicKey::from_bytes(&bytes[1..]).unwrap_err();
        assert_eq!(short, VaultKeyError { len: 1215 });
        // A coefficient of ML-KEM above the modulus.
        let mut high = bytes;
        high[..3].fill(0xff);
        assert_eq!(VaultPublicKey::from_bytes(&high).unwrap_err(), VaultKeyError { len: 1216 });
    }
}
