//! How entries are signed, and how records hang together.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use minicbor::decode::Decoder;

use super::entry::{Entry, PublicKey};
use crate::codec::{Canonical, DecodeError, Enc, EncodeResult, array_of, bytes_capped, bytes_n};
use crate::id::Hash;
use crate::limits::MAX_ENTRY;
use crate::time::Timestamp;

/// What is signed begins with this, so that no other signature can stand in for it.
const SIGN_DOMAIN: &[u8] = b"unseen log v1\0";
const UNSIGNED: [u8; 64] = [0; 64];
const RECORD_CONTEXT: &str = "unseen 2026-11 v1 log record";

/// An entry with its author's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEntry {
    /// The canonical bytes of an [`Entry`].
    pub bytes: Vec<u8>,
    /// Ed25519 over `"unseen log v1\0" || bytes`.
    pub signature: [u8; 64],
}

/// An entry as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The signed entry.
    pub signed: SignedEntry,
    /// The server's clock when it took the entry, in seconds; never decreases along the log.
    pub received: Timestamp,
}

/// A signature that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature of a log entry does not hold")]
pub struct BadSignature;

impl SignedEntry {
    /// Signs an entry.
    pub fn sign(entry: &Entry, key: &SigningKey) -> Self {
        let bytes = entry.to_bytes();
        let signature = key.sign(&message(&bytes)).to_bytes();
        Self { bytes, signature }
    }

    /// An entry of the server, which signs nothing: the signature is zeros.
    pub fn unsigned(entry: &Entry) -> Self {
        Self { bytes: entry.to_bytes(), signature: UNSIGNED }
    }

    /// Whether the signature is the one of an entry that needs none.
    pub fn is_unsigned(&self) -> bool {
        self.signature == UNSIGNED
    }

    /// The entry, strictly parsed. Says nothing about the signature.
    pub fn entry(&self) -> Result<Entry, DecodeError> {
        Entry::from_bytes(&self.bytes)
    }

    /// Checks the signature, by the strict rules of RFC 8032.
    pub fn verify(&self, key: &PublicKey) -> Result<(), BadSignature> {
        VerifyingKey::from_bytes(key)
            .and_then(|k| {
                k.verify_strict(&message(&self.bytes), &Signature::from_bytes(&self.signature))
            })
            .map_err(|_e: ed25519_dalek::SignatureError| BadSignature)
    }
}

impl Record {
    /// What the next entry names as its predecessor, and what clients pin as the head.
    pub fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key(RECORD_CONTEXT);
        hasher.update(&self.to_bytes());
        Hash::from_bytes(*hasher.finalize().as_bytes())
    }
}

impl Canonical for Record {
    const WHAT: &'static str = "log record";
    const CAP: usize = MAX_ENTRY + 128;

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(3)?.bytes(&self.signed.bytes)?.bytes(&self.signed.signature)?;
        e.u64(self.received.0)?;
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        array_of(d, 3, "log record")?;
        let bytes = bytes_capped(d, "log entry", MAX_ENTRY)?.to_vec();
        let signature = bytes_n(d, "signature")?;
        let received = Timestamp(d.u64()?);
        Ok(Self { signed: SignedEntry { bytes, signature }, received })
    }
}

fn message(bytes: &[u8]) -> Vec<u8> {
    [SIGN_DOMAIN, bytes].concat()
}
