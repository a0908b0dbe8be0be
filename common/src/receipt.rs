//! What a server signs when it has erased an account.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use minicbor::decode::Decoder;

use crate::codec::{Canonical, DecodeError, Enc, EncodeResult, array_of, bytes_n};
use crate::id::{Hash, VaultId};
use crate::log::chain::BadSignature;
use crate::log::entry::PublicKey;
use crate::time::Timestamp;

/// What is signed begins with this, so that no other signature can stand in for it.
const SIGN_DOMAIN: &[u8] = b"unseen erasure receipt v1\0";
const VERSION: u8 = 1;

/// Who had an account erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasedBy {
    /// Its owner, by an entry in the log, after the time in which it can be cancelled.
    Owner,
    /// Whoever runs the server.
    Operator,
}

/// An account is gone: its blobs, its journal and what the index knew of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The account.
    pub account: VaultId,
    /// Who wanted it.
    pub by: ErasedBy,
    /// When it was asked for.
    pub requested: Timestamp,
    /// When everything was gone.
    pub erased: Timestamp,
    /// Packs that were removed.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Snapshots that were removed.
    pub snapshots: u64,
    /// Hash of the newest log record; zeros if the log could not be read any more.
    pub head: Hash,
    /// The identity key of the server, which signs.
    pub identity: PublicKey,
}

/// A receipt with the server's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedReceipt {
    /// The canonical bytes of a [`Receipt`].
    pub bytes: Vec<u8>,
    /// Ed25519 over `"unseen erasure receipt v1\0" || bytes`.
    pub signature: [u8; 64],
}

/// Why a receipt does not count.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// Not a receipt of this format.
    #[error("the receipt cannot be read")]
    Decode(#[from] DecodeError),
    /// Forged, or of another server.
    #[error("the receipt is not signed by this server")]
    Signature(#[from] BadSignature),
    /// It is about another account.
    #[error("the receipt is about another account")]
    OtherAccount,
}

impl SignedReceipt {
    /// Signs a receipt.
    pub fn sign(receipt: &Receipt, key: &SigningKey) -> Self {
        let bytes = receipt.to_bytes();
        let signature = key.sign(&message(&bytes)).to_bytes();
        Self { bytes, signature }
    }

    /// The receipt, if the server of this identity signed it for this account.
    pub fn open(&self, account: VaultId, identity: &PublicKey) -> Result<Receipt, ReceiptError> {
        let receipt = Receipt::from_bytes(&self.bytes)?;
        VerifyingKey::from_bytes(identity)
            .and_then(|key| {
                let signature = Signature::from_bytes(&self.signature);
                key.verify_strict(&message(&self.bytes), &signature)
            })
            .map_err(|_e: ed25519_dalek::SignatureError| BadSignature)?;
        if receipt.account != account || receipt.identity != *identity {
            return Err(ReceiptError::OtherAccount);
        }
        Ok(receipt)
    }
}

impl Canonical for Receipt {
    const WHAT: &'static str = "receipt";
    const CAP: usize = 256;

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(10)?.u8(VERSION)?.bytes(self.account.as_bytes())?.u8(self.by.number())?;
        e.u64(self.requested.0)?.u64(self.erased.0)?;
        e.u64(self.packs)?.u64(self.bytes)?.u64(self.snapshots)?;
        e.bytes(self.head.as_bytes())?.bytes(&self.identity)?;
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        array_of(d, 10, "receipt")?;
        let version = d.u8()?;
        if version != VERSION {
            let number = version.into();
            return Err(DecodeError::Unknown { what: "receipt of version", number });
        }
        Ok(Self {
            account: VaultId::from_bytes(bytes_n(d, "account")?),
            by: ErasedBy::from_number(d.u8()?)?,
            requested: Timestamp(d.u64()?),
            erased: Timestamp(d.u64()?),
            packs: d.u64()?,
            bytes: d.u64()?,
            snapshots: d.u64()?,
            head: Hash::from_bytes(bytes_n(d, "head")?),
            identity: bytes_n(d, "identity key")?,
        })
    }
}

impl ErasedBy {
    /// Its number in a receipt and in a journal.
    pub const fn number(self) -> u8 {
        match self {
            Self::Owner => 0,
            Self::Operator => 1,
        }
    }

    /// The author of this number.
    pub fn from_number(number: u8) -> Result<Self, DecodeError> {
        match number {
            0 => Ok(Self::Owner),
            1 => Ok(Self::Operator),
            _ => Err(DecodeError::Unknown { what: "author of an erasure", number: number.into() }),
        }
    }
}

fn message(bytes: &[u8]) -> Vec<u8> {
    [SIGN_DOMAIN, bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn receipt() -> Receipt {
        Receipt {
            account: VaultId::from_bytes([1; 16]),
            by: ErasedBy::Owner,
            requested: Timestamp(10),
            erased: Timestamp(20),
            packs: 3,
            bytes: 1 << 40,
            snapshots: 2,
            head: Hash::from_bytes([4; 32]),
            identity: key().verifying_key().to_bytes(),
        }
    }

    #[test]
    fn the_bytes_are_pinned() {
        let Receipt { identity, .. } = receipt();
        let expected = [
            &[0x8a, 1, 0x50][..],
            &[1; 16],
            &[0, 10, 20, 3, 0x1b, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0x58, 32],
            &[4; 32],
            &[0x58, 32],
            &identity,
        ]
        .concat();
        assert_eq!(receipt().to_bytes(), expected);
    }

    #[test]
    fn only_the_servers_receipt_for_this_account_counts() {
        let receipt = receipt();
        let signed = SignedReceipt::sign(&receipt, &key());
        assert_eq!(signed.open(receipt.account, &receipt.identity).unwrap(), receipt);
        let other = VaultId::from_bytes([9; 16]);
        assert!(matches!(signed.open(other, &receipt.identity), Err(ReceiptError::OtherAccount)));
        let stranger = SigningKey::from_bytes(&[8; 32]);
        let theirs = stranger.verifying_key().to_bytes();
        assert!(matches!(signed.open(receipt.account, &theirs), Err(ReceiptError::Signature(_))));
        // Signed by a stranger over somebody else's identity.
        let forged = SignedReceipt::sign(&receipt, &stranger);
        assert!(matches!(forged.open(receipt.account, &theirs), Err(ReceiptError::OtherAccount)));
    }

    proptest! {
        #[test]
        fn any_change_is_noticed(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut signed = SignedReceipt::sign(&receipt(), &key());
            let at = at.index(signed.bytes.len());
            prop_assume!(signed.bytes[at] != to);
            signed.bytes[at] = to;
            if let Ok(read) = Receipt::from_bytes(&signed.bytes) {
                prop_assert_eq!(read.to_bytes(), signed.bytes.clone());
            }
            prop_assert!(signed.open(receipt().account, &receipt().identity).is_err());
        }
    }
}
